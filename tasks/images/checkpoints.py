"""What the tools share that work on trained image classifiers: naming them, opening them, seeing as they see."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from vision import VARIANTS, ImageClassifier, Preprocessing, load_model
from vision.loading import common_name
from vision.transforms import EvalTransform


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


def class_names(model: PreTrainedModel) -> list[str]:
    """What the model calls its classes, in their order; LABEL_0 and so on where nobody named them."""
    names: dict[Any, str] = dict(model.config.id2label or {})
    return [str(names.get(index, f"LABEL_{index}")) for index in range(int(model.config.num_labels or 0))]


def check_classes(model: ImageClassifier, names: Sequence[str], entry: str) -> None:
    """Raise ValueError unless the model's classes can be those of the data, which are called ``names``.

    They are as many, a name that both have stands at one place, and some name is shared. A model that does not name its
    classes is believed; so is one that calls ImageNet's by words where the data has synsets, or the other way round.
    """
    own = class_names(model)
    if len(own) != len(names):
        hint = (
            "Give --data.class_file imagenet, so that the folders get ImageNet's labels"
            if len(own) == 1000
            else "Train it on this data first: --model.checkpoint gives it a new head"
        )
        raise ValueError(f"{entry} tells {len(own)} classes apart, the data has {len(names)}. {hint}")
    model_places, data_places = _places(own), _places(names)
    for name, places in model_places.items():
        if places.isdisjoint(data_places.get(name, places)):
            raise ValueError(
                f"{entry} and the data have their classes in another order: {name!r} is number {min(places)} in the "
                f"model and {min(data_places[name])} in the data; give the model's order by --data.class_file"
            )
    by_synset = [all(re.fullmatch(r"n\d{8}", name) for name in given) for given in (own, names)]
    translated = len(own) == 1000 and by_synset[0] != by_synset[1]
    if model_places and data_places and model_places.keys().isdisjoint(data_places) and not translated:
        raise ValueError(
            f"{entry} and the data have not one class in common: {own[0]!r} and so on in the model, {names[0]!r} and "
            "so on in the data. If they are the same by other names, put the data's into id2label of its config.json"
        )


def _places(names: Sequence[str]) -> dict[str, set[int]]:
    """Name -> where it stands; "crane (n02012849)" is also "crane", which ImageNet has twice. LABEL_0 is no name."""
    places: dict[str, set[int]] = {}
    for index, name in enumerate(names):
        if name != f"LABEL_{index}":
            for key in (name, common_name(name)):
                places.setdefault(key, set()).add(index)
    return places


def eval_transform(seen: Preprocessing, entry: str) -> EvalTransform:
    """An image as a model was made for it at test time; ValueError where that is no square."""
    height, width = seen.image_size
    if height != width:
        raise ValueError(f"{entry} takes images of {height} x {width} pixels; only square ones are handled here")
    return EvalTransform(height, seen.crop_pct, seen.interpolation, seen.mean, seen.std)


class Logits(nn.Module):
    """A classifier as a plain function: (B, 3, S, S) -> (B, K), or a segmenter: -> (B, K, S / 4, S / 4)."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return cast(Tensor, self.model(pixel_values=pixel_values).logits)
