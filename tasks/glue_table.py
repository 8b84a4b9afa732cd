"""The GLUE table of one or several runs of ``scripts/finetune_glue.py``: a line a metric, over seeds; three averages.

Papers average differently, and the numbers are not comparable: nine numbers with both MNLI sets and without WNLI (FNet,
PoNet, Cramming), eight tasks without WNLI (MosaicBERT, ModernBERT), or nine tasks with it (the server). All three are
given, each only where all its tasks are there.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Column, Table
from scipy import stats

from tasks.glue import GLUE, task_named

__all__ = ["Line", "averages", "glue_table", "read_runs", "render", "write_csv"]

SERVER = tuple(name for name, task in GLUE.items() if task.train)
EIGHT = tuple(name for name in SERVER if name != "WNLI")


class Line(NamedTuple):
    """One number of the table over n seeds; ``low`` and ``high`` are Student's 95 % interval, NaN for one seed."""

    task: str
    split: str
    metric: str
    seeds: int
    median: float
    mean: float
    low: float
    high: float
    constant: float
    """What training's most frequent answer scores."""


def read_runs(folders: Sequence[str | Path]) -> list[dict[str, float]]:
    """The metrics of each run folder's ``result.json``.

    Raises:
        ValueError: a folder without a finished result of ``finetune_glue``.
    """
    runs = []
    for folder in folders:
        file = Path(folder) / "result.json"
        if not file.is_file():
            raise ValueError(f"{file} is missing: give folders of finished runs of scripts/finetune_glue.py")
        metrics = json.loads(file.read_text(encoding="utf-8"))["metrics"]
        if "validation/average" not in metrics:
            raise ValueError(f"{file} is no result of scripts/finetune_glue.py: it has no validation/average")
        runs.append(metrics)
    return runs


def glue_table(runs: Sequence[Mapping[str, float]]) -> list[Line]:
    """A line for every metric of every task and set, in GLUE's order; seeds that lack a task count for the others."""
    tasks = {key.split("/")[1] for run in runs for key in run if key.startswith("constant/") and key.count("/") == 2}
    lines = []
    for name in sorted(tasks, key=lambda name: (list(GLUE).index(name) if name in GLUE else len(GLUE), name)):
        task = task_named(name)
        for split in task.evaluation:
            for metric in task.metrics:
                key = f"{split}/{name}/{metric}"
                found = [run[key] for run in runs if key in run]
                constant = next(run[f"constant/{name}/{metric}"] for run in runs if f"constant/{name}/{metric}" in run)
                lines.append(Line(name, split, metric, len(found), *summary(found), constant))
    return lines


def averages(runs: Sequence[Mapping[str, float]]) -> list[Line]:
    """The three averages in use, of runs that have all the tasks they need."""
    lines = []
    for title, tasks, mnli_twice in (
        ("9 numbers, MNLI twice, no WNLI", EIGHT, True),
        ("8 tasks, no WNLI", EIGHT, False),
        ("9 tasks (server)", SERVER, False),
    ):
        values = [value for run in runs if (value := _average(run, tasks, mnli_twice, "")) is not None]
        constants = [value for run in runs if (value := _average(run, tasks, mnli_twice, "constant")) is not None]
        if values:
            lines.append(Line("average", title, "score", len(values), *summary(values), float(np.mean(constants))))
    return lines


def _average(run: Mapping[str, float], tasks: Sequence[str], mnli_twice: bool, prefix: str) -> float | None:
    numbers: list[float] = []
    for name in tasks:
        splits = ["constant"] if prefix else list(GLUE[name].evaluation)
        keys = [f"{split}/{name}/score" for split in splits]
        if any(key not in run for key in keys):
            return None
        scores = [run[key] for key in keys]
        repeats = len(GLUE[name].evaluation) if mnli_twice else 1
        numbers += scores if len(scores) == repeats else [float(np.mean(scores))] * repeats
    return float(np.mean(numbers))


def summary(values: Sequence[float]) -> tuple[float, float, float, float]:
    """(median, mean, low, high) of one number over seeds."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return float(np.median(values)), mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return float(np.median(values)), mean, mean - half, mean + half


def render(lines: Sequence[Line]) -> Table:
    """For the terminal; scores times 100."""
    titles = ("task", "set", "metric", "n", "median", "mean", "95 %", "constant")
    table = Table(*(Column(title, no_wrap=True) for title in titles), caption="n: seeds; constant: always one answer")
    for line in lines:
        interval = "" if np.isnan(line.low) else f"{100 * line.low:.1f} to {100 * line.high:.1f}"
        table.add_row(
            line.task, line.split, line.metric, str(line.seeds), f"{100 * line.median:.1f}",
            f"{100 * line.mean:.1f}", interval, f"{100 * line.constant:.1f}",
        )  # fmt: skip
    return table


def write_csv(lines: Sequence[Line], path: Path) -> None:
    """All digits; the columns are the fields of :class:`Line`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer: Any = csv.writer(file)
        writer.writerow(Line._fields)
        writer.writerows(lines)
