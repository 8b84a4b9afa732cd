"""The heads: what they read, and losses that are means over what counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from metaformer_nlp.text import (
    MetaFormerTextForMaskedLM,
    MetaFormerTextForMultipleChoice,
    MetaFormerTextForQuestionAnswering,
    MetaFormerTextForSequenceClassification,
    MetaFormerTextForTokenClassification,
)

MASK = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(5, 61, (2, 9))


def test_masked_lm_loss(ids: torch.Tensor, text_config: Any, perturb: Any) -> None:
    model = perturb(MetaFormerTextForMaskedLM(text_config()))
    labels = torch.full_like(ids, -100)
    labels[0, 2], labels[1, 4] = 7, 8
    output = model(ids, attention_mask=MASK, labels=labels)
    assert output.logits.shape == (2, 9, 61)
    expected = -(output.logits[0, 2].log_softmax(-1)[7] + output.logits[1, 4].log_softmax(-1)[8]) / 2
    torch.testing.assert_close(output.loss, expected)
    counted = model(ids, attention_mask=MASK, labels=labels, num_items_in_batch=torch.tensor(8))
    torch.testing.assert_close(counted.loss, expected / 4)
    # The head alone, on the chosen tokens alone.
    hidden = model.encoder(ids, attention_mask=MASK).last_hidden_state
    torch.testing.assert_close(model.lm_head(hidden[labels != -100]), output.logits[labels != -100])


def test_token_classification_loss(ids: torch.Tensor, text_config: Any) -> None:
    model = MetaFormerTextForTokenClassification(text_config(num_labels=3)).eval()
    labels = torch.where(MASK > 0, ids % 3, -100)
    output = model(ids, attention_mask=MASK, labels=labels)
    torch.testing.assert_close(output.loss, F.cross_entropy(output.logits[MASK > 0], labels[MASK > 0]))


def test_sequence_read_out_is_the_masked_mean(ids: torch.Tensor, text_config: Any, perturb: Any) -> None:
    model = perturb(MetaFormerTextForSequenceClassification(text_config(num_labels=3)))
    logits = model(ids, attention_mask=MASK).logits
    torch.testing.assert_close(logits[1:], model(ids[1:, :6]).logits, atol=1e-5, rtol=0)
    # One label a packed row: the mean over the tokens of all its documents.
    packed = model(ids[:1], segment_ids=torch.tensor([[1] * 3 + [2] * 4 + [0] * 2])).logits
    parts = [model.encoder(ids[:1, part]).last_hidden_state for part in (slice(0, 3), slice(3, 7))]
    torch.testing.assert_close(packed, model.classifier(torch.cat(parts, 1).mean(1)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("problem", "num_labels", "labels"),
    [
        (None, 3, torch.tensor([2, 0])),
        ("single_label_classification", 3, torch.tensor([2, -100])),
        (None, 1, torch.tensor([0.5, 3.0])),
        ("regression", 3, torch.randn(2, 3)),
        (None, 3, torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])),
    ],
)
def test_sequence_losses(
    problem: str | None, num_labels: int, labels: torch.Tensor, ids: torch.Tensor, text_config: Any
) -> None:
    config = text_config(num_labels=num_labels, problem_type=problem)
    model = MetaFormerTextForSequenceClassification(config).eval()
    output = model(ids, attention_mask=MASK, labels=labels)
    if not labels.is_floating_point():
        expected = F.cross_entropy(output.logits, labels)
    elif problem == "regression" or num_labels == 1:
        expected = F.mse_loss(output.logits.flatten(), labels.flatten())
    else:
        expected = F.binary_cross_entropy_with_logits(output.logits, labels)
    torch.testing.assert_close(output.loss, expected)
    assert config.problem_type == problem


def test_question_answering(ids: torch.Tensor, text_config: Any, perturb: Any) -> None:
    model = perturb(MetaFormerTextForQuestionAnswering(text_config()))
    output = model(ids, attention_mask=MASK, start_positions=torch.tensor([1, 2]), end_positions=torch.tensor([3, 99]))
    # Padding takes no probability, and an end outside the text does not count.
    alone = model(ids[1:, :6])
    torch.testing.assert_close(output.start_logits[1, :6].softmax(-1), alone.start_logits[0].softmax(-1))
    assert output.start_logits[1].softmax(-1)[6:].max() == 0
    start = -(output.start_logits[0].log_softmax(-1)[1] + alone.start_logits[0].log_softmax(-1)[2]) / 2
    torch.testing.assert_close(output.loss, (start - output.end_logits[0].log_softmax(-1)[3]) / 2)


def test_multiple_choice(text_config: Any, perturb: Any) -> None:
    model = perturb(MetaFormerTextForMultipleChoice(text_config()))
    ids = torch.randint(5, 61, (2, 3, 8))
    mask = torch.ones_like(ids)
    mask[:, 1, 5:] = 0
    output = model(ids, attention_mask=mask, labels=torch.tensor([2, 0]))
    assert output.logits.shape == (2, 3)
    torch.testing.assert_close(output.loss, F.cross_entropy(output.logits, torch.tensor([2, 0])))
    by_segments = model(ids, segment_ids=mask).logits
    by_embeds = model(inputs_embeds=model.encoder.embeddings.word_embeddings(ids), attention_mask=mask).logits
    assert torch.equal(by_segments, output.logits)
    assert torch.equal(by_embeds, output.logits)


@pytest.mark.parametrize(
    ("head", "labels"),
    [
        (MetaFormerTextForMaskedLM, {"labels": torch.full((2, 9), -100)}),
        (MetaFormerTextForTokenClassification, {"labels": torch.full((2, 9), -100)}),
        (MetaFormerTextForSequenceClassification, {"labels": torch.full((2,), -100)}),
        (
            MetaFormerTextForQuestionAnswering,
            {"start_positions": torch.tensor([9, -1]), "end_positions": torch.tensor([[9], [99]])},
        ),
    ],
)
def test_loss_without_labels_that_count_is_zero(
    head: Any, labels: dict[str, torch.Tensor], ids: torch.Tensor, text_config: Any
) -> None:
    model = head(text_config()).eval()
    output = model(ids, attention_mask=MASK * torch.tensor([[1], [0]]), **labels)
    assert output.loss == 0
    output.loss.backward()
    assert all(p.grad is None or (p.grad.isfinite().all() and p.grad.abs().max() == 0) for p in model.parameters())


def test_outputs_as_transformers_gives_them(ids: torch.Tensor, text_config: Any) -> None:
    model = MetaFormerTextForMaskedLM(text_config()).eval()
    output = model(ids, output_hidden_states=True)
    assert len(output.hidden_states) == 3
    assert torch.equal(output.hidden_states[0], model.encoder.embeddings(ids, None, torch.arange(9)[None], None))
    assert torch.equal(output.hidden_states[-1], model.encoder(ids).last_hidden_state)
    plain = model(ids, return_dict=False)
    assert isinstance(plain, tuple)
    assert torch.equal(plain[0], output.logits)


def test_a_configuration_that_asks_for_tuples_is_obeyed(ids: torch.Tensor, text_config: Any) -> None:
    config = text_config()
    config.return_dict = False
    outputs = MetaFormerTextForMaskedLM(config)(ids)
    assert isinstance(outputs, tuple)
    assert outputs[0].shape == (*ids.shape, config.vocab_size)


def test_a_misspelt_kind_of_problem_is_refused(ids: torch.Tensor, text_config: Any) -> None:
    model = MetaFormerTextForSequenceClassification(text_config(num_labels=1, problem_type="regresion"))
    with pytest.raises(ValueError, match="problem_type is 'regresion'; it is one of regression, single"):
        model(ids, labels=torch.zeros(len(ids)))
