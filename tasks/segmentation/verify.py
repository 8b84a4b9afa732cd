"""ADE20K's layout for scripts/verify_data.py: label maps are checked when it is opened, pictures are scanned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.images.data import DataConfig
from tasks.segmentation.ade20k import LabelMaps, read_classes
from vision.images import Picture


class Pictures:
    """The pictures of a split as a labelled source, all of one class, to be scanned."""

    classes: Sequence[str] = ("",)

    def __init__(self, source: LabelMaps) -> None:
        self.source, self.labels = source, np.zeros(len(source), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def load(self, index: int, rng: np.random.Generator | None = None) -> Picture:
        return self.source.load(index).picture


def load_splits(config: DataConfig, _: int) -> tuple[Pictures, Pictures]:
    """All pictures of training and validation, whose label maps have no fault."""
    if config.root is None:
        raise ValueError("data.name ade20k needs --data.root, the folder that holds images/ and annotations/")
    classes = read_classes(config.root)
    train, validation = (
        Pictures(LabelMaps(config.root, split, classes, first_is_other=True)) for split in ("training", "validation")
    )
    return train, validation
