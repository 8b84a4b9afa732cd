"""Scanned digits in cluttered scenes, with boxes, masks and label maps: to detect and to segment without a download.

scikit-learn's 1797 scans (see :mod:`tasks.images.readers.digits`) are enlarged, coloured and laid side by side on a
noisy canvas, over rectangles. A scan belongs to one part, never to two.

- Training scenes are endless: scene ``index`` is a function of the generator handed in, f(seed, epoch, index).
- The scenes to measure on are fixed: a function of :data:`SCENE_SEED`, their part and index, whatever the run's seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tasks.images.readers.digits import interpolation, scans
from vision.images import Picture

SPLIT_SEED = 1297
SCENE_SEED = 500
NUM_VALIDATION = 500
"""Scans kept for validation."""
NUM_TRAIN = 1297
"""The others."""
PARTS = ("validation", "train", "held_out")
INK = 0.4
"""A pixel belongs to a digit where its ink is above."""
CLASSES = tuple(str(digit) for digit in range(10))


class Scene(NamedTuple):
    """A picture and its n objects."""

    picture: Picture
    """RGB in 8 bits, H x W pixels."""
    boxes: np.ndarray
    """(n, 4) float32: x1, y1, x2, y2 in pixels."""
    labels: np.ndarray
    """(n,) int64, from 0."""
    masks: np.ndarray
    """(n, H, W) uint8 of 0 and 1; (0, H, W) where nobody asked for masks."""


@dataclass(frozen=True)
class SceneConfig:
    """The embedded scenes (data.name scenes only)."""

    image_size: int = 64
    """Pixels of the side."""
    max_digits: int = 2
    """Largest number of digits in a scene; the least is one."""
    min_side: int = 16
    """Smallest side of an enlarged scan in pixels."""
    max_side: int = 32
    """Largest one."""
    clutter: int = 3
    """Rectangles under the digits."""
    noise: float = 0.03
    """Standard deviation of the pixels' noise, white being 1."""
    train_scenes: int = 2000
    """Scenes of an epoch; each epoch has others."""
    eval_scenes: int = 200
    """Scenes to measure on."""
    held_out: int | None = None
    """Measure on scenes of so many of the scans to train on, as the part held_out, and train on the others; the
    validation scans play no role. For choosing settings. null: measure on the validation scans."""

    def __post_init__(self) -> None:
        if not 4 <= self.min_side <= self.max_side <= self.image_size:
            raise ValueError(
                f"data.scenes: min_side {self.min_side}, max_side {self.max_side} and image_size {self.image_size} "
                "must rise, from 4 on"
            )
        for name in ("max_digits", "train_scenes", "eval_scenes"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.scenes.{name} {getattr(self, name)}: must be at least 1")
        if self.held_out is not None and not 0 < self.held_out < NUM_TRAIN:
            raise ValueError(
                f"data.scenes.held_out {self.held_out}: must leave some of {NUM_TRAIN} scans on both sides"
            )

    @property
    def measured(self) -> str:
        """The part to measure on: validation or held_out."""
        return "validation" if self.held_out is None else "held_out"


class DigitScenes:
    """One part of the set: ``load(index, rng)`` gives a :class:`Scene`; without a generator the scene is fixed."""

    classes = CLASSES

    def __init__(self, part: str, config: SceneConfig) -> None:
        """``part``: train, validation or held_out."""
        self.part, self.config = part, config
        pages, labels = scans()
        order = np.random.default_rng(SPLIT_SEED).permutation(len(pages))
        first = NUM_VALIDATION + (config.held_out or 0)
        ends = {"validation": (0, NUM_VALIDATION), "held_out": (NUM_VALIDATION, first), "train": (first, None)}
        chosen = order[slice(*ends[part])]
        self._pages, self._labels = pages[chosen], labels[chosen]

    def __len__(self) -> int:
        return self.config.train_scenes if self.part == "train" else self.config.eval_scenes

    def name(self, index: int) -> str:
        """What an error calls this sample."""
        return f"scene {index} ({self.part})"

    def load(self, index: int, rng: np.random.Generator | None = None) -> Scene:
        """A scene of one to ``max_digits`` digits that do not overlap."""
        if rng is None or self.part != "train":
            rng = np.random.default_rng([SCENE_SEED, PARTS.index(self.part), index])
        size = self.config.image_size
        canvas = np.empty((size, size, 3), dtype=np.float32)
        canvas[:] = rng.uniform(0, 0.3, 3)
        for _ in range(self.config.clutter):
            height, width = rng.integers(4, size // 2, 2)
            top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
            canvas[top : top + height, left : left + width] = rng.uniform(0, 0.5, 3)
        boxes, labels, masks = [], [], []
        free = np.ones((size, size), dtype=bool)
        for _ in range(int(rng.integers(1, self.config.max_digits + 1))):
            page = int(rng.integers(len(self._pages)))
            side = int(rng.integers(self.config.min_side, self.config.max_side + 1))
            colour = rng.uniform(0.6, 1, 3).astype(np.float32)
            matrix = interpolation(self._pages.shape[1], side)
            ink = matrix @ self._pages[page] @ matrix.T
            place = self._free_place(free, side, rng)
            if place is None:
                continue
            window = canvas[place]
            window += ink[:, :, None] * (colour - window)
            free[place] = False
            mask = np.zeros((size, size), dtype=np.uint8)
            mask[place] = ink > INK
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            labels.append(self._labels[page])
            masks.append(mask)
        canvas += self.config.noise * rng.standard_normal(canvas.shape, dtype=np.float32)
        picture = (canvas.clip(0, 1) * 255).astype(np.uint8)
        return Scene(picture, np.array(boxes, dtype=np.float32), np.array(labels, dtype=np.int64), np.stack(masks))

    def _free_place(self, free: np.ndarray, side: int, rng: np.random.Generator) -> tuple[slice, slice] | None:
        """A square that nothing covers yet, or None where 20 tries find none; the first digit always finds one."""
        for top, left in rng.integers(0, len(free) - side + 1, (20, 2)):
            place = slice(top, top + side), slice(left, left + side)
            if free[place].all():
                return place
        return None


def label_map(scene: Scene, background: int) -> np.ndarray:
    """(H, W) uint8: the label of the object that each pixel belongs to, ``background`` where there is none."""
    labels = np.full(scene.masks.shape[1:], background, dtype=np.uint8)
    for label, mask in zip(scene.labels, scene.masks, strict=True):
        labels[mask == 1] = label
    return labels
