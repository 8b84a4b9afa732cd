"""Time image models against each other: ours beside timm's and transformers', taking turns in one run.

    python scripts/benchmark.py
    python scripts/benchmark.py --precision bfloat16 --threads 2 --output results.csv
    python scripts/benchmark.py --mode both --models poolformer_s12,poolformer_s12+compile,timm/resmlp_12_224
    python scripts/benchmark.py --device cuda --batch_size 256 --precision amp_bfloat16 --mode training

It needs no data and downloads nothing: weights are random. (Of the libraries, `datasets` is not needed; jsonargparse,
accelerate and transformers are.)
"""

from metaformer_nlp.config.command_line import main
from tasks.benchmark.options import ImageBenchmarkConfig

if __name__ == "__main__":
    main(ImageBenchmarkConfig, "tasks.benchmark.images:run", __doc__)
