"""Registers the image models with the Auto classes of transformers, when it is imported: see :mod:`vision`."""

from transformers import (
    AutoBackbone,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForMaskedImageModeling,
)
from transformers.pipelines import SUPPORTED_TASKS

from metaformer_nlp.hub.registration import register_models
from vision.configuration import MetaFormerVisionConfig
from vision.masked_image_modeling import MetaFormerVisionForMaskedImageModeling
from vision.modeling import (
    MetaFormerVisionBackbone,
    MetaFormerVisionForImageClassification,
    MetaFormerVisionModel,
)
from vision.pipelines import PIPELINES
from vision.processing import IMAGE_PROCESSORS

AUTO_CLASSES = {
    AutoModel: MetaFormerVisionModel,
    AutoModelForImageClassification: MetaFormerVisionForImageClassification,
    AutoModelForMaskedImageModeling: MetaFormerVisionForMaskedImageModeling,
    AutoBackbone: MetaFormerVisionBackbone,
}
register_models(MetaFormerVisionConfig, AUTO_CLASSES)
AutoImageProcessor.register(MetaFormerVisionConfig, image_processor_classes=IMAGE_PROCESSORS)
for task, pipeline_class in PIPELINES.items():
    SUPPORTED_TASKS[task]["impl"] = pipeline_class  # type: ignore[index]
