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

AutoConfig.register(MetaFormerTextConfig.model_type, MetaFormerTextConfig)
AutoModel.register(MetaFormerTextConfig, MetaFormerTextModel)
AutoModelForPreTraining.register(MetaFormerTextConfig, MetaFormerTextForMaskedLM)
AutoModelForMaskedLM.register(MetaFormerTextConfig, MetaFormerTextForMaskedLM)
AutoModelForSequenceClassification.register(MetaFormerTextConfig, MetaFormerTextForSequenceClassification)
AutoModelForTokenClassification.register(MetaFormerTextConfig, MetaFormerTextForTokenClassification)
AutoModelForQuestionAnswering.register(MetaFormerTextConfig, MetaFormerTextForQuestionAnswering)
AutoModelForMultipleChoice.register(MetaFormerTextConfig, MetaFormerTextForMultipleChoice)
