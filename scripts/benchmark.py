"""Time image models against each other: ours beside timm's and transformers', taking turns in one run.

    python scripts/benchmark.py
    python scripts/benchmark.py --precision bfloat16 --threads 2 --output results.csv
    python scripts/benchmark.py --mode both --models poolformer_s12,poolformer_s12+compile,timm/resmlp_12_224
    python scripts/benchmark.py --device cuda --batch_size 256 --precision amp_bfloat16 --mode training

It needs no data and downloads nothing: weights are random. (Of the libraries, `datasets` is not needed; jsonargparse,
accelerate and transformers are.)
"""

from tasks.benchmark_options import ImageBenchmarkConfig
from tasks.cli import main

if __name__ == "__main__":
    main(ImageBenchmarkConfig, "tasks.vision_benchmark:run", __doc__)
