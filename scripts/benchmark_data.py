"""How many images a second one processor core prepares for training and evaluation: this project beside timm.

    python scripts/benchmark_data.py --root path/to/images
    python scripts/benchmark_data.py --root path/to/images --image_size 384 --crop_pct 1.0 --output speed.csv

A GPU that trains on R images a second is kept busy by R / (images a second of a core) cores: run.num_workers.
"""

from metaformer_nlp.config.command_line import main
from tasks.benchmark.options import SpeedConfig

if __name__ == "__main__":
    main(SpeedConfig, "tasks.benchmark.loading:run", __doc__)
