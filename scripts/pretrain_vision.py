"""Pre-train an image model without labels (SimMIM: paint in hidden patches), then fine-tune it with train_vision.py.

    python scripts/pretrain_vision.py --config recipe:transfer/simmim_cifar10 --data.root path/to/parquet
    python scripts/train_vision.py --config recipe:transfer/finetune_cifar10 --data.root path/to/parquet
    accelerate launch scripts/pretrain_vision.py --config my_recipe.yaml --data.name folder --data.root path/to/images

A run that was interrupted goes on when the same command is given again.
"""

from metaformer_nlp.config.command_line import main
from tasks.images.options import MaskedImageModelingConfig

if __name__ == "__main__":
    main(MaskedImageModelingConfig, "tasks.images.simmim:run", __doc__)
