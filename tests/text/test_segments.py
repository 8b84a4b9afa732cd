"""Padding, batch mates and packed neighbours must not reach a token, whatever the mixer and the norm."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from metaformer_nlp.core import MIXERS, NORMS
from metaformer_nlp.text import MetaFormerTextModel, modeling
from tests.mixers import TEXT_MIXERS, knows_order, mixer_id, mixer_of

TOLERANCE = 1e-5
LENGTHS = (9, 5, 7)


@pytest.fixture(params=[*TEXT_MIXERS, ["pooling", "attention"]], ids=mixer_id)
def model(request: pytest.FixtureRequest, text_config: Any, perturb: Any) -> MetaFormerTextModel:
    return perturb(MetaFormerTextModel(text_config(token_mixer=request.param)))


@pytest.fixture
def documents() -> list[Tensor]:
    return [torch.randint(5, 61, (length,)) for length in LENGTHS]


def alone(model: MetaFormerTextModel, document: Tensor) -> Tensor:
    """(L,) -> (L, C): the document by itself, without any mask."""
    return model(document[None]).last_hidden_state[0]


def check_invariance(model: MetaFormerTextModel, documents: list[Tensor]) -> None:
    expected = [alone(model, document) for document in documents]
    assert 0.1 < expected[0].std() < 10

    # Padded on either side, beside batch mates; what stands in the padding does not matter.
    for side in ("right", "left"):
        ids, mask = torch.randint(5, 61, (3, 14)), torch.zeros(3, 14, dtype=torch.long)
        for row, document in enumerate(documents):
            place = slice(0, len(document)) if side == "right" else slice(14 - len(document), 14)
            ids[row, place], mask[row, place] = document, 1
        output = model(ids, attention_mask=mask).last_hidden_state
        for row, value in enumerate(expected):
            assert (output[row][mask[row] > 0] - value).abs().max() < TOLERANCE, f"padding on the {side}"

    # Packed into one row, with padding before, between and after.
    ids, segments = torch.randint(5, 61, (2, 24)), torch.zeros(2, 24, dtype=torch.long)
    for start, number, document in zip((0, 10, 16), (2, 1, 5), documents, strict=True):
        ids[1, start : start + len(document)] = document
        segments[1, start : start + len(document)] = number
    segments[0] = 1
    output = model(ids, segment_ids=segments).last_hidden_state[1]
    for number, value in zip((2, 1, 5), expected, strict=True):
        assert (output[segments[1] == number] - value).abs().max() < TOLERANCE, f"packed as segment {number}"


def test_other_tokens_do_not_change_a_token(model: MetaFormerTextModel, documents: list[Tensor]) -> None:
    with torch.no_grad():
        check_invariance(model, documents)


def test_mixing_is_visible(model: MetaFormerTextModel, documents: list[Tensor]) -> None:
    """Else the tests of this file would pass for a model that mixes nothing; identity is the one that must."""
    changed = documents[0].clone()
    changed[4] = 3
    with torch.no_grad():
        difference = (alone(model, documents[0]) - alone(model, changed)).abs().amax(-1)
    others = torch.cat([difference[:4], difference[5:]])
    assert difference[4] > 0.05
    if model.config.token_mixer == "identity":
        assert others.max() == 0
    else:
        assert others.max() > 0.01


@pytest.mark.parametrize("norm", NORMS)
def test_no_norm_leaks(norm: str, text_config: Any, perturb: Any, documents: list[Tensor]) -> None:
    model = perturb(MetaFormerTextModel(text_config(norm=norm, token_mixer=["pooling", "attention"])))
    with torch.no_grad():
        check_invariance(model, documents)


def test_no_gradient_reaches_padding_or_neighbours(model: MetaFormerTextModel) -> None:
    embeds = torch.randn(2, 12, 32, requires_grad=True)
    segments = torch.tensor([[1] * 5 + [2] * 4 + [0] * 3, [0] * 2 + [1] * 10])
    output = model(inputs_embeds=embeds, segment_ids=segments).last_hidden_state
    first = torch.zeros(2, 12, dtype=torch.bool)
    first[0, :5] = True
    (gradient,) = torch.autograd.grad(output[first].square().sum(), embeds, retain_graph=True)
    assert gradient[first].abs().min() > 0
    assert gradient[~first].abs().max() == 0
    (gradient,) = torch.autograd.grad(output[segments > 0].square().sum(), embeds)
    assert gradient[segments == 0].abs().max() == 0
    assert gradient.isfinite().all()


def test_row_of_padding_is_finite(model: MetaFormerTextModel) -> None:
    ids, mask = torch.randint(5, 61, (2, 8)), torch.tensor([[1] * 8, [0] * 8])
    output = model(ids, attention_mask=mask).last_hidden_state
    assert output.isfinite().all()
    output.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_what_stands_in_padding_is_never_seen(model: MetaFormerTextModel) -> None:
    """Not even what is no number or overflows."""
    embeds, mask = torch.randn(2, 8, 32), torch.tensor([[1] * 5 + [0] * 3, [0] * 2 + [1] * 6])
    expected = model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state[mask > 0]
    embeds[mask == 0] = float("nan")
    embeds[0, -1] = 3e38
    for masks in ({"attention_mask": mask}, {"segment_ids": mask * 3}):
        output = model(inputs_embeds=embeds, **masks).last_hidden_state[mask > 0]
        torch.testing.assert_close(output, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "spec", [spec for spec in TEXT_MIXERS if MIXERS[mixer_of(spec)].excludes_sources], ids=mixer_id
)
@pytest.mark.parametrize("packed", [True, False])
def test_an_unmixed_token_gives_nothing(spec: Any, packed: bool, text_config: Any, perturb: Any) -> None:
    """Another embedding of it changes nothing elsewhere; where it stands it still tells of the others."""
    model = perturb(MetaFormerTextModel(text_config(token_mixer=spec, unmixed_token_id=4)))
    ids = torch.randint(5, 61, (2, 12))
    ids[0, [2, 3, 7]] = ids[1, 4:] = 4
    segments = torch.tensor([[1] * 5 + [2] * 7, [1] * 4 + [2] * 8]) if packed else None
    with torch.no_grad():
        before = model(ids, segment_ids=segments).last_hidden_state
        other = ids.clone()
        other[0, 1] = 5 + (other[0, 1] - 4) % 56
        moved = model(other, segment_ids=segments).last_hidden_state[0, 2]
        model.embeddings.word_embeddings.weight[4].normal_()
        after = model(ids, segment_ids=segments).last_hidden_state
    assert after.isfinite().all()
    assert torch.equal(before[ids != 4], after[ids != 4])
    assert (before[ids == 4] - after[ids == 4]).abs().max() > 0.01
    assert ((moved - before[0, 2]).abs().max() > 0.01) == (spec != "identity")


def test_positions_count_inside_the_document(text_config: Any, perturb: Any) -> None:
    model = perturb(MetaFormerTextModel(text_config()))
    ids = torch.full((1, 6), 7)
    output = model(ids, segment_ids=torch.tensor([[1, 1, 1, 2, 2, 2]])).last_hidden_state[0]
    assert (output[:3] - output[3:]).abs().max() < TOLERANCE
    assert (output[0] - output[1]).abs().max() > 0.1
    shifted = model(ids, position_ids=torch.arange(6)[None] + 3).last_hidden_state[0]
    assert (shifted - model(ids).last_hidden_state[0]).abs().max() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("mixer", [*TEXT_MIXERS, {"name": "pooling", "pool_size": [7, "global"]}], ids=mixer_id)
def test_without_positions_the_mixer_alone_knows_the_direction(
    mixer: Any, positions: bool, text_config: Any, perturb: Any
) -> None:
    model = perturb(MetaFormerTextModel(text_config(token_mixer=mixer, position_embedding=positions)))
    ids, segments = torch.randint(5, 61, (1, 9)), torch.tensor([[1] * 4 + [2] * 5])
    there = model(ids, segment_ids=segments).last_hidden_state
    back = model(ids.flip(1), segment_ids=segments.flip(1)).last_hidden_state.flip(1)
    knows = (there - back).abs().max() > 0.01
    assert knows == (positions or knows_order(mixer))
    assert knows or (there - back).abs().max() < TOLERANCE


def test_positions_that_nobody_uses_are_not_there(
    text_config: Any, perturb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = perturb(MetaFormerTextModel(text_config(token_mixer="shift", position_embedding=False)))
    assert not [name for name in model.state_dict() if "position" in name]
    asked: list[Tensor] = []
    monkeypatch.setattr(modeling, "positions_in_segment", asked.append)
    ids = torch.randint(5, 61, (2, 6))
    plain = model(ids).last_hidden_state
    assert torch.equal(model(ids, attention_mask=torch.ones(2, 6)).last_hidden_state, plain)
    assert torch.equal(model(ids, position_ids=torch.full((2, 6), 99)).last_hidden_state, plain)
    assert not asked
    with pytest.raises(ValueError, match="25 tokens in a row, but max_position_embeddings is 24"):
        model(torch.zeros(1, 25, dtype=torch.long))


def test_masks_of_either_kind_are_joined(text_config: Any, perturb: Any) -> None:
    model = perturb(MetaFormerTextModel(text_config()))
    ids = torch.randint(5, 61, (1, 8))
    mask, segments = torch.tensor([[1] * 6 + [0] * 2]), torch.tensor([[1] * 3 + [2] * 5])
    both = model(ids, attention_mask=mask, segment_ids=segments).last_hidden_state
    joined = model(ids, segment_ids=segments * mask).last_hidden_state
    assert torch.equal(both, joined)
    for kind in (torch.bool, torch.float32):
        as_kind = model(ids, attention_mask=mask.to(kind)).last_hidden_state
        assert torch.equal(as_kind, model(ids, attention_mask=mask).last_hidden_state)


def test_inputs_that_do_not_fit(text_config: Any) -> None:
    model = MetaFormerTextModel(text_config())
    ids = torch.randint(5, 61, (2, 25))
    with pytest.raises(ValueError, match="25 tokens in a row, but max_position_embeddings is 24"):
        model(ids)
    with pytest.raises(ValueError, match=r"attention_mask has shape \(2, 9\)"):
        model(ids[:, :10], attention_mask=torch.ones(2, 9))
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model()
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model(ids, inputs_embeds=torch.zeros(2, 25, 32))


def test_segments_are_prepared_once(text_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from metaformer_nlp.core.mixers.pooling import Pooling

    calls = []
    prepare = Pooling.prepare
    monkeypatch.setattr(Pooling, "prepare", lambda self, ids: calls.append(1) or prepare(self, ids))
    model = MetaFormerTextModel(text_config(num_hidden_layers=4))
    ids = torch.randint(5, 61, (2, 8))
    model(ids, attention_mask=torch.ones_like(ids))
    assert len(calls) == 1
    model(ids)
    assert len(calls) == 1
