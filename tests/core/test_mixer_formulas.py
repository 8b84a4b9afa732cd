"""What single mixers compute, against the formulas of their papers or their documentation, written out."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import nn

from metaformer_nlp.core import build_mixer
from metaformer_nlp.core.bands import BLOCK, banded_product, window_band
from metaformer_nlp.core.mixers.pooling import Window, parse_window
from tests.core.test_mixers import DIM, LENGTH, SHAPES, documents, make, redraw


def test_averages_without_a_source_are_zero() -> None:
    x, ids = torch.randn(1, 6, DIM), torch.tensor([[1, 1, 1, 1, 2, 2]])
    sources = torch.tensor([[False, False, False, True, False, False]])
    for pool_size in (3, "global", "left:1"):
        mixer = build_mixer({"name": "pooling", "pool_size": pool_size, "subtract_input": False}, DIM, (6,))
        mixed = mixer(x, mixer.prepare(ids, sources))[0]
        assert mixed[[0, 4, 5]].abs().sum() == 0 or pool_size == "global"
        assert mixed[[4, 5]].abs().sum() == 0
        torch.testing.assert_close(mixed[3], x[0, 3])


def test_a_gate_makes_the_global_mean_specific() -> None:
    """Against the formula, for maps and for documents; its parameters and products are counted."""
    for shape in SHAPES.values():
        mixer = build_mixer({"name": "pooling", "gate": True}, DIM, shape)
        plain = build_mixer("pooling", DIM, shape)
        assert sum(p.numel() for p in mixer.parameters()) == DIM * DIM + DIM
        assert mixer.macs(shape) == 20 * DIM * DIM
        redraw(mixer)
        x = torch.randn(2, *shape, DIM)
        mean = x.flatten(1, -2).mean(1).view(2, *[1] * len(shape), DIM)
        torch.testing.assert_close(mixer(x), plain(x) + mean * mixer.gate(x))


@pytest.mark.parametrize("window", [3, 5, 31, "left:1", "left:4", "right:6", "left:300"])
@pytest.mark.parametrize("times", [1, 9])
def test_windows_average_what_they_say(window: int | str, times: int) -> None:
    """Against the definition, written with loops; rows of 20 are one matrix, rows of 180 are cut into blocks."""
    parsed = parse_window(window, 1)
    assert parsed is not None
    _, x, segment_ids = documents(*(6, -3, 1, 10) * times)
    x, segment_ids = torch.cat([x, x.flip(1)]), torch.cat([segment_ids, segment_ids.flip(1)])
    mixer = build_mixer({"name": "pooling", "pool_size": window}, DIM, (180,))
    mixed, length = mixer(x, segment_ids), x.shape[1]
    for row in range(2):
        for i in segment_ids[row].nonzero().flatten().tolist():
            reach = [j for j in range(i - parsed.before, i + parsed.after + 1) if 0 <= j < length]
            inside = [j for j in reach if segment_ids[row, j] == segment_ids[row, i]]
            torch.testing.assert_close(mixed[row, i], x[row, inside].mean(0) - x[row, i], atol=1e-6, rtol=1e-5)


def test_blocks_of_long_rows_hold_no_side_that_is_not_looked_at() -> None:
    ids, x = torch.arange(2 * 200).view(2, 200) // 70 + 1, torch.randn(2, 200, 3)
    for window in (Window(9, 0), Window(0, 9), Window(2, 5), Window(300, 1)):
        band = window_band(ids, window)
        assert band.reach == (min(window.before, 199), min(window.after, 199))
        assert band.weights.shape[1:] == (BLOCK, BLOCK + sum(band.reach))
        distance = torch.arange(200)[None] - torch.arange(200)[:, None]
        inside = (ids[:, :, None] == ids[:, None]) & (distance >= -window.before) & (distance <= window.after)
        expected = (inside / inside.sum(-1, keepdim=True)) @ x
        torch.testing.assert_close(banded_product(x, band), expected)


OFFSETS = ["left:1", "right:2", "left:1", "left:30", "right:1"]
PLACES = [(-1, 3), (2, 3), (-1, 2), (-30, 2), (1, 2)]
"""What OFFSETS mean: the place that is taken, and how many of 12 channels take it."""


@pytest.mark.parametrize("lengths", [(6, -3, 1, 10), (1,), (2, 1, -1)])
def test_shifted_channels_are_those_of_the_neighbours(lengths: tuple[int, ...]) -> None:
    """Against the definition, written with loops; the last rows are shorter than the offsets."""
    places = [place for place, width in PLACES for _ in range(width)]
    mixer = build_mixer({"name": "shift", "offsets": OFFSETS}, DIM, (40,))
    _, x, segment_ids = documents(*lengths)
    x, segment_ids = torch.cat([x, x.flip(1)]), torch.cat([segment_ids, segment_ids.flip(1)])
    sources = torch.rand(segment_ids.shape) < 0.7
    one = torch.ones_like(segment_ids)
    for mixed, ids, given in (
        (mixer(x), one, one > 0),
        (mixer(x, segment_ids), segment_ids, one > 0),
        (mixer(x, mixer.prepare(segment_ids, sources)), segment_ids, sources),
    ):
        expected = torch.zeros_like(x)
        for row, i in ids.nonzero().tolist():
            for channel, place in enumerate(places):
                j = i + place
                if 0 <= j < x.shape[1] and ids[row, j] == ids[row, i] and given[row, j]:
                    expected[row, i, channel] = x[row, j, channel]
        assert torch.equal(mixed[ids > 0], expected[ids > 0])


def test_a_shift_knows_direction_and_has_a_default() -> None:
    text, x = build_mixer("shift", 2, (5,)), torch.randn(1, 5, 2)
    assert torch.equal(text(x)[0, 1], torch.stack([x[0, 0, 0], x[0, 2, 1]]))
    assert not torch.allclose(text(x.flip(1)).flip(1), text(x))
    images, x = build_mixer("shift", 4, (3, 3)), torch.randn(1, 3, 3, 4)
    around = torch.stack([x[0, 1, 0, 0], x[0, 1, 2, 1], x[0, 0, 1, 2], x[0, 2, 1, 3]])
    assert torch.equal(images(x)[0, 1, 1], around)
    assert images(x)[0, 0, 0].tolist() == [0, x[0, 0, 1, 1], 0, x[0, 1, 0, 3]]
    narrow = build_mixer({"name": "shift", "offsets": ["down:7", "right:1"]}, 4, (9, 9))
    assert torch.equal(narrow(x)[..., :2], torch.zeros(1, 3, 3, 2))
    assert torch.equal(narrow(x)[:, :, :2, 2:], x[:, :, 1:, 2:])


@pytest.mark.parametrize("shape", SHAPES.values())
def test_a_gated_shift_weighs_what_comes_in_by_the_tokens_own_channels(shape: tuple[int, ...]) -> None:
    gated, plain = (build_mixer({"name": "shift", "gate": gate}, 5, shape) for gate in (True, False))
    x = torch.randn(2, *shape, 5)
    gates = torch.stack([2 * torch.sigmoid(x[..., channel]) for channel in (2, 3, 4, 0, 1)], dim=-1)
    torch.testing.assert_close(gated(x), plain(x) * gates)
    assert not list(gated.parameters())


def test_no_number_at_all_stays_behind_the_edge_of_a_document() -> None:
    mixer, segment_ids = build_mixer("shift", DIM, (4,)), torch.tensor([[1, 1, 0, 2]])
    x = torch.randn(1, 4, DIM)
    x[:, 2:] = torch.tensor([[torch.nan], [torch.inf]])
    assert mixer(x, segment_ids)[:, :2].isfinite().all()


@pytest.mark.parametrize(
    ("offsets", "shape", "said"),
    [
        (["up:1"], (4,), "offsets 'up:1' is not 'left:n' or 'right:n'"),
        (["left:0"], (4, 4), "offsets 'left:0' is not 'left:n' or 'right:n', 'up:n' or 'down:n'"),
        ([-1], (4,), "offsets -1 is not"),
        ([], (4,), "must be a list of 1 to 12 neighbours for 12 channels, such as"),
        ("left:1", (4,), "offsets must be a list"),
        (["left:1"] * 13, (4,), "a list of 1 to 12 neighbours"),
    ],
)
def test_offsets_that_are_none_are_refused(offsets: Any, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        build_mixer({"name": "shift", "offsets": offsets}, DIM, shape)


@pytest.mark.parametrize("lengths", [(6, -3, 1, 10), (1,), (80, -2, 70)])
def test_decaying_sums_are_those_over_pairs(lengths: tuple[int, ...]) -> None:
    """Against the definition, written with loops, in packed rows and without segments."""
    decays, sides = (0.0, 0.3, 0.8), (-1, 1)
    groups = [(side, decay) for side in sides for decay in decays]  # two channels each
    mixer = build_mixer({"name": "decaying_sum", "decays": decays}, DIM, (40,))
    _, x, segment_ids = documents(*lengths)
    sources = torch.rand(segment_ids.shape) < 0.7
    one = torch.ones_like(segment_ids)
    for mixed, ids, given in (
        (mixer(x), one, one > 0),
        (mixer(x, segment_ids), segment_ids, one > 0),
        (mixer(x, mixer.prepare(segment_ids, sources)), segment_ids, sources),
    ):
        expected = torch.zeros_like(x)
        for i in ids[0].nonzero().flatten().tolist():
            for j in (given[0] & (ids[0] == ids[0, i])).nonzero().flatten().tolist():
                for channels, (side, decay) in zip(torch.arange(DIM).split(2), groups, strict=True):
                    if (j - i) * side > 0:
                        weight = math.sqrt(1 - decay**2) * decay ** (abs(j - i) - 1)
                        expected[0, i, channels] += weight * x[0, j, channels]
        torch.testing.assert_close(mixed[ids > 0], expected[ids > 0], atol=1e-5, rtol=1e-5)


def test_decaying_sums_run_along_rows_and_columns() -> None:
    mixer, x = build_mixer({"name": "decaying_sum", "decays": [0.5]}, 4, (3, 4)), torch.randn(1, 3, 4, 4)
    weights = math.sqrt(0.75) * torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [0.5, 1, 0, 0], [0.25, 0.5, 1, 0]])
    left, right, up, down = x.unbind(-1)
    rows, columns = weights, weights[:3, :3]
    expected = [left @ rows.T, right @ rows, columns @ up, columns.T @ down]
    torch.testing.assert_close(mixer(x), torch.stack(expected, -1))
    plain = build_mixer({"name": "decaying_sum", "decays": [0.0]}, 4, (3, 4))
    assert torch.equal(plain(x), build_mixer("shift", 4, (3, 4))(x))


@pytest.mark.parametrize("decays", [[], [1.0], [-0.1], [0.5] * 7])
def test_decays_that_are_none_are_refused(decays: list[float]) -> None:
    with pytest.raises(ValueError, match="decays must be 1 to 6 numbers from 0 to below 1, for 12 channels"):
        build_mixer({"name": "decaying_sum", "decays": decays}, DIM, (4,))


def test_images_have_one_sided_windows_too() -> None:
    x = torch.randn(1, 4, 5, 1)
    up = build_mixer({"name": "pooling", "pool_size": "up:1", "subtract_input": False}, 1, (4, 5))(x)
    torch.testing.assert_close(up[:, 0], x[:, 0])
    torch.testing.assert_close(up[:, 1:], (x[:, 1:] + x[:, :-1]) / 2)
    right = build_mixer({"name": "pooling", "pool_size": "right:2", "subtract_input": False}, 1, (4, 5))(x)
    torch.testing.assert_close(right[:, :, 0], x[:, :, :3].mean(2))
    torch.testing.assert_close(right[:, :, -1], x[:, :, -1])


def test_wide_windows_reach_past_the_edge() -> None:
    assert parse_window(31, 1) == Window(15, 15)
    x = torch.randn(1, 4, DIM)
    wide = build_mixer({"name": "pooling", "pool_size": 31, "subtract_input": False}, DIM, (LENGTH,))
    torch.testing.assert_close(wide(x), x.mean(1, keepdim=True).expand_as(x))
    torch.testing.assert_close(wide(x, torch.ones(1, 4, dtype=torch.long)), x.mean(1, keepdim=True).expand_as(x))


def test_ponet_pools_at_three_granularities() -> None:
    """Against the paper's formulas, one document, written out."""
    mixer = make({"name": "ponet", "num_heads": 2, "chunk_size": 4}, (LENGTH,))
    x = torch.randn(1, 10, DIM)
    query, key, own, in_chunk, near = (part[0] for part in mixer.projections(x).chunk(5, -1))
    heads = []
    for head in (slice(0, 6), slice(6, 12)):
        scores = key[:, head] @ query.mean(0)[head] / math.sqrt(6)
        heads.append(scores.softmax(0) @ key[:, head])
    chunks = torch.cat([part.amax(0, keepdim=True).expand_as(part) for part in in_chunk.split(4)])
    local = torch.stack([near[max(i - 1, 0) : i + 2].amax(0) for i in range(10)])
    expected = mixer.output((torch.cat(heads) + chunks) * own + local)
    torch.testing.assert_close(mixer(x)[0], expected, atol=1e-5, rtol=1e-5)


def test_spatial_gating_is_gmlps() -> None:
    """Against the formula of the paper, and a fresh gate lets everything through."""
    mixer = build_mixer({"name": "spatial_gating", "expansion": 4}, DIM, (LENGTH,))
    x = torch.randn(2, LENGTH, DIM)
    first, second = nn.functional.gelu(mixer.expand(x)).chunk(2, -1)
    torch.testing.assert_close(mixer(x), mixer.project(first), atol=1e-4, rtol=1e-4)
    redraw(mixer)
    first, second = nn.functional.gelu(mixer.expand(x)).chunk(2, -1)
    gate = torch.einsum("ij,bjc->bic", mixer.token_weight, mixer.norm(second)) + mixer.token_bias[:, None]
    torch.testing.assert_close(mixer(x), mixer.project(first * gate), atol=1e-5, rtol=1e-5)


def test_windows_of_the_window_mlp() -> None:
    """Nothing leaves a window; the shifted windows lie half a window further up and left; heads share nothing."""
    x = torch.randn(1, 8, 8, DIM)
    for shift, inside in ((False, slice(4, 8)), (True, slice(2, 6))):
        options = {"window_size": 4, "num_heads": 2, "shift": shift}
        mixer = redraw(build_mixer({"name": "window_mlp", **options}, DIM, (8, 8)))
        changed = x.clone()
        changed[:, 5, 5, :3] += 1.0
        moved = (mixer(changed) - mixer(x)).abs() > 1e-6
        assert moved[0, inside, inside, :3].all()
        assert not moved[..., DIM // 2 :].any()
        assert moved.sum() == 4 * 4 * 3
    alone = redraw(build_mixer({"name": "window_mlp", "window_size": 4, "num_heads": 2, "shift": True}, DIM, (4, 4)))
    flat = x[:, :4, :4].reshape(16, 2, DIM // 2)
    expected = torch.einsum("nij,jnc->inc", alone.weight, flat) + alone.bias.transpose(0, 1)
    torch.testing.assert_close(alone(x[:, :4, :4]).reshape(16, 2, -1), expected, atol=1e-5, rtol=1e-5)


def test_reduced_attention_is_attention_over_the_smaller_map() -> None:
    mixer = redraw(build_mixer({"name": "spatial_reduction_attention", "num_heads": 2, "reduction": 2}, DIM, (4, 4)))
    x = torch.randn(2, 4, 4, DIM)
    seen = mixer.norm(mixer.reduce(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2))
    key, value = mixer.key_value(seen).chunk(2, -1)
    query = mixer.query(x.flatten(1, 2))
    heads = []
    for part in (slice(0, 6), slice(6, 12)):
        scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(6)
        heads.append(scores.softmax(-1) @ value[..., part])
    torch.testing.assert_close(mixer(x).flatten(1, 2), mixer.proj(torch.cat(heads, -1)), atol=1e-5, rtol=1e-5)
