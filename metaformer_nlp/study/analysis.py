"""From run folders to numbers: one row a cell, one row an arm and domain, and the effects the question is about.

The result is plain data (it becomes ``report.json``), and all that the report knows: what it says and draws can be made
again from this file alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import fsum
from pathlib import Path
from typing import Any

from metaformer_nlp.study.cell import read_json, read_outcome, result_problem
from metaformer_nlp.study.choices import chosen_values
from metaformer_nlp.study.plan import Arm, Cell, Domain, Study
from metaformer_nlp.study.statistics import Estimate, mean_interval, mean_of_paired, paired_difference, retention
from metaformer_nlp.study.study_file import study_from_mapping, study_to_mapping

Row = dict[str, Any]


def analyse_folder(folder: Path | str) -> dict[str, Any]:
    """Everything the report of a study's folder needs, finished or not. ValueError if it is no study's folder."""
    folder = Path(folder)
    stored = read_json(folder / "study.json")
    if stored is None:
        raise ValueError(
            f"{folder} is no folder of a study (it has no readable study.json); run_study.py run makes one."
        )
    study = study_from_mapping(stored["study"], str(folder / "study.json"))
    rows = [read_row(study, folder, cell) for cell in study.cells(chosen_values(study, folder))]
    lines = (folder / "sessions.jsonl").read_text().splitlines() if (folder / "sessions.jsonl").is_file() else []
    return {**analyse(study, rows), "text": stored["text"], "sessions": lines}


def analyse(study: Study, rows: Sequence[Row]) -> dict[str, Any]:
    """The statistics of a study from its cells' rows."""
    return {
        "study": study_to_mapping(study),
        "cells": list(rows),
        "domains": {domain.name: _domain(study, domain, rows) for domain in study.domains},
    }


def read_row(study: Study, folder: Path, cell: Cell) -> Row:
    """One cell as a flat row; without a result its numbers are None and `problem` says why, if it failed."""
    domain = study.domain(cell.domain)
    row: Row = {"domain": cell.domain, "arm": cell.arm, "seed": cell.seed, "status": "missing", "problem": None}
    row |= dict.fromkeys(("score", "chance", "total", "trainable", "macs", "steps", "train_seconds", "cell_seconds"))
    row |= {"tasks": {}, "environment": None}
    outcome = read_outcome(folder, cell)
    if outcome is None:
        return row
    result = outcome.get("result") or {}
    problem = outcome.get("problem") or result_problem(result, cell)
    row["environment"] = outcome.get("environment")
    if problem:
        return {**row, "status": "failed", "problem": problem}
    metrics, parameters = result["metrics"], result.get("parameters") or {}
    row |= {
        "status": "finished",
        "score": float(metrics[domain.metric]),
        "chance": _level(domain.chance, metrics),
        "total": parameters.get("total"),
        "trainable": parameters.get("trainable"),
        "macs": result.get("macs"),
        "steps": (result.get("train") or {}).get("steps"),
        "train_seconds": result.get("seconds", outcome.get("seconds")),
        "cell_seconds": outcome.get("seconds"),
        "tasks": {
            task.name: {"score": float(metrics[task.metric]), "chance": _level(task.chance, metrics)}
            for task in domain.tasks
        },
    }
    return row


def _level(chance: float | str | None, metrics: Mapping[str, Any]) -> float | None:
    return float(metrics[chance]) if isinstance(chance, str) else chance


def _domain(study: Study, domain: Domain, rows: Sequence[Row]) -> dict[str, Any]:
    finished = [row for row in rows if row["domain"] == domain.name and row["status"] == "finished"]
    by_arm = {arm.name: [row for row in finished if row["arm"] == arm.name] for arm in study.arms_of(domain.name)}
    scores = {arm: {row["seed"]: row["score"] for row in its} for arm, its in by_arm.items()}
    baseline = scores[study.baseline]
    chance = _mean(row["chance"] for row in finished)
    if chance is None and not isinstance(domain.chance, str):
        chance = domain.chance
    arms = []
    for arm in study.arms_of(domain.name):
        its = by_arm[arm.name]
        kept = Estimate(1.0, len(its), note="the baseline, by definition") if arm.name == study.baseline else None
        arms.append(
            {
                "arm": arm.name,
                "kind": arm.kind,
                "of": arm.of,
                "label": arm.title,
                "planned": len(study.seeds),
                "score": asdict(mean_interval(list(scores[arm.name].values()))),
                "seeds": {str(seed): score for seed, score in scores[arm.name].items()},
                "difference": asdict(paired_difference(scores[arm.name], baseline)),
                "retention": asdict(kept or retention(scores[arm.name], baseline, chance or 0.0)),
                "tasks": {
                    task.name: asdict(mean_interval([row["tasks"][task.name]["score"] for row in its]))
                    for task in domain.tasks
                },
                **{key: _mean(row[key] for row in its) for key in ("total", "trainable", "macs", "train_seconds")},
            }
        )
    return {
        "name": domain.name,
        "label": domain.title,
        "metric": domain.metric,
        "chance": chance,
        "task_chance": {
            task.name: _mean(row["tasks"][task.name]["chance"] for row in finished) for task in domain.tasks
        },
        "arms": arms,
        "effects": _effects(study, study.arms_of(domain.name), scores),
    }


def _effects(study: Study, arms: Sequence[Arm], scores: Mapping[str, Mapping[int, float]]) -> dict[str, Any]:
    """What each arm costs: a mixer against the baseline mixer, an architecture part against the arm it was taken from.

    `contrast` is the mean cost of the architecture arms minus that of the mixer arms, both in the same seeds.
    """
    costs: dict[str, dict[str, dict[int, float]]] = {"mixer": {}, "architecture": {}}
    for arm in arms:
        reference = scores[arm.of or study.baseline]
        cost = {seed: reference[seed] - score for seed, score in scores[arm.name].items() if seed in reference}
        if cost and arm.name != study.baseline:
            costs[arm.kind][arm.name] = cost
    groups = {kind: list(group.values()) for kind, group in costs.items()}
    every = [set(cost) for cost in groups["mixer"] + groups["architecture"]]
    common = sorted(set[int].intersection(*every)) if all(costs.values()) else []
    contrast = [_average(groups["architecture"], seed) - _average(groups["mixer"], seed) for seed in common]
    mixer_means = [fsum(scores[arm.name].values()) / len(scores[arm.name]) for arm in arms if _is_mixer(arm, scores)]
    return {
        "costs": [
            {
                "arm": arm.name,
                "kind": arm.kind,
                "label": arm.title,
                "reference": arm.of or study.baseline,
                **asdict(mean_interval(list(costs[arm.kind][arm.name].values()))),
                "seeds": {str(seed): cost for seed, cost in costs[arm.kind][arm.name].items()},
            }
            for arm in arms
            if arm.name in costs[arm.kind]
        ],
        "mixer": asdict(mean_of_paired(groups["mixer"])),
        "architecture": asdict(mean_of_paired(groups["architecture"])),
        "contrast": asdict(mean_interval(contrast)),
        "mixer_range": max(mixer_means) - min(mixer_means) if len(mixer_means) > 1 else None,
    }


def _is_mixer(arm: Arm, scores: Mapping[str, Mapping[int, float]]) -> bool:
    return arm.kind == "mixer" and bool(scores[arm.name])


def _average(costs: Sequence[Mapping[int, float]], seed: int) -> float:
    return fsum(cost[seed] for cost in costs) / len(costs)


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) / len(known) if known else None
