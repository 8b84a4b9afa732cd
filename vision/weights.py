"""Published weights: read a file safely, find out whose it is, and rename its tensors to this project's names.

The authors' (sail-sg/poolformer and sail-sg/metaformer), timm's and transformers' models hold the same tensors one to
one; only names differ, 1x1 convolutions [O, I, 1, 1] are linear layers [O, I] here, and position embeddings
[1, C, h, w] are [h, w, C].
"""

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from metaformer_nlp.errors import reading

StateDict = dict[str, Tensor]
Model = TypeVar("Model", bound=nn.Module)

# The tail of a name inside a block, in any of the three sources.
BLOCK_NAMES = [
    (r"(?:norm1|before_norm)\.", "norm1."),
    (r"(?:norm2|after_norm)\.", "norm2."),
    (r"(?:mlp\.fc|output\.conv)([12])\.", r"channel_mlp.fc\1."),
    (r"mlp\.act\.", "channel_mlp.act."),
    (r"layer_?scale_?([12])(?:\.scale)?$", r"residual\1.layer_scale"),
    (r"res_scale([12])\.scale$", r"residual\1.res_scale"),
    (r"token_mixer\.pwconv1\.", "token_mixer.expand."),
    (r"token_mixer\.act1\.", "token_mixer.act."),
    (r"token_mixer\.dwconv\.", "token_mixer.depthwise.conv."),
    (r"token_mixer\.pwconv2\.", "token_mixer.project."),
    (r"token_mixer\.", "token_mixer."),
]

# Names outside the blocks; sail-sg's `network.` entries are numbered through and come from `sail_sg_stages`.
SOURCES: dict[str, list[tuple[str, str]]] = {
    "sail-sg": [
        (r"patch_embed\.proj\.", "metaformer.stages.0.embedding.projection."),
        (r"downsample_layers\.(\d+)\.conv\.", r"metaformer.stages.\1.embedding.projection."),
        (r"downsample_layers\.(\d+)\.(?:post|pre)_norm\.", r"metaformer.stages.\1.embedding_norm."),
        (r"stages\.(\d+)\.(\d+)\.", r"metaformer.stages.\1.blocks.\2."),
        (r"norm\.", "norm."),
        (r"head\.", "classifier."),
    ],
    "timm": [
        (r"stem\.conv\.", "metaformer.stages.0.embedding.projection."),
        (r"stem\.norm\.", "metaformer.stages.0.embedding_norm."),
        (r"stages\.(\d+)\.downsample\.norm\.", r"metaformer.stages.\1.embedding_norm."),
        (r"stages\.(\d+)\.downsample\.conv\.", r"metaformer.stages.\1.embedding.projection."),
        (r"stages\.(\d+)\.blocks\.(\d+)\.", r"metaformer.stages.\1.blocks.\2."),
        (r"head\.norm\.", "norm."),
        (r"head\.fc\.", "classifier."),
    ],
    "transformers": [
        (r"(?:poolformer\.)?encoder\.patch_embeddings\.(\d+)\.", r"metaformer.stages.\1.embedding."),
        (r"(?:poolformer\.)?encoder\.block\.(\d+)\.(\d+)\.", r"metaformer.stages.\1.blocks.\2."),
        (r"norm\.", "norm."),
        (r"classifier\.", "classifier."),
    ],
    "metaformer": [],
}
"""Whose names they are -> patterns of their beginnings and what ours are. `metaformer` is this project."""

MARKS = {
    "sail-sg": ("patch_embed.proj.weight", "downsample_layers.0.conv.weight"),
    "timm": ("stem.conv.weight",),
    "transformers": ("encoder.patch_embeddings.0.projection.weight",),
    "metaformer": ("stages.0.embedding.projection.weight",),
}


def detect_source(state_dict: Mapping[str, Any]) -> str:
    """Whose weights these are: `sail-sg`, `timm`, `transformers` or `metaformer` (ours).

    Raises:
        ValueError: none of these; some of the names found and the one that each source would have are given.
    """
    for source, marks in MARKS.items():
        if any(f".{name}".endswith(f".{mark}") for name in state_dict for mark in marks):
            return source
    expected = ", ".join(f"{mark} ({source})" for source, marks in MARKS.items() for mark in marks)
    raise ValueError(
        f"these weights are of no known MetaFormer for images: none of {expected} is among their "
        f"{len(state_dict)} names, which begin {', '.join(map(str, list(state_dict)[:5]))}"
    )


def unwrap(loaded: Any) -> StateDict:
    """The state dict itself, whether the file held it bare, under `state_dict` or `model`, or with the `module.` of DDP
    or the `_orig_mod.` of torch.compile before its names.
    """
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(x, Tensor) for x in loaded.values()):
        held = sorted(map(str, loaded))[:8] if isinstance(loaded, Mapping) else type(loaded).__name__
        raise ValueError(f"no state dict: wanted tensors by name, bare or under 'state_dict' or 'model'; found {held}")
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", str(name)): tensor for name, tensor in loaded.items()}


def sail_sg_stages(state_dict: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Patterns for the first paper's `network.{n}.`; entry n is a stage, a downsampling or a position embedding.

    Position embeddings shift the numbers after them, so entries are told apart by what they hold.
    """
    entries: dict[int, set[str]] = {}
    for name in state_dict:
        if match := re.match(r"network\.(\d+)\.(.+)", name):
            entries.setdefault(int(match[1]), set()).add(match[2])
    patterns, stage = [], 0
    for number in sorted(entries):
        if all(tail.startswith("proj.") for tail in entries[number]):
            patterns.append((rf"network\.{number}\.proj\.", f"metaformer.stages.{stage}.embedding.projection."))
        elif entries[number] == {"pos_embed"}:
            patterns.append((rf"network\.{number}\.pos_embed", f"metaformer.stages.{stage}.position_embedding"))
        elif all(re.match(r"\d+\.", tail) for tail in entries[number]):
            patterns.append((rf"network\.{number}\.(\d+)\.", rf"metaformer.stages.{stage}.blocks.\1."))
            stage += 1
    return patterns


def renamed(name: str, patterns: list[tuple[str, str]]) -> str | None:
    """`name` with its beginning replaced by the first pattern that fits, or None where none does."""
    for pattern, replacement in patterns:
        if match := re.match(pattern, name):
            return match.expand(replacement) + name[match.end() :]
    return None


def our_name(name: str, patterns: list[tuple[str, str]]) -> str | None:
    """Our name of a source's tensor, or None where it has none."""
    new = renamed(name, patterns)
    block = re.match(r"(metaformer\.stages\.\d+\.blocks\.\d+\.)(.+)", new or "")
    if block is None:
        return new
    tail = renamed(block[2], BLOCK_NAMES)
    return None if tail is None else block[1] + tail


def convert_state_dict(state_dict: Mapping[str, Any], source: str | None = None) -> StateDict:
    """Weights of another project as a state dict of `MetaFormerVisionForImageClassification`.

    Args:
        state_dict: tensors by name, bare or under `state_dict` or `model`.
        source: `sail-sg`, `timm`, `transformers`, `metaformer` (ours), or None to tell by the names.

    Returns:
        Tensors by our names; 1x1 convolutions of the blocks become linear weights. Nothing is copied.

    Raises:
        ValueError: the weights are none of these, or hold names that our model has no place for (they are listed).
    """
    tensors = unwrap(state_dict)
    source = source or detect_source(tensors)
    if source not in SOURCES:
        raise ValueError(f"unknown source {source!r} of weights. Allowed: {', '.join(SOURCES)}, or None to detect it")
    if source == "metaformer":
        return {renamed(name, [(r"stages\.", "metaformer.stages.")]) or name: x for name, x in tensors.items()}
    patterns = SOURCES[source] + (sail_sg_stages(tensors) if source == "sail-sg" else [])
    names = {name: our_name(name, patterns) for name in tensors}
    unknown = [name for name, new in names.items() if new is None]
    if unknown:
        raise ValueError(f"not {source} weights of a MetaFormer: no place for {listed(unknown)}")
    converted = {}
    for name, new in names.items():
        assert new is not None
        tensor = tensors[name]
        if new.endswith(".position_embedding"):
            tensor = tensor[0].permute(1, 2, 0)
        elif ".blocks." in new and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
            tensor = tensor.flatten(1)
        converted[new] = tensor
    return converted


def read_state_dict(path: str | Path) -> StateDict:
    """The tensors by name of a weight file, or of a folder with `model.safetensors`, its shards or `pytorch_model.bin`,
    on the CPU.

    Pickles are read by torch with `weights_only`: code in them is refused, never run, and there is no other way in.

    Raises:
        ValueError: no such file, a file that is no weight file or is damaged, or a pickle that holds more than tensors.
    """
    path = Path(path)
    file = path / "model.safetensors" if path.is_dir() else path
    if path.is_dir() and not file.is_file() and (path / "pytorch_model.bin").is_file():
        file = path / "pytorch_model.bin"
    if not file.is_file():
        if (index := path / "model.safetensors.index.json").is_file():
            return _read_shards(index)
        if path.is_dir():
            raise ValueError(
                f"folder {path} holds no model: neither model.safetensors nor pytorch_model.bin, nor model/"
            )
        raise ValueError(f"no weight file or folder at {path} (looked in {Path.cwd()})")
    if file.stat().st_size == 0:
        raise ValueError(f"{file} is empty (0 bytes)")
    try:
        if file.suffix == ".safetensors":
            return unwrap(load_file(file))
        return unwrap(torch.load(file, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{file} is refused: it is no checkpoint of tensors alone, and anything else in a pickle could run code. "
            f"Store the bare state dict, best as .safetensors, where the file comes from.{refused_name(error)}"
        ) from error
    except (SafetensorError, EOFError, OSError, RuntimeError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is no weight file or is damaged ({type(error).__name__}: {first_line(error)})"
        ) from error
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _read_shards(index: Path) -> StateDict:
    """The tensors of all files that an index of save_pretrained names, which lie beside it."""
    with reading(index, "the index of a model's shards", json.JSONDecodeError, KeyError, AttributeError, TypeError):
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    tensors: dict[str, Tensor] = {}
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{index} names {name!r}, which is no file of tensors beside it")
        tensors |= read_state_dict(index.with_name(name))
    return tensors


def load_weights(model: Model, path: str | Path, source: str | None = None, *, keep_head: bool = True) -> Model:
    """Fill `model` (an image classifier of this package) with a published or saved weight file, and return it.

    Args:
        model: of the size that the file was made for.
        path: a weight file, or a folder with `model.safetensors`.
        source: as for `convert_state_dict`.
        keep_head: False leaves the model's own classifier, for another number of labels.

    Raises:
        ValueError: as `read_state_dict` and `convert_state_dict`; missing and left-over names, and tensors of another
            shape than the model's, are listed. The model is then unchanged.
    """
    weights = convert_state_dict(read_state_dict(path), source)
    return fill(model, weights, path, new=() if keep_head else ("classifier.",))


def fill(model: Model, weights: StateDict, path: str | Path, *, new: tuple[str, ...] = ()) -> Model:
    """Put `weights`, by the model's own names, into `model`, and return it.

    Args:
        model: unchanged where an error is raised.
        weights: tensors by name.
        path: where they come from, for the error's text.
        new: beginnings of names that keep the model's own tensors, whatever the file holds for them.

    Raises:
        ValueError: missing and left-over names, and tensors of another shape than the model's, are listed.
    """
    own = model.state_dict()
    kept = {name: tensor for name, tensor in own.items() if name.startswith(new)} if new else {}
    weights = {name: x for name, x in weights.items() if not (new and name.startswith(new))} | kept
    problems = []
    if missing := sorted(own.keys() - weights.keys()):
        problems.append(f"the file lacks {listed(missing)}")
    if unexpected := sorted(weights.keys() - own.keys()):
        problems.append(f"the model has no {listed(unexpected)}")
    if wrong := [
        f"{name}: {tuple(weights[name].shape)} in the file, {tuple(own[name].shape)} in the model"
        for name in sorted(own.keys() & weights.keys())
        if weights[name].shape != own[name].shape
    ]:
        problems.append(f"shapes differ: {listed(wrong)}")
    if problems:
        raise ValueError(f"{path} does not fit the model ({'; '.join(problems)}). Choose the variant it was made for.")
    model.load_state_dict(weights)
    return model


def listed(names: list[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def refused_name(error: Exception) -> str:
    """What in a pickle was refused, without torch's advice to switch the protection off."""
    found = re.search(r"(?:GLOBAL|global|class|function)\s+`?([A-Za-z_]\w*(?:\.\w+)+)", str(error))
    return f" (It asks for {found[1]}.)" if found else ""


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
