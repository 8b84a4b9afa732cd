"""A cell of a study as a flat row of plain data: all that the analysis knows of it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaformer_nlp.config.numbers import number
from metaformer_nlp.engine.items import read_items
from metaformer_nlp.study.protocol.study import TUNED, Cell, Study
from metaformer_nlp.study.runner.cell import cell_folder, is_result, read_json, read_outcome, result_problem
from metaformer_nlp.study.runner.sessions import objects

Row = dict[str, Any]

NUMBERS = (
    "score",
    "chance",
    "total",
    "trainable",
    "macs",
    "steps",
    "samples",
    "tokens",
    "train_seconds",
    "cell_seconds",
)
# What of a cell's environment its result may depend on; the rest (time, command) differs from cell to cell.
SURROUNDINGS = ("commit", "python", "packages", "machine", "threads", "gpu")
CURVE = 40  # points of a learning curve that are kept: enough for a picture, and reports stay small


def empty_row() -> Row:
    """A row of which nothing is known yet."""
    row: Row = {"status": "missing", "problem": None, **dict.fromkeys(NUMBERS), "restarted": None}
    return {**row, "tasks": {}, "curve": [], "tuned": {}, "items": None, "environment": None}


def read_row(study: Study, folder: Path, cell: Cell) -> Row:
    """One cell as a flat row; without a result its numbers are None and `problem` says why, if it failed."""
    domain = study.domain(cell.domain)
    row: Row = {"domain": cell.domain, "arm": cell.arm, "seed": cell.seed, **empty_row()}
    if domain.tune and (value := _setting(cell.config, domain.tune.key)) != TUNED:
        row["tuned"] = {domain.tune.key: value}
    outcome = read_outcome(folder, cell)
    if outcome is None:
        return row
    result = outcome.get("result") or {}
    problem = outcome.get("problem") or result_problem(result, cell)
    row["environment"] = _mapping(outcome.get("environment")) or None
    if problem:
        return {**row, "status": "failed", "problem": problem}
    metrics, parameters, train = (_mapping(result.get(key)) for key in ("metrics", "parameters", "train"))
    starts = number((read_json(cell_folder(folder, cell) / "cell.json") or {}).get("starts"))
    known = (result.get("train_seconds"), result.get("seconds"), outcome.get("seconds"))
    return row | {
        "status": "finished",
        "score": float(metrics[domain.metric]),
        "chance": _level(domain.chance, metrics),
        **{key: number(parameters.get(key)) for key in ("total", "trainable")},
        "macs": number(result.get("macs")),
        **{key: number(train.get(key)) for key in ("steps", "samples", "tokens")},
        "train_seconds": next((found for found in map(number, known) if found is not None), None),
        "cell_seconds": number(outcome.get("seconds")),
        "restarted": None if starts is None else starts > 1,
        "tasks": {
            task.name: {"score": float(metrics[task.metric]), "chance": _level(task.chance, metrics)}
            for task in domain.tasks
        },
        "curve": read_curve(cell_folder(folder, cell) / "metrics.jsonl", domain.metric),
        "items": packed_items(cell_folder(folder, cell), domain.metric, float(metrics[domain.metric])),
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    """`value` where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def of_all_starts(row: Row) -> Row:
    """The row with ``restarted`` known, and ``cell_seconds`` of all starts.

    Outcomes that do not tell it hold the seconds of the cell's last start alone. Those of training come from the
    checkpoint and are of all starts; where they are more, there was another start.
    """
    train, cell = row["train_seconds"] or 0.0, row["cell_seconds"] or 0.0
    if row["restarted"] is None and row["status"] == "finished":
        row = {**row, "restarted": 0 < cell < train}
    return {**row, "cell_seconds": max(train, cell)} if row["restarted"] else row


def read_trial(study: Study, folder: Path, cell: Cell) -> Row:
    """One trial of a tuned setting: its value, and the score by which it is chosen, None if it has none."""
    tune = study.domain(cell.domain).tune
    assert tune is not None
    assert cell.trial is not None
    outcome = read_outcome(folder, cell)
    row = {"domain": cell.domain, "arm": cell.arm, "value": tune.candidates[cell.trial], "seed": cell.seed}
    if outcome is not None and is_result(outcome, cell):
        return row | {"status": "finished", "score": float(outcome["result"]["metrics"][tune.metric])}
    return row | {"status": "failed" if outcome else "missing", "score": None}


def read_curve(path: Path, metric: str) -> list[list[float]]:
    """[step, value] of the evaluations in a run's ``metrics.jsonl`` that have `metric`; [] if there is none.

    [step, value, tokens] where the lines tell how many tokens had been trained on.

    A value that is no finite number (of a run that diverged and was continued) is left out: there is nothing to draw.
    So are lines that are damaged.

    Of more than `CURVE`, the first, the last and evenly spaced ones between.
    """
    if not path.is_file():
        return []
    points = []
    for line in objects(path.read_text(encoding="utf-8", errors="replace").split("\n")):
        step, value, tokens = (number(line.get(key)) for key in ("step", metric, "tokens"))
        if step is not None and value is not None:
            points.append([step, float(value), *([] if tokens is None else [tokens])])
    if len(points) <= CURVE:
        return points
    return [points[round(place * (len(points) - 1) / (CURVE - 1))] for place in range(CURVE)]


def packed_items(folder: Path, metric: str, score: float) -> dict[str, Any] | None:
    """Which test items the score was earned on, as ``items.json`` packs them; None if the run does not tell.

    The items of the metric's split that were answered correctly or, of masked words, those of them that were hidden:
    those whose share is the score.
    """
    try:
        items = read_items(folder)
    except (OSError, ValueError):
        return None
    split = metric.rpartition("/")[0]
    correct = items.pop(f"{split}/correct", None)
    if correct is None:
        return None
    others = [bits for name, bits in items.items() if name.startswith(f"{split}/") and len(bits) == len(correct)]
    for which in (correct, *(correct[bits] for bits in others)):
        if len(which) and abs(float(which.mean()) - score) < 1e-6:
            return {"bits": base64.b64encode(np.packbits(which).tobytes()).decode(), "count": len(which)}
    return None


def unpacked_items(row: Row) -> NDArray[np.bool_] | None:
    """A truth for each test item of a cell, in the order of the data."""
    if not (packed := row.get("items")):
        return None
    return np.unpackbits(np.frombuffer(base64.b64decode(packed["bits"]), np.uint8), count=packed["count"]).astype(bool)


def fold_environments(rows: Sequence[Row]) -> tuple[list[Row], list[Any]]:
    """The rows with the number of their environment in a list that has each once; `unfold_environments` undoes it."""
    environments: list[Any] = []
    folded = []
    for row in rows:
        where = row["environment"] and {key: row["environment"].get(key) for key in SURROUNDINGS}
        if where and where not in environments:
            environments.append(where)
        folded.append({**row, "environment": environments.index(where) if where else None})
    return folded, environments


def unfold_environments(rows: Sequence[Row], environments: Sequence[Any]) -> list[Row]:
    """The rows with the environments that their numbers stand for; an environment written out stays as it is."""
    places = [row["environment"] for row in rows]
    return [
        {**row, "environment": environments[place] if isinstance(place, int) else place}
        for row, place in zip(rows, places, strict=True)
    ]


def _setting(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key, a mapping, too."""
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def _level(chance: float | str | None, metrics: Mapping[str, Any]) -> float | None:
    return float(metrics[chance]) if isinstance(chance, str) else chance
