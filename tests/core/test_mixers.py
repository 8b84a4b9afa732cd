"""The mixer contract, held over every registered mixer: a new one is tested by being registered.

Fresh weights hide faults (a standard deviation of 0.02 makes mixing invisible), so all weights are redrawn first, and a
test that mixing is visible at all stands before those of what must not leak.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metaformer_nlp.core import MIXERS, MetaFormerBlock, TokenMixer, build_activation, build_mixer, register_mixer
from metaformer_nlp.core.mixers.base import TokenMixer as Base
from metaformer_nlp.core.segments import positions_in_segment

DIM, LENGTH = 12, 20
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "attention": [
        {"num_heads": 3},
        {"num_heads": 3, "positions": "rotary", "qk_norm": True},
        {"num_heads": 3, "positions": "rotary", "window": 2},
        {"num_heads": 3, "positions": "alibi"},
        {"num_heads": 3, "positions": "one_sided"},
        {"num_heads": 2, "positions": "one_sided", "window": 3},
        {"num_heads": 3, "positions": "learned_relative", "window": 4},
    ],
    "spatial_reduction_attention": [{}, {"reduction": 1}, {"reduction": 3, "num_heads": 2}],
    "window_mlp": [{}, {"window_size": 3, "num_heads": 3}, {"window_size": 2, "num_heads": 2, "shift": True}],
    "pooling": [
        {},
        {"pool_size": 7},
        {"pool_size": [3, 15, "global", "left:5", "right:2"]},
        {"subtract_input": False},
        {"gate": True},
    ],
    "shift": [{}, {"offsets": ["left:4", "right:1", "left:1", "right:2", "left:300"]}, {"gate": True}],
    "decaying_sum": [{}, {"decays": [0.9]}],
    "ponet": [{"num_heads": 3, "chunk_size": 4}],
}
SHAPES = {1: (LENGTH,), 2: (4, 5)}


def redraw(module: nn.Module) -> nn.Module:
    """All trained weights standard normal / sqrt(fan in): every path is open."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=1 / math.sqrt(parameter[0].numel() or 1))
    return module


def cases(rank: int | None = None) -> list[Any]:
    return [
        pytest.param({"name": name, **options}, SHAPES[r], id=f"{name}-{r}d-{index}")
        for name in MIXERS
        for index, options in enumerate(OPTIONS.get(name, [{}]))
        for r in MIXERS[name].ranks
        if rank in (None, r) and (r == 1 or options.get("positions") != "one_sided")
    ]


def make(spec: dict[str, Any], shape: tuple[int, ...]) -> TokenMixer:
    mixer = build_mixer(spec, DIM, shape)
    redraw(mixer)
    return mixer.eval()


@pytest.mark.parametrize(("spec", "shape"), cases())
def test_shape_gradients_and_dtype(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    mixer, x = make(spec, shape), torch.randn(2, *shape, DIM, requires_grad=True)
    mixed = mixer(x)
    assert mixed.shape == x.shape
    mixed.square().sum().backward()
    trained = [p for p in mixer.parameters() if p.requires_grad]
    for gradient in [x.grad, *(p.grad for p in trained)]:
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0
    half = mixer.to(torch.bfloat16)(x.detach().bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), mixed.detach(), rtol=0.1, atol=0.15)


@pytest.mark.parametrize(("spec", "shape"), cases())
def test_mixes_tokens_unless_it_is_identity(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    mixer, x = make(spec, shape), torch.randn(1, *shape, DIM)
    changed = x.clone()
    changed.view(1, -1, DIM)[:, 7] += 1.0
    moved = (mixer(x) - mixer(changed)).abs().amax(-1).flatten() > 1e-4
    moved[7] = False
    assert bool(moved.any()) == (spec["name"] != "identity")


@pytest.mark.parametrize(("spec", "shape"), cases())
def test_saves_and_reloads(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    mixer, x = make(spec, shape), torch.randn(2, *shape, DIM)
    other = build_mixer(spec, DIM, shape).eval()
    other.load_state_dict(mixer.state_dict())
    assert torch.equal(mixer(x), other(x))


@pytest.mark.parametrize(("spec", "shape"), cases())
def test_macs_agree_with_the_public_counter(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    if spec["name"] == "fourier":
        pytest.skip("torch's counter leaves Fourier transforms out")
    if spec.get("window") or spec.get("positions") == "one_sided":
        pytest.skip("torch's counter counts the pairs that a mask hides, too; test_attention_counts_what_it_sees")
    mixer = build_mixer(spec, DIM, shape)
    assert mixer.macs(shape) == Base.macs(mixer, shape)


def documents(*lengths: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """Documents of these lengths (negative: padding of that many slots), packed into one row with its segment ids."""
    rows = [torch.randn(1, abs(n), DIM) for n in lengths]
    ids = [torch.full((1, abs(n)), 0 if n < 0 else k + 1) for k, n in enumerate(lengths)]
    return rows, torch.cat(rows, 1), torch.cat(ids, 1)


@pytest.mark.parametrize(("spec", "shape"), cases(rank=1))
@pytest.mark.parametrize("lengths", [(7, -13), (-6, 14), (5, 9, 6), (1, 3, -2, 11, -3), (20,)])
def test_padding_and_neighbours_change_nothing(
    spec: dict[str, Any], shape: tuple[int, ...], lengths: tuple[int, ...]
) -> None:
    mixer = make(spec, shape)
    rows, packed, segment_ids = documents(*lengths)
    together = mixer(packed, segment_ids).split([abs(n) for n in lengths], dim=1)
    for row, result, length in zip(rows, together, lengths, strict=True):
        if length > 0:
            torch.testing.assert_close(result, mixer(row), atol=1e-5, rtol=0)
            for kind in (torch.long, torch.bool):
                torch.testing.assert_close(result, mixer(row, torch.ones(1, length, dtype=kind)), atol=1e-5, rtol=0)
    prepared = mixer(packed, mixer.prepare(segment_ids))
    assert torch.equal(prepared, mixer(packed, segment_ids))


@pytest.mark.parametrize(("spec", "shape"), cases(rank=1))
def test_no_gradient_reaches_padding_and_empty_rows_are_finite(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    mixer = make(spec, shape)
    segment_ids = torch.tensor([[1] * 8 + [0] * 12, [0] * 20])
    x = torch.randn(2, LENGTH, DIM, requires_grad=True)
    mixed = mixer(x, segment_ids)
    assert torch.isfinite(mixed).all()
    (mixed * (segment_ids > 0)[..., None]).square().sum().backward()
    assert x.grad is not None
    assert x.grad[segment_ids == 0].abs().max() == 0
    assert x.grad[segment_ids > 0].abs().sum() > 0


@pytest.mark.parametrize(("spec", "shape"), cases(rank=1))
def test_a_boolean_mask_says_the_same_as_ids(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    mixer, x = make(spec, shape), torch.randn(4, LENGTH, DIM)
    mask = torch.tensor([[1] * 20, [1] * 8 + [0] * 12, [0] * 15 + [1] * 5, [0] * 20]).bool()
    by_mask, by_ids = mixer(x, mask), mixer(x, mask.long())
    assert by_mask.isfinite().all()
    torch.testing.assert_close(by_mask[mask], by_ids[mask], atol=1e-5, rtol=1e-5)


EXCLUDING = [case for case in cases(rank=1) if MIXERS[case.values[0]["name"]].excludes_sources]


@pytest.mark.parametrize(("spec", "shape"), EXCLUDING)
@pytest.mark.parametrize("kind", [torch.long, torch.bool])
def test_what_is_no_source_gives_nothing(spec: dict[str, Any], shape: tuple[int, ...], kind: torch.dtype) -> None:
    """The rest of a document gets what it would without such tokens' values, which themselves still get something."""
    mixer = make(spec, shape)
    segment_ids = torch.tensor([[1] * 12 + [2] * 5 + [0] * 3, [1] * 20])
    if kind == torch.bool:
        segment_ids = segment_ids == 1
    sources = torch.ones(2, LENGTH, dtype=torch.bool)
    sources[0, [3, 4, 11]] = sources[0, 12:17] = sources[1, ::2] = False  # the second document has no source at all
    x = torch.randn(2, LENGTH, DIM, requires_grad=True)
    mixed = mixer(x, mixer.prepare(segment_ids, sources))
    assert mixed.isfinite().all()
    changed = torch.where(sources[..., None], x.detach(), torch.randn_like(x) * 10)
    seen = sources & (segment_ids > 0)
    assert torch.equal(mixer(changed, mixer.prepare(segment_ids, sources))[seen], mixed[seen])
    (gradient,) = torch.autograd.grad(mixed[seen].square().sum(), x, retain_graph=True)
    assert gradient.isfinite().all()
    assert gradient[~seen].abs().max() == 0
    if spec["name"] != "identity":
        # The third token is none itself, and has a source on one side and none on the other.
        near = torch.autograd.grad(mixed[0, 3].square().sum(), x)[0][0]
        assert near[[2, 5]].abs().max() > 0
        assert near[4].abs().max() == near[11].abs().max() == 0
    every = torch.ones_like(sources)
    torch.testing.assert_close(mixer(x, mixer.prepare(segment_ids, every))[seen], mixer(x, segment_ids)[seen])


@pytest.mark.parametrize("norm", ["group_norm", "layer_norm", "batch_norm", "rms_norm", "none"])
@pytest.mark.parametrize("name", [n for n in MIXERS if 1 in MIXERS[n].ranks])
def test_blocks_leak_nothing_with_any_norm(name: str, norm: str) -> None:
    options = OPTIONS.get(name, [{}])[-1]
    block = MetaFormerBlock(DIM, build_mixer({"name": name, **options}, DIM, (LENGTH,)), hidden_dim=24, norm=norm)
    redraw(block).eval()
    rows, packed, segment_ids = documents(6, 9, -5)
    together = block(packed, segment_ids)
    for row, start in ((rows[0], 0), (rows[1], 6)):
        torch.testing.assert_close(together[:, start : start + row.shape[1]], block(row), atol=1e-5, rtol=1e-5)
    shared: dict[Any, Any] = {}
    assert torch.equal(block(packed, block.prepare(segment_ids, shared)), together)
    count = len(shared)
    assert block.prepare(segment_ids, shared) is not None
    assert len(shared) == count


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MIXERS))
def test_compiles_and_exports(name: str) -> None:
    """One graph, no breaks; the exported program gives the same numbers."""
    options, shape = OPTIONS.get(name, [{}])[-1], SHAPES[MIXERS[name].ranks[0]]
    block = MetaFormerBlock(DIM, build_mixer({"name": name, **options}, DIM, shape), hidden_dim=24, norm="group_norm")
    redraw(block).eval()
    _, packed, segment_ids = documents(6, 9, -5)
    inputs = (packed, segment_ids) if len(shape) == 1 else (torch.randn(2, *shape, DIM),)
    expected = block(*inputs)
    torch._dynamo.reset()
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), expected, atol=1e-5, rtol=1e-5)
    exported = torch.export.export(block, inputs).module()
    torch.testing.assert_close(exported(*inputs), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        {"name": "pooling", "pool_size": [3, 15], "gate": True},
        {"name": "ponet", "num_heads": 3},
        {"name": "attention", "num_heads": 3, "positions": "rotary", "qk_norm": True, "window": 4},
        {"name": "attention", "num_heads": 3, "positions": "one_sided", "window": 4},
        {"name": "shift", "offsets": ["left:4", "right:1"]},
        {"name": "decaying_sum", "decays": [0.3, 0.9]},
    ],
)
def test_one_program_serves_rows_of_every_length(spec: dict[str, Any]) -> None:
    """Long rows are cut into blocks: what was exported or compiled for short ones must serve long ones as well."""
    mixer = make(spec, (300,))
    _, short, short_ids = documents(6, 9, -5)
    inputs = (torch.cat([short] * 3), torch.cat([short_ids] * 3))
    sizes = {0: torch.export.Dim("batch", min=2, max=64), 1: torch.export.Dim("tokens", min=2, max=300)}
    exported = torch.export.export(mixer, inputs, dynamic_shapes=(sizes, sizes)).module()
    torch._dynamo.reset()
    compiled = torch.compile(mixer, backend="aot_eager", fullgraph=True)
    for lengths in ((6, 9, -5), (60, 100, -5, 85)):
        _, x, segment_ids = documents(*lengths)
        given = (torch.cat([x, x.flip(1)]), torch.cat([segment_ids, segment_ids.flip(1)]))
        expected = mixer(*given)
        torch.testing.assert_close(exported(*given), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(compiled(*given), expected, atol=1e-5, rtol=1e-5)


def test_positions_count_inside_the_own_document() -> None:
    ids = torch.tensor([[0, 0, 1, 1, 1, 2, 2], [1, 1, 0, 1, 0, 0, 0]])
    positions = positions_in_segment(ids)
    assert positions[0].tolist()[2:] == [0, 1, 2, 0, 1]
    assert [positions[1, i].item() for i in (0, 1, 3)] == [0, 1, 2]


@pytest.fixture
def swap() -> Iterator[type[TokenMixer]]:
    """The documentation's promise: a mixer of one's own is one short class."""

    @register_mixer("swap_neighbours")
    class SwapNeighbours(TokenMixer):
        ranks = (1,)

        def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
            return x if segment_ids is None else x * (segment_ids > 0)[..., None]

    yield SwapNeighbours
    MIXERS._entries.pop("swap_neighbours")


def test_a_mixer_of_ones_own_gets_the_ids(swap: type[TokenMixer]) -> None:
    block = MetaFormerBlock(DIM, build_mixer("swap_neighbours", DIM, (LENGTH,)), hidden_dim=24, norm="layer_norm")
    assert torch.isfinite(block(torch.randn(1, 4, DIM), torch.tensor([[1, 1, 0, 0]]))).all()
    assert block.token_mixer.macs((4,)) == 0


def test_counting_changes_nothing_and_takes_any_dtype() -> None:
    class Normed(TokenMixer):
        ranks = (2,)

        def __init__(self, dim: int, token_shape: tuple[int, ...]) -> None:
            super().__init__(dim, token_shape)
            self.norm, self.linear = nn.BatchNorm1d(dim), nn.Linear(dim, dim)

        def forward(self, x: torch.Tensor, segment_ids: Any = None) -> torch.Tensor:
            return self.linear(self.norm(x.flatten(0, 2)).view_as(x))

    mixer = Normed(4, (2, 2))
    before = {name: x.clone() for name, x in mixer.state_dict().items()}
    assert mixer.macs((2, 2)) == 4 * 16
    assert all(torch.equal(x, before[name]) for name, x in mixer.state_dict().items())
    assert mixer.training
    assert mixer.bfloat16().macs((2, 2)) == 4 * 16


def test_an_activation_leaves_its_input_alone() -> None:
    x = torch.randn(5)
    before = x.clone()
    with torch.no_grad():
        build_activation("gelu")(x)
    assert torch.equal(x, before)


def test_fourier_is_counted_without_memory() -> None:
    with torch.device("meta"):
        mixer = build_mixer("fourier", 8, (4, 4), {})
        assert mixer(torch.zeros(1, 4, 4, 8)).shape == (1, 4, 4, 8)
