"""Train and evaluate an image classifier: any model of vision/variants.py, on digits, folders, parquet or the hub.

    python scripts/train_vision.py --config scripts/recipes/digits.yaml
    python scripts/train_vision.py --config scripts/recipes/digits.yaml --model.token_mixer fourier --run.folder runs/b
    python scripts/train_vision.py --config scripts/recipes/cifar10.yaml --data.root path/to/parquet
    accelerate launch scripts/train_vision.py --config my_recipe.yaml --data.name folder --data.root path/to/images

A run that was interrupted goes on when the same command is given again.
"""

from tasks.cli import main
from tasks.image_classification import Config, run

if __name__ == "__main__":
    main(Config, run, __doc__)
