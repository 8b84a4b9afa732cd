"""timm's image models in the clothes of ours: `timm/<name>` is transformers' `TimmWrapperForImageClassification`.

With them the systems that the papers compare with train, evaluate and save by the same code:
`forward(pixel_values=...)` gives `.logits`, and a saved folder opens through `AutoModelForImageClassification`.
"""

from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, is_model, list_models
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

from metaformer_nlp.core.registry import nearest

PREFIX = "timm/"
OPTIONS = ("num_labels", "id2label", "label2id", "image_size", "crop_pct", "drop_path_rate", "classifier_dropout")
"""What `create_timm_config` takes: everything else is fixed by timm's name."""


def create_timm_config(name: str, **overrides: Any) -> TimmWrapperConfig:
    """The configuration of timm's model `name`, with or without the prefix `timm/`.

    Args:
        name: an architecture of timm, such as `timm/resmlp_24_224`; a tag after it (`.fb_in1k`) chooses the
            preprocessing of those weights.
        **overrides: of `OPTIONS`. `image_size` becomes timm's `img_size` where the model is built for one size.

    Raises:
        ValueError: no such model in the installed timm (the nearest name is given), or an option that is none.
    """
    name = name.removeprefix(PREFIX)
    if not is_model(name):
        raise ValueError(f"timm {timm.__version__} has no model {name!r}.{nearest(name, list_models())}")
    if unknown := sorted(overrides.keys() - set(OPTIONS)):
        raise ValueError(
            f"{PREFIX}{name} takes no {', '.join(unknown)}: timm's models are fixed by their name. "
            f"Allowed: {', '.join(OPTIONS)}"
        )
    row = get_pretrained_cfg(name, allow_unregistered=False)
    assert row is not None
    fields = {key: value for key, value in row.to_dict().items() if value is not None}
    size = _height_width(overrides.get("image_size"), fields["input_size"])
    arguments = {"drop_path_rate": overrides.get("drop_path_rate"), "drop_rate": overrides.get("classifier_dropout")}
    if size != tuple(fields["input_size"][1:]) and fields.get("fixed_input_size"):
        arguments["img_size"] = size
    fields |= {"input_size": [fields["input_size"][0], *size]}
    if overrides.get("crop_pct") is not None:
        fields["crop_pct"] = overrides["crop_pct"]
    known: dict[str, Any] = {
        "architecture": name,
        "model_args": {key: value for key, value in arguments.items() if value is not None} or None,
        **{key: overrides[key] for key in ("id2label", "label2id") if overrides.get(key) is not None},
    }
    classes = fields.pop("num_classes", 1000)
    if "id2label" not in known:
        known["num_labels"] = overrides.get("num_labels") or classes
    return TimmWrapperConfig(**known, pretrained_cfg=fields)  # type: ignore[call-arg]  # a field of saved ones only


def build_timm_model(config: TimmWrapperConfig) -> TimmWrapperForImageClassification:
    """A new model whose weights are drawn as timm draws them, from torch's global generator.

    transformers' wrapper would draw them anew in its own way, which no recipe of timm means: it is built without
    memory, and timm's model put into it.
    """
    with torch.device("meta"):
        model = TimmWrapperForImageClassification(config)
    model.timm_model = timm.create_model(
        config.architecture, num_classes=config.num_labels, **(config.model_args or {})
    )
    return model


def _height_width(image_size: Any, input_size: Any) -> tuple[int, int]:
    """(height, width) in pixels of `image_size`, a number or a pair, or else of timm's (channels, height, width)."""
    if image_size is None:
        return int(input_size[1]), int(input_size[2])
    return (image_size, image_size) if isinstance(image_size, int) else (int(image_size[0]), int(image_size[1]))
