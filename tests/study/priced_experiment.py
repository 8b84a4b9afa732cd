"""An experiment that trains nothing and tells what it would take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    width: int = 10
    depth: int = 2
    checkpoint: str = ""


@dataclass(frozen=True)
class ScheduleConfig:
    steps: int | None = 100
    minutes: float | None = None


@dataclass(frozen=True)
class RunConfig:
    folder: str = ""
    seed: int = 0
    batch_size: int = 8


@dataclass(frozen=True)
class Config:
    model: ModelConfig = field(default_factory=ModelConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    run: RunConfig = field(default_factory=RunConfig)
    lr: float = 0.1
    data: str = "here"
    tokens_each: int | None = None


def cost(config: Config, start: Config | None = None) -> dict[str, Any]:
    if config.data != "here":
        raise ValueError(f"data {config.data}: no such folder")
    model, steps = (start or config).model, config.schedule.steps
    macs = model.width**2 * model.depth
    told = {"parameters": {"total": macs + model.width, "trainable": macs}, "macs": macs}
    if config.schedule.minutes is not None or steps is None:
        return told
    samples = steps * config.run.batch_size
    if config.tokens_each is not None:
        told["tokens"] = samples * config.tokens_each
    return {**told, "steps": steps, "samples": samples, "training_macs": macs * samples}


def run(config: Config) -> dict[str, Any]:
    raise AssertionError("it is not meant to run")
