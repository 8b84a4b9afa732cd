"""Registers the dense models with the Auto classes of transformers, when it is imported: see :mod:`vision`.

A detector takes lists of images and gives lists of detections, which transformers' own do not: it opens through
`AutoConfig` and `load_dense_model` alone.
"""

from transformers import AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation

from vision.dense.configuration import MetaFormerVisionDetectionConfig, MetaFormerVisionSegmentationConfig
from vision.dense.processing import IMAGE_PROCESSORS
from vision.dense.segmentation import MetaFormerVisionForSemanticSegmentation

for config_class in (MetaFormerVisionDetectionConfig, MetaFormerVisionSegmentationConfig):
    AutoConfig.register(config_class.model_type, config_class)
AutoModelForSemanticSegmentation.register(MetaFormerVisionSegmentationConfig, MetaFormerVisionForSemanticSegmentation)
AutoImageProcessor.register(MetaFormerVisionSegmentationConfig, image_processor_classes=IMAGE_PROCESSORS)
