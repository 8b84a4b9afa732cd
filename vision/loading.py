"""One call for any checkpoint of an image classifier: saved folders, run folders, and published weight files."""

import json
import logging
import re
import sys
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PoolFormerConfig, PreTrainedConfig, TimmWrapperConfig, TimmWrapperForImageClassification

from metaformer_nlp.core.positions import refit_relative_bias
from metaformer_nlp.errors import reading
from vision.configuration import MetaFormerVisionConfig
from vision.modeling import MetaFormerVisionForImageClassification, resize_positions
from vision.rows import ablation_rows, baseline_rows, poolformer_rows
from vision.timm_wrapper import PREFIX, create_timm_config
from vision.variants import VARIANTS, ImageClassifier, build_model, create_config
from vision.weights import StateDict, convert_state_dict, detect_source, fill, read_state_dict

logger = logging.getLogger(__name__)

HEAD = "classifier."
SAVED_AS = ("model.safetensors", "pytorch_model.bin")  # by save_pretrained
PUBLISHED: dict[str, Container[str]] = {
    "transformers": poolformer_rows(),
    "timm": {*poolformer_rows(), *(row for row in baseline_rows() if row.startswith(("poolformer", "conv", "ca")))},
    "sail-sg": {
        *poolformer_rows(),
        *baseline_rows(),
        *(row for row in ablation_rows() if row.startswith("metaformer")),
    },
    "metaformer": VARIANTS,
}
"""Whose weights they are -> the rows for which there are such files."""


def load_model(
    path: str | Path,
    name: str | None = None,
    *,
    num_labels: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    keep_head: bool = True,
    **overrides: Any,
) -> ImageClassifier:
    """An image classifier with the weights of a checkpoint.

    Args:
        path: a folder of `save_pretrained` (ours, transformers' PoolFormer, which becomes ours, or a wrapped model of
            timm), a run folder (its `model/` is taken), or a weight file (.pth, .pth.tar, .pt, .bin, .safetensors) of
            sail-sg/poolformer, sail-sg/metaformer, timm or transformers.
        name: for a weight file, its row of `VARIANTS`, or `timm/<name>` for a file of that model of timm. None: found
            from the tensors; where several rows have the same ones, by the file's name. A saved folder knows its model.
        num_labels: classes of the head; another number than the file's gets a new head. Default: the file's.
        image_size: pixels of the side, or (height, width); learned position embeddings are resized to it (bicubic),
            learned biases of attention keep their offsets, and mixers of a fixed length are refused at another size
            than their own.
        keep_head: False for a new head whatever the number of classes. It is new as a whole, an MLP head too; the norm
            before or after pooling belongs to the trunk and is kept.
        **overrides: other fields of the configuration, such as `drop_path_rate` or `id2label`. Other names of classes
            than a saved folder's get a new head as well: ten classes are not another ten.

    Raises:
        ValueError: a file that is no checkpoint of these, or does not fit the model; a pickle that holds more than
            tensors is refused and nothing in it runs.
    """
    path = model_folder(Path(path))
    weights = read_state_dict(path)
    stored = None if name else stored_config(path)
    overrides |= {key: value for key, value in (("num_labels", num_labels), ("image_size", image_size)) if value}
    if keep_head and stored and _other_classes(stored.id2label, overrides.get("id2label")):
        logger.warning("%s: its head is replaced by a new one, since it is for other classes than these", path)
        keep_head = False
    if isinstance(stored, TimmWrapperConfig) or (name or "").startswith(PREFIX):
        return _load_timm(path, weights, name or stored, keep_head, overrides)  # type: ignore[arg-type]
    weights = convert_state_dict(weights) if stored is None else convert_state_dict(weights, _source(stored))
    labels = head_labels(weights, (HEAD,))
    if labels is None:
        if not (num_labels or overrides.get("id2label")):
            raise ValueError(f"{path} holds a trunk without a classifier: say num_labels, and it gets a new one")
        weights = {key: tensor for key, tensor in weights.items() if key.startswith(("metaformer.", "norm."))}
    if stored is None:
        config = create_config(name or found_name(path, weights), **{"num_labels": labels, **overrides})
    else:
        config = changed_config(stored, overrides)
    model = build_model(config)
    assert isinstance(model, MetaFormerVisionForImageClassification)
    new = () if any(key.startswith("norm.") for key in weights) else ("norm.",)
    if labels and labels != model.num_labels and num_labels is None and keep_head:
        logger.warning("%s: its head of %d classes is replaced by a new one of %d", path, labels, model.num_labels)
    if labels != model.num_labels or not keep_head:
        new = (*new, HEAD)
    try:
        return fill(model, resized_positions(weights, model), path, new=new)
    except ValueError as error:
        fixed = sorted({mixer for stage in model.metaformer.stage_list() for mixer in stage.fixed_mixers})
        if not fixed or image_size is None:
            raise
        raise ValueError(
            f"{error} It has a mixer of a fixed length ({', '.join(fixed)}), which fits one image_size only: leave "
            "image_size as it was when the weights were trained."
        ) from error


def common_name(name: str) -> str:
    """A class's name without the synset that tells ImageNet's two cranes apart: "crane (n02012849)" is "crane"."""
    return re.sub(r" \(n\d{8}\)$", "", name)


def _other_classes(stored: Mapping[Any, str] | None, given: Mapping[Any, str] | None) -> bool:
    """Whether both name as many classes, and differently.

    LABEL_0, LABEL_1, ... are no names; and a thousand without one in common are ImageNet's synsets beside their names.
    """
    before, now = ([common_name(str(name)) for name in (x or {}).values()] for x in (stored, given))
    if len(before) != len(now) or before == [f"LABEL_{index}" for index in range(len(before))]:
        return False  # another number gets a new head anyway
    return before != now and not (len(before) == 1000 and set(before).isdisjoint(now))


def model_folder(path: Path) -> Path:
    """The folder that holds the model where `path` is a run folder, and otherwise `path` itself."""
    inner = path / "model"
    return inner if (inner / "config.json").is_file() and not (path / "model.safetensors").is_file() else path


def stored_config(path: Path) -> PreTrainedConfig | None:
    """The configuration of a saved folder, or beside a file as `save_pretrained` calls it; None for other files.

    Raises:
        ValueError: the folder is of a model that is none of those known here.
    """
    path = path.parent if path.name in SAVED_AS else path
    file = path / "config.json"
    if not file.is_file():
        return None
    kinds: dict[str, type[PreTrainedConfig]] = {
        kind.model_type: kind for kind in (MetaFormerVisionConfig, PoolFormerConfig, TimmWrapperConfig)
    }
    with reading(file, "the configuration of a model", json.JSONDecodeError, AttributeError):
        kind = json.loads(file.read_text(encoding="utf-8")).get("model_type")
    if kind not in kinds:
        raise ValueError(f"{file}: model_type is {kind!r}; an image model here is one of {', '.join(kinds)}")
    return kinds[kind].from_pretrained(path)


def changed_config(config: PreTrainedConfig, overrides: Mapping[str, Any]) -> MetaFormerVisionConfig:
    """Our configuration of a saved model, with `overrides` on top; transformers' PoolFormer is put in our words."""
    fields = config.to_diff_dict() if isinstance(config, MetaFormerVisionConfig) else _of_poolformer(config)
    labels = {"id2label", "label2id", "num_labels"}
    if _number_asked(overrides) not in (None, config.num_labels):
        fields = {key: value for key, value in fields.items() if key not in labels}
    return MetaFormerVisionConfig.from_dict({**fields, **overrides})


def _number_asked(overrides: Mapping[str, Any]) -> int | None:
    """How many classes `overrides` name or number; None where they say nothing of classes."""
    named = overrides.get("id2label") or overrides.get("label2id")
    return len(named) if named else overrides.get("num_labels")


def _of_poolformer(config: PreTrainedConfig) -> dict[str, Any]:
    same = ("depths", "hidden_sizes", "patch_sizes", "strides", "padding", "pool_size", "num_channels", "mlp_ratio")
    fields = {key: getattr(config, key) for key in (*same, "hidden_act", "drop_path_rate", "id2label", "label2id")}
    scale = config.layer_scale_init_value if config.use_layer_scale else None
    return {**fields, "layer_scale_init_value": scale}


def _source(config: PreTrainedConfig) -> str:
    return "metaformer" if isinstance(config, MetaFormerVisionConfig) else "transformers"


def head_labels(weights: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> int | None:
    """The number of classes of the last matrix of the head, or None where there is no head."""
    matrices = [tensor for key, tensor in weights.items() if key.startswith(prefixes) and tensor.ndim >= 2]
    return len(matrices[-1]) if matrices else None


def found_name(path: Path, weights: StateDict) -> str:
    """The one row whose tensors have these names and shapes.

    Raises:
        ValueError: none fits, or several do, as rows that differ only in what has no weights; they are named.
    """
    published = PUBLISHED[detect_source(read_state_dict(path))]
    fitting = [row for row in VARIANTS if row in published and _fits(row, weights)]
    if len(fitting) > 1:  # the authors name a file as its model: poolformer_s12.pth.tar
        fitting = [row for row in fitting if path.name.split(".")[0] == row] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ValueError(
            f"{path} fits {', '.join(fitting)}, which differ in nothing that has weights: say which by name"
        )
    raise ValueError(
        f"{path} fits no row of the table of models: say which it is by name, one of {', '.join(VARIANTS)}"
    )


def _fits(row: str, weights: StateDict) -> bool:
    config = create_config(row)
    assert isinstance(config, MetaFormerVisionConfig)
    stems = [
        weights.get(f"metaformer.stages.{index}.embedding.projection.weight") for index in range(len(config.depths))
    ]
    if [None if x is None else len(x) for x in stems] != list(config.hidden_sizes):
        return False
    with torch.device("meta"):
        own = MetaFormerVisionForImageClassification(config).state_dict()
    trunk = {key: x.shape for key, x in own.items() if not key.startswith(HEAD)}
    return trunk == {key: x.shape for key, x in weights.items() if not key.startswith(HEAD)}


def resized_positions(weights: StateDict, model: nn.Module) -> StateDict:
    """The weights, with what is learned of the places or offsets of another grid made to fit the model's."""
    own, fitted = model.state_dict(), dict(weights)
    for key, tensor in weights.items():
        if key in own and key.endswith("position_embedding"):
            fitted[key] = resize_positions(tensor, own[key].shape[:2])
        elif key in own and key.endswith("relative_bias.table"):
            fitted[key] = refit_relative_bias(tensor, own[key].shape[:2])
    return fitted


def _load_timm(
    path: Path, weights: StateDict, kind: str | TimmWrapperConfig, keep_head: bool, overrides: dict[str, Any]
) -> TimmWrapperForImageClassification:
    """A model of timm from a file of timm's own, or from a folder that the wrapper saved."""
    weights = {key.removeprefix("timm_model."): tensor for key, tensor in weights.items()}
    name, options = (kind, {}) if isinstance(kind, str) else (kind.architecture, _timm_options(kind))
    classifier = create_timm_config(name).pretrained_cfg["classifier"]
    heads = tuple(f"{head}." for head in ((classifier,) if isinstance(classifier, str) else classifier))
    asked = bool(overrides.keys() & {"num_labels", "id2label"})
    if asked and (overrides.get("id2label") or _number_asked(overrides) != len(options.get("id2label") or ())):
        options = {key: value for key, value in options.items() if key not in ("id2label", "label2id")}
    elif labels := head_labels(weights, heads):
        options.setdefault("num_labels", labels)
    model = build_model(create_timm_config(name, **{**options, **overrides}))
    assert isinstance(model, TimmWrapperForImageClassification)
    weights = _in_timms_words(weights, model.timm_model)
    labels = head_labels(weights, heads)
    if labels is None and keep_head and not asked:
        raise ValueError(f"{path} holds no classifier for {PREFIX}{name}: say num_labels, and it gets a new one")
    weights = {f"timm_model.{key}": tensor for key, tensor in weights.items()}
    is_new = labels != model.num_labels or not keep_head
    return fill(model, weights, path, new=tuple(f"timm_model.{head}" for head in heads) if is_new else ())


def _timm_options(config: TimmWrapperConfig) -> dict[str, Any]:
    """What `create_timm_config` was given for this configuration."""
    arguments, row = config.model_args or {}, config.pretrained_cfg
    return {
        "image_size": tuple(row["input_size"][1:]),
        "crop_pct": row["crop_pct"],
        "drop_path_rate": arguments.get("drop_path_rate"),
        "classifier_dropout": arguments.get("drop_rate"),
        "id2label": config.id2label,
        "label2id": config.label2id,
    }


def _in_timms_words(weights: StateDict, model: nn.Module) -> StateDict:
    """The weights after timm's own filter, where they need it: the authors' names, position embeddings of another size.

    Raises:
        ValueError: timm's filter cannot make sense of them.
    """
    own = model.state_dict()
    rename = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if rename is None or all(key in own and own[key].shape == x.shape for key, x in weights.items()):
        return weights
    try:
        return rename(weights, model)
    except (KeyError, RuntimeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"these weights are none of timm's {type(model).__name__}, nor its authors' "
            f"({type(error).__name__}: {error}). Choose the model they were made for."
        ) from error


__all__ = ["common_name", "load_model"]
