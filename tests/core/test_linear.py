"""Linear layers by oneDNN compute what torch's do, with derivatives of every kind; dropout drops the share it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from metaformer_nlp.core import linear
from metaformer_nlp.core.dropout import Dropout
from metaformer_nlp.core.linear import Linear

onednn = pytest.mark.skipif(not linear._FASTER, reason="MKL is taken on this processor")


@pytest.fixture(params=[(40, True), (40, False), (16, True)], ids=["bias", "no bias", "narrower"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Linear, nn.Linear]:
    monkeypatch.setattr(linear, "_SMALLEST", 0)
    width, bias = request.param
    ours, torchs = Linear(24, width, bias=bias), nn.Linear(24, width, bias=bias)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


@onednn
def test_first_and_second_derivatives(pair: tuple[Linear, nn.Linear]) -> None:
    x = torch.randn(3, 5, 24, requires_grad=True)

    def derived(layer: nn.Linear) -> list[Tensor]:
        wanted = [x, *layer.parameters()]
        first = torch.autograd.grad(layer(x).pow(3).sum(), wanted, create_graph=True)
        return [layer(x), *first, *torch.autograd.grad(sum(g.square().sum() for g in first), wanted)]

    for ours, torchs in zip(*map(derived, pair), strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=1e-4)
    x = x.detach()
    frozen = pair[0].requires_grad_(False)
    assert frozen(x).grad_fn is None


@onednn
def test_functional_transforms(pair: tuple[Linear, nn.Linear]) -> None:
    x, along = torch.randn(2, 24), torch.randn(2, 24)
    ours, torchs = (torch.func.jvp(layer, (x,), (along,))[1] for layer in pair)
    torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=1e-4)
    per_sample = [
        torch.func.vmap(
            torch.func.grad(lambda w, x, layer=layer: torch.func.functional_call(layer, w, x).pow(2).sum()), (None, 0)
        )(dict(layer.named_parameters()), x[:, None])
        for layer in pair
    ]
    torch.testing.assert_close(per_sample[0]["weight"], per_sample[1]["weight"], rtol=1e-4, atol=1e-4)


@onednn
def test_products_are_counted(pair: tuple[Linear, nn.Linear]) -> None:
    def counted(layer: nn.Linear) -> int:
        with FlopCounterMode(display=False) as counter:
            layer(torch.randn(3, 24, requires_grad=True)).sum().backward()
        return counter.get_total_flops()

    assert counted(pair[0]) == counted(pair[1]) == 3 * 2 * 3 * 24 * pair[0].out_features


@onednn
def test_it_is_used_for_large_products_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Any] = []
    apply = linear._Product.apply
    monkeypatch.setattr(linear._Product, "apply", lambda *args: (used.append(args), apply(*args))[1])
    large, small, layer = torch.randn(2048, 128), torch.randn(8, 128), Linear(128, 128)
    layer(small), layer.bfloat16()(large.bfloat16())
    layer = layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        layer(large)
    assert not used
    layer(large)
    assert len(used) == 1


@pytest.mark.parametrize("shape", [(7, 33), (1000, 100)])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout(shape: tuple[int, int], rate: float) -> None:
    layer, x = Dropout(rate), torch.full(shape, 3.0, requires_grad=True)
    torch.manual_seed(0)
    first = layer(x)
    again = layer(x)
    torch.manual_seed(0)
    assert torch.equal(layer(x), first)
    assert not torch.equal(again, first)
    assert first[first != 0].unique().item() == pytest.approx(3 / (1 - rate), rel=1e-4)
    deviation = (rate * (1 - rate) / x.numel()) ** 0.5
    assert float((first == 0).float().mean()) == pytest.approx(rate, abs=5 * deviation)
    (gradient,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(gradient, first.detach() / 3)
    assert layer(x.bfloat16()).dtype == torch.bfloat16
    assert layer.eval()(x) is x


def test_dropout_of_everything_and_of_nothing() -> None:
    x = torch.ones(10, 10)
    assert Dropout(1.0)(x).abs().sum() == 0
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1e-9)(torch.ones(100)), torch.ones(100))


def test_masks_of_neighbours_are_independent() -> None:
    kept = (Dropout(0.5)(torch.ones(1 << 18)) != 0).float() - 0.5
    for lag in (1, 2, 3, 4, 8):
        assert abs(float((kept[:-lag] * kept[lag:]).mean())) < 5 * 0.25 / (1 << 9)
