"""What the training loop costs beside the work: everything of a step that is not forward, backward or the optimizer.

A text encoder of ordinary depth is trained on rows that are there already, by the engine, by transformers' Trainer, and
by the shortest loop that does the same work: fetch a batch, forward, backward, limit the gradient's norm, update. The
times of the three parts are taken inside of real runs, and the rest of each step is the loop's. The loops take turns.
On one CPU thread it is processor time, which other programs on the machine do not change.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from metaformer_nlp.engine import OptimConfig, RunConfig, ScheduleConfig, Task, run_training
from metaformer_nlp.engine.processes import keep_freed_memory
from metaformer_nlp.engine.run import Run
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextModel
from tasks.benchmark.clock import Report
from tasks.benchmark.options import LoopBenchmarkConfig as Config

__all__ = ["Config", "run"]

COLUMNS = {
    "loop": "loop",
    "step_ms": "ms a step",
    "forward_ms": "forward",
    "backward_ms": "backward",
    "optimizer_ms": "optimizer",
    "loop_ms": "loop, ms",
    "loop_percent": "loop, %",
    "above_ms": "above the work, ms",
    "percent_of_50_ms": "% of 50 ms",
}
"""Columns of the results and their headings on the screen; the last is a share of a step of 50 ms."""
UNCOUNTED = 5
"""Steps at the beginning, in which memory is taken and what is imported late is imported."""
RATE, LIMIT = 1e-3, 1.0
"""Learning rate, and the limit of the gradient's norm, which all loops compute."""


class Rows:
    """Rows of random tokens that lie in memory."""

    def __init__(self, config: Config) -> None:
        self.rows = torch.randint(1, 1000, (64, config.length), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.rows[index]}

    def sample(self, index: int, rng: np.random.Generator | None) -> Tensor:
        return self.rows[index]


class Encoder(nn.Module):
    """A text encoder whose loss is the mean of its squared hidden states, as in benchmark_text."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder = MetaFormerTextModel(
            MetaFormerTextConfig(
                vocab_size=1000,
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_hidden_layers,
                intermediate_size=4 * config.hidden_size,
                max_position_embeddings=config.length,
            )
        )

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        return {"loss": self.encoder(input_ids=input_ids).last_hidden_state.float().square().mean()}


class Encoding(Task):
    """The encoder as a task of the engine."""

    def __init__(self, config: Config) -> None:
        self.train_data, self.eval_data = Rows(config), {}
        self.config = config

    def collate(self, samples: list[Tensor]) -> dict[str, Tensor]:
        return {"input_ids": torch.stack(samples)}

    def build_model(self) -> nn.Module:
        return Encoder(self.config)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        count = len(batch["input_ids"])
        return model(**batch)["loss"] * count, torch.tensor(count, device=batch["input_ids"].device)

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise NotImplementedError  # there is nothing to evaluate

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        raise NotImplementedError

    def save_model(self, model: nn.Module, folder: Path) -> None:
        pass

    def fingerprint(self) -> dict[str, Any]:
        return {}


def by_engine(config: Config, steps: int, begin: Callable[[], None], folder: str) -> None:
    """Train by this project's loop; ``begin`` is called at the beginning of each step, as in the two below."""
    update = Run.update

    def marked(self: Run, *args: Any) -> Any:
        begin()
        return update(self, *args)

    with patch.object(Run, "update", marked):
        run_training(
            Encoding(config),
            optim=OptimConfig(lr=RATE, clip_grad_norm=LIMIT),
            schedule=ScheduleConfig(steps=steps),
            run=RunConfig(folder=folder, batch_size=config.batch_size),
            config={},
        )


def by_trainer(config: Config, steps: int, begin: Callable[[], None], folder: str) -> None:
    """Train by transformers' Trainer, which is told to log and save nothing."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    train = Trainer.training_step

    def marked(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        begin()
        return train(self, *args, **kwargs)

    arguments = TrainingArguments(
        output_dir=folder, max_steps=steps, per_device_train_batch_size=config.batch_size, learning_rate=RATE,
        max_grad_norm=LIMIT, optim="adamw_torch", use_cpu=True, report_to=[], logging_strategy="no",
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(Encoder(config), arguments, train_dataset=Rows(config))
    trainer.remove_callback(PrinterCallback)
    with patch.object(Trainer, "training_step", marked):
        trainer.train()


def by_hand(config: Config, steps: int, begin: Callable[[], None], folder: str) -> None:
    """Train by a loop of nothing but the work."""
    model = Encoder(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    loader: DataLoader[Any] = DataLoader(Rows(config), config.batch_size, shuffle=True)  # type: ignore[arg-type]
    epochs = itertools.chain.from_iterable(itertools.repeat(loader))
    for batch in itertools.islice(epochs, steps):
        begin()
        optimizer.zero_grad()
        model(**batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), LIMIT)
        optimizer.step()


LOOPS: dict[str, Callable[[Config, int, Callable[[], None], str], None]] = {
    "metaformer_nlp": by_engine,
    "transformers.Trainer": by_trainer,
    "limit: the work alone": by_hand,
}


def timed(loop: str, config: Config) -> dict[str, list[float]]:
    """Seconds of each counted step and of its parts."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began: list[float] = []
    parts: dict[str, list[float]] = {}

    def watched(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        spent = parts.setdefault(part, [])

        @functools.wraps(function)  # the Trainer reads the names of arguments
        def call(*args: Any, **kwargs: Any) -> Any:
            start = clock()
            try:
                return function(*args, **kwargs)
            finally:
                spent.append(clock() - start)

        return call

    with ExitStack() as stack:
        for part, owner, name in (
            ("forward", Encoder, "forward"), ("backward", Tensor, "backward"), ("optimizer", torch.optim.AdamW, "step"),
        ):  # fmt: skip
            stack.enter_context(patch.object(owner, name, watched(part, getattr(owner, name))))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        LOOPS[loop](config, config.steps + UNCOUNTED + 1, lambda: began.append(clock()), f"{folder}/run")
    # From the beginning of a step to that of the next: what a loop does between steps counts as well.
    steps = list(np.diff(began)[UNCOUNTED:])
    counted = {part: times[UNCOUNTED : UNCOUNTED + len(steps)] for part, times in parts.items()}
    rest = [step - sum(times) for step, *times in zip(steps, *counted.values(), strict=True)]
    return {"step": steps, **counted, "loop": rest}


def run(config: Config) -> list[dict[str, Any]]:
    """Measure, print a table, write ``config.output``; returns the rows."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    keep_freed_memory()  # as the engine does; all loops have it
    spent: dict[str, dict[str, list[float]]] = {loop: {} for loop in LOOPS}
    for _ in range(config.rounds):
        for loop, times in spent.items():
            for part, seconds in timed(loop, config).items():
                times.setdefault(part, []).extend(seconds)
    rows: list[dict[str, Any]] = []
    for loop, times in spent.items():
        row = {f"{part}_ms": 1e3 * statistics.median(seconds) for part, seconds in times.items()}
        rows.append({"loop": loop, **row, "loop_percent": 100 * row["loop_ms"] / row["step_ms"]})
    for row in rows:
        row["above_ms"] = row["loop_ms"] - rows[-1]["loop_ms"]
        row["percent_of_50_ms"] = 2 * row["above_ms"]
    environment = f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads"
    report = Report(COLUMNS, config.output, environment, f"medians of {config.rounds} x {config.steps} steps")
    report.add(rows)
    return report.rows
