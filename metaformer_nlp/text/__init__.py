"""Text: the MetaFormer encoder and its heads as Hugging Face classes, its tokenizer, and masking."""

from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from metaformer_nlp.hub.registration import register_models
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

register_models(
    MetaFormerTextConfig,
    {
        AutoModel: MetaFormerTextModel,
        AutoModelForPreTraining: MetaFormerTextForMaskedLM,
        AutoModelForMaskedLM: MetaFormerTextForMaskedLM,
        AutoModelForSequenceClassification: MetaFormerTextForSequenceClassification,
        AutoModelForTokenClassification: MetaFormerTextForTokenClassification,
        AutoModelForQuestionAnswering: MetaFormerTextForQuestionAnswering,
        AutoModelForMultipleChoice: MetaFormerTextForMultipleChoice,
    },
)
