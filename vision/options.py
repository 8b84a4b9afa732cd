"""How training images are varied, as an option group: imports no library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["AugmentConfig"]


@dataclass(frozen=True)
class AugmentConfig:
    """How training images are varied."""

    recipe: Literal["none", "small", "imagenet"] = "small"
    """none: as in evaluation; small: shifted by a few pixels and mirrored (images of about 32 x 32);
    imagenet: random resized crop, mirroring, auto_augment, random_erasing (timm's)."""
    crop_padding: int = 4
    """small: how many pixels an image may be shifted; what comes in at the border is black."""
    flip: float = 0.5
    """Probability of mirroring left and right; 0 where it changes the meaning, as for digits."""
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"
    """imagenet: policy in timm's notation, or null."""
    random_erasing: float = 0.25
    """imagenet: probability of erasing a rectangle; of the mixed image where images are mixed."""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """imagenet: least and largest share of the image that the random crop keeps."""
    color_jitter: float | None = 0.4
    """imagenet: strength of random brightness, contrast and saturation; has no effect beside auto_augment."""
    fast_pixels: bool = False
    """imagenet: take pixels that are nearly timm's and cost less: the crop is resized by torch, and of a JPEG that is
    far larger than needed half, a quarter or an eighth of the size is decoded (docs/data.md, Speed). Measuring stays as
    it is."""
