"""The GLUE table of one or several runs of ``scripts/finetune_glue.py``: a line a metric, over seeds; three averages.

Papers average differently, and the numbers are not comparable: nine numbers with both MNLI sets and without WNLI (FNet,
PoNet, Cramming), eight tasks without WNLI (MosaicBERT, ModernBERT), or nine tasks with it (the server). All three are
given, each only where all its tasks are there; the eight also with RTE, MRPC and STS-B from MNLI's model, as MosaicBERT
and ModernBERT have them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from metaformer_nlp.errors import reading
from tasks.glue.tasks import FROM_MNLI, GLUE, MNLI_STARTS, task_of

__all__ = [
    "Line",
    "averages",
    "combine",
    "glue_table",
    "read_runs",
    "render",
    "results_table",
    "seed_folders",
    "show",
    "write_csv",
]

SERVER = tuple(name for name, task in GLUE.items() if task.train)
EIGHT = tuple(name for name in SERVER if name != "WNLI")
EIGHT_FROM_MNLI = tuple(name + FROM_MNLI if name in MNLI_STARTS else name for name in EIGHT)


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


def combine(
    results: Mapping[str, Mapping[str, Any]],
    constants: Mapping[str, Mapping[str, Mapping[str, float]]],
    counts: Mapping[str, Any],
) -> dict[str, Any]:
    """The result of several columns as one; a column is a task, or one of them from MNLI's model.

    ``metrics`` has ``<split>/<task>/<metric>`` for what was reached and ``constant/<task>/<metric>`` for the most
    frequent answer (on MNLI's other set: ``constant_mismatched``), and of both the ``average``: the mean of the tasks'
    scores (a task's score is the mean of its metrics; MNLI's is the mean over its two sets), and where WNLI is one of
    several tasks, ``average_without_wnli``.
    What began with MNLI's model is in no average.
    """
    metrics: dict[str, float] = {}
    for name, result in results.items():
        for key, value in result["metrics"].items():
            split, metric = key.split("/", 1)
            metrics[f"{split}/{name}/{metric}"] = value
        for split, constant in constants[name].items():
            for metric, value in constant.items():
                metrics[f"{_constant(split)}/{name}/{metric}"] = value
    held_out = any("held_out" in splits for splits in constants.values())
    for prefix in ("held_out" if held_out else "validation", "constant"):
        scores = {}
        for name, splits in constants.items():
            if name.endswith(FROM_MNLI):
                continue
            sets = [_constant(split) if prefix == "constant" else split for split in splits]
            scores[name] = float(np.mean([metrics[f"{place}/{name}/score"] for place in sets]))
        metrics[f"{prefix}/average"] = float(np.mean(list(scores.values())))
        if "WNLI" in scores and len(scores) > 1:
            rest = [score for name, score in scores.items() if name != "WNLI"]
            metrics[f"{prefix}/average_without_wnli"] = float(np.mean(rest))
    first = next(iter(results.values()))
    counted = [key for key in ("steps", "samples", "tokens") if all(key in its["train"] for its in results.values())]
    return {
        "metrics": metrics,
        "tasks": {name: {**result, "data": counts[name]} for name, result in results.items()},
        # Of one task's model; the tasks differ in the size of the classifier only.
        "parameters": first["parameters"],
        **({"macs": first["macs"]} if "macs" in first else {}),
        "train": {key: sum(result["train"][key] for result in results.values()) for key in counted},
        "seconds": sum(result["seconds"] for result in results.values()),
    }


def _constant(split: str) -> str:
    """Where the most frequent answer's metrics on a split stand: "constant", or "constant_mismatched"."""
    return split.replace("held_out", "constant").replace("validation", "constant")


def results_table(
    names: Sequence[str],
    results: Mapping[str, Mapping[str, Any]],
    constants: Mapping[str, Mapping[str, Mapping[str, float]]],
    metrics: Mapping[str, float],
) -> Table:
    """For the terminal, after training."""
    table = _table("task", "set", "metric", "value", "constant", "loss")
    table.caption = "constant: always training's most frequent answer"
    for name in names:
        for split, scores in constants[name].items():
            for metric in task_of(name).metrics:
                reached = results[name]["metrics"]
                table.add_row(
                    name, task_of(name).evaluation.get(split, split), _SHORT.get(metric, metric),
                    f"{reached[f'{split}/{metric}']:.4f}", f"{scores[metric]:.4f}", f"{reached[f'{split}/loss']:.4f}",
                )  # fmt: skip
    for key in ("average", "average_without_wnli"):
        for value in [metrics[f"{split}/{key}"] for split in ("validation", "held_out") if f"{split}/{key}" in metrics]:
            table.add_row(key.replace("_", " "), "", "score", f"{value:.4f}", f"{metrics[f'constant/{key}']:.4f}", "")
    return table


def show(table: Table) -> None:
    """Print a table with nothing cut, however narrow the terminal; where there is none, rich takes 80 columns."""
    console = Console()
    needed = console.measure(table, options=console.options.update(width=1000)).maximum
    Console(width=max(console.width, needed)).print(table)


_SHORT = {"matthews_correlation": "Matthews", "f1": "F1", "pearson": "Pearson", "spearmanr": "Spearman"}


def _table(*titles: str) -> Table:
    return Table(*(Column(title, no_wrap=True) for title in titles), box=SIMPLE, pad_edge=False)


def seed_folders(folder: str | Path) -> list[Path]:
    """The runs of a folder over seeds, ``seed-0``, ``seed-1``, ...; the folder itself if it is one run."""
    found = sorted(Path(folder).glob("seed-*"), key=lambda path: (len(path.name), path.name))
    return found or [Path(folder)]


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
        with reading(file, "the result of a run", ValueError, KeyError, TypeError):
            metrics = json.loads(file.read_text(encoding="utf-8"))["metrics"]
        if not {"validation/average", "held_out/average"} & metrics.keys():
            raise ValueError(f"{file} is no result of scripts/finetune_glue.py: it has no validation/average")
        runs.append(metrics)
    return runs


def glue_table(runs: Sequence[Mapping[str, float]]) -> list[Line]:
    """A line for every metric of every task and set, in GLUE's order, those from MNLI's model last.

    Seeds that lack a task count for the others.
    """
    tasks = {key.split("/")[1] for run in runs for key in run if key.startswith("constant/") and key.count("/") == 2}
    lines = []
    order = [*GLUE, *sorted(tasks - GLUE.keys(), key=lambda name: (name.endswith(FROM_MNLI), name))]
    for name in sorted(tasks, key=order.index):
        task = task_of(name)
        for split in dict.fromkeys(split for run in runs for split in _splits(run, name)):
            for metric in task.metrics:
                key, constant_key = f"{split}/{name}/{metric}", f"{_constant(split)}/{name}/{metric}"
                found = [run[key] for run in runs if key in run]
                # Results of early versions lack that of MNLI's other set.
                constant = next((run[constant_key] for run in runs if constant_key in run), float("nan"))
                lines.append(Line(name, split, metric, len(found), *summary(found), constant))
    return lines


def _splits(run: Mapping[str, float], name: str) -> Sequence[str]:
    """Where a run measured a task: on its evaluation sets, or on rows held out of training."""
    return ("held_out",) if f"held_out/{name}/score" in run else tuple(task_of(name).evaluation)


def averages(runs: Sequence[Mapping[str, float]]) -> list[Line]:
    """The three averages in use, and the second with MNLI starts, of runs that have all the tasks they need.

    Before them the mean over the tasks that all runs have, WNLI left out, where it is none of these.
    """
    lines = []
    common = set.intersection(*({key.split("/")[1] for key in run if key.endswith("/score")} for run in runs))
    here = sorted(name for name in common if name != "WNLI" and not name.endswith(FROM_MNLI))
    held_out = ", rows held out" if any(key.startswith("held_out/") for run in runs for key in run) else ""
    partial = [(f"{len(here)} tasks here, no WNLI", here, False)] if len(here) > 1 and set(here) != set(EIGHT) else []
    for title, tasks, mnli_twice in (
        *partial,
        ("9 numbers, MNLI twice, no WNLI", EIGHT, True),
        ("8 tasks, no WNLI", EIGHT, False),
        ("9 tasks (server)", SERVER, False),
        ("8 tasks, 3 of them from MNLI", EIGHT_FROM_MNLI, False),
    ):
        values = [value for run in runs if (value := _average(run, tasks, mnli_twice, constant=False)) is not None]
        constants = [value for run in runs if (value := _average(run, tasks, mnli_twice, constant=True)) is not None]
        if values:
            constant = float(np.mean(constants)) if constants else float("nan")
            lines.append(Line("average", f"{title}{held_out}", "score", len(values), *summary(values), constant))
    return lines


def _average(run: Mapping[str, float], tasks: Sequence[str], mnli_twice: bool, *, constant: bool) -> float | None:
    """Of what was reached, or of the most frequent answer; None where one of the numbers is missing."""
    numbers: list[float] = []
    for name in tasks:
        keys = [f"{_constant(split) if constant else split}/{name}/score" for split in _splits(run, name)]
        if any(key not in run for key in keys):
            return None
        scores = [run[key] for key in keys]
        numbers += scores if mnli_twice else [float(np.mean(scores))]
    return float(np.mean(numbers))


def summary(values: Sequence[float]) -> tuple[float, float, float, float]:
    """(median, mean, low, high) of one number over seeds."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return float(np.median(values)), mean, float("nan"), float("nan")
    from scipy import stats  # here, since it costs a second that others need not wait

    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return float(np.median(values)), mean, mean - half, mean + half


def render(lines: Sequence[Line]) -> Table:
    """For the terminal; scores times 100."""
    table = _table("task", "set", "metric", "n", "median", "mean", "95 %", "constant")
    table.caption = "n: seeds; constant: always training's most frequent answer"
    for line in lines:
        interval = "" if np.isnan(line.low) else f"{100 * line.low:.1f} to {100 * line.high:.1f}"
        average = line.task == "average"
        table.add_row(
            line.split if average else line.task,
            "" if average else task_of(line.task).evaluation.get(line.split, "rows held out"),
            _SHORT.get(line.metric, line.metric), str(line.seeds), f"{100 * line.median:.1f}",
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
