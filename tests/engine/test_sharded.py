"""Sharded weights (FSDP2) on two CPU processes.

accelerate shards on accelerators only, so the toy is sharded here in place of `Accelerator.prepare`.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch.distributed.fsdp import fully_shard

from tests.engine.harness import at_step, die, launch, lines, steps_kept, train_alone

OPTIONS = {
    "norm": False,
    "dropout": 0.0,
    "steps": 6,
    "save_every": 2,
    "eval_every": 3,
    "log_every": 1,
    "clip_grad_norm": 0.5,
    "ema_decay": 0.5,
}


def shard(rank: int) -> None:
    def prepare(self: Accelerator, model: torch.nn.Module, optimizer: torch.optim.AdamW) -> tuple:
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        groups = [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]

        fully_shard(model)
        sharded = dict(model.named_parameters())
        for group, members in zip(optimizer.param_groups, groups, strict=True):
            group["params"] = [sharded[name] for name in members]
        return model, self.prepare_optimizer(optimizer)

    Accelerator.prepare = prepare


OPTIMIZERS: list[dict[str, Any]] = [
    {},
    {"name": "lamb", "layer_decay": 0.8, "lr": 0.02},
    {"name": "sgd", "momentum": 0.9},
]


@pytest.mark.distributed
@pytest.mark.parametrize("optim", OPTIMIZERS, ids=lambda x: x.get("name", "adamw"))
def test_sharded_training_and_its_checkpoints(tmp_path: Path, optim: dict[str, Any]) -> None:
    options = OPTIONS | optim
    train_alone(tmp_path / "plain", **options)

    def shard_and_die(rank: int) -> None:
        shard(rank)
        at_step(4, die)(rank)

    outcomes = launch(tmp_path / "run", 2, prepare=shard_and_die, **options)
    assert [outcome.code for outcome in outcomes] == [-9, -9], [outcome.said for outcome in outcomes]
    assert steps_kept(tmp_path / "run") == [4, 2]
    outcomes = launch(tmp_path / "run", 2, prepare=shard, **options)
    assert [outcome.code for outcome in outcomes] == [0, 0], [outcome.said for outcome in outcomes]
    for name in ("model.safetensors", "average.safetensors", "optimizer.safetensors"):
        ours, theirs = (load_file(tmp_path / run / "checkpoints/step-00000006" / name) for run in ("run", "plain"))
        assert ours.keys() == theirs.keys()
        for key in ours:
            torch.testing.assert_close(ours[key].reshape(-1), theirs[key].reshape(-1), rtol=1e-4, atol=1e-6)
    ours, theirs = (lines(tmp_path / run) for run in ("run", "plain"))
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=1e-4)
