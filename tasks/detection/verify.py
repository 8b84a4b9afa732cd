"""COCO's layout for scripts/verify_data.py: the annotations' faults, masks included, and images that cannot be read."""

from __future__ import annotations

from tasks.detection.coco import CocoImages
from tasks.images.data import DataConfig
from tasks.images.verify import Pictures


def load_splits(config: DataConfig, _: int) -> tuple[Pictures, Pictures]:
    """All pictures of train2017 and val2017, whose annotations have no fault that is not repaired."""
    if config.root is None:
        raise ValueError("data.name coco needs --data.root, the folder that holds annotations/ and the images' folders")
    train, validation = (
        Pictures(CocoImages(config.root, split, training=split == "train2017", masks=True, empty_images=True))
        for split in ("train2017", "val2017")
    )
    return train, validation
