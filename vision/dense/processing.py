"""The image processor that a saved segmenter carries; a detector prepares its images by itself."""

from pathlib import Path

from transformers.models.dpt.image_processing_dpt import DPTImageProcessor
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

from vision.dense.configuration import MetaFormerVisionSegmentationConfig

IMAGE_PROCESSORS: dict[str, type] = {"torchvision": DPTImageProcessor, "pil": DPTImageProcessorPil}
"""transformers' own that keep an image's shape, make sides multiples of 32, and read label maps off the logits."""


def segmentation_processor(config: MetaFormerVisionSegmentationConfig, short_side: int = 512) -> DPTImageProcessor:
    """Resize to about `short_side` pixels with sides that are multiples of 32 (bilinear), and normalise.

    Save it beside the model: `segmentation_processor(model.config).save_pretrained(folder)`. Its sides are rounded to
    the nearest multiple; the papers' evaluation takes the next one above.
    """
    return DPTImageProcessor(
        size={"height": short_side, "width": short_side},
        keep_aspect_ratio=True,
        ensure_multiple_of=32,
        resample=2,
        image_mean=list(config.image_mean),
        image_std=list(config.image_std),
    )


def short_side(folder: str | Path) -> int:
    """What `segmentation_processor` was saved with in a model's folder; 512 where it was not."""
    try:
        return int(DPTImageProcessor.from_pretrained(folder).size["height"])
    except OSError:
        return 512
