"""Configuration, schedule and the optimizer's groups."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.optim import SGD

from metaformer_nlp.engine.config import OptimConfig, RunConfig, ScheduleConfig
from metaformer_nlp.engine.optimizer import build_optimizer, decay_groups
from metaformer_nlp.engine.record import check_same
from metaformer_nlp.engine.scaling import scale
from metaformer_nlp.engine.schedule import learning_rate, total_steps


@pytest.mark.parametrize(
    ("kind", "options", "names"),
    [
        (ScheduleConfig, {}, "schedule.epochs"),
        (ScheduleConfig, {"epochs": 1, "steps": 1}, "exactly one"),
        (ScheduleConfig, {"epochs": 0}, "schedule.epochs"),
        (ScheduleConfig, {"steps": -1}, "schedule.steps"),
        (ScheduleConfig, {"steps": 9, "warmup_fraction": 1.5}, "schedule.warmup_fraction"),
        (ScheduleConfig, {"steps": 9, "warmup_fraction": 0.5, "warmup_steps": 3}, "one of the three"),
        (ScheduleConfig, {"epochs": 9, "warmup_fraction": 0.5, "warmup_epochs": 3}, "one of the three"),
        (ScheduleConfig, {"epochs": 9, "warmup_epochs": -1}, "schedule.warmup_epochs"),
        (ScheduleConfig, {"epochs": 3, "warmup_epochs": 5}, "epochs 3.*set schedule.warmup_epochs"),
        (ScheduleConfig, {"epochs": 9, "warmup_start_lr": -1}, "schedule.warmup_start_lr"),
        (ScheduleConfig, {"epochs": 9, "cooldown_epochs": 1, "kind": "constant"}, "schedule.cooldown_epochs"),
        (ScheduleConfig, {"steps": 9, "cooldown_epochs": 1}, "schedule.cooldown_epochs"),
        (ScheduleConfig, {"steps": 9, "decay_from": "end"}, "warmup_end, start"),
        (ScheduleConfig, {"steps": 9, "update_every": "day"}, "step, epoch"),
        (ScheduleConfig, {"steps": 9, "kind": "cosin"}, "cosine, linear, poly, step, constant"),
        (ScheduleConfig, {"steps": 9, "kind": "poly"}, "schedule.power is None"),
        (ScheduleConfig, {"steps": 9, "power": 0.9}, "schedule.power is 0.9"),
        (ScheduleConfig, {"steps": 9, "kind": "step", "factor": 0.1}, "schedule.milestones is None"),
        (ScheduleConfig, {"steps": 9, "kind": "step", "milestones": [8, 8], "factor": 0.1}, "rising"),
        (ScheduleConfig, {"steps": 9, "kind": "step", "milestones": [8], "factor": 1.0}, "a factor between"),
        (ScheduleConfig, {"steps": 9, "milestones": [8]}, "schedule.kind cosine"),
        (ScheduleConfig, {"minutes": 9, "kind": "step", "milestones": [8], "factor": 0.1}, "schedule.epochs"),
        (ScheduleConfig, {"steps": 9, "min_lr": -1}, "schedule.min_lr"),
        (OptimConfig, {"lr": -1}, "optim.lr"),
        (OptimConfig, {"betas": (0.9, 1.0)}, "optim.betas"),
        (OptimConfig, {"eps": 0}, "optim.eps"),
        (OptimConfig, {"weight_decay": -1}, "optim.weight_decay"),
        (OptimConfig, {"clip_grad_norm": 0}, "null for no clipping"),
        (OptimConfig, {"name": "adam"}, "adamw, lamb, sgd"),
        (OptimConfig, {"name": "sgd"}, "SGD needs one"),
        (OptimConfig, {"momentum": 0.9}, "the others take null"),
        (OptimConfig, {"lr_batch_size": 0}, "optim.lr_batch_size"),
        (OptimConfig, {"layer_decay": 1.5}, "optim.layer_decay"),
        (RunConfig, {"folder": "", "batch_size": 1}, "run.folder"),
        (RunConfig, {"folder": "x", "batch_size": 0}, "run.batch_size"),
        (RunConfig, {"folder": "x", "batch_size": 1, "micro_batch_size": 0}, "run.micro_batch_size"),
        (RunConfig, {"folder": "x", "batch_size": 1, "eval_every": 0}, "run.eval_every"),
        (RunConfig, {"folder": "x", "batch_size": 1, "eval_at": [-1]}, "run.eval_at"),
        (RunConfig, {"folder": "x", "batch_size": 1, "eval_at": [5, 5]}, "run.eval_at is .*rising"),
        (RunConfig, {"folder": "x", "batch_size": 1, "seed": -1}, "run.seed"),
        (RunConfig, {"folder": "x", "batch_size": 1, "mixed_precision": "fp8"}, "no, bf16, fp16"),
        (RunConfig, {"folder": "x", "batch_size": 1, "augmentation_repeats": 0}, "run.augmentation_repeats"),
        (RunConfig, {"folder": "x", "batch_size": 1, "keep_best": "accuracy"}, "validation/accuracy"),
        (RunConfig, {"folder": "x", "batch_size": 1, "ema_decay": 1.0}, "run.ema_decay"),
    ],
)
def test_a_wrong_value_is_named(kind: Any, options: dict, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        kind(**options)


def test_length_of_a_run() -> None:
    assert total_steps(ScheduleConfig(epochs=3), 100, 32) == 10
    assert total_steps(ScheduleConfig(epochs=0.5), 100, 50) == 1
    assert total_steps(ScheduleConfig(steps=7), 100, 32) == 7
    assert total_steps(ScheduleConfig(epochs=3, cooldown_epochs=2), 100, 32) == 16


def test_learning_rate() -> None:
    cosine = ScheduleConfig(steps=110, warmup_steps=10, min_lr=0.1)
    rates = [learning_rate(step, 1.0, cosine, 55, 1) for step in range(110)]
    assert rates[:10] == [(step + 1) / 10 for step in range(10)]
    assert rates[10] == 1.0
    assert math.isclose(rates[60], 0.55)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert 0.1 < rates[-1] < 0.101
    linear = ScheduleConfig(steps=100, kind="linear", warmup_fraction=0.2)
    assert [learning_rate(step, 1.0, linear, 55, 1) for step in (0, 19, 20, 60)] == [0.05, 1.0, 1.0, 0.5]
    constant = ScheduleConfig(steps=100, kind="constant")
    assert {learning_rate(step, 0.3, constant, 55, 1) for step in range(100)} == {0.3}
    everything = ScheduleConfig(steps=4, warmup_fraction=1.0)
    assert [learning_rate(step, 1.0, everything, 55, 1) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_the_published_schedules_of_dense_prediction() -> None:
    coco = ScheduleConfig(
        epochs=12, kind="step", milestones=[8, 11], factor=0.1, warmup_steps=500, warmup_start_lr=1e-7
    )
    samples = 7330 * 16  # mmdetection's epoch of COCO: the last batch is filled up
    assert total_steps(coco, samples, 16) == 87_960
    for step in (0, 1, 250, 499):
        assert learning_rate(step, 1e-4, coco, samples, 16) == pytest.approx(1e-4 * (0.001 + 0.999 * step / 500))
    after = {500: 1e-4, 58_639: 1e-4, 58_640: 1e-5, 80_629: 1e-5, 80_630: 1e-6, 87_959: 1e-6}
    assert {step: learning_rate(step, 1e-4, coco, samples, 16) for step in after} == pytest.approx(after)
    ade = ScheduleConfig(steps=40_000, kind="poly", power=0.9)
    for step in (0, 1, 10_000, 39_999):
        assert learning_rate(step, 2e-4, ade, 20_210, 32) == pytest.approx(2e-4 * (1 - step / 40_000) ** 0.9)
    assert learning_rate(40_000, 2e-4, ade, 20_210, 32) == 0


def test_learning_rate_by_epochs() -> None:
    stairs = ScheduleConfig(
        epochs=4, warmup_epochs=2, cooldown_epochs=1, min_lr=0.1, kind="linear", update_every="epoch"
    )
    rates = [learning_rate(step, 1.0, stairs, 10, 4) for step in range(total_steps(stairs, 10, 4))]
    # Samples 0, 4 and 8 lie in epoch 0, samples 12 and 16 in epoch 1, and so on.
    assert rates == pytest.approx([0.5] * 3 + [1.0] * 2 + [1.0] * 3 + [0.55] * 2 + [0.1] * 3)
    ramp = ScheduleConfig(epochs=8, warmup_epochs=2, warmup_start_lr=0.2, kind="constant")
    assert [learning_rate(step, 1.0, ramp, 10, 5) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    early = ScheduleConfig(epochs=8, warmup_epochs=2, kind="linear", decay_from="start")
    assert [learning_rate(step, 1.0, early, 10, 10) for step in range(4)] == [0.5, 1.0, 0.75, 0.625]


@pytest.mark.parametrize(
    ("samples", "world", "options", "cut", "lr", "note"),
    [
        (90, 2, {"batch_size": 1024, "fit_batch": True, "lr_batch_size": 1024, "micro_batch_size": 128},
         (90, 45, 1), 1e-3 * 90 / 1024,
         "scaled: 90 training samples are fewer than run.batch_size 1024: global batch 90 = 45 x 1 x 2 processes, "
         "lr 0.001 x 90/1024 = 8.79e-05"),
        (5000, 2, {"batch_size": 1024, "fit_batch": True, "lr_batch_size": 1024, "micro_batch_size": 128},
         (1024, 128, 4), 1e-3, None),
        (5000, 3, {"batch_size": 1024, "fit_batch": True, "micro_batch_size": 128}, (1017, 113, 3), 1e-3,
         "scaled: run.batch_size 1024 is no multiple of 3 processes: global batch 1017 = 113 x 3 x 3 processes"),
        (997, 1, {"batch_size": 1024, "fit_batch": True, "micro_batch_size": 128}, (992, 124, 8), 1e-3,
         "scaled: 997 training samples are fewer than run.batch_size 1024: global batch 992 = 124 x 8 x 1 processes"),
        (997, 1, {"batch_size": 1022, "fit_batch": True}, (997, 997, 1), 1e-3,
         "scaled: 997 training samples are fewer than run.batch_size 1022: global batch 997 = 997 x 1 x 1 processes"),
        (5000, 1, {"batch_size": 1022, "fit_batch": True, "micro_batch_size": 128}, (1022, 73, 14), 1e-3, None),
        (5000, 2, {"batch_size": 2062, "fit_batch": True, "micro_batch_size": 128}, (2052, 114, 9), 1e-3,
         "scaled: 1031 samples of a process cannot be cut into micro-batches of about 128: global batch 2052 = "
         "114 x 9 x 2 processes"),
        (5000, 1, {"batch_size": 2062, "fit_batch": True, "micro_batch_size": 128}, (2057, 121, 17), 1e-3,
         "scaled: 2062 samples of a process cannot be cut into micro-batches of about 128: global batch 2057 = "
         "121 x 17 x 1 processes"),
        (5000, 1, {"batch_size": 2048, "lr_batch_size": 1024}, (2048, 2048, 1), 2e-3,
         "scaled: lr 0.001 x 2048/1024 = 0.002"),
        (5, 1, {"batch_size": 12, "micro_batch_size": 5}, (12, 4, 3), 1e-3, None),
    ],
)  # fmt: skip
def test_scaling(samples: int, world: int, options: dict, cut: tuple, lr: float, note: str | None) -> None:
    optim = OptimConfig(lr_batch_size=options.get("lr_batch_size"))
    run = RunConfig(folder="x", **{name: value for name, value in options.items() if name != "lr_batch_size"})
    found = scale(run, optim, samples, world)
    assert (found.layout.batch_size, found.layout.micro_batch_size, found.layout.accumulation) == cut
    assert found.lr == lr
    assert found.note == note


def test_a_batch_that_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match=r"3 training samples.*4 processes.*at most 3"):
        scale(RunConfig(folder="x", batch_size=8, fit_batch=True), OptimConfig(), 3, 4)


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
    assert decay_groups(model, {"embedding.weight"})[0] == []
    with pytest.raises(ValueError, match=r"not_decayed names embeding\.weight"):
        decay_groups(model, {"embeding.weight"})
    optimizer = build_optimizer(model, OptimConfig(weight_decay=0.3))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    sgd = build_optimizer(model, OptimConfig(name="sgd", momentum=0.9, weight_decay=0.3))
    assert isinstance(sgd, SGD)
    assert [(group["weight_decay"], group["momentum"]) for group in sgd.param_groups] == [(0.3, 0.9), (0.0, 0.9)]
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_optimizer(nn.Identity(), OptimConfig())


def test_what_an_earlier_version_did_not_tell_of_the_data_is_not_compared(tmp_path: Path) -> None:
    now = {"fingerprint": {"train": {"size": 9, "content": "a"}}}
    check_same({"fingerprint": {"train": {"size": 9}}}, now, tmp_path, "other data")
    for stored in (
        {"train": {"size": 8}},
        {"train": {"size": 9, "content": "b"}},
        {"train": {"size": 9, "old": 1}},
        {},
    ):
        with pytest.raises(ValueError, match="other data"):
            check_same({"fingerprint": stored}, now, tmp_path, "other data")
