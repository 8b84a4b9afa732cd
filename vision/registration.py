"""Registers the image models with the Auto classes of transformers, when it is imported: see :mod:`vision`."""

from transformers import (
    AutoBackbone,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForMaskedImageModeling,
)

from metaformer_nlp.hub.registration import register_models
from vision.configuration import MetaFormerVisionConfig
from vision.masked_image_modeling import MetaFormerVisionForMaskedImageModeling
from vision.modeling import (
    MetaFormerVisionBackbone,
    MetaFormerVisionForImageClassification,
    MetaFormerVisionModel,
)
from vision.processing import IMAGE_PROCESSORS

register_models(
    MetaFormerVisionConfig,
    {
        AutoModel: MetaFormerVisionModel,
        AutoModelForImageClassification: MetaFormerVisionForImageClassification,
        AutoModelForMaskedImageModeling: MetaFormerVisionForMaskedImageModeling,
        AutoBackbone: MetaFormerVisionBackbone,
    },
)
AutoImageProcessor.register(MetaFormerVisionConfig, image_processor_classes=IMAGE_PROCESSORS)
