"""Attention's positions and windows, against their definitions written out pair by pair."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from metaformer_nlp.core import build_mixer
from metaformer_nlp.core.mixers import attention
from metaformer_nlp.core.mixers.attention import Attention
from metaformer_nlp.core.positions import alibi_slopes, distance_buckets, grid_offsets, one_sided_slopes
from tests.core.test_mixers import DIM, documents, redraw

HEADS, HEAD_DIM = 3, 4
KINDS: list[dict[str, Any]] = [
    {"positions": "none", "window": 3},
    {"positions": "rotary"},
    {"positions": "rotary", "window": 5, "qk_norm": True},
    {"positions": "alibi"},
    {"positions": "alibi", "window": 2},
    {"positions": "one_sided"},
    {"positions": "one_sided", "window": 3},
    {"positions": "learned_relative"},
    {"positions": "learned_relative", "window": 9},
]


def build(shape: tuple[int, ...], **options: Any) -> Attention:
    mixer = redraw(build_mixer({"name": "attention", "num_heads": HEADS, **options}, DIM, shape)).eval()
    assert isinstance(mixer, Attention)
    return mixer


def turned(x: Tensor, place: tuple[int, ...], theta: float) -> Tensor:
    """(D,) with each pair of channels (i, i + D/2) turned as a complex number."""
    half = len(x) // 2
    share = half // len(place)
    pairs = torch.complex(x[:half], x[half:])
    angles = [place[i // share] * theta ** (-(i % share) / share) for i in range(half)]
    pairs = pairs * torch.exp(1j * torch.tensor(angles, dtype=torch.float64))
    return torch.cat((pairs.real, pairs.imag))


def by_definition(mixer: Attention, x: Tensor, places: list[tuple[int, ...]]) -> Tensor:
    """(T, C) -> (T, C) for one document, in float64, one pair of tokens at a time."""
    mixer = mixer.double()
    x = x.double()
    kind, window, heads, length = mixer.positions, mixer.window, mixer.num_heads, len(x)
    projected = mixer.qkv(x).view(length, 3, heads, -1)
    mixed = torch.zeros(length, heads, mixer.head_dim, dtype=torch.float64)
    back = math.ceil(heads / 2)
    for head in range(heads):
        query, key, value = projected[:, :, head].unbind(1)
        if mixer.query_norm is not None and mixer.key_norm is not None:
            query, key = mixer.query_norm(query), mixer.key_norm(key)
        if kind == "rotary":
            query = torch.stack([turned(q, place, mixer.rope_theta) for q, place in zip(query, places, strict=True)])
            key = torch.stack([turned(k, place, mixer.rope_theta) for k, place in zip(key, places, strict=True)])
        for i in range(length):
            scores = {}
            for j in range(length):
                offset = [b - a for a, b in zip(places[i], places[j], strict=True)]
                if window is not None and max(map(abs, offset)) > window:
                    continue
                score = float((query[i] @ key[j]).detach()) / math.sqrt(mixer.head_dim)
                if kind == "alibi":
                    score -= 2 ** (-8 * (head + 1) / 2) * math.hypot(*offset) if head < 2 else 0
                    score -= 2**-2 * math.hypot(*offset) if head == 2 else 0
                if kind == "one_sided":
                    if (offset[0] >= 0) if head < back else (offset[0] <= 0):
                        continue
                    slopes = one_sided_slopes(back) + one_sided_slopes(heads - back)
                    score -= slopes[head] * abs(offset[0])
                if kind == "learned_relative":
                    index = mixer.relative_bias._index([torch.tensor(o) for o in offset])
                    score += float(mixer.relative_bias.table.flatten(0, -2)[index, head].detach())
                scores[j] = score
            weights = torch.tensor(list(scores.values()) or [0.0], dtype=torch.float64).softmax(0)
            mixed[i, head] = weights @ value[list(scores) or [i]]
    out: Tensor = mixer.proj(mixed.flatten(1)).float()
    mixer.float()
    return out


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_texts_are_mixed_as_defined(options: dict[str, Any]) -> None:
    """Rows of 20 take a mask over all pairs, rows of 170 are cut into blocks where there is a window."""
    for lengths in ((6, 1, 10, -3), (70, 33, -5, 62)):
        mixer = build((sum(map(abs, lengths)),), **options)
        rows, packed, ids = documents(*lengths)
        together = mixer(packed, ids).split([abs(n) for n in lengths], dim=1)
        for row, result, length in zip(rows, together, lengths, strict=True):
            if length > 0:
                expected = by_definition(mixer, row[0], [(place,) for place in range(length)])
                torch.testing.assert_close(result[0], expected, atol=1e-5, rtol=1e-4)
        whole = packed[:, : lengths[0]]
        torch.testing.assert_close(mixer(whole), together[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [kind for kind in KINDS if kind["positions"] != "one_sided"], ids=str)
def test_images_are_mixed_as_defined(options: dict[str, Any]) -> None:
    mixer, x = build((4, 5), **options), torch.randn(2, 4, 5, DIM)
    places = [(row, column) for row in range(4) for column in range(5)]
    expected = by_definition(mixer, x[1].flatten(0, 1), places).view(4, 5, DIM)
    torch.testing.assert_close(mixer(x)[1], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [kind for kind in KINDS if "window" in kind], ids=str)
def test_blocks_give_what_a_mask_over_all_pairs_gives(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    mixer = build((300,), **options)
    _, x, ids = documents(60, 100, -5, 85)
    x, ids = torch.cat([x, x.flip(1)]), torch.cat([ids, ids.flip(1)])
    sources = torch.rand(ids.shape) > 0.3
    given = [ids, ids > 0, mixer.prepare(ids, sources), None]
    assert mixer._in_blocks(x.shape[1])
    results = [mixer(x, segments) for segments in given]
    monkeypatch.setattr(attention, "BLOCKS_OF_A_LONG_ROW", 1000)
    assert not mixer._in_blocks(x.shape[1])
    for segments, result in zip([ids, ids > 0, mixer.prepare(ids, sources), None], results, strict=True):
        torch.testing.assert_close(result, mixer(x, segments), atol=1e-5, rtol=1e-4)


def test_a_window_of_a_long_row_makes_nothing_of_all_pairs() -> None:
    """The largest tensor of 16,384 tokens is linear in them: far below one number for each pair."""
    mixer = build((16384,), positions="rotary", window=16)
    x, ids = torch.randn(1, 16384, DIM), torch.ones(1, 16384, dtype=torch.long)
    sizes = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            sizes.extend(
                part.numel() for part in (out if isinstance(out, tuple) else (out,)) if isinstance(part, Tensor)
            )
            return out

    for segments in (None, ids, ids > 0):
        with Sizes(), torch.no_grad():
            mixer(x, segments)
    assert max(sizes) < 16384 * 16384 / 100


@pytest.mark.parametrize(
    ("options", "symmetric"),
    [
        ({}, True),
        ({"positions": "alibi"}, True),
        ({"window": 2}, True),
        ({"positions": "rotary"}, False),
        ({"positions": "rotary", "window": 2, "qk_norm": True}, False),
        ({"positions": "one_sided"}, False),
        ({"positions": "learned_relative"}, False),
    ],
    ids=str,
)
def test_order_matters_but_for_symmetric_kinds(options: dict[str, Any], symmetric: bool) -> None:
    mixer, x = build((20,), **options), torch.randn(1, 20, DIM)
    moved = (mixer(x.flip(1)).flip(1) - mixer(x)).abs().max()
    assert (moved < 1e-5) == symmetric
    assert symmetric or moved > 0.01


@pytest.mark.parametrize("options", [{}, *KINDS], ids=str)
def test_attention_counts_what_it_sees(options: dict[str, Any]) -> None:
    """The pairs of the products, counted by which weights are not zero."""
    for shape in ((20,), (4, 5)):
        if options.get("positions") == "one_sided" and len(shape) == 2:
            continue
        mixer, tokens = build(shape, **options).double(), 20  # float32 would lose the weights of far tokens
        x = torch.zeros(1, *shape, DIM, dtype=torch.float64)
        value = mixer.qkv.weight[2 * DIM :]
        seen = 0
        with torch.no_grad():
            mixer.proj.weight.copy_(torch.eye(DIM))
            value.copy_(torch.eye(DIM))
            # One token after the other carries a one: whose first channel changes in a head has seen it.
            mixer.qkv.weight[: 2 * DIM] = 0
            for token in range(tokens):
                x.zero_()
                x.view(tokens, DIM)[token] = 1.0
                seen += int(((mixer(x) - mixer(torch.zeros_like(x))).view(tokens, HEADS, HEAD_DIM)[..., 0] > 0).sum())
        assert mixer.macs(shape) == tokens * 4 * DIM**2 + 2 * seen * HEAD_DIM


def test_slopes_and_buckets_are_the_published_ones() -> None:
    assert alibi_slopes(8) == [2**-n for n in range(1, 9)]  # arXiv 2108.12409, section 3
    assert alibi_slopes(4) == [1 / 4, 1 / 16, 1 / 64, 1 / 256]
    assert len(alibi_slopes(12)) == 12
    assert alibi_slopes(12)[8:] == [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    assert one_sided_slopes(2) == [1.0, 2**-8]
    assert one_sided_slopes(1) == [1.0]
    offsets = torch.tensor([0, -1, -7, -8, -127, -128, -5000, 1, 7, 128])
    assert distance_buckets(offsets).tolist() == [0, 1, 7, 8, 15, 15, 15, 17, 23, 31]


def test_each_offset_of_a_map_has_a_bias_of_its_own() -> None:
    bias = build((4, 5), positions="learned_relative").relative_bias
    assert bias is not None
    index = bias._index(grid_offsets((4, 5)))
    assert len(index.unique()) == bias.table[..., 0].numel() == 7 * 9


def test_usual_wavelengths() -> None:
    assert build((20,), positions="rotary").rope_theta == 10_000
    assert build((4, 5), positions="rotary").rope_theta == 100


def test_an_empty_batch_stays_empty() -> None:
    assert build((300,), positions="rotary", window=8)(torch.zeros(0, 300, DIM)).shape == (0, 300, DIM)


def test_a_learned_bias_takes_larger_maps() -> None:
    mixer = build((4, 5), positions="learned_relative")
    assert mixer(torch.randn(1, 6, 9, DIM)).isfinite().all()


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((20,), {"positions": "absolute"}, "choose one of none, rotary"),
        ((20,), {"window": 0}, "1 or more"),
        ((20,), {"window": True}, "1 or more"),
        ((20,), {"rope_theta": 100.0}, "for rotary"),
        ((20,), {"positions": "rotary", "rope_theta": "far"}, "a number above 1"),
        ((20,), {"positions": "rotary", "rope_theta": float("nan")}, "a number above 1"),
        ((20,), {"qk_norm": 3}, "true or false"),
        ((4, 5), {"positions": "rotary", "num_heads": 6}, "divisible by 4, not 2"),
        ((4, 5), {"positions": "one_sided"}, "no before and after"),
        ((20,), {"positions": "one_sided", "num_heads": 1}, "at least 2 heads"),
    ],
)
def test_options_that_do_not_fit_are_refused(shape: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_mixer({"name": "attention", "num_heads": HEADS, **options}, DIM, shape)
