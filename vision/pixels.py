"""From a decoded picture to what a model sees at test time: resized, cropped, normalised.

The one place where this is done: training, evaluation and the image processor of a saved model share it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

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


def to_tensor(image: Picture, mean: Statistics = IMAGENET_MEAN, std: Statistics = IMAGENET_STD) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32, normalised; (1, H, W), the luma, if ``mean`` is of one channel."""
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(f"an image must be (height, width, 3) of uint8, got {array.shape} of {array.dtype}")
    if len(mean) == 1:
        array = np.asarray(Image.fromarray(array).convert("L"))[:, :, None]
    scale, shift = _scale_and_shift(tuple(mean), tuple(std))
    # Channels come first while a pixel is still one byte, and the arithmetic is in place: a third of timm's time.
    pixels = np.ascontiguousarray(array.transpose(2, 0, 1)).astype(np.float32)
    pixels *= scale
    pixels -= shift
    return torch.from_numpy(pixels)


@lru_cache
def _scale_and_shift(mean: Statistics, std: Statistics) -> tuple[np.ndarray, np.ndarray]:
    """(C, 1, 1) each: a byte times the first minus the second is normalised."""
    deviation = np.array(std, dtype=np.float32)[:, None, None]
    return np.float32(1 / 255) / deviation, np.array(mean, dtype=np.float32)[:, None, None] / deviation


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
class EvalTransform:
    """Resize, central crop, normalise; the generator is not used."""

    size: int
    crop_pct: float = 1.0
    interpolation: str = "bicubic"
    mean: Statistics = IMAGENET_MEAN
    std: Statistics = IMAGENET_STD

    def __call__(self, image: Picture, rng: np.random.Generator | None = None) -> torch.Tensor:
        return to_tensor(resize_and_crop(image, self.size, self.crop_pct, self.interpolation), self.mean, self.std)
