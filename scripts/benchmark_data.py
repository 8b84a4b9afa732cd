"""How many images a second one processor core prepares for training and evaluation: this project beside timm.

    python scripts/benchmark_data.py --root path/to/images
    python scripts/benchmark_data.py --root path/to/images --image_size 384 --crop_pct 1.0 --report speed.csv

A GPU that trains on R images a second is kept busy by R / (images a second of a core) cores: run.num_workers.
"""

from tasks.cli import main
from tasks.image_speed import SpeedConfig, run

if __name__ == "__main__":
    main(SpeedConfig, run, __doc__)
