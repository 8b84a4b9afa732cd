r"""Train and evaluate an image classifier: any model of vision/variants.py or of timm, fresh or from a checkpoint.

    python scripts/train_vision.py --config recipe:digits
    python scripts/train_vision.py --config recipe:digits --model.token_mixer fourier --run.folder runs/b
    python scripts/train_vision.py --config recipe:cifar10 --data.root path/to/parquet
    python scripts/train_vision.py --config recipe:transfer/finetune --data.root path/to/images \
        --model.checkpoint poolformer_s12.pth.tar --model.name poolformer_s12
    accelerate launch scripts/train_vision.py --config recipe:imagenet/poolformer_s12 --data.root IMAGENET
    accelerate launch scripts/train_vision.py --config recipe:imagenet/poolformer_s12 \
        --data.root IMAGENET --model.name timm/resmlp_12_224 --run.folder runs/imagenet/resmlp_12

A run that was interrupted goes on when the same command is given again.
"""

from metaformer_nlp.config.command_line import main
from tasks.images.options import ClassificationConfig

if __name__ == "__main__":
    main(ClassificationConfig, "tasks.images.classification:run", __doc__)
