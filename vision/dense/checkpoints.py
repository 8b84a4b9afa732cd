"""Weights of dense models: saved folders, the authors' files, and classifiers that start a trunk.

The authors' files have the names of mmdetection 2.19 and mmsegmentation 0.19 (sail-sg/poolformer, `detection/` and
`segmentation/`). There the background is the last class, which has no box and no mask of its own.
"""

import json
import logging
import re
from pathlib import Path

import torch
from torch import Tensor

from metaformer_nlp.core import mixer_specs
from vision.configuration import MetaFormerVisionConfig
from vision.dense.configuration import MetaFormerVisionDetectionConfig, MetaFormerVisionSegmentationConfig
from vision.dense.detection import MetaFormerVisionForObjectDetection
from vision.dense.pyramid import MetaFormerTrunk, TimmTrunk
from vision.dense.segmentation import MetaFormerVisionForSemanticSegmentation
from vision.loading import model_folder, resized_positions, stored_config
from vision.weights import StateDict, convert_state_dict, fill, listed, read_state_dict, renamed

logger = logging.getLogger(__name__)

DenseModel = MetaFormerVisionForObjectDetection | MetaFormerVisionForSemanticSegmentation
MODELS: dict[str, type[MetaFormerVisionForObjectDetection] | type[MetaFormerVisionForSemanticSegmentation]] = {
    MetaFormerVisionDetectionConfig.model_type: MetaFormerVisionForObjectDetection,
    MetaFormerVisionSegmentationConfig.model_type: MetaFormerVisionForSemanticSegmentation,
}
NORMS = {f"norm{2 * index}": f"hidden_states_norms.stage{index + 1}" for index in range(4)}
"""The authors' norms of the trunk's maps, and ours."""
CLASSIFIER = ("backbone.norm.", "backbone.head.")  # of a trunk, which a dense model does not have


def load_dense_model(path: str | Path) -> DenseModel:
    """The detector or segmenter of a saved folder, or of a run folder (its `model/` is taken), for evaluation.

    Raises:
        ValueError: no such folder, a model of another kind, or weights that do not fill it exactly.
    """
    folder = model_folder(Path(path))
    try:
        kind = _model_type(folder)
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder} holds no model: config.json cannot be read ({error})") from error
    if kind not in MODELS:
        raise ValueError(f"{folder}/config.json: model_type is {kind!r}; a dense model is one of {', '.join(MODELS)}")
    model: DenseModel = MODELS[kind].from_pretrained(folder)
    return model


def is_dense(path: str | Path) -> bool:
    """Whether a saved folder, or a run folder, holds a detector or segmenter."""
    try:
        return _model_type(model_folder(Path(path))) in MODELS
    except (OSError, ValueError, AttributeError):
        return False


def _model_type(folder: Path) -> str | None:
    kind: str | None = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    return kind


def load_checkpoint(model: DenseModel, path: str | Path) -> None:
    """Start a new model with what `path` holds: a dense model whole, saved or the authors', or a classifier's trunk.

    Raises:
        ValueError: as `load_published` and `load_trunk`; the model is then unchanged.
    """
    names = read_state_dict(folder := model_folder(Path(path)))
    if any(name.startswith("neck.") for name in names):
        load_published(model, folder)
    elif any(name.startswith(_prefix(model) + "fpn.") for name in names):
        fill(model, names, folder)
    else:
        load_trunk(model, folder)


def _refuse_another_model(path: Path, trunk: MetaFormerVisionConfig) -> None:
    """ValueError where the saved model has other mixers, norms or activations than the trunk.

    The tensors may fit all the same, as mixers without parameters have none.
    """
    stored = stored_config(path)
    if not isinstance(stored, MetaFormerVisionConfig):
        return

    def of(config: MetaFormerVisionConfig, field: str) -> str:
        value = getattr(config, field)
        return json.dumps(mixer_specs(value, len(config.depths), unit="stage") if field == "token_mixer" else value)

    fields = ["token_mixer", "norm", "norm_eps", "hidden_act", "use_residual", "use_channel_mlp"]
    fields += ["pool_size"] if "pooling" in stored.used_mixers() else []
    differing = [
        f"{field} {getattr(stored, field)!r} there and {getattr(trunk, field)!r} here"
        for field in fields
        if of(stored, field) != of(trunk, field)
    ]
    if differing:
        raise ValueError(f"{path} is of another model than the trunk: {listed(differing)}; give the trunk the same")


def load_trunk(model: DenseModel, path: str | Path) -> list[str]:
    """Start the trunk of a new model with a classifier's weights; say and return which of its tensors stay new.

    Args:
        model: its trunk is filled, everything else stays as it is.
        path: as `vision.load_model` takes: a saved folder, a run folder, or a published weight file; for a trunk of
            timm a weight file of timm's or torchvision's model of that name, or a saved wrapped one.

    Returns:
        Names of the model's tensors that the file has nothing for: norms of the trunk's maps, pyramid and head.

    Raises:
        ValueError: a file that is no checkpoint of a classifier, or does not fit the trunk; the model is unchanged.
    """
    path = model_folder(Path(path))
    trunk = model.pyramid.body
    weights, new = read_state_dict(path), tuple[str, ...]()
    if isinstance(trunk, TimmTrunk):
        weights = _of_timm(trunk, weights)
    else:
        _refuse_another_model(path, trunk.config)
        weights, new = convert_state_dict(weights), ("hidden_states_norms.",)
        weights = resized_positions({key: x for key, x in weights.items() if key.startswith("metaformer.")}, trunk)
    fill(trunk, weights, path, new=new)
    start = _prefix(model) + "body."
    kept = [name for name in model.state_dict() if not name.startswith(start) or name[len(start) :].startswith(new)]
    norms = [name for name in kept if name.startswith(start)]
    logger.warning(
        "%s starts the trunk. New are %s%d tensors of pyramid and head",
        path,
        f"its {listed(norms, 8)}, and " if norms else "",
        len(kept) - len(norms),
    )
    return kept


def load_published(model: DenseModel, path: str | Path) -> None:
    """Fill `model` with a file of the authors', strictly.

    Args:
        model: of the file's kind and size; a segmenter with `head_norm: batch_norm`.
        path: a file of mmcv (`state_dict` beside `meta`), or the bare tensors.

    Raises:
        ValueError: not such a file; missing and left-over names and other shapes are listed; the model is unchanged.
    """
    patterns, trunk, ours, unknown = _patterns(model), {}, {}, []
    for name, tensor in read_state_dict(path).items():
        if name.startswith("backbone.") and not name.startswith(CLASSIFIER):
            trunk[name.removeprefix("backbone.")] = tensor
        elif new := renamed(name, patterns):
            ours[new] = _background_first(new, tensor)
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f"{path} holds what {type(model).__name__} has no place for: {listed(unknown)}")
    ours |= _trunk_weights(model, trunk)
    fill(model, ours, path)


def _prefix(model: DenseModel) -> str:
    """What the names of the pyramid's tensors begin with."""
    return "detector.backbone." if isinstance(model, MetaFormerVisionForObjectDetection) else "backbone."


def _trunk_weights(model: DenseModel, weights: StateDict) -> StateDict:
    """The authors' tensors of the trunk, by the names of the whole model."""
    start = _prefix(model) + "body."
    if not isinstance(model.pyramid.body, MetaFormerTrunk):
        return {f"{start}body.{name}": tensor for name, tensor in weights.items()}
    norms = {name: x for name, x in weights.items() if name.partition(".")[0] in NORMS}
    blocks = {name: x for name, x in weights.items() if name not in norms}
    named = convert_state_dict(blocks, "sail-sg") if blocks else {}
    for name, tensor in norms.items():
        norm, _, rest = name.partition(".")
        named[f"{NORMS[norm]}.{rest}"] = tensor
    return {start + name: tensor for name, tensor in named.items()}


def _patterns(model: DenseModel) -> list[tuple[str, str]]:
    """Beginnings of the authors' names outside the trunk, and ours."""
    maps = len(model.pyramid.fpn.inner_blocks)
    fpn = _prefix(model) + "fpn"
    patterns = [(r"neck\.lateral_convs\.(\d+)\.conv\.", rf"{fpn}.inner_blocks.\1.0.")]
    patterns += [(rf"neck\.fpn_convs\.{maps + k}\.conv\.", f"{fpn}.extra_blocks.p{6 + k}.") for k in range(2)]
    patterns += [(r"neck\.fpn_convs\.(\d+)\.conv\.", rf"{fpn}.layer_blocks.\1.0.")]
    if isinstance(model, MetaFormerVisionForSemanticSegmentation):
        patterns += [(r"decode_head\.conv_seg\.", "decode_head.classifier.")]
        for k in range(maps):  # upsamplings take the odd places
            branch = rf"decode_head\.scale_heads\.(\d+)\.{2 * k}\."
            patterns += [(rf"{branch}{old}\.", rf"decode_head.branches.\1.{k}.{new}.") for old, new in LAYER]
        return patterns
    return patterns + [(old, f"detector.{new}") for old, new in DETECTOR_NAMES[model.config.detector]]


LAYER = (("conv", 0), ("bn", 1))
DETECTOR_NAMES: dict[str, list[tuple[str, str]]] = {
    "retinanet": [
        (r"bbox_head\.cls_convs\.(\d+)\.conv\.", r"head.classification_head.conv.\1.0."),
        (r"bbox_head\.reg_convs\.(\d+)\.conv\.", r"head.regression_head.conv.\1.0."),
        (r"bbox_head\.retina_cls\.", "head.classification_head.cls_logits."),
        (r"bbox_head\.retina_reg\.", "head.regression_head.bbox_reg."),
    ],
    "mask_rcnn": [
        (r"rpn_head\.rpn_conv\.", "rpn.head.conv.0.0."),
        (r"rpn_head\.rpn_cls\.", "rpn.head.cls_logits."),
        (r"rpn_head\.rpn_reg\.", "rpn.head.bbox_pred."),
        (r"roi_head\.bbox_head\.shared_fcs\.0\.", "roi_heads.box_head.fc6."),
        (r"roi_head\.bbox_head\.shared_fcs\.1\.", "roi_heads.box_head.fc7."),
        (r"roi_head\.bbox_head\.fc_cls\.", "roi_heads.box_predictor.cls_score."),
        (r"roi_head\.bbox_head\.fc_reg\.", "roi_heads.box_predictor.bbox_pred."),
        (r"roi_head\.mask_head\.convs\.(\d+)\.conv\.", r"roi_heads.mask_head.\1.0."),
        (r"roi_head\.mask_head\.upsample\.", "roi_heads.mask_predictor.conv5_mask."),
        (r"roi_head\.mask_head\.conv_logits\.", "roi_heads.mask_predictor.mask_fcn_logits."),
    ],
}


def _background_first(name: str, tensor: Tensor) -> Tensor:
    """The rows of Mask R-CNN's classes behind the background's: its score's is the file's last, the others' are 0."""
    if ".box_predictor.cls_score." in name:
        return tensor.roll(1, dims=0)
    rows = 4 if ".box_predictor.bbox_pred." in name else 1 if ".mask_fcn_logits." in name else 0
    if not rows:
        return tensor
    return torch.cat([tensor.new_zeros(rows, *tensor.shape[1:]), tensor])


def _of_timm(trunk: TimmTrunk, weights: StateDict) -> StateDict:
    """A classifier's tensors by the names of timm's feature model, which writes `stages.0` as `stages_0`."""
    weights = {name.removeprefix("timm_model."): tensor for name, tensor in weights.items()}
    found = {}
    for name in trunk.state_dict():
        own = name.removeprefix("body.")
        for candidate in (own, re.sub(r"^([a-z]+)_(\d+)\.", r"\1.\2.", own)):
            if candidate in weights:
                found[name] = weights[candidate]
    return found
