"""What an image goes through before a model sees it, and the image processor that a saved model carries."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig, TimmWrapperConfig
from transformers.models.poolformer.image_processing_pil_poolformer import PoolFormerImageProcessorPil
from transformers.models.poolformer.image_processing_poolformer import PoolFormerImageProcessor

from vision.configuration import MetaFormerVisionConfig

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGE_PROCESSORS: dict[str, type] = {"torchvision": PoolFormerImageProcessor, "pil": PoolFormerImageProcessorPil}
"""transformers' own processors for PoolFormer: they alone know `crop_pct`."""


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the pixels that a model was made for, at test time."""

    image_size: tuple[int, int]
    """(height, width) in pixels of what the model sees."""
    crop_pct: float
    """Share of the resized image's short side that the centre crop keeps."""
    interpolation: str
    """Of the resizing: bicubic, bilinear, ..."""
    mean: tuple[float, ...]
    """Subtracted from pixels in [0, 1], one a channel."""
    std: tuple[float, ...]
    """Divides what is left, one a channel."""


def preprocessing(model: nn.Module | PreTrainedConfig) -> Preprocessing:
    """What a model's images go through: for ours from the configuration, for timm's from its pretrained row.

    Args:
        model: a classifier of `create_model` or `load_model`, or its configuration.

    Raises:
        ValueError: a model of neither kind.
    """
    config = getattr(model, "config", model)
    if isinstance(config, MetaFormerVisionConfig):
        size = config.image_height_width
        return Preprocessing(size, float(config.crop_pct), "bicubic", IMAGENET_MEAN, IMAGENET_STD)
    if isinstance(config, TimmWrapperConfig):
        row = config.pretrained_cfg
        _, height, width = row["input_size"]
        mean, std = tuple(row["mean"]), tuple(row["std"])
        return Preprocessing((height, width), float(row["crop_pct"]), row["interpolation"], mean, std)
    raise ValueError(
        f"no preprocessing is known for {type(model).__name__}: it is neither ours nor a wrapped one of timm"
    )


def image_processor(
    config: MetaFormerVisionConfig,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> PoolFormerImageProcessor:
    """Resize the short side to image_size / crop_pct (bicubic), crop the centre, normalise, for this configuration.

    Save it beside the model: `image_processor(model.config).save_pretrained(folder)`.
    """
    height, width = config.image_height_width
    return PoolFormerImageProcessor(
        size={"shortest_edge": height} if height == width else {"height": height, "width": width},
        crop_size={"height": height, "width": width},
        crop_pct=config.crop_pct,
        image_mean=list(mean),
        image_std=list(std),
        do_convert_rgb=True,
    )
