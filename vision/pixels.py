"""From a decoded picture to what a model sees at test time: resized, cropped, normalised.

The one place where this is done: training, evaluation and the image processor of a saved model share it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image

from vision.images import Picture

Statistics = tuple[float, ...]
"""One number a channel, of pixels in [0, 1]."""

IMAGENET_MEAN: Statistics = (0.485, 0.456, 0.406)
IMAGENET_STD: Statistics = (0.229, 0.224, 0.225)

MAX_ASPECT = 16
"""How many times the shorter side the longer one may be. What is more is cut off before a picture is enlarged, since
one of 1 x 20,000 pixels would take five gigabytes."""


class Prepared(NamedTuple):
    """A picture that is ready to be one of a batch: bytes, which take a quarter of the memory that numbers take."""

    pixels: torch.Tensor
    """(C, H, W) of uint8."""
    patch: tuple[int, int, torch.Tensor] | None = None
    """What random erasing lays over the normalised pixels: top, left, (C, h, w) float32."""


class Transform:
    """From a decoded picture to a model's input, all pictures of one size."""

    mean: Statistics
    std: Statistics
    lazy: ClassVar[bool] = False
    """Whether a picture may come undecoded, as `vision.images.load_rgb` gives it."""

    def prepare(self, image: Picture, rng: np.random.Generator | None = None) -> Prepared:
        """The picture as the model is to see it; what is random comes from ``rng`` alone."""
        raise NotImplementedError

    def batch(self, pictures: Sequence[Prepared]) -> torch.Tensor:
        """(B, C, H, W) float32, normalised."""
        pixels = normalize(torch.stack([picture.pixels for picture in pictures]), self.mean, self.std)
        for image, (_, patch) in zip(pixels, pictures, strict=True):
            if patch is not None:
                top, left, values = patch
                image[:, top : top + values.shape[1], left : left + values.shape[2]] = values
        return pixels

    def __call__(self, image: Picture, rng: np.random.Generator | None = None) -> torch.Tensor:
        """(C, H, W) float32, normalised."""
        return self.batch([self.prepare(image, rng)])[0]


def to_bytes(image: Picture, channels: int = 3) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, H, W) uint8; (1, H, W), the luma, for one channel.

    Raises:
        ValueError: an array of another shape or type.
    """
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(f"an image must be (height, width, 3) of uint8, got {array.shape} of {array.dtype}")
    if channels == 1:
        array = np.asarray(Image.fromarray(array).convert("L"))[:, :, None]
    return torch.from_numpy(np.array(array.transpose(2, 0, 1), order="C"))


def normalize(pixels: torch.Tensor, mean: Statistics = IMAGENET_MEAN, std: Statistics = IMAGENET_STD) -> torch.Tensor:
    """(..., C, H, W) uint8 -> float32 with the mean taken away, divided by the standard deviation."""
    scale, shift = _scale_and_shift(tuple(mean), tuple(std))
    return pixels.to(torch.float32).mul_(scale).sub_(shift)  # in place: a third of timm's time


def to_tensor(image: Picture, mean: Statistics = IMAGENET_MEAN, std: Statistics = IMAGENET_STD) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32, normalised; (1, H, W), the luma, if ``mean`` is of one channel."""
    return normalize(to_bytes(image, len(mean)), mean, std)


@lru_cache
def _scale_and_shift(mean: Statistics, std: Statistics) -> tuple[torch.Tensor, torch.Tensor]:
    """(C, 1, 1) each: a byte times the first minus the second is normalised."""
    deviation = np.array(std, dtype=np.float32)[:, None, None]
    shift = np.array(mean, dtype=np.float32)[:, None, None] / deviation
    return torch.from_numpy(np.float32(1 / 255) / deviation), torch.from_numpy(shift)


def _height_width(image: Picture) -> tuple[int, ...]:
    return image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)


def middle(image: Picture) -> Picture:
    """The picture, its longer side cut at both ends, alike, to about :data:`MAX_ASPECT` times the shorter one."""
    height, width = _height_width(image)
    most = MAX_ASPECT * min(height, width)
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    if not (top or left):
        return image
    if isinstance(image, np.ndarray):
        return image[top : height - top, left : width - left]
    return image.crop((left, top, width - left, height - top))


def resize_and_crop(image: Picture, size: int, crop_pct: float = 1.0, interpolation: str = "bicubic") -> Picture:
    """Shorter side to ``floor(size / crop_pct)``, then the central ``size x size``, as timm evaluates.

    Of a strip only the middle is enlarged, see :data:`MAX_ASPECT`: its ends lie outside the crop anyway.
    """
    height, width = _height_width(image)
    if max(height, width) > MAX_ASPECT * min(height, width):
        image = middle(image)
        height, width = _height_width(image)
    short = math.floor(size / crop_pct)
    if min(height, width) != short:
        scale = short / min(height, width)
        # max(): a picture of 1 x 5000 must not lose its short side to rounding
        new = (max(short, int(width * scale)), max(short, int(height * scale)))
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        image, (width, height) = image.resize(new, Image.Resampling[interpolation.upper()]), new
    if (height, width) == (size, size):
        return image
    left, top = round((width - size) / 2), round((height - size) / 2)
    if isinstance(image, np.ndarray):
        return image[top : top + size, left : left + size]
    return image.crop((left, top, left + size, top + size))


@dataclass(frozen=True)
class EvalTransform(Transform):
    """Resize, central crop, normalise; the generator is not used."""

    size: int
    crop_pct: float = 1.0
    interpolation: str = "bicubic"
    mean: Statistics = IMAGENET_MEAN
    std: Statistics = IMAGENET_STD

    def prepare(self, image: Picture, rng: np.random.Generator | None = None) -> Prepared:
        return Prepared(to_bytes(resize_and_crop(image, self.size, self.crop_pct, self.interpolation), len(self.mean)))
