"""Pictures with a class for each pixel, from ADE20K's layout or from the embedded scenes. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from tasks.images.data import check_count, fixed_choice
from tasks.images.readers.scenes import DigitScenes, SceneConfig, label_map
from tasks.segmentation.ade20k import LabelledPicture, LabelMaps, read_classes

__all__ = ["AugmentConfig", "DataConfig", "LabelSource", "load_source", "load_sources"]

SIDE = 512  # the short side that ADE20K's recipes use


@dataclass(frozen=True)
class AugmentConfig:
    """How training varies pictures; the defaults are those of ADE20K's recipes."""

    scale: tuple[float, float] = (0.5, 2.0)
    """The sides that a picture is fitted into are multiplied by a random number from this range."""
    largest_share: float = 0.75
    """A crop is drawn again, up to ten times, while one class has so much of its labelled pixels; 1: never."""
    flip: float = 0.5
    """Probability of mirroring left and right; 0 where it changes the meaning, as for digits."""
    photometric: float = 0.5
    """Probability of each change of brightness, contrast, saturation and hue."""

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"data.augment.scale {self.scale}: must be two numbers above 0, rising")
        for name in ("largest_share", "flip", "photometric"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.augment.{name} {getattr(self, name)}: must lie between 0 and 1")


@dataclass(frozen=True)
class DataConfig:
    """Where the pictures and their label maps come from, and how they are shown to the model."""

    name: Literal["scenes", "ade20k", "folder"] = "scenes"
    """scenes: digits in cluttered scenes, embedded; ade20k: the folder ADEChallengeData2016; folder: the same layout
    with other classes, whose label maps hold 0 ... num_classes - 1, or 255 where nothing counts."""
    root: str | None = None
    """ade20k and folder: what holds images/<split>/*.jpg and annotations/<split>/*.png."""
    num_classes: int | None = None
    """folder: number of classes."""
    train_split: str = "training"
    """ade20k and folder: what to train on."""
    eval_split: str = "validation"
    """ade20k and folder: what to measure on."""
    short_side: int | None = None
    """A picture is resized so that its short side has so many pixels; null: 512, or what the scenes have ..."""
    long_side: int = 2048
    """... but its long side no more than so many. To be measured on, both are then rounded up to multiples of 32."""
    crop_size: int | None = None
    """Side of the square that a training picture is cut to; null: short_side."""
    max_train_samples: int | None = None
    """Train on a fixed random subset of this many images; null: all."""
    max_eval_samples: int | None = None
    """Evaluate on a fixed random subset of this many images; null: all."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    scenes: SceneConfig = field(default_factory=SceneConfig)

    def __post_init__(self) -> None:
        if (self.name == "scenes") != (self.root is None):
            raise ValueError(
                f"data.root {self.root}: the folder of data.name ade20k or folder, and of no other; name is {self.name}"
            )
        if (self.name == "folder") != (self.num_classes is not None) or not 2 <= (self.num_classes or 2) <= 255:
            raise ValueError(
                f"data.num_classes {self.num_classes}: from 2 to 255 for data.name folder, null for the others; "
                f"name is {self.name}"
            )
        for name in ("short_side", "long_side", "crop_size"):
            if (getattr(self, name) or 32) < 32:
                raise ValueError(f"data.{name} {getattr(self, name)}: must be at least 32 pixels")
        if self.name != "scenes" and self.scenes.held_out is not None:
            raise ValueError(
                f"data.scenes.held_out {self.scenes.held_out}: for data.name scenes alone; null for others"
            )

    @property
    def fit(self) -> tuple[int, int]:
        """Short and long side in pixels that a picture is fitted into."""
        return self.short_side or (self.scenes.image_size if self.name == "scenes" else SIDE), self.long_side

    @property
    def crop(self) -> int:
        """Pixels of the side of a training picture."""
        return self.crop_size or self.fit[0]


class LabelSource(Protocol):
    """One part (training or validation) of a data set."""

    @property
    def classes(self) -> Sequence[str]:
        """Names by label."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What an error calls the sample."""

    def load(self, index: int, rng: np.random.Generator | None = None) -> LabelledPicture:
        """The picture and its labels."""

    def fingerprint(self) -> dict[str, Any]:
        """What tells one state of the data from another."""


class SceneLabels:
    """The embedded scenes: ten digits, and the background as the last class."""

    def __init__(self, part: str, config: SceneConfig) -> None:
        self.scenes = DigitScenes(part, config)
        self.classes = (*self.scenes.classes, "background")

    def __len__(self) -> int:
        return len(self.scenes)

    def name(self, index: int) -> str:
        return self.scenes.name(index)

    def load(self, index: int, rng: np.random.Generator | None = None) -> LabelledPicture:
        scene = self.scenes.load(index, rng)
        return LabelledPicture(scene.picture, label_map(scene, background=len(self.classes) - 1))

    def fingerprint(self) -> dict[str, Any]:
        """The settings: they decide every pixel."""
        return {"part": self.scenes.part, **asdict(self.scenes.config)}


class Subset:
    """``size`` images of ``source``, a fixed random choice, in the source's order."""

    def __init__(self, source: LabelSource, size: int) -> None:
        self.source, self.classes = source, source.classes
        self.indices: list[int] = fixed_choice(len(source), size).tolist()

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.source.name(self.indices[index])

    def load(self, index: int, rng: np.random.Generator | None = None) -> LabelledPicture:
        return self.source.load(self.indices[index], rng)

    def fingerprint(self) -> dict[str, Any]:
        return {**self.source.fingerprint(), "images": self.indices}


def load_source(config: DataConfig, part: str) -> LabelSource:
    """The part of the data to train on (``train``), or to measure on (``validation``).

    Raises:
        ValueError: data that is not there or is broken (:class:`tasks.segmentation.ade20k.LabelMaps`), or a subset that
            is larger than it.
    """
    source: LabelSource
    training = part == "train"
    if config.name == "scenes":
        source = SceneLabels(part if training else config.scenes.measured, config.scenes)
    else:
        assert config.root is not None
        ade20k = config.name == "ade20k"
        classes = read_classes(config.root) if ade20k else [str(label) for label in range(config.num_classes or 0)]
        split = config.train_split if training else config.eval_split
        source = LabelMaps(config.root, split, classes, first_is_other=ade20k)
    setting = "max_train_samples" if training else "max_eval_samples"
    count = getattr(config, setting)
    return source if count is None else Subset(source, check_count(count, len(source), f"data.{setting}"))


def load_sources(config: DataConfig) -> tuple[LabelSource, LabelSource]:
    """The training part, and the part to measure on; errors as :func:`load_source`."""
    return load_source(config, "train"), load_source(config, "validation")
