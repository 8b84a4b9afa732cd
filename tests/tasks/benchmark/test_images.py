"""The benchmark: which model is measured, what a row says, and what a user can get wrong."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from metaformer_nlp.config.command_line import from_dict
from tasks.benchmark import images as vision_benchmark
from tasks.benchmark.images import Config, Contestant, build_model, make, run

ALL = "poolformer_nano,transformers/poolformer_nano,timm/test_vit+channels_last"


def config(**options: Any) -> Config:
    return from_dict(Config, {"models": ALL, "batch_size": 2, "rounds": 2, "steps": 1, "warmup": 1, **options})


def test_a_row_for_each_model_mode_and_precision(tmp_path: Path) -> None:
    output = tmp_path / "rows.csv"
    rows = run(config(mode="both", rounds=1, precision="float32,amp_bfloat16", output=str(output)))
    assert [row["model"] for row in rows] == ALL.split(",") * 4
    assert [(row["mode"], row["precision"]) for row in rows[::3]] == [
        (mode, precision) for mode in ("inference", "training") for precision in ("float32", "amp_bfloat16")
    ]
    assert [row["relative_speed"] for row in rows[::3]] == [1.0] * 4
    assert all(row["step_ms"] >= row["fastest_ms"] > 0 for row in rows)
    assert rows[0]["per_second"] == pytest.approx(2000 / rows[0]["step_ms"])
    assert rows[0]["param_count"] == rows[1]["param_count"] == pytest.approx(0.11, abs=0.01)
    with output.open() as file:
        assert [line["model"] for line in csv.DictReader(file)] == ALL.split(",") * 4


class Slow(nn.Module):
    """Sleeps a known time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.weight, self.seconds = nn.Parameter(torch.ones(())), seconds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        return x.flatten(1)[:, :10] * self.weight


def test_times_are_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    waits = {"a": 0.01, "b": 0.03}

    def build(name: str, image_size: int | None) -> tuple[nn.Module, int, int]:
        return Slow(waits[name]), 8, 10**9

    monkeypatch.setattr(vision_benchmark, "build_model", build)
    first, second = run(config(models="a,b", rounds=3, output=str(tmp_path / "rows.json")))
    assert first["fastest_ms"] == pytest.approx(10, rel=0.3)
    assert second["fastest_ms"] == pytest.approx(30, rel=0.3)
    assert 0.1 < second["relative_speed"] < 0.6
    assert second["gmacs"] == 1
    stored = json.loads((tmp_path / "rows.json").read_text())
    assert stored["rows"] == [first, second]
    assert torch.__version__ in stored["environment"]


def test_the_others_go_on_where_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(self: Contestant) -> None:
        if self.facts["img_size"] == 160:
            raise torch.OutOfMemoryError("no memory for 1 TiB\nand more")

    monkeypatch.setattr(Contestant, "_step", step)
    rows = run(config(models="timm/test_vit,poolformer_nano"))
    assert rows[0]["error"] == "no memory for 1 TiB"
    assert rows[1]["relative_speed"] == 1


def test_training_changes_the_weights_and_inference_does_not() -> None:
    for mode, changes in (("training", True), ("inference", False)):
        contestant = make("poolformer_nano", mode, "float32", config(), torch.device("cpu"))
        assert isinstance(contestant.model, nn.Module)
        before = [parameter.clone() for parameter in contestant.model.parameters()]
        contestant.turn(2, record=False)
        after = contestant.model.parameters()
        assert changes != all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_nothing_drops_anything_and_sizes_are_taken() -> None:
    for name in ("poolformer_xs", "transformers/poolformer_xs"):
        model, size, macs = build_model(name, None)
        pixels = torch.randn(1, 3, size, size)
        model.train()
        first, second = (model(pixel_values=pixels).logits for _ in range(2))
        assert torch.equal(first, second), name
        assert build_model(name, 64)[2] == pytest.approx(4 * macs, rel=0.01)


def test_what_is_wrong_is_said() -> None:
    for options, message in (
        ({"models": "poolformer_nan"}, "unknown model"),
        ({"models": "timm/nothing_at_all"}, "timm"),
        ({"models": "elsewhere/poolformer_nano"}, "unknown source"),
        ({"models": "poolformer_nano+fast"}, "unknown switch"),
        ({"models": " , "}, "empty list"),
        ({"models": "transformers/poolformer_s12_layer_norm"}, "PoolFormer only"),
        ({"precision": "half"}, "must be one of float32"),
        ({"rounds": 0}, "at least 1"),
        ({"output": "rows.txt"}, "must end with"),
    ):
        with pytest.raises(ValueError, match=message):
            run(config(**options))
