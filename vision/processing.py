"""The image processor that a saved model carries, so that `pipeline("image-classification")` sees what training saw."""

from collections.abc import Sequence

from transformers.models.poolformer.image_processing_pil_poolformer import PoolFormerImageProcessorPil
from transformers.models.poolformer.image_processing_poolformer import PoolFormerImageProcessor

from vision.configuration import MetaFormerVisionConfig

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGE_PROCESSORS: dict[str, type] = {"torchvision": PoolFormerImageProcessor, "pil": PoolFormerImageProcessorPil}
"""transformers' own processors for PoolFormer: they alone know `crop_pct`."""


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
