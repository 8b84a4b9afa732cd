"""Real scanned digits on a cluttered canvas: a benchmark that needs no download and in which space matters.

scikit-learn ships 1797 scans of handwritten digits, 8 x 8 pixels with 17 grey levels (the test part of the UCI data set
"Optical Recognition of Handwritten Digits"). As they are, they need no spatial reasoning: each digit fills its frame,
and a linear model reads 97 % of them. Here a scan is enlarged by a random factor and put at a random place of a larger
canvas, among fragments of *other* scans (strokes of the same kind and brightness, so that a bag of local patterns does
not give the class away) and noise.

- A scan belongs to training or to validation, never to both, by a permutation that is part of the benchmark. Clutter is
  cut from scans of the same part.
- Training pictures are a function of the generator handed in, f(seed, epoch, index): a scan is never seen twice alike.
- Validation pictures are fixed: a function of :data:`VALIDATION_SEED` and the index, whatever the run's seed. So are
  training pictures that are measured on, which come without a generator.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SPLIT_SEED = 1797
VALIDATION_SEED = 599
NUM_VALIDATION = 599
"""Scans kept for validation: a third of all; a prime, so that no batch size divides it."""
SIDE = 8
"""Pixels of a scan's side."""


@dataclass(frozen=True)
class CanvasConfig:
    """Canvas that the digits are put on (data.name digits only)."""

    clutter: int = 3
    """Fragments of other digits laid on the canvas."""
    clutter_brightness: float = 0.6
    """Brightness of the fragments, the digit's being 1."""
    noise: float = 0.05
    """Standard deviation of the pixels' noise, white being 1."""
    min_scale: float = 2.0
    """Smallest enlargement of the 8 x 8 scan."""
    max_scale: float = 2.75
    """Largest enlargement."""


class DigitsOnCanvas:
    """One part of the benchmark: ``load(index, rng)`` gives an (S, S, 3) uint8 picture, its label and its name.

    ``size`` is S; the largest digit must fit into it. Without a generator, and in the part "validation" with any, the
    pictures are fixed.
    """

    classes = tuple(str(digit) for digit in range(10))

    def __init__(self, part: str, size: int, canvas: CanvasConfig) -> None:
        if not 1 / SIDE <= canvas.min_scale <= canvas.max_scale:
            raise ValueError(
                f"data.canvas: min_scale {canvas.min_scale} must be positive and at most max_scale {canvas.max_scale}"
            )
        if round(SIDE * canvas.max_scale) > size:
            raise ValueError(
                f"data.canvas.max_scale {canvas.max_scale} makes digits of {round(SIDE * canvas.max_scale)} pixels, "
                f"larger than the canvas (data.image_size {size})"
            )
        self.part, self.size, self.canvas = part, size, canvas
        found, labels = scans()
        order = np.random.default_rng(SPLIT_SEED).permutation(len(found))
        self.indices = order[:NUM_VALIDATION] if part == "validation" else order[NUM_VALIDATION:]
        self._scans, self.labels = found[self.indices], labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        """What an error calls this sample."""
        return f"digits {self.part} scan {self.indices[index]}"

    def paths(self, indices: Sequence[int]) -> list[Path]:
        """No files: the scans come with scikit-learn."""
        return []

    def load(self, index: int, rng: np.random.Generator | None = None, *, lazy: bool = False) -> np.ndarray:
        """(S, S, 3) uint8."""
        if rng is None or self.part == "validation":
            rng = np.random.default_rng([VALIDATION_SEED, index])
        picture = self._draw(index, rng)
        return np.repeat((picture * 255).astype(np.uint8)[:, :, None], 3, axis=2)

    def _draw(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """(S, S) float32 in 0..1."""
        canvas = np.zeros((self.size, self.size), dtype=np.float32)
        # One draw for all numbers: calls of the generator are what costs time here.
        count = self.canvas.clutter
        numbers = rng.random((count + 1, 8), dtype=np.float32)
        for row in numbers[:count]:
            # Any other scan; 3 to 5 of its 8 rows and columns, enlarged like a digit.
            other = (index + 1 + int(row[0] * (len(self) - 1))) % len(self)
            height, width = 3 + int(row[1] * 3), 3 + int(row[2] * 3)
            top, left = int(row[3] * (SIDE + 1 - height)), int(row[4] * (SIDE + 1 - width))
            fragment = self._scans[other, top : top + height, left : left + width]
            self._paste(canvas, self.canvas.clutter_brightness * fragment, row[5:])
        self._paste(canvas, self._scans[index], numbers[count, 5:])
        if self.canvas.noise:
            canvas += self.canvas.noise * rng.standard_normal(canvas.shape, dtype=np.float32)
        return canvas.clip(0, 1, out=canvas)

    def _paste(self, canvas: np.ndarray, scan: np.ndarray, numbers: np.ndarray) -> None:
        """Enlarge ``scan`` and lay it on ``canvas``, the brighter pixel winning; three numbers of 0..1 say how."""
        scale = self.canvas.min_scale + float(numbers[0]) * (self.canvas.max_scale - self.canvas.min_scale)
        height, width = (max(1, round(side * scale)) for side in scan.shape)
        top = int(numbers[1] * (self.size + 1 - height))
        left = int(numbers[2] * (self.size + 1 - width))
        enlarged = interpolation(scan.shape[0], height) @ scan @ interpolation(scan.shape[1], width).T
        window = canvas[top : top + height, left : left + width]
        np.maximum(window, enlarged, out=window)


@functools.cache
def scans() -> tuple[np.ndarray, np.ndarray]:
    """All scans, (1797, 8, 8) float32 in 0..1, and their labels, (1797,) int64."""
    from sklearn.datasets import load_digits  # imported here: it costs a second that other data sets should not pay

    data = load_digits()
    return (data.images / 16).astype(np.float32), data.target.astype(np.int64)


@functools.cache
def interpolation(source: int, target: int) -> np.ndarray:
    """(target, source) matrix of linear interpolation between pixel centres, the outermost ones held at the border."""
    centres = ((np.arange(target) + 0.5) * source / target - 0.5).clip(0, source - 1)
    matrix = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(source)[None, :]))
    return matrix.astype(np.float32)
