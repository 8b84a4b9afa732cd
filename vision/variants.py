"""The models by name: one table, one row a model, and `create_model`.

The rows of both papers carry what their recipes fix a size at a time: peak drop path, test crop, dropout of the head.
The rows for small images are this project's own: the same four stages with a stem that halves the image once, so that
32x32 pixels still leave 16x16, 8x8, 4x4 and 2x2 tokens, and mixing matters in the first stages.
"""

from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

from metaformer_nlp.core.registry import Registry
from vision.configuration import MetaFormerVisionConfig
from vision.modeling import MetaFormerVisionForImageClassification
from vision.rows import ablation_rows, baseline_rows, compared_rows, poolformer_rows, small_rows
from vision.timm_wrapper import PREFIX, build_timm_model, create_timm_config

ImageClassifier = MetaFormerVisionForImageClassification | TimmWrapperForImageClassification

VARIANTS: Registry[dict[str, Any]] = Registry("model")
"""Fields of the configuration by model name. `num_labels` is 1000, ImageNet's, unless a row or the caller says else."""


for _rows in (poolformer_rows(), ablation_rows(), baseline_rows(), compared_rows(), small_rows()):
    for _name, _row in _rows.items():
        VARIANTS.register(_name)(_row)


def create_config(name: str, **overrides: Any) -> MetaFormerVisionConfig | TimmWrapperConfig:
    """The configuration of the model `name`; `overrides` are fields of the configuration and win over the row.

    Args:
        name: a row of `VARIANTS`, or `timm/<name>` for any image model of timm (`create_timm_config`).

    Raises:
        ValueError: unknown name (all names and the nearest are given), unknown or unfitting fields.
    """
    if name.startswith(PREFIX):
        return create_timm_config(name, **overrides)
    fields = {"num_labels": 1000, **VARIANTS[name], **overrides}
    if fields.get("id2label") is not None:
        fields.pop("num_labels")
    try:
        return MetaFormerVisionConfig(**fields)
    except StrictDataclassError as error:  # a value of a wrong type, which Hugging Face does not report as ValueError
        raise ValueError(f"{name}: {error}") from error


def build_model(config: MetaFormerVisionConfig | TimmWrapperConfig) -> ImageClassifier:
    """A new image classifier of this configuration, its weights drawn from torch's global generator."""
    if isinstance(config, TimmWrapperConfig):
        return build_timm_model(config)
    return MetaFormerVisionForImageClassification(config)


def create_model(name: str, **overrides: Any) -> ImageClassifier:
    """A new image classifier: `create_model("poolformer_s12", num_labels=10, token_mixer="attention")`.

    `timm/<name>` gives timm's model in transformers' wrapper, which takes `num_labels`, `image_size`, `drop_path_rate`,
    ... Weights are drawn from torch's global generator. Errors are those of `create_config`.
    """
    return build_model(create_config(name, **overrides))
