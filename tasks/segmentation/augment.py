"""From a picture and its label map to the model's input; what is random comes from the sample's own generator.

The training pipeline is that of ADE20K's recipes (mmsegmentation 0.19, as arXiv 2111.11418 trained with it): scale,
crop, flip, photometric distortion. The test pipeline fits the picture and rounds its sides up to multiples of 32.

Shapes: a picture is (H, W, 3) in 8 bits, labels are (H, W) uint8; S is the side of a crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from tasks.segmentation.ade20k import IGNORE
from tasks.segmentation.data import AugmentConfig
from vision.images import Picture
from vision.processing import IMAGENET_MEAN, IMAGENET_STD

MULTIPLE = 32
TRIES = 10  # further crops, where one class fills the first
BRIGHTNESS, CONTRAST, SATURATION, HUE = 32 / 255, (0.5, 1.5), (0.5, 1.5), 18 / 180


@dataclass(frozen=True)
class Normalize:
    """Bring pixels of [0, 1] to mean 0 and deviation 1, by one number a channel."""

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __call__(self, image: Tensor) -> Tensor:
        return functional.normalize(image, list(self.mean), list(self.std))


IMAGENET = Normalize()


@dataclass(frozen=True)
class TrainTransform:
    """Scale, crop, flip, distort, normalise, pad with 0 and labels of 255."""

    fit: tuple[int, int]
    """Short and long side that a picture is fitted into, before the random scale."""
    size: int
    """S."""
    augment: AugmentConfig
    normalize: Normalize = IMAGENET

    def __call__(self, picture: Picture, labels: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """(3, S, S) float32 and (S, S) uint8."""
        image, target = to_tensor(picture), torch.from_numpy(labels)[None]
        factor = rng.uniform(*self.augment.scale)
        short, long = (int(side * factor) for side in self.fit)
        size = fitted(image.shape[-2:], short, long)
        image, target = resized(image, size), resized(target, size, InterpolationMode.NEAREST)
        window = self._window(target[0].numpy(), rng)
        image, target = image[:, *window], target[:, *window]
        if rng.random() < self.augment.flip:
            image, target = functional.horizontal_flip(image), functional.horizontal_flip(target)
        image = self.normalize(distort(image.float() / 255, self.augment.photometric, rng))
        missing = [0, 0, self.size - image.shape[-1], self.size - image.shape[-2]]
        return functional.pad(image, missing), functional.pad(target, missing, fill=IGNORE)[0].contiguous()

    def _window(self, labels: np.ndarray, rng: np.random.Generator) -> tuple[slice, slice]:
        """Rows and columns of a random crop."""
        for _ in range(1 + TRIES):
            top, left = (int(rng.integers(max(0, side - self.size) + 1)) for side in labels.shape)
            window = slice(top, top + self.size), slice(left, left + self.size)
            if self.augment.largest_share == 1:
                break
            counts = np.bincount(labels[window].ravel(), minlength=IGNORE + 1)[:IGNORE]
            if (counts > 0).sum() > 1 and counts.max() < self.augment.largest_share * counts.sum():
                break
        return window


@dataclass(frozen=True)
class EvalTransform:
    """Fit, round the sides up to multiples of 32 (the shape changes a little), normalise."""

    fit: tuple[int, int]
    normalize: Normalize = IMAGENET

    def __call__(self, picture: Picture) -> Tensor:
        """(3, h, w) float32."""
        image = to_tensor(picture)
        size = fitted(image.shape[-2:], *self.fit)
        image = resized(image, size)  # and once more, as the published numbers are measured
        height, width = (-(-side // MULTIPLE) * MULTIPLE for side in size)
        return self.normalize(resized(image, (height, width)).float() / 255)


def to_tensor(picture: Picture) -> Tensor:
    """(H, W, 3) -> (3, H, W), uint8."""
    return torch.from_numpy(np.array(picture)).movedim(2, 0).contiguous()


def fitted(size: tuple[int, ...], short: int, long: int) -> tuple[int, int]:
    """Height and width of a picture that is made as large as both sides allow, in its shape."""
    factor = min(long / max(size), short / min(size))
    height, width = (max(1, int(side * factor + 0.5)) for side in size)
    return height, width


def resized(
    image: Tensor, size: tuple[int, int], interpolation: InterpolationMode = InterpolationMode.BILINEAR
) -> Tensor:
    """(C, H, W) -> (C, *size), without smoothing before it is made smaller, as the recipes do it."""
    if tuple(image.shape[-2:]) == size:
        return image
    return functional.resize(image, list(size), interpolation, antialias=False)


def distort(image: Tensor, probability: float, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue, each changed with ``probability``; pixels of (3, H, W) in [0, 1].

    Contrast comes before saturation and hue or after them, as a coin falls. Channels are never exchanged, unlike in
    torchvision's ``RandomPhotometricDistort``.
    """

    def happens() -> bool:
        return bool(rng.random() < probability)

    def contrast(image: Tensor) -> Tensor:
        return (image * rng.uniform(*CONTRAST)).clamp(0, 1) if happens() else image

    if not probability:
        return image
    if happens():
        image = (image + rng.uniform(-BRIGHTNESS, BRIGHTNESS)).clamp(0, 1)
    before = rng.random() < 0.5
    if before:
        image = contrast(image)
    if happens():
        image = saturated(image, rng.uniform(*SATURATION))
    if happens():
        image = functional.adjust_hue(image, rng.uniform(-HUE, HUE))
    return image if before else contrast(image)


def saturated(image: Tensor, factor: float) -> Tensor:
    """The picture with the saturation of HSV multiplied, at most to 1: value and hue stay."""
    value, least = image.amax(0), image.amin(0)
    most = value / (value - least).clamp(min=1e-6)
    return value - (value - image) * most.clamp(max=factor)
