"""Text: the MetaFormer encoder and its heads as Hugging Face classes, its tokenizer, and masking."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from metaformer_nlp.text.configuration import MetaFormerTextConfig
from metaformer_nlp.text.heads import (
    MetaFormerTextForMaskedLM,
    MetaFormerTextForMultipleChoice,
    MetaFormerTextForQuestionAnswering,
    MetaFormerTextForSequenceClassification,
    MetaFormerTextForTokenClassification,
)
from metaformer_nlp.text.modeling import MetaFormerTextModel, MetaFormerTextPreTrainedModel

__all__ = [
    "MetaFormerTextConfig",
    "MetaFormerTextForMaskedLM",
    "MetaFormerTextForMultipleChoice",
    "MetaFormerTextForQuestionAnswering",
    "MetaFormerTextForSequenceClassification",
    "MetaFormerTextForTokenClassification",
    "MetaFormerTextModel",
    "MetaFormerTextPreTrainedModel",
]

AUTO_CLASSES: dict[type, type] = {
    AutoModel: MetaFormerTextModel,
    AutoModelForPreTraining: MetaFormerTextForMaskedLM,
    AutoModelForMaskedLM: MetaFormerTextForMaskedLM,
    AutoModelForSequenceClassification: MetaFormerTextForSequenceClassification,
    AutoModelForTokenClassification: MetaFormerTextForTokenClassification,
    AutoModelForQuestionAnswering: MetaFormerTextForQuestionAnswering,
    AutoModelForMultipleChoice: MetaFormerTextForMultipleChoice,
}
AutoConfig.register(MetaFormerTextConfig.model_type, MetaFormerTextConfig)
for auto_class, model_class in AUTO_CLASSES.items():
    auto_class.register(MetaFormerTextConfig, model_class)  # type: ignore[attr-defined]
MetaFormerTextConfig.register_code({auto_class.__name__: model for auto_class, model in AUTO_CLASSES.items()})
