"""MetaFormers for images.

Importing this package registers them with the Auto classes of transformers and with timm, as soon as these are imported
and not before.
"""

from typing import TYPE_CHECKING

from metaformer_nlp.startup import import_after, lazy_names

if TYPE_CHECKING:
    from vision.configuration import MetaFormerVisionConfig
    from vision.cost import macs
    from vision.loading import load_model
    from vision.masked_image_modeling import MetaFormerVisionForMaskedImageModeling
    from vision.modeling import (
        MetaFormerVisionBackbone,
        MetaFormerVisionForImageClassification,
        MetaFormerVisionModel,
    )
    from vision.processing import Preprocessing, image_processor, preprocessing
    from vision.timm_models import ENTRIES as TIMM_ENTRIES
    from vision.variants import VARIANTS, ImageClassifier, create_config, create_model
    from vision.weights import convert_state_dict, load_weights, read_state_dict
else:
    __getattr__, __dir__ = lazy_names(__name__)

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

# Whoever makes a configuration may save it, with the code that its registration names.
import_after(["transformers.models.auto.configuration_auto", "vision.configuration"], "vision.registration")
import_after(["transformers.models.auto.configuration_auto", "vision.dense.configuration"], "vision.dense.registration")
import_after(["timm.models"], "vision.timm_models")
