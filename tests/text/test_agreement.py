"""One text, many ways to hand it over: padding, batches, embeddings, precision, files; the outputs are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metaformer_nlp import text
from tests.loaded import assert_close_outputs, assert_same_weights
from tests.mixers import TEXT_MIXERS, mixer_id

HEADS = ["MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice"]
MODELS = ["Model", *(f"For{head}" for head in HEADS)]


def rows(model: str) -> dict[str, Tensor]:
    """A text of 9 tokens and one of 6; for multiple choice, two choices each."""
    mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
    if model == "ForMultipleChoice":
        mask = torch.stack([mask, mask.flip(0)], dim=1)
    return {"input_ids": torch.randint(5, 61, mask.shape) * mask, "attention_mask": mask}


def labels(model: str, ids: Tensor) -> dict[str, Tensor]:
    if model == "Model":
        return {}
    if model == "ForQuestionAnswering":
        return {"start_positions": torch.tensor([1, 2]), "end_positions": torch.tensor([3, 2])}
    return {"labels": ids % 3 if model in ("ForMaskedLM", "ForTokenClassification") else torch.tensor([1, 0])}


@pytest.fixture(params=MODELS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[True, False], ids=["positions", "none"])
def model(kind: str, text_config: Any, perturb: Any, request: pytest.FixtureRequest) -> Any:
    mixers = ["pooling", "attention"] if request.param else ["shift", "pooling"]
    config = text_config(token_mixer=mixers, position_embedding=request.param, num_labels=3)
    return perturb(getattr(text, f"MetaFormerText{kind}")(config))


@torch.no_grad()
@pytest.mark.parametrize("mixer", TEXT_MIXERS, ids=mixer_id)
def test_batches_and_either_padding(mixer: Any, text_config: Any, perturb: Any) -> None:
    """A text alone, beside a longer one, and padded on the left: its real tokens are the same."""
    encoder = perturb(text.MetaFormerTextModel(text_config(token_mixer=mixer)))
    short, long = torch.randint(5, 61, (1, 6)), torch.randint(5, 61, (1, 9))
    mask = torch.tensor([[1] * 6 + [0] * 3, [1] * 9])
    padding = torch.zeros(1, 3, dtype=torch.long)
    right = torch.cat([torch.cat([short, padding], dim=1), long])
    left = torch.cat([torch.cat([padding, short], dim=1), long])
    expected = encoder(short).last_hidden_state
    after = encoder(right, attention_mask=mask).last_hidden_state
    before = encoder(left, attention_mask=mask.flip(1)).last_hidden_state
    torch.testing.assert_close(after[:1, :6], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(before[:1, 3:], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after[1:], encoder(long).last_hidden_state, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(before[1:], after[1:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mixer", TEXT_MIXERS, ids=mixer_id)
def test_loading_in_half_precision(
    mixer: Any, dtype: torch.dtype, text_config: Any, perturb: Any, tmp_path: Path
) -> None:
    encoder = perturb(text.MetaFormerTextModel(text_config(token_mixer=mixer)))
    encoder.save_pretrained(tmp_path)
    half = text.MetaFormerTextModel.from_pretrained(tmp_path, dtype=dtype)
    assert {tensor.dtype for tensor in half.parameters()} == {dtype}
    inputs = rows("Model")
    real = inputs["attention_mask"].bool()
    given, expected = (each(**inputs).last_hidden_state[real] for each in (half, encoder))
    assert given.dtype == dtype
    assert (given.float() - expected).abs().max() < (0.02 if dtype == torch.float16 else 0.2)


@torch.no_grad()
def test_embeddings_in_place_of_ids(kind: str, model: Any) -> None:
    """Also where there is padding, as the test suite of transformers wants it."""
    inputs = rows(kind)
    expected = model(**inputs)
    embeddings = model.get_input_embeddings()(inputs.pop("input_ids"))
    given = model(inputs_embeds=embeddings, **inputs)
    for name in expected:
        assert torch.equal(given[name], expected[name]), name


@torch.no_grad()
def test_tuples_hold_what_the_named_outputs_hold(kind: str, model: Any) -> None:
    """The loss where there is one, and the hidden states (B or B * N, L, C) of the embeddings and all layers."""
    inputs = rows(kind)
    inputs |= labels(kind, inputs["input_ids"])
    named = model(**inputs, output_hidden_states=True)
    plain = model(**inputs, output_hidden_states=True, return_dict=False)
    assert isinstance(plain, tuple)
    assert len(plain) == len(named.to_tuple())
    assert list(named)[-1] == "hidden_states"
    assert ("loss" in named) == (kind != "Model")
    for given, expected in zip(plain[:-1], named.to_tuple()[:-1], strict=True):
        assert torch.equal(given, expected)
    texts = inputs["input_ids"].flatten(0, -2)
    assert [tuple(state.shape) for state in named.hidden_states] == [(*texts.shape, 32)] * 3
    for given, expected in zip(plain[-1], named.hidden_states, strict=True):
        assert torch.equal(given, expected)


@torch.no_grad()
def test_saved_and_loaded(kind: str, model: Any, tmp_path: Path) -> None:
    inputs = rows(kind)
    expected = model(**inputs)
    model.save_pretrained(tmp_path)
    torch.manual_seed(1)
    again = type(model).from_pretrained(tmp_path)
    assert_same_weights(again.state_dict(), model.state_dict())
    assert_close_outputs(again(**inputs), expected)


@pytest.mark.parametrize("mixer", TEXT_MIXERS, ids=mixer_id)
def test_checkpointed_gradients_of_packed_rows(mixer: Any, text_config: Any, perturb: Any) -> None:
    model: nn.Module = perturb(
        text.MetaFormerTextForMaskedLM(text_config(token_mixer=mixer, hidden_dropout_prob=0.0))
    ).train()
    ids, documents = torch.randint(5, 61, (2, 9)), torch.tensor([[1] * 4 + [2] * 5, [1] * 3 + [2] * 3 + [0] * 3])
    gradients = []
    for on in (False, True):
        if on:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        model(ids, segment_ids=documents, labels=ids).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_resizing_there_and_back_keeps_the_tie(text_config: Any) -> None:
    model = text.MetaFormerTextForMaskedLM(text_config()).eval()
    words = model.get_input_embeddings().weight.detach().clone()
    for size in (70, 61, 40, 61):
        model.resize_token_embeddings(size, mean_resizing=False)
        embeddings = model.get_input_embeddings()
        assert model.get_output_embeddings().weight is embeddings.weight
        assert (model.config.vocab_size, tuple(embeddings.weight.shape)) == (size, (size, 32))
        assert torch.equal(embeddings.weight[:40], words[:40])
