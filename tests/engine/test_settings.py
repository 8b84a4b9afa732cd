"""Configuration, schedule and the optimizer's groups."""

import math
from itertools import pairwise
from typing import Any

import pytest
from torch import nn

from metaformer_nlp.engine.config import OptimConfig, RunConfig, ScheduleConfig
from metaformer_nlp.engine.optimizer import build_optimizer, decay_groups
from metaformer_nlp.engine.schedule import learning_rate, total_steps


@pytest.mark.parametrize(
    ("kind", "options", "names"),
    [
        (ScheduleConfig, {}, "schedule.epochs"),
        (ScheduleConfig, {"epochs": 1, "steps": 1}, "exactly one"),
        (ScheduleConfig, {"epochs": 0}, "schedule.epochs"),
        (ScheduleConfig, {"steps": -1}, "schedule.steps"),
        (ScheduleConfig, {"steps": 9, "warmup_fraction": 1.5}, "schedule.warmup_fraction"),
        (ScheduleConfig, {"steps": 9, "warmup_fraction": 0.5, "warmup_steps": 3}, "one of the two"),
        (ScheduleConfig, {"steps": 9, "kind": "cosin"}, "cosine, linear, constant"),
        (ScheduleConfig, {"steps": 9, "min_lr": -1}, "schedule.min_lr"),
        (OptimConfig, {"lr": -1}, "optim.lr"),
        (OptimConfig, {"betas": (0.9, 1.0)}, "optim.betas"),
        (OptimConfig, {"eps": 0}, "optim.eps"),
        (OptimConfig, {"weight_decay": -1}, "optim.weight_decay"),
        (OptimConfig, {"clip_grad_norm": 0}, "null for no clipping"),
        (RunConfig, {"folder": "", "batch_size": 1}, "run.folder"),
        (RunConfig, {"folder": "x", "batch_size": 0}, "run.batch_size"),
        (RunConfig, {"folder": "x", "batch_size": 1, "micro_batch_size": 0}, "run.micro_batch_size"),
        (RunConfig, {"folder": "x", "batch_size": 1, "eval_every": 0}, "run.eval_every"),
        (RunConfig, {"folder": "x", "batch_size": 1, "seed": -1}, "run.seed"),
        (RunConfig, {"folder": "x", "batch_size": 1, "mixed_precision": "fp8"}, "no, bf16, fp16"),
    ],
)
def test_a_wrong_value_is_named(kind: Any, options: dict, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        kind(**options)


def test_length_of_a_run() -> None:
    assert total_steps(ScheduleConfig(epochs=3), 100, 32) == 10
    assert total_steps(ScheduleConfig(epochs=0.5), 100, 50) == 1
    assert total_steps(ScheduleConfig(steps=7), 100, 32) == 7


def test_learning_rate() -> None:
    cosine = ScheduleConfig(steps=110, warmup_steps=10, min_lr=0.1)
    rates = [learning_rate(step, 110, 1.0, cosine) for step in range(110)]
    assert rates[:10] == [(step + 1) / 10 for step in range(10)]
    assert rates[10] == 1.0
    assert math.isclose(rates[60], 0.55)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert 0.1 < rates[-1] < 0.101
    linear = ScheduleConfig(steps=100, kind="linear", warmup_fraction=0.2)
    assert [learning_rate(step, 100, 1.0, linear) for step in (0, 19, 20, 60)] == [0.05, 1.0, 1.0, 0.5]
    constant = ScheduleConfig(steps=100, kind="constant")
    assert {learning_rate(step, 100, 0.3, constant) for step in range(100)} == {0.3}
    everything = ScheduleConfig(steps=4, warmup_fraction=1.0)
    assert [learning_rate(step, 4, 1.0, everything) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_what_is_decayed() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(nn.init.ones_(nn.Linear(1, 4).weight[:, 0].detach()))

    class OddNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(nn.Linear(3, 3).weight.detach())

    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(nn.Linear(3, 3).weight.detach())

    model = nn.ModuleDict(
        {
            "embedding": nn.Embedding(5, 4),
            "linear": nn.Linear(4, 5),
            "conv": nn.Conv2d(1, 4, 3),
            "group": nn.GroupNorm(1, 4),
            "odd": OddNorm(),
            "scale": Scale(),
            "mixing": Mixing(),
        }
    )
    model["linear"].weight = model["embedding"].weight  # tied: once
    model["conv"].weight.requires_grad = False
    decayed, spared = decay_groups(model)
    assert [id(parameter) for parameter in decayed] == [id(model["embedding"].weight)]
    names = {name for name, parameter in model.named_parameters() if any(parameter is other for other in spared)}
    assert names == {
        "linear.bias",
        "conv.bias",
        "group.weight",
        "group.bias",
        "odd.weight",
        "scale.scale",
        "mixing.bias",
    }
    optimizer = build_optimizer(model, OptimConfig(weight_decay=0.3))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_optimizer(nn.Identity(), OptimConfig())
