"""The block and its parts against their equations."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metaformer_nlp.core import (
    ACTIVATIONS,
    NORMS,
    DropPath,
    MetaFormerBlock,
    Residual,
    build_mixer,
    build_norm,
    drop_path_rates,
)
from metaformer_nlp.core.cost import block_macs, count_parameters

DIM = 8


def block(**options: object) -> MetaFormerBlock:
    return MetaFormerBlock(DIM, build_mixer("pooling", DIM, (6, 6)), hidden_dim=32, **options)  # type: ignore[arg-type]


def test_reads_like_its_equation() -> None:
    one, x = block(layer_scale_init=0.3, res_scale_init=0.7).eval(), torch.randn(2, 6, 6, DIM)
    y = 0.7 * x + 0.3 * one.token_mixer(one.norm1(x))
    y = 0.7 * y + 0.3 * one.channel_mlp(one.norm2(y))
    torch.testing.assert_close(one(x), y)


def test_ablations() -> None:
    x = torch.randn(2, 6, 6, DIM)
    bare = block(use_channel_mlp=False)
    torch.testing.assert_close(bare(x), x + bare.token_mixer(bare.norm1(x)))
    assert count_parameters(bare).total == 2 * DIM
    stream = block(use_residual=False)
    y = stream.token_mixer(stream.norm1(x))
    torch.testing.assert_close(stream(x), stream.channel_mlp(stream.norm2(y)))
    with pytest.raises(ValueError, match="res_scale"):
        block(use_residual=False, res_scale_init=1.0)


@pytest.mark.parametrize("name", list(NORMS))
@pytest.mark.parametrize("shape", [(7,), (4, 5)])
def test_norms_are_their_definitions(name: str, shape: tuple[int, ...]) -> None:
    norm, x = build_norm(name, DIM), torch.randn(3, *shape, DIM) * 3 + 1
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    axes = {"group_norm": tuple(range(1, x.ndim)), "layer_norm": (-1,), "batch_norm": tuple(range(x.ndim - 1))}.get(
        name
    )
    expected = x
    if name == "rms_norm":
        expected = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)
    elif axes is not None:
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        expected = (x - mean) * torch.rsqrt(variance + 1e-5)
    if norm.weight is not None:
        expected = expected * norm.weight + (0 if norm.bias is None else norm.bias)
    torch.testing.assert_close(norm(x), expected, atol=1e-5, rtol=1e-4)
    if len(shape) == 1:  # one document without padding is the same thing
        torch.testing.assert_close(norm(x, torch.ones(3, *shape, dtype=torch.long)), expected, atol=1e-5, rtol=1e-4)


def test_batch_norm_counts_no_padding() -> None:
    padded, plain = build_norm("batch_norm", DIM), build_norm("batch_norm", DIM)
    x = torch.randn(2, 9, DIM)
    ids = torch.tensor([[1] * 9, [1] * 4 + [0] * 5])
    real = x[ids > 0]
    torch.testing.assert_close(padded(x, ids)[ids > 0], plain(real), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(padded.running_mean, plain.running_mean)
    torch.testing.assert_close(padded.running_var, plain.running_var)


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    drop, x = DropPath(0.25), torch.ones(4000, 2, 3)
    dropped = drop(x)
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(dropped[:, :1, :1].expand_as(dropped), dropped)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(drop.eval()(x), x)
    assert drop_path_rates(0.1, 3) == pytest.approx([0.0, 0.05, 0.1])
    assert drop_path_rates(0.1, 1) == [0.0]
    with pytest.raises(ValueError, match="drop path"):
        DropPath(1.0)


def test_scales_reset_to_their_start() -> None:
    residual = Residual(DIM, layer_scale_init=1e-5, res_scale_init=1.0)
    nn.init.normal_(residual.layer_scale)
    residual.reset_parameters()
    assert residual.layer_scale.unique().tolist() == pytest.approx([1e-5])
    assert residual.res_scale.unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("relu", F.relu), ("silu", F.silu), ("gelu", F.gelu)]
    + [(n, lambda x: F.relu(x) ** 2) for n in ("squared_relu", "star_relu")],
)
def test_activations(name: str, expected: object) -> None:
    x = torch.randn(50)
    torch.testing.assert_close(ACTIVATIONS[name]()(x), expected(x))  # type: ignore[operator]


def test_unknown_norm_and_activation_list_the_names() -> None:
    with pytest.raises(ValueError, match=r"unknown norm 'groupnorm'.*'group_norm'.*layer_norm"):
        block(norm="groupnorm")
    with pytest.raises(ValueError, match=r"unknown activation 'gelo'.*'gelu'"):
        block(activation="gelo")


def test_cost_of_a_block() -> None:
    attention = MetaFormerBlock(DIM, build_mixer({"name": "attention", "num_heads": 2}, DIM, (5,)), hidden_dim=32)
    assert block_macs(attention, (5,)) == 5 * (4 * DIM * DIM + 2 * DIM * 32) + 2 * 25 * DIM
    assert block_macs(block(), (6, 6)) == 36 * 2 * DIM * 32
    assert block_macs(block(use_channel_mlp=False), (6, 6)) == 0
    random = build_mixer("random", DIM, (5,))
    assert count_parameters(random) == (25, 0)
