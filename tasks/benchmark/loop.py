"""What the training loop costs beside the work: everything of a step that is not forward, backward or the optimizer.

A text encoder of ordinary depth is trained by the engine on rows that are there already, so that reading them costs
nothing. The times of the three are taken inside of a real run, and the rest of each step is the loop's: fetching,
seeding, agreeing, the gradient's norm, the learning rate, the log. On one CPU thread it is processor time, which other
programs on the machine do not change.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from metaformer_nlp.engine import OptimConfig, RunConfig, ScheduleConfig, Task, run_training
from metaformer_nlp.engine.run import Run
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextModel
from tasks.benchmark.clock import Report
from tasks.benchmark.options import LoopBenchmarkConfig as Config

__all__ = ["Config", "run"]

COLUMNS = {
    "step_ms": "ms a step",
    "forward_ms": "forward",
    "backward_ms": "backward",
    "optimizer_ms": "optimizer",
    "loop_ms": "loop",
    "loop_percent": "loop, %",
    "percent_of_50_ms": "% of 50 ms",
}
"""Columns of the results and their headings on the screen."""
PARTS = ("forward", "backward", "optimizer")
UNCOUNTED = 5
"""Steps at the beginning, in which memory is taken and what is imported late is imported."""


class Rows:
    """Rows of random tokens that lie in memory."""

    def __init__(self, config: Config) -> None:
        self.rows = torch.randint(1, 1000, (64, config.length), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, index: int, rng: np.random.Generator | None) -> Tensor:
        return self.rows[index]


class Encoder(Task):
    """The mean of the squared hidden states, as in benchmark_text."""

    def __init__(self, config: Config) -> None:
        self.train_data, self.eval_data = Rows(config), {}
        self.config = MetaFormerTextConfig(
            vocab_size=1000,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            intermediate_size=4 * config.hidden_size,
            max_position_embeddings=config.length,
        )

    def collate(self, samples: list[Tensor]) -> dict[str, Tensor]:
        return {"input_ids": torch.stack(samples)}

    def build_model(self) -> nn.Module:
        return MetaFormerTextModel(self.config)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        hidden = model(**batch).last_hidden_state.float()
        return hidden.square().mean() * len(hidden), torch.tensor(len(hidden), device=hidden.device)

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise NotImplementedError  # there is nothing to evaluate

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        raise NotImplementedError

    def save_model(self, model: nn.Module, folder: Path) -> None:
        pass

    def fingerprint(self) -> dict[str, Any]:
        return {}


def run(config: Config) -> list[dict[str, Any]]:
    """Measure, print a table, write ``config.output``; returns the row."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began: list[float] = []
    spent: dict[str, list[float]] = {part: [] for part in PARTS}

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = clock()
            try:
                return function(*args, **kwargs)
            finally:
                spent[part].append(clock() - start)

        return call

    def marked(self: Run, *args: Any) -> Any:
        began.append(clock())
        return update(self, *args)

    task, update = Encoder(config), Run.update
    forward = patch.object(task, "loss", timed("forward", task.loss))
    backward = patch.object(Tensor, "backward", timed("backward", Tensor.backward))
    optimizer = patch.object(torch.optim.AdamW, "step", timed("optimizer", torch.optim.AdamW.step))
    with patch.object(Run, "update", marked), forward, backward, optimizer, tempfile.TemporaryDirectory() as folder:
        run_training(
            task,
            optim=OptimConfig(lr=1e-3),
            schedule=ScheduleConfig(steps=config.steps + UNCOUNTED + 1),
            run=RunConfig(folder=f"{folder}/run", batch_size=config.batch_size),
            config={},
        )
    # From the beginning of a step to that of the next: what the loop does between steps counts as well.
    steps = list(np.diff(began)[UNCOUNTED:])
    parts = {part: times[UNCOUNTED : UNCOUNTED + len(steps)] for part, times in spent.items()}
    loop = [step - sum(times) for step, *times in zip(steps, *parts.values(), strict=True)]
    row = {
        f"{name}_ms": 1e3 * statistics.median(times) for name, times in {"step": steps, **parts, "loop": loop}.items()
    }
    row |= {"loop_percent": 100 * row["loop_ms"] / row["step_ms"], "percent_of_50_ms": 2 * row["loop_ms"]}
    environment = f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads"
    report = Report(COLUMNS, config.output, environment, f"medians of {config.steps} steps")
    report.add([row])
    return report.rows
