"""What the tools share that work on trained image classifiers: naming them, opening them, seeing as they see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from vision import VARIANTS, ImageClassifier, Preprocessing, load_model
from vision.transforms import EvalTransform


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


def class_names(model: ImageClassifier) -> list[str]:
    """What the model calls its classes, in their order; LABEL_0 and so on where nobody named them."""
    names: dict[Any, str] = dict(model.config.id2label or {})
    return [str(names.get(index, f"LABEL_{index}")) for index in range(int(model.config.num_labels or 0))]


def eval_transform(seen: Preprocessing, entry: str) -> EvalTransform:
    """An image as a model was made for it at test time; ValueError where that is no square."""
    height, width = seen.image_size
    if height != width:
        raise ValueError(f"{entry} takes images of {height} x {width} pixels; only square ones are handled here")
    return EvalTransform(height, seen.crop_pct, seen.interpolation, seen.mean, seen.std)


class Logits(nn.Module):
    """A classifier as a plain function: (B, 3, S, S) -> (B, K)."""

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return cast(Tensor, self.model(pixel_values=pixel_values).logits)
