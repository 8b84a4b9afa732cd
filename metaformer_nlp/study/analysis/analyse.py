"""From run folders to numbers: one row a cell, one row an arm and domain, and the effects the question is about.

The result is plain data (it becomes ``report.json``), and all that the report knows: what it says and draws can be made
again from this file alone. ``study``, ``cells``, ``trials``, ``text`` and ``sessions`` are its inputs; every other
number follows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import fsum
from pathlib import Path
from statistics import median
from typing import Any

from metaformer_nlp.engine.files import read_object
from metaformer_nlp.study.analysis.across import across
from metaformer_nlp.study.analysis.effects import above, effects, variance
from metaformer_nlp.study.analysis.merge import merge_studies
from metaformer_nlp.study.analysis.rows import (
    Row,
    empty_row,
    of_all_starts,
    read_row,
    read_trial,
    unfold_environments,
)
from metaformer_nlp.study.analysis.statistics import (
    LEVEL,
    Estimate,
    compare_family,
    mean_interval,
    over_tasks,
    paired_values,
    retention,
)
from metaformer_nlp.study.protocol.file import study_from_mapping, study_to_mapping
from metaformer_nlp.study.protocol.study import Arm, Domain, Study
from metaformer_nlp.study.runner.cell import read_study
from metaformer_nlp.study.runner.sessions import objects
from metaformer_nlp.study.runner.tuning import chosen_values

_COST = ("total", "trainable", "macs", "steps", "tokens")

Scores = dict[int, float]  # seed -> score


def analyse_folders(folders: Sequence[Path | str]) -> dict[str, Any]:
    """The analysis of the studies in these folders, laid side by side if there are several.

    A folder is that of a run (with ``study.json``) or of a report (with ``report.json``), whose numbers are made again
    from its cells. ValueError for any other folder, and for studies that cannot be laid side by side.
    """
    read = [_read_folder(Path(folder)) for folder in folders]
    study, rows = merge_studies([(study, rows) for study, rows, *_ in read])
    _, trials = merge_studies([(study, trials) for study, _, trials, *_ in read])
    text = "\n---\n".join(text for *_, text, _ in read)  # as several documents of one YAML file
    sessions = [line for *_, lines in read for line in lines]
    return {**analyse(study, rows), "trials": trials, "text": text, "sessions": sessions}


def _read_folder(folder: Path) -> tuple[Study, list[Row], list[Row], str, list[str]]:
    """The study, its cells' rows, its trials' rows, its file's text and the lines of its sessions."""
    if stored := read_study(folder):
        study = study_from_mapping(stored["study"], str(folder / "study.json"))
        chosen = chosen_values(study, folder)
        rows = [read_row(study, folder, cell) for cell in study.cells(chosen)]
        trials = [read_trial(study, folder, cell) for cell in study.trials(chosen)]
        sessions = folder / "sessions.jsonl"
        text = sessions.read_text(encoding="utf-8", errors="replace") if sessions.is_file() else ""
        lines = [line for line in text.split("\n") if line.strip()]
        if damaged := len(lines) - len(objects(lines)):
            print(f"{sessions}: {damaged} of {len(lines)} lines are damaged and left out.", file=sys.stderr)
        return study, rows, trials, str(stored.get("text") or ""), lines
    mend = "put back a copy of it, or make the report again from the study's folder"
    if stored := read_object(folder / "report.json", mend):
        if missing := [key for key in ("study", "cells", "text", "sessions") if key not in stored]:
            raise ValueError(f"{folder / 'report.json'} is damaged (it lacks {', '.join(missing)}); {mend}")
        study = study_from_mapping(stored["study"], str(folder / "report.json"))
        rows = unfold_environments(stored["cells"], stored.get("environments", []))
        return study, rows, stored.get("trials", []), stored["text"], stored["sessions"]
    raise ValueError(
        f"{folder} is no folder of a study: it has neither a study.json, which run_study.py run makes, nor a "
        "report.json."
    )


def analyse(study: Study, rows: Sequence[Row]) -> dict[str, Any]:
    """The statistics of a study from its cells' rows."""
    rows = [of_all_starts({**empty_row(), **row}) for row in rows]
    domains = {domain.name: _domain(study, domain, rows) for domain in study.domains}
    return {
        "study": study_to_mapping(study),
        "cells": rows,
        "domains": domains,
        "across": across(_references(study), domains),
    }


def _references(study: Study) -> tuple[str, ...]:
    """The arms that every arm is compared with: the baseline first."""
    return tuple(dict.fromkeys((study.baseline, *study.references)))


def _domain(study: Study, domain: Domain, rows: Sequence[Row]) -> dict[str, Any]:
    its = [row for row in rows if row["domain"] == domain.name]
    finished = [row for row in its if row["status"] == "finished"]
    arms = study.arms_of(domain.name)
    by_arm = {arm.name: [row for row in finished if row["arm"] == arm.name] for arm in arms}
    scores = {arm: {row["seed"]: row["score"] for row in of_arm} for arm, of_arm in by_arm.items()}
    chance = _mean(row["chance"] for row in finished)
    if chance is None and not isinstance(domain.chance, str):
        chance = domain.chance
    references = [name for name in _references(study) if name in scores]
    against = {name: _against(scores, name, domain.margin) for name in references}
    described = [
        {
            **_arm(study, arm, scores, chance),
            "planned": sum(row["arm"] == arm.name for row in its),
            "against": {name: against[name][arm.name] for name in references if name != arm.name},
            **_tasks(domain, arm.name, by_arm, references),
            "curve": _curve([row["curve"] for row in by_arm[arm.name]]),
            "tuned": {str(row["seed"]): row["tuned"] for row in its if row["arm"] == arm.name and row["tuned"]},
            **{key: _mean(row[key] for row in by_arm[arm.name]) for key in _COST},
            "train_seconds": _median(row["train_seconds"] for row in by_arm[arm.name]),
        }
        for arm in arms
    ]
    base = mean_interval(list(scores[study.baseline].values()))
    level = 1 - (1 - LEVEL) / len(arms)  # where all are at chance, few studies find one that is not
    return {
        "name": domain.name,
        "label": domain.title,
        "metric": domain.metric,
        "chance": chance,
        "learned": above(chance, base),
        "telling": any(above(chance, mean_interval(list(its.values()), level)) for its in scores.values()),
        "margin": domain.margin,
        "axis": domain.axis,
        "task_chance": {
            task.name: _mean(row["tasks"][task.name]["chance"] for row in finished) for task in domain.tasks
        },
        "arms": described,
        "claim": _claim(study, described),
        "effects": effects(study, arms, scores, against, domain.margin, chance),
        "variance": variance(arms, scores),
    }


def _arm(study: Study, arm: Arm, scores: Mapping[str, Scores], chance: float | None) -> dict[str, Any]:
    its, baseline = scores[arm.name], scores[study.baseline]
    kept = Estimate(1.0, len(its), note="the baseline, by definition") if arm.name == study.baseline else None
    return {
        "arm": arm.name,
        "kind": arm.kind,
        "of": arm.of,
        "label": arm.title,
        "score": asdict(mean_interval(list(its.values()))),
        "seeds": {str(seed): score for seed, score in its.items()},
        "retention": asdict(kept or retention(its, baseline, chance or 0.0)),
    }


def _against(scores: Mapping[str, Scores], reference: str, margin: float | None) -> dict[str, dict[str, Any]]:
    """Every other arm minus the reference, as one family of comparisons."""
    others = {arm: its for arm, its in scores.items() if arm != reference}
    return compare_family(
        {arm: list(paired_values(its, scores[reference]).values()) for arm, its in others.items()}, margin
    )


def _tasks(
    domain: Domain, arm: str, by_arm: Mapping[str, Sequence[Row]], references: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """What is known of an arm task by task, and over the tasks."""

    def scores(name: str, task: str) -> Scores:
        return {row["seed"]: row["tasks"][task]["score"] for row in by_arm[name]}

    tasks = [task.name for task in domain.tasks]
    its = {task: scores(arm, task) for task in tasks}
    differences = {
        name: {task: paired_values(its[task], scores(name, task)) for task in tasks}
        for name in references
        if name != arm and tasks
    }
    return {
        "tasks": {task: asdict(mean_interval(list(its[task].values()))) for task in tasks},
        "over_tasks": {
            name: {**asdict(over_tasks(of_task)), "tasks": len(tasks)}
            for name, of_task in differences.items()
            if len(tasks) > 1
        },
    }


def _curve(curves: Sequence[Sequence[Sequence[float]]]) -> list[list[float | None]]:
    """[step, mean, low, high, n] at every step that all runs have."""
    if not curves:
        return []
    runs = [{int(point[0]): point[1] for point in curve} for curve in curves]
    points: list[list[float | None]] = []
    for step in sorted(set[int].intersection(*(set(run) for run in runs))):
        estimate = mean_interval([run[step] for run in runs])
        points.append([step, estimate.value, estimate.low, estimate.high, estimate.n])
    return points


def _claim(study: Study, arms: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the study's claim says and what its arm retains; None if it claims none or does not run."""
    if study.claim is None or study.claim.retains is None:
        return None
    for arm in arms:
        if arm["arm"] == study.claim.arm:
            return {"arm": study.claim.arm, "retains": study.claim.retains, "retention": arm["retention"]}
    return None


def _median(values: Iterable[float | None]) -> float | None:
    """Of seconds: a run that was made to wait would move their mean, though it took no more work."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) / len(known) if known else None
