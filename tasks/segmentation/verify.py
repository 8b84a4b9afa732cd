"""ADE20K's layout for scripts/verify_data.py: label maps are checked when it is opened, pictures are scanned."""

from __future__ import annotations

from tasks.images.data import DataConfig
from tasks.images.verify import Pictures
from tasks.segmentation.ade20k import LabelMaps, read_classes


def load_splits(config: DataConfig, _: int) -> tuple[Pictures, Pictures]:
    """All pictures of training and validation, whose label maps have no fault."""
    if config.root is None:
        raise ValueError("data.name ade20k needs --data.root, the folder that holds images/ and annotations/")
    classes = read_classes(config.root)
    train, validation = (
        Pictures(LabelMaps(config.root, split, classes, first_is_other=True)) for split in ("training", "validation")
    )
    return train, validation
