"""What packing is worth: the same examples padded to 128 slots, padded to the batch's longest, and packed into rows.

    python scripts/benchmark_packing.py --mode both
    python scripts/benchmark_packing.py --task classification --models pooling,attention,depthwise_conv --examples 256
    python scripts/benchmark_packing.py --lengths_from path/to/glue/MRPC --hidden_size 768 --num_hidden_layers 12
    python scripts/benchmark_packing.py --device cuda --mode both --precision amp_bfloat16 --examples 4096 \
      --hidden_size 768 --num_hidden_layers 12 --models pooling,attention,pooling+compile --output packing.csv

Without lengths_from the lengths are those of SST-2. Weights and tokens are random, nothing is downloaded.
"""

from metaformer_nlp.config.command_line import main
from tasks.benchmark.options import PackingBenchmarkConfig

if __name__ == "__main__":
    main(PackingBenchmarkConfig, "tasks.benchmark.packing:run", __doc__)
