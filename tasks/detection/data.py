"""Pictures with objects, from COCO's layout or from the embedded scenes, and how training varies them.

A sample is ``{"image": (3, H, W) uint8, "index": int}``, in training also ``boxes`` (n, 4), ``labels`` (n,) and, where
they are asked for, ``masks`` (n, H, W).
"""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from tasks.images.data import check_count, fixed_choice
from tasks.images.readers.scenes import DigitScenes, Scene, SceneConfig

# Annotations are not postponed here: where they are, jsonargparse runs the imports under TYPE_CHECKING to read them.
if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DataConfig", "DetectionData", "ObjectSource", "load_sources"]


@dataclass(frozen=True)
class DataConfig:
    """Where the pictures and their objects come from."""

    name: Literal["scenes", "coco"] = "scenes"
    """scenes: digits in cluttered scenes, embedded; coco: a folder in COCO's layout."""
    root: str | None = None
    """coco: folder that holds <split>/ with the images and annotations/instances_<split>.json."""
    train_split: str = "train2017"
    """coco: what to train on."""
    eval_split: str = "val2017"
    """coco: what to measure on."""
    flip: float = 0.5
    """Training: probability of mirroring left and right; 0 where it changes the meaning, as for digits."""
    empty_images: bool = False
    """coco: train on images without boxes, too. The papers' recipes leave them out."""
    max_train_samples: int | None = None
    """Train on a fixed random subset of this many images; null: all."""
    max_eval_samples: int | None = None
    """Evaluate on a fixed random subset of this many images; null: all."""
    scenes: SceneConfig = field(default_factory=SceneConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise ValueError(f"data.flip {self.flip}: must be a probability, from 0 to 1")
        if (self.name == "coco") != (self.root is not None):
            raise ValueError(
                f"data.root {self.root}: the folder of data.name coco, and of no other; name is {self.name}"
            )
        if self.name != "scenes" and self.scenes.held_out is not None:
            raise ValueError(
                f"data.scenes.held_out {self.scenes.held_out}: for data.name scenes alone; null for others"
            )


class ObjectSource(Protocol):
    """One part (training or validation) of a data set."""

    @property
    def classes(self) -> Sequence[str]:
        """Names by label."""

    @property
    def category_ids(self) -> list[int]:
        """The data set's own number of each label, rising."""

    @property
    def image_ids(self) -> list[int]:
        """The data set's own number of each image, rising."""

    @property
    def ground_truth(self) -> dict[str, Any]:
        """What pycocotools reads: images, annotations and categories, as in COCO's files."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What an error calls the sample."""

    def load(self, index: int, rng: np.random.Generator | None = None) -> Scene:
        """The picture and its objects."""

    def fingerprint(self) -> dict[str, Any]:
        """What tells one state of the data from another."""


class SceneObjects(DigitScenes):
    """The embedded scenes, their validation part annotated as COCO's files are."""

    category_ids = list(range(1, 11))  # noqa: RUF012  (read only)

    @property
    def image_ids(self) -> list[int]:
        """From 1."""
        return list(range(1, len(self) + 1))

    @functools.cached_property
    def ground_truth(self) -> dict[str, Any]:
        """Boxes and masks of all fixed scenes."""
        from tasks.detection.metric import rle

        annotations: list[dict[str, Any]] = []
        for image_id in self.image_ids:
            scene = self.load(image_id - 1)
            for (x1, y1, x2, y2), label, mask in zip(scene.boxes.tolist(), scene.labels, scene.masks, strict=True):
                coded = rle.encode(np.asfortranarray(mask))
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image_id, "category_id": self.category_ids[label]}
                    | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": int(mask.sum()), "iscrowd": 0}
                    | {"segmentation": {"size": coded["size"], "counts": coded["counts"].decode()}}
                )
        side = self.config.image_size
        images = [{"id": n, "file_name": self.name(n - 1), "width": side, "height": side} for n in self.image_ids]
        categories = [{"id": n, "name": name} for n, name in zip(self.category_ids, self.classes, strict=True)]
        return {"images": images, "annotations": annotations, "categories": categories}

    def fingerprint(self) -> dict[str, Any]:
        """The settings: they decide every pixel."""
        return {"part": self.part, **asdict(self.config)}


class Subset:
    """``size`` images of ``source``, a fixed random choice, in the source's order."""

    def __init__(self, source: ObjectSource, size: int) -> None:
        self.source, self.classes, self.category_ids = source, source.classes, source.category_ids
        self.indices: list[int] = fixed_choice(len(source), size).tolist()
        self.image_ids = [source.image_ids[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def ground_truth(self) -> dict[str, Any]:
        return self.source.ground_truth

    def name(self, index: int) -> str:
        return self.source.name(self.indices[index])

    def load(self, index: int, rng: np.random.Generator | None = None) -> Scene:
        return self.source.load(self.indices[index], rng)

    def fingerprint(self) -> dict[str, Any]:
        return {**self.source.fingerprint(), "images": self.image_ids}


def load_source(config: DataConfig, part: str, masks: bool) -> ObjectSource:
    """The part of the data to train on (``train``), or to measure on (``validation``).

    Raises:
        ValueError: data that is not there or is broken (:class:`tasks.detection.coco.CocoImages`), or a subset that is
            larger than it.
    """
    source: ObjectSource
    training = part == "train"
    if config.name == "scenes":
        source = SceneObjects(part if training else config.scenes.measured, config.scenes)
    else:
        from tasks.detection.coco import CocoImages

        assert config.root is not None
        split = config.train_split if training else config.eval_split
        source = CocoImages(
            config.root, split, training=training, masks=masks, empty_images=config.empty_images
        )  # fmt: skip
    setting = "max_train_samples" if training else "max_eval_samples"
    count = getattr(config, setting)
    return source if count is None else Subset(source, check_count(count, len(source), f"data.{setting}"))


def load_sources(config: DataConfig, masks: bool) -> tuple[ObjectSource, ObjectSource]:
    """The training part, and the part to measure on; ``masks``: of the objects, too.

    Raises:
        ValueError: as :func:`load_source`, and for parts with other categories.
    """
    train, measured = load_source(config, "train", masks), load_source(config, "validation", masks)
    if (list(train.classes), train.category_ids) != (list(measured.classes), measured.category_ids):
        raise ValueError(
            f"data.root {config.root}: the categories of {config.train_split} and {config.eval_split} differ; both "
            "files need the same list of ids and names"
        )
    return train, measured


class DetectionData:
    """A source as the engine's map-style data."""

    def __init__(self, source: ObjectSource, flip: float = 0.0, masks: bool = False) -> None:
        self.source, self.flip, self.masks = source, flip, masks

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> dict[str, Any]:
        """A function of the index and, in training, of ``rng``."""
        import torch

        scene = self.source.load(index, rng)
        image = torch.from_numpy(np.array(scene.picture)).movedim(2, 0).contiguous()
        if rng is None:
            return {"image": image, "index": index}
        target = {"boxes": torch.from_numpy(scene.boxes.copy()), "labels": torch.from_numpy(scene.labels.copy())}
        if self.masks:
            target["masks"] = torch.from_numpy(scene.masks)
        if rng.random() < self.flip:
            image, target = mirrored(image, target)
        return {"image": image, "index": index, **target}


def mirrored(image: "Tensor", target: dict[str, "Tensor"]) -> tuple["Tensor", dict[str, "Tensor"]]:
    """Left becomes right in a picture (3, H, W), its boxes and its masks."""
    from torchvision.transforms.v2 import functional as transform

    width = image.shape[-1]
    boxes = target["boxes"][:, [2, 1, 0, 3]] * target["boxes"].new_tensor([-1, 1, -1, 1])
    boxes = boxes + boxes.new_tensor([width, 0, width, 0])
    masks = {"masks": transform.horizontal_flip(target["masks"])} if "masks" in target else {}
    return transform.horizontal_flip(image), {**target, "boxes": boxes, **masks}
