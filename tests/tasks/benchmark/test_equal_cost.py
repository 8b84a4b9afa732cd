"""Encoders of equal cost: the sizes that are found, what is said of them, and what a user can get wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.core.cost import count_parameters
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextForMaskedLM, MetaFormerTextModel
from tasks.benchmark.clock import Options
from tasks.benchmark.cost_table import Config, option_string, run
from tasks.benchmark.equal_cost import (
    SCALES,
    cost,
    differences,
    match,
    relative_times,
    training_flops,
    training_hours,
    turned,
)
from tasks.text.model import encoder_macs

QUICK = {"rounds": 2, "steps": 1, "warmup": 1, "device": "cpu"}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "token_mixer": "attention"}


def encoder(mixer: Any, layers: int = 12, width: int = 768) -> MetaFormerTextConfig:
    return MetaFormerTextConfig(
        vocab_size=100,
        token_mixer=mixer,
        hidden_size=width,
        num_hidden_layers=layers,
        intermediate_size=4 * width,
        num_attention_heads=width // 64,
        max_position_embeddings=128,
    )


def table(**options: Any) -> Config:
    sizes = {f"model.{key}": value for key, value in SMALL.items()}
    return from_dict(Config, {**sizes, "mixers": "pooling", "vocab_size": 50, "length": 16, **QUICK, **options})


def test_the_known_answer_for_parameters() -> None:
    """Attention has 12 d^2 weights a layer, pooling 8 d^2: 12 layers are 18, or channel MLPs half as wide again."""
    attention, pooling = encoder("attention"), encoder("pooling")
    assert match(attention, pooling, "parameters").num_hidden_layers == 18
    assert match(attention, pooling, "parameters", knob="intermediate_size").intermediate_size == 4608
    assert match(pooling, attention, "parameters").num_hidden_layers == 8
    assert match(attention, attention, "macs").to_dict() == attention.to_dict()


@pytest.mark.parametrize(
    "mixer", ["pooling", "depthwise_conv", "spatial_gating", "fourier", ["pooling x rest", "attention"]]
)
def test_no_other_size_is_nearer(mixer: Any) -> None:
    reference, other = encoder("attention", 6, 64), encoder(mixer, 6, 64)
    for knob, step in (("num_hidden_layers", 1), ("intermediate_size", 8)):
        for scale in ("parameters", "macs"):
            found = match(reference, other, scale, knob=knob, length=64)  # type: ignore[arg-type]
            size = getattr(found, knob)
            near = [turned(found, knob, size + step * change) for change in (-1, 0, 1)]  # type: ignore[arg-type]
            far = [abs(differences(cost(reference, 64), cost(each, 64))[scale]) for each in near]
            assert far[1] == min(far), (knob, scale, size)


def test_costs_are_the_models_own() -> None:
    config = encoder("random", 2, 64)
    model = MetaFormerTextModel(config)
    assert cost(config, 32) == (count_parameters(model).trainable, encoder_macs(model, 32))
    macs = encoder_macs(MetaFormerTextForMaskedLM(config), 100, predictions=30)
    assert macs is not None
    assert training_flops(config, 100, 0.3) == pytest.approx(6 * macs / 100)
    assert training_hours(0.4 * 312e12 * 3600, "A100") == pytest.approx(1)


def test_equal_time_lies_on_the_line_through_two_measurements() -> None:
    def times(configs: Sequence[MetaFormerTextConfig]) -> list[float]:
        return [0.1 + 0.05 * config.num_hidden_layers for config in configs]

    found = match(encoder("attention"), encoder("pooling"), "time", times=times)
    assert found.num_hidden_layers == 18
    with pytest.raises(ValueError, match="needs `times`"):
        match(encoder("attention"), encoder("pooling"), "time")
    with pytest.raises(ValueError, match="costs no more"):
        match(encoder("attention"), encoder("pooling"), "time", times=lambda configs: [1.0] * len(configs))


def test_times_are_relative_to_the_reference() -> None:
    options = Options(mode="training", rounds=3, steps=2, warmup=1)
    how: dict[str, Any] = {"options": options, "device": torch.device("cpu"), "rows": 4, "length": 64}
    same, deeper = relative_times(encoder("pooling", 1, 64), [encoder("pooling", n, 64) for n in (1, 16)], **how)
    assert deeper > 1.5 * same


def test_the_options_make_the_model() -> None:
    reference = encoder("attention")
    found = match(reference, encoder({"name": "pooling", "pool_size": 7}), "parameters")
    line = option_string(reference, found)
    assert line == """--model.token_mixer '{"name": "pooling", "pool_size": 7}' --model.num_hidden_layers 18"""
    assert option_string(reference, reference) == ""


def test_the_table(tmp_path: Path) -> None:
    rows = run(
        table(mixers="pooling,identity", equal="parameters,macs,time", tokens=1e9, output=str(tmp_path / "t.json"))
    )
    assert len(rows) == 1 + 2 * (1 + 2 * len(SCALES))
    assert [row["equal"] for row in rows[:3]] == ["reference", "depth and width", "parameters"]
    assert rows[0]["time_percent"] == rows[0]["macs_percent"] == 0
    assert rows[1]["parameters_percent"] < -10 < -9 < rows[2]["parameters_percent"] < 9
    assert all(row["hours_A100"] > row["hours_H100"] > 0 for row in rows if "error" not in row)
    assert json.loads((tmp_path / "t.json").read_text())["rows"] == rows


def test_what_is_wrong_is_said() -> None:
    for options, message in (
        ({"equal": "flops"}, "must be one of parameters, macs, time"),
        ({"change": "hidden_size"}, "must be one of num_hidden_layers"),
        ({"mixers": "poolin"}, "pooling"),
        ({"precision": "float32,bfloat16"}, "one at a time"),
        ({"length": 0}, "at least 1"),
        ({"model.checkpoint": "runs/x"}, "fresh"),
    ):
        with pytest.raises(ValueError, match=message):
            run(table(**options))
    listed = run(table(mixers=[["pooling", "attention"]], equal="macs"))
    assert "x rest" in next(row["error"] for row in listed if "error" in row)
    ablation = run(table(equal="parameters", change="intermediate_size", **{"model.use_channel_mlp": False}))
    assert "nothing to match" in ablation[-1]["error"]
