"""Detectors and segmenters over a MetaFormer: RetinaNet, Mask R-CNN and Semantic FPN."""

from typing import TYPE_CHECKING

from metaformer_nlp.startup import lazy_names

if TYPE_CHECKING:
    from vision.dense.checkpoints import load_checkpoint, load_dense_model, load_published, load_trunk
    from vision.dense.configuration import MetaFormerVisionDetectionConfig, MetaFormerVisionSegmentationConfig
    from vision.dense.detection import MetaFormerVisionForObjectDetection, create_detector
    from vision.dense.segmentation import (
        MetaFormerVisionForSemanticSegmentation,
        create_segmenter,
        label_map,
        pixel_losses,
    )
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "MetaFormerVisionDetectionConfig",
    "MetaFormerVisionForObjectDetection",
    "MetaFormerVisionForSemanticSegmentation",
    "MetaFormerVisionSegmentationConfig",
    "create_detector",
    "create_segmenter",
    "label_map",
    "load_checkpoint",
    "load_dense_model",
    "load_published",
    "load_trunk",
    "pixel_losses",
]
