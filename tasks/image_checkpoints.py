"""What the tools share that work on trained image classifiers: naming them, opening them, seeing as they see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vision import VARIANTS, ImageClassifier, Preprocessing, load_model
from vision.processing import IMAGENET_MEAN, IMAGENET_STD
from vision.transforms import Picture, resize_and_crop, to_tensor


def split_names(names: str | Sequence[str]) -> list[str]:
    """``"a, b"`` or ``["a", "b"]`` -> ``["a", "b"]``; ValueError where there is none."""
    listed = names.split(",") if isinstance(names, str) else names
    found = [name.strip() for name in listed if name.strip()]
    if not found:
        raise ValueError("an empty list of names; give at least one, or several separated by commas")
    return found


def split_entry(entry: str) -> tuple[str | None, Path]:
    """``NAME=PATH`` -> (NAME, PATH); a path alone may hold an equals sign.

    Raises:
        ValueError: there is no such file or folder.
    """
    name, equals, rest = entry.partition("=")
    named = bool(equals) and (name in VARIANTS or name.startswith("timm/"))
    path = Path(rest if named else entry).expanduser()
    if not path.exists():
        hint = f"; before = stands no model's name ({name})" if equals and not named else ""
        raise ValueError(f"checkpoint {path}: no such file or folder (looked in {Path.cwd()}){hint}")
    return (name if named else None), path


def open_checkpoint(entry: str, image_size: int | None = None, crop_pct: float | None = None) -> ImageClassifier:
    """The model of ``PATH`` or ``NAME=PATH``, in evaluation mode, for another size and crop than its own where given.

    Raises:
        ValueError: no such file, or one that :func:`vision.load_model` refuses.
    """
    name, path = split_entry(entry)
    sizes = {"image_size": image_size, "crop_pct": crop_pct}
    fields: dict[str, Any] = {key: value for key, value in sizes.items() if value is not None}
    return load_model(path, name, **fields).eval()


@dataclass(frozen=True)
class ModelTransform:
    """An image as the model's own preprocessing has it at test time: -> (3, S, S) float32."""

    seen: Preprocessing

    def crop(self, image: Picture) -> Picture:
        """The part of the image that the model sees, S x S pixels."""
        return resize_and_crop(image, self.seen.image_size[0], self.seen.crop_pct, self.seen.interpolation)

    def __call__(self, image: Picture, rng: np.random.Generator | None = None) -> Tensor:
        pixels = to_tensor(self.crop(image))
        if (self.seen.mean, self.seen.std) == (IMAGENET_MEAN, IMAGENET_STD):
            return pixels
        mean, std, own_mean, own_std = (
            torch.tensor(x).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD, self.seen.mean, self.seen.std)
        )
        return (pixels * std + mean - own_mean) / own_std


def square(seen: Preprocessing, entry: str) -> int:
    """The side in pixels of what the model sees; ValueError where that is no square."""
    height, width = seen.image_size
    if height != width:
        raise ValueError(f"{entry} takes images of {height} x {width} pixels; only square ones are handled here")
    return height


class Logits(nn.Module):
    """A classifier as a plain function: (B, 3, S, S) -> (B, K)."""

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return cast(Tensor, self.model(pixel_values=pixel_values).logits)
