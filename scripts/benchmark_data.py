"""How many images a second one processor core prepares for training and evaluation: this project beside timm.

    python scripts/benchmark_data.py --root path/to/images
    python scripts/benchmark_data.py --root path/to/images --image_size 384 --crop_pct 1.0 --report speed.csv

A GPU that trains on R images a second is kept busy by R / (images a second of a core) cores: run.num_workers.
"""

from tasks.benchmark_options import SpeedConfig
from tasks.cli import main

if __name__ == "__main__":
    main(SpeedConfig, "tasks.image_speed:run", __doc__)
