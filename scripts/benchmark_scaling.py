"""What training on many GPUs is to reach: bytes, times and efficiency of DDP and FSDP, calculated; CPUs, measured.

    python scripts/benchmark_scaling.py
    python scripts/benchmark_scaling.py --gpus '[8, 64]' --utilisation 0.3 --output scaling.csv
    python scripts/benchmark_scaling.py --processes 2

The formulas, and what they leave out, are at the top of tasks/benchmark/scale_out.py.
"""

from metaformer_nlp.config.command_line import main
from tasks.benchmark.options import ScaleOutConfig

if __name__ == "__main__":
    main(ScaleOutConfig, "tasks.benchmark.scale_out:run", __doc__)
