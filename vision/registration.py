"""Registers the image models with the Auto classes of transformers, when it is imported: see :mod:`vision`."""

from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForMaskedImageModeling,
)
from transformers.pipelines import SUPPORTED_TASKS

from vision.configuration import MetaFormerVisionConfig
from vision.masked_image_modeling import MetaFormerVisionForMaskedImageModeling
from vision.modeling import (
    MetaFormerVisionBackbone,
    MetaFormerVisionForImageClassification,
    MetaFormerVisionModel,
)
from vision.pipelines import PIPELINES
from vision.processing import IMAGE_PROCESSORS

__all__ = ["AUTO_CLASSES"]

AUTO_CLASSES: dict[type, type] = {
    AutoModel: MetaFormerVisionModel,
    AutoModelForImageClassification: MetaFormerVisionForImageClassification,
    AutoModelForMaskedImageModeling: MetaFormerVisionForMaskedImageModeling,
    AutoBackbone: MetaFormerVisionBackbone,
}
AutoConfig.register(MetaFormerVisionConfig.model_type, MetaFormerVisionConfig)
for auto_class, model_class in AUTO_CLASSES.items():
    auto_class.register(MetaFormerVisionConfig, model_class)  # type: ignore[attr-defined]
AutoImageProcessor.register(MetaFormerVisionConfig, image_processor_classes=IMAGE_PROCESSORS)
for task, pipeline_class in PIPELINES.items():
    SUPPORTED_TASKS[task]["impl"] = pipeline_class  # type: ignore[index]
MetaFormerVisionConfig.register_code({auto_class.__name__: model for auto_class, model in AUTO_CLASSES.items()})
