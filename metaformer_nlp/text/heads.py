"""The text encoder's heads: masked language model, classification of texts and of tokens, spans, multiple choice.

Shapes: B batch, N choices, L tokens, C channels, K labels, V vocabulary.

Every head takes the encoder's arguments (see `MetaFormerTextModel.forward`) and labels. A loss is a mean over the
labels that count; where none does it is 0, not NaN. `num_items_in_batch` replaces the number the sum is divided by.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import (
    MaskedLMOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from metaformer_nlp.core import build_activation
from metaformer_nlp.core.dropout import Dropout
from metaformer_nlp.core.linear import Linear
from metaformer_nlp.text.configuration import MetaFormerTextConfig
from metaformer_nlp.text.modeling import (
    MetaFormerTextModel,
    MetaFormerTextPreTrainedModel,
    masked_mean,
    merge_masks,
)

#: Label that a loss does not count.
IGNORE = -100
PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")
# Logit of a span that begins or ends in padding: no probability is left of it, and half precision can hold it.
IMPOSSIBLE = -1e4


class MetaFormerTextLMHead(nn.Module):
    """(..., C) -> (..., V): a transform of the token and a decoder that shares the embedding's weight."""

    def __init__(self, config: MetaFormerTextConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.act = build_activation(config.hidden_act, overwrite=True)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = Linear(config.hidden_size, config.vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.norm(self.act(self.dense(x))))


class MetaFormerTextForMaskedLM(MetaFormerTextPreTrainedModel):
    """Masked language model. `lm_head` may also be called on chosen tokens only, as training does."""

    _tied_weights_keys = {  # noqa: RUF012
        "lm_head.decoder.weight": "encoder.embeddings.word_embeddings.weight"
    }

    def __init__(self, config: MetaFormerTextConfig) -> None:
        super().__init__(config)
        self.encoder = MetaFormerTextModel(config)
        self.lm_head = MetaFormerTextLMHead(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head.decoder

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.lm_head.decoder = value

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        segment_ids: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """(B, L) -> logits (B, L, V); labels (B, L) are token ids, -100 where nothing is to be predicted."""
        outputs = self.encoder(
            input_ids,
            return_dict=True,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            segment_ids=segment_ids,
            **kwargs,
        )
        logits = self.lm_head(outputs.last_hidden_state)
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits,
                labels,
                vocab_size=self.config.vocab_size,
                num_items_in_batch=_number_of(labels, num_items_in_batch),
            )
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class MetaFormerTextForSequenceClassification(MetaFormerTextPreTrainedModel):
    """One label a row, read from the mean over its tokens.

    A packed row has one label too: the mean goes over the tokens of all its documents.
    """

    def __init__(self, config: MetaFormerTextConfig) -> None:
        super().__init__(config)
        self.num_labels = len(config.id2label or ())
        self.encoder = MetaFormerTextModel(config)
        self.dropout = _classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        segment_ids: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """(B, L) -> logits (B, K).

        Labels are classes (B,) with -100 for none, numbers (B,) or (B, K) for regression, or 0/1 (B, K) where several
        labels may hold; `config.problem_type` decides, or else K = 1 means regression and whole numbers mean classes.
        """
        outputs = self.encoder(
            input_ids,
            return_dict=True,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            segment_ids=segment_ids,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        segments = merge_masks(attention_mask, segment_ids, tuple(hidden.shape[:2]))
        logits = self.classifier(self.dropout(masked_mean(hidden, segments)))
        loss = None
        if labels is not None:
            loss = _sequence_loss(logits, labels, self.config.problem_type, num_items_in_batch)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class MetaFormerTextForTokenClassification(MetaFormerTextPreTrainedModel):
    """One label a token."""

    def __init__(self, config: MetaFormerTextConfig) -> None:
        super().__init__(config)
        self.num_labels = len(config.id2label or ())
        self.encoder = MetaFormerTextModel(config)
        self.dropout = _classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        segment_ids: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        """(B, L) -> logits (B, L, K); labels (B, L) are classes, -100 where there is none."""
        outputs = self.encoder(
            input_ids,
            return_dict=True,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            segment_ids=segment_ids,
            **kwargs,
        )
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        loss = None
        if labels is not None:
            number = _number_of(labels, num_items_in_batch)
            loss = self.loss_function(logits, labels, self.config, num_items_in_batch=number)
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class MetaFormerTextForQuestionAnswering(MetaFormerTextPreTrainedModel):
    """Where an answer begins and ends in the text; padding can be neither."""

    def __init__(self, config: MetaFormerTextConfig) -> None:
        super().__init__(config)
        self.encoder = MetaFormerTextModel(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        segment_ids: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> QuestionAnsweringModelOutput:
        """(B, L) -> start and end logits (B, L); positions (B,) outside 0 .. L - 1 do not count."""
        outputs = self.encoder(
            input_ids,
            return_dict=True,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            segment_ids=segment_ids,
            **kwargs,
        )
        logits = self.qa_outputs(outputs.last_hidden_state)
        segments = merge_masks(attention_mask, segment_ids, tuple(logits.shape[:2]))
        if segments is not None:
            logits = logits.masked_fill((segments == 0)[:, :, None], IMPOSSIBLE)
        start_logits, end_logits = (part.contiguous() for part in logits.unbind(dim=-1))
        loss = None
        if start_positions is not None and end_positions is not None:
            losses = [
                _cross_entropy(part, _within(positions, part.shape[1]), num_items_in_batch)
                for part, positions in ((start_logits, start_positions), (end_logits, end_positions))
            ]
            loss = (losses[0] + losses[1]) / 2
        return QuestionAnsweringModelOutput(
            loss=loss, start_logits=start_logits, end_logits=end_logits, hidden_states=outputs.hidden_states
        )


class MetaFormerTextForMultipleChoice(MetaFormerTextPreTrainedModel):
    """One of N texts a sample: each is encoded by itself and gets one logit from the mean over its tokens."""

    def __init__(self, config: MetaFormerTextConfig) -> None:
        super().__init__(config)
        self.encoder = MetaFormerTextModel(config)
        self.dropout = _classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        segment_ids: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> MultipleChoiceModelOutput:
        """(B, N, L) -> logits (B, N); labels (B,) are the number of the right choice, -100 for none."""
        given = input_ids if input_ids is not None else inputs_embeds
        if given is None:
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        masks = [_flat(attention_mask), _flat(segment_ids)]
        outputs = self.encoder(
            _flat(input_ids),
            return_dict=True,
            attention_mask=masks[0],
            token_type_ids=_flat(token_type_ids),
            position_ids=_flat(position_ids),
            inputs_embeds=_flat(inputs_embeds),
            segment_ids=masks[1],
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        segments = merge_masks(masks[0], masks[1], tuple(hidden.shape[:2]))
        logits = self.classifier(self.dropout(masked_mean(hidden, segments))).view(given.shape[:2])
        loss = None if labels is None else _cross_entropy(logits, labels, num_items_in_batch)
        return MultipleChoiceModelOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


def _classifier_dropout(config: MetaFormerTextConfig) -> nn.Dropout:
    rate = config.classifier_dropout
    return Dropout(config.hidden_dropout_prob if rate is None else rate)


def _flat(x: Tensor | None) -> Tensor | None:
    """(B, N, ...) -> (B * N, ...)."""
    return None if x is None else x.flatten(0, 1)


def _within(positions: Tensor, length: int) -> Tensor:
    """Positions (B,) or (B, 1) -> (B,), `IGNORE` where they lie outside the text."""
    positions = positions.reshape(-1)
    return torch.where((positions >= 0) & (positions < length), positions, IGNORE)


def _number_of(labels: Tensor, num_items: Tensor | int | None) -> Tensor | int:
    """What the sum of losses is divided by: the caller's number, or that of the labels that count (at least 1)."""
    return (labels != IGNORE).sum().clamp(min=1) if num_items is None else num_items


def _cross_entropy(logits: Tensor, labels: Tensor, num_items: Tensor | int | None) -> Tensor:
    """(B, K), (B,) -> (): in float32."""
    labels = labels.reshape(-1).to(logits.device)
    total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")
    return total / _number_of(labels, num_items)


def _sequence_loss(logits: Tensor, labels: Tensor, problem: str | None, num_items: Tensor | int | None) -> Tensor:
    """Loss of logits (B, K) by the kind of the problem; the kind is guessed anew each time, never written down."""
    labels = labels.to(logits.device)
    if problem is None:
        if logits.shape[-1] == 1:
            problem = "regression"
        else:
            problem = "multi_label_classification" if labels.is_floating_point() else "single_label_classification"
    if problem == "single_label_classification":
        return _cross_entropy(logits, labels, num_items)
    logits, targets = logits.float().flatten(), labels.float().flatten()
    if logits.shape != targets.shape:
        raise ValueError(f"{problem} with {len(logits)} logits and {len(targets)} labels; there must be one for each")
    if problem not in PROBLEMS:
        raise ValueError(f"problem_type is {problem!r}; it is one of {', '.join(PROBLEMS)}, or None")
    if problem == "regression":
        total = F.mse_loss(logits, targets, reduction="sum")
    else:
        total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    return total / (len(targets) if num_items is None else num_items)
