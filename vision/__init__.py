"""MetaFormers for images. Importing this package registers them with the Auto classes of transformers."""

from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForMaskedImageModeling,
)

from vision.configuration import MetaFormerVisionConfig
from vision.cost import macs
from vision.loading import load_model
from vision.masked_image_modeling import MetaFormerVisionForMaskedImageModeling
from vision.modeling import (
    MetaFormerVisionBackbone,
    MetaFormerVisionForImageClassification,
    MetaFormerVisionModel,
)
from vision.processing import IMAGE_PROCESSORS, Preprocessing, image_processor, preprocessing
from vision.timm_models import ENTRIES as TIMM_ENTRIES
from vision.variants import VARIANTS, ImageClassifier, create_config, create_model
from vision.weights import convert_state_dict, load_weights, read_state_dict

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
MetaFormerVisionConfig.register_code({auto_class.__name__: model for auto_class, model in AUTO_CLASSES.items()})

__all__ = [
    "TIMM_ENTRIES",
    "VARIANTS",
    "ImageClassifier",
    "MetaFormerVisionBackbone",
    "MetaFormerVisionConfig",
    "MetaFormerVisionForImageClassification",
    "MetaFormerVisionForMaskedImageModeling",
    "MetaFormerVisionModel",
    "Preprocessing",
    "convert_state_dict",
    "create_config",
    "create_model",
    "image_processor",
    "load_model",
    "load_weights",
    "macs",
    "preprocessing",
    "read_state_dict",
]
