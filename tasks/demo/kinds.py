"""What a model is, by its configuration, and how each kind is opened: as the scripts do, from safetensors alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from metaformer_nlp.errors import reading

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Kind", "Opened", "check_weights", "kind_of", "open_model"]

Kind = Literal["classifier", "detector", "segmenter", "masked_lm", "text_classifier"]

_IMAGES: dict[str, Kind] = {
    "metaformer_vision": "classifier",
    "poolformer": "classifier",
    "timm_wrapper": "classifier",
    "metaformer_vision_detection": "detector",
    "metaformer_vision_segmentation": "segmenter",
}
_TEXTS: dict[str, Kind] = {"ForMaskedLM": "masked_lm", "ForSequenceClassification": "text_classifier"}
_PICKLES = (".bin", ".pt", ".pth", ".tar", ".ckpt", ".pkl", ".pickle")
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Opened:
    """A model in evaluation mode, on the CPU."""

    kind: Kind
    folder: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None = None


def kind_of(folder: Path) -> Kind:
    """The kind of the model in ``folder``, or of a safetensors file, which is a classifier.

    Raises:
        ValueError: a folder that holds no model, or a model that the page has no tab for.
    """
    if folder.is_file():
        return "classifier"
    config = _read(folder / "config.json")
    kind, architectures = config.get("model_type"), config.get("architectures")
    head = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    if not isinstance(kind, str):
        raise ValueError("no model: its config.json names no model_type. Give a run folder that is finished.")
    if kind in _IMAGES and (_IMAGES[kind] != "classifier" or not head or head.endswith("ForImageClassification")):
        return _IMAGES[kind]
    for ending, text in _TEXTS.items():
        if head.endswith(ending):
            return text
    raise ValueError(
        f"a {head or kind}. The page shows image classifiers, detectors, segmenters, masked language "
        "models and text classifiers."
    )


def check_weights(folder: Path) -> None:
    """ValueError unless the weights are safetensors that lie in ``folder``, and nothing in it points elsewhere."""
    if folder.is_file():
        if folder.suffix != ".safetensors":
            raise ValueError(_pickle(folder.name))
        return
    if not (folder / "config.json").is_file():
        raise ValueError(
            "no model: there is no config.json in the folder, nor in its model/. Give the folder of a finished run, or "
            "of save_pretrained."
        )
    if (folder / "adapter_config.json").exists():
        raise ValueError("an adapter, which needs another model. Merge the two and save the result.")
    for name in ("tokenizer_config.json", "config.json"):
        for key, value in _texts(_read(folder / name) if (folder / name).is_file() else {}):
            if key.endswith(("_file", "_path")) and re.search(r"[/\\]", value) and not key.endswith("name_or_path"):
                raise ValueError(f"{name} names the file {value} outside of the folder ({key}), which is refused.")
    if not (folder / "model.safetensors").is_file():
        if not (folder / _INDEX).is_file():
            pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
            raise ValueError(
                _pickle(pickles[0]) if pickles else "no weights: there is no model.safetensors in the folder."
            )
        parts = _read(folder / _INDEX).get("weight_map")
        for part in set(map(str, parts.values())) if isinstance(parts, dict) else {"None"}:
            if Path(part).name != part or not part.endswith(".safetensors"):
                raise ValueError(f"{_INDEX} names the file {part}, which is refused: no safetensors of the folder.")


def open_model(folder: Path, kind: Kind, entry: str | None = None) -> Opened:
    """The model in ``folder``, whose weights were checked. Of a file ``entry`` is the path, or NAME=FILE.

    Raises:
        ValueError: one that cannot be read.
    """
    if kind in _TEXTS.values():
        from tasks.text.checkpoints import load_text_model, load_tokenizer

        head = "MaskedLM" if kind == "masked_lm" else "SequenceClassification"
        tokenizer = load_tokenizer(str(folder), "model")
        return Opened(kind, folder, load_text_model(folder, "model", head), tokenizer)
    with reading(folder, "the folder of a model", Exception):
        if kind == "classifier":
            from tasks.images.checkpoints import open_checkpoint

            return Opened(kind, folder, open_checkpoint(entry or str(folder)))
        from vision.dense.checkpoints import load_dense_model

        return Opened(kind, folder, load_dense_model(folder).eval())


def _pickle(name: str) -> str:
    return (
        f"its weights are a pickle ({name}), which can run code. The page reads safetensors alone: open the model "
        "where you trust it, and save it by save_pretrained."
    )


def _read(file: Path) -> dict[str, Any]:
    with reading(file, "a JSON file of a model", ValueError, RecursionError):
        found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{file.name} holds no JSON object.")
    return found


def _texts(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The text values of nested mappings with their keys."""
    for key, value in tree.items():
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, dict):
            yield from _texts(value)
