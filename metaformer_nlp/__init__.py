"""Is a Transformer strong because of its architecture or its token mixer? One MetaFormer core, in images and in text.

Importing this package registers the text model with transformers' Auto classes, as soon as these are imported and not
before. `metaformer_nlp.core` needs torch only: where transformers is not installed, it is all there is.
"""

from typing import TYPE_CHECKING

from metaformer_nlp.startup import import_after, lazy_names

if TYPE_CHECKING:
    from metaformer_nlp.text import (
        MetaFormerTextConfig,
        MetaFormerTextForMaskedLM,
        MetaFormerTextForMultipleChoice,
        MetaFormerTextForQuestionAnswering,
        MetaFormerTextForSequenceClassification,
        MetaFormerTextForTokenClassification,
        MetaFormerTextModel,
        MetaFormerTextPreTrainedModel,
    )
else:
    __getattr__, __dir__ = lazy_names(__name__)

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

import_after(["transformers.models.auto.configuration_auto"], "metaformer_nlp.text")
