"""The models by name: one table, one row a model, and `create_model`.

The PoolFormer rows are the paper's (arXiv 2111.11418, Tables 1 and 6). The rows for small images are this project's
own: the same four stages with a stem that halves the image once, so that 32x32 pixels still leave 16x16, 8x8, 4x4 and
2x2 tokens, and mixing matters in the first stages.
"""

from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

from metaformer_nlp.core.registry import Registry
from vision.configuration import MetaFormerVisionConfig
from vision.modeling import MetaFormerVisionForImageClassification
from vision.timm_wrapper import PREFIX, build_timm_model, create_timm_config

ImageClassifier = MetaFormerVisionForImageClassification | TimmWrapperForImageClassification

SMALL_DIMS, MEDIUM_DIMS = (64, 128, 320, 512), (96, 192, 384, 768)

VARIANTS: Registry[dict[str, Any]] = Registry("model")
"""Fields of the configuration by model name. `num_labels` is 1000, ImageNet's, unless a row or the caller says else."""


def _poolformer(
    depths: tuple[int, ...], hidden_sizes: tuple[int, ...], layer_scale: float, drop_path: float, crop_pct: float
) -> dict[str, Any]:
    """A row for 224x224 pixels: maps of 56, 28, 14 and 7 tokens a side."""
    return {
        "depths": depths,
        "hidden_sizes": hidden_sizes,
        "layer_scale_init_value": layer_scale,
        "drop_path_rate": drop_path,
        "crop_pct": crop_pct,
    }


def _small_image(depths: tuple[int, ...], hidden_sizes: tuple[int, ...], drop_path: float = 0.0) -> dict[str, Any]:
    """A row for 32x32 pixels: maps of 16, 8, 4 and 2 tokens a side."""
    return {
        "image_size": 32,
        "patch_sizes": (3, 3, 3, 3),
        "strides": (2, 2, 2, 2),
        "padding": (1, 1, 1, 1),
        "depths": depths,
        "hidden_sizes": hidden_sizes,
        # Larger than the paper's 1e-5, which a run of minutes has no time to grow; without any scale, subtracting the
        # average from normalised tokens outweighs the young stem, and pooling trains worse.
        "layer_scale_init_value": 1e-2,
        "drop_path_rate": drop_path,
        "crop_pct": 1.0,
        "num_labels": 10,
    }


for _name, _row in {
    #                                 depths          dims         scale  drop  crop       parameters, top-1 (paper)
    "poolformer_s12": _poolformer((2, 2, 6, 2), SMALL_DIMS, 1e-5, 0.1, 0.9),  # 11,915,176  77.2
    "poolformer_s24": _poolformer((4, 4, 12, 4), SMALL_DIMS, 1e-5, 0.1, 0.9),  # 21,388,968  80.3
    "poolformer_s36": _poolformer((6, 6, 18, 6), SMALL_DIMS, 1e-6, 0.2, 0.9),  # 30,862,760  81.4
    "poolformer_m36": _poolformer((6, 6, 18, 6), MEDIUM_DIMS, 1e-6, 0.3, 0.95),  # 56,172,520  82.1
    "poolformer_m48": _poolformer((8, 8, 24, 8), MEDIUM_DIMS, 1e-6, 0.4, 0.95),  # 73,473,448  82.5
    "poolformer_nano": _small_image((1, 1, 1, 1), (16, 32, 48, 64)),  # 0.11 M, for studies of minutes
    "poolformer_xxs": _small_image((2, 2, 2, 2), (24, 48, 64, 96)),  # 0.36 M
    "poolformer_xs": _small_image((2, 2, 4, 2), (40, 80, 128, 192), drop_path=0.1),  # 1.6 M
}.items():
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
