"""What is read of cells and trials."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.analysis.analyse import analyse_folders
from metaformer_nlp.study.analysis.rows import read_curve
from metaformer_nlp.study.protocol.file import study_to_mapping
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.render import markdown
from metaformer_nlp.study.runner.cell import (
    cell_folder,
    outcome_signature,
    read_json,
    read_outcome,
    run_cell,
    write_json,
    write_outcome,
)

Make = Callable[[dict[str, Any]], Study]


def test_points_that_are_no_finite_numbers_are_left_out_of_curves(tmp_path: Path) -> None:
    lines = [{"step": 1, "score": 0.5}, {"step": 2, "score": float("nan")}, {"step": 3, "loss": 1.0}]
    lines += [{"step": 4, "score": float("inf")}, {"step": 5, "score": None}, {"step": 6, "score": 1}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_curve(tmp_path / "metrics.jsonl", "score") == [[1, 0.5], [6, 1.0]]
    assert read_curve(tmp_path / "none.jsonl", "score") == []


def test_curves_keep_the_tokens_where_they_are_counted(tmp_path: Path) -> None:
    lines = [
        {"step": 1, "loss": 2.0},
        {"step": 1, "tokens": 64, "score": 0.5},
        {"step": 2, "tokens": 128, "score": 0.6},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_curve(tmp_path / "metrics.jsonl", "score") == [[1, 0.5, 64], [2, 0.6, 128]]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1, 2], "25.0 | 50.0 | 2"),
        ([2, 1], "50.0 | 25.0 | 1"),  # numbers stand in order, whenever they were added
        (["random", "pooling"], "25.0 | 50.0 | pooling"),
        ([{"a": 1}, {"a": 2}], '25.0 | 50.0 | {"a": 2}'),
        ([None, True], "25.0 | 50.0 | true"),
    ],
)
def test_trials_of_every_kind_of_value_are_read_and_told(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path, values: list[Any], shown: str
) -> None:
    tune = {"key": "model.tuned", "values": values, "metric": "held_out/accuracy"}
    study_data["domains"]["vision"]["tune"] = tune
    study = make_study(study_data)
    write_json(tmp_path / "study.json", {"study": study_to_mapping(study), "text": study.text})
    for trial in study.trials():
        if trial.arm == "attention":
            score = {"metrics": {"held_out/accuracy": 0.25 + 0.25 * (trial.trial or 0)}}
            write_outcome(tmp_path, trial, None, result=score)
        elif trial.arm == "pooling":
            write_outcome(tmp_path, trial, "out of memory")
    analysis = analyse_folders([tmp_path])
    its = {(trial["arm"], trial["status"], trial["score"]) for trial in analysis.trials}
    assert its == {
        ("attention", "finished", 0.25),
        ("attention", "finished", 0.5),
        ("pooling", "failed", None),
        ("identity", "missing", None),
        ("no_residual", "missing", None),
    }
    assert [trial["value"] for trial in analysis.trials[:2]] == values
    text = markdown(analysis, {})
    assert f"| attention | {shown} |" in text
    assert "| pooling | failed | failed | – |" in text
    assert ("At an end of what was tried" in text) == isinstance(values[0], int)


def test_a_cell_that_was_started_again_has_the_seconds_of_all_its_starts(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    """The toy says that it took 1.5 s, as an experiment does that goes on from a checkpoint; its last start takes none.

    In "text" pooling fails the first time; in "vision" attention was killed outright, without an outcome.
    """
    study_data["arms"]["pooling"]["set"]["trouble"] = "once"
    study = make_study(study_data)
    once, killed, again = (
        next(cell for cell in study.cells() if cell.key == key)
        for key in ("text/attention/seed-0", "vision/attention/seed-0", "text/pooling/seed-0")
    )
    write_json(tmp_path / "study.json", {"study": study_to_mapping(study), "text": study.text})
    write_json(cell_folder(tmp_path, killed) / "cell.json", {"digest": killed.digest, "spec": killed.spec})
    for cell in (once, killed, again, again):
        run_cell(tmp_path, cell, from_dict, before=outcome_signature(tmp_path, cell))
    told = {cell.key: read_json(cell_folder(tmp_path, cell) / "cell.json") for cell in (once, killed, again)}
    assert [asked and asked["starts"] for asked in told.values()] == [1, 2, 2]
    outcome = read_outcome(tmp_path, again)
    assert outcome
    assert outcome["seconds"] == 1.5
    analysis = analyse_folders([tmp_path])
    seconds = {f"{row['domain']}/{row['arm']}": row["cell_seconds"] for row in analysis.cells if row["cell_seconds"]}
    assert seconds.pop("text/attention") < 1
    assert seconds == {"vision/attention": 1.5, "text/pooling": 1.5}
    text = markdown(analysis, {})
    assert "Started more than once: vision/attention/seed-0 and text/pooling/seed-0. Seconds are those of all" in text
    assert "All finished cells together took 3 s, the longest 2 s." in text


def test_older_outcomes_hide_no_start_and_a_run_that_was_kept_waiting_moves_no_median(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    """They hold the last start's seconds alone: training, whose seconds a checkpoint keeps, took longer than that."""
    study_data["seeds"] = [0, 1, 2]
    study = make_study(study_data)
    write_json(tmp_path / "study.json", {"study": study_to_mapping(study), "text": study.text})
    scores = {"validation/accuracy": 0.5, "validation/topic": 0.5, "validation/order": 0.5}
    cells = [cell for cell in study.cells() if (cell.domain, cell.arm) == ("text", "pooling")]
    for cell, train, seconds in zip(cells, (1376.9, 199.0, 204.0), (131.0, 230.0, 240.0), strict=True):
        write_outcome(tmp_path, cell, None, result={"metrics": scores, "train_seconds": train}, seconds=seconds)
    analysis = analyse_folders([tmp_path])
    rows = [row for row in analysis.cells if row["status"] == "finished"]
    assert [(row["cell_seconds"], row["restarted"]) for row in rows] == [(1376.9, True), (230, False), (240, False)]
    text = markdown(analysis, {})
    assert "All finished cells together took 31 min, the longest 23 min." in text
    assert "| pooling | – | – | – | – | – | 204 |" in text
