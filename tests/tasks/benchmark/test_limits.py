"""What no model is faster than, and what the loop takes beside the work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from metaformer_nlp.core import TokenMixer
from tasks.benchmark import images, loop
from tasks.benchmark.limits import Copies, Copy, MatrixProducts, Mixers
from tasks.benchmark.options import ImageBenchmarkConfig, LoopBenchmarkConfig
from vision import create_model


def products(module: nn.Module, pixels: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        output = module(pixels)
        (output if output.ndim == 0 else output.sum()).backward()
    return counter.get_total_flops()


def test_the_limit_has_the_products_of_the_model_and_nothing_else() -> None:
    """PoolFormer's convolutions and linear layers are all its products."""
    pixels = torch.randn(2, 3, 32, 32)
    model = create_model("poolformer_nano", num_labels=10)
    limit = MatrixProducts(model, {"pixel_values": pixels})

    class Logits(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return model(x).logits

    # A model does not ask for its pixels' gradient; the limit, which does not know what comes first, does.
    first = model.get_submodule("metaformer.stages.0.embedding.projection")
    extra = 2 * first.weight.numel() * 2 * 16 * 16
    assert products(limit, pixels) == products(Logits(), pixels) + extra
    kinds = {type(module).__name__ for module in limit.modules()}
    assert kinds == {"MatrixProducts", "ModuleList", "_Product", "Conv2d"}
    assert all(layer.weight.grad is not None for layer in limit.layers)


def test_mixers_and_copies_take_the_places_of_the_models_mixers() -> None:
    pixels = {"pixel_values": torch.randn(2, 3, 32, 32)}
    model = create_model("poolformer_nano", num_labels=10)
    mixers, copies = Mixers(model, pixels), Copies(model, pixels)
    assert [type(layer) for layer in mixers.layers] == [
        type(module) for module in model.modules() if isinstance(module, TokenMixer)
    ]
    assert [type(layer) for layer in copies.layers] == [Copy] * len(mixers.layers)
    assert mixers.inputs == copies.inputs
    assert mixers.inputs[0].startswith("input_2_16_16_")  # (B, h, w, C): the stem's stride is 2
    for part in (mixers, copies):
        part().backward()
    with pytest.raises(ValueError, match="no part that Mixers"):
        Mixers(nn.Sequential(nn.Linear(3, 3)), {"input": torch.zeros(1, 3)})


def test_parts_are_measured_beside_their_model(tmp_path: Path) -> None:
    names = [f"{part}poolformer_nano" for part in ("", "limit/", "mixers/", "copies/")]
    options = ImageBenchmarkConfig(models=names, batch_size=2, rounds=1, steps=1, warmup=1, mode="both", device="cpu")
    rows = images.run(options)
    assert [row["model"] for row in rows] == names * 2
    assert all(row["per_second"] > 0 for row in rows)


def test_the_loops_are_measured_by_parts(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        small = LoopBenchmarkConfig(2, 16, 16, 1, steps=4, rounds=2, threads=1, output=str(tmp_path / "loop.csv"))
        rows = loop.run(small)
    finally:
        torch.set_num_threads(threads)
    assert [row["loop"] for row in rows] == ["metaformer_nlp", "transformers.Trainer", "limit: the work alone"]
    for row in rows:
        parts = [row[f"{part}_ms"] for part in ("forward", "backward", "optimizer", "loop")]
        assert min(parts) > 0
        assert max(parts) < row["step_ms"]
    assert len((tmp_path / "loop.csv").read_text().splitlines()) == 1 + len(rows)
