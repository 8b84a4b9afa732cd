"""An experiment that takes no time: its score is a formula, and it can be told to fail in every way a cell may fail."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metaformer_nlp.engine.signals import EXIT_CODE, StopRequest


@dataclass(frozen=True)
class ModelConfig:
    token_mixer: str = "attention"
    use_residual: bool = True


@dataclass(frozen=True)
class RunConfig:
    folder: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Config:
    model: ModelConfig = field(default_factory=ModelConfig)
    run: RunConfig = field(default_factory=RunConfig)
    seconds: float = 0.0
    trouble: str = ""
    trouble_seed: int = -1


def run(config: Config) -> dict[str, Any]:
    folder = Path(config.run.folder)
    with (folder / "starts.txt").open("a") as file:
        file.write(f"{os.getpid()}\n")
    print(f"hello from {config.model.token_mixer}", flush=True)
    first = len((folder / "starts.txt").read_text().split()) == 1
    if config.trouble == "training loop":
        train(folder)
    if config.trouble != "slow once" or first:
        time.sleep(config.seconds)
    if config.trouble and config.trouble_seed in (-1, config.run.seed):
        make(config.trouble, folder, first)
    scores = {"attention": 0.9, "pooling": 0.85, "identity": 0.7}
    rng = np.random.default_rng([config.run.seed, sum(map(ord, config.model.token_mixer))])
    score = float(scores[config.model.token_mixer] - (0 if config.model.use_residual else 0.5) + rng.normal(0, 0.01))
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS",)}
    result = {
        "metrics": {"validation/accuracy": score, "validation/topic": score, "validation/order": score - 0.1},
        "train": {"loss": 1 - score, "steps": 10, "samples": 100},
        "parameters": {"total": 1000, "trainable": 900},
        "macs": 12_345,
        "seconds": 1.5,
        "threads": threads,
    }
    (folder / "result.json").write_text(json.dumps(result))
    if config.trouble == "full disk" and first:  # from now on nothing can be written
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return result


def train(folder: Path) -> None:
    """Until it is told to stop; then it takes its time to save, as the real loop does."""
    with StopRequest() as stop:
        (folder / "training").touch()
        while not stop():
            time.sleep(0.01)
        time.sleep(1.5)
        (folder / "saved").touch()
        raise SystemExit(EXIT_CODE)


def make(trouble: str, folder: Path, first: bool) -> None:
    if trouble == "raise":
        raise RuntimeError("the toy was told to fail")
    if trouble == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "exit":
        os._exit(3)
    if trouble == "once" and first:
        raise RuntimeError("the toy fails the first time")
    if trouble == "Ctrl-C" and first:
        os.kill(os.getpid(), signal.SIGINT)
    if trouble == "terminate" and first:
        os.kill(os.getpid(), signal.SIGTERM)
