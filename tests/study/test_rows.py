"""What is read of cells and trials."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.analysis import analyse_folders
from metaformer_nlp.study.cell import write_json, write_outcome
from metaformer_nlp.study.contents import build_document
from metaformer_nlp.study.plan import Study
from metaformer_nlp.study.rows import read_curve
from metaformer_nlp.study.study_file import study_to_mapping

Make = Callable[[dict[str, Any]], Study]


def test_points_that_are_no_finite_numbers_are_left_out_of_curves(tmp_path: Path) -> None:
    lines = [{"step": 1, "score": 0.5}, {"step": 2, "score": float("nan")}, {"step": 3, "loss": 1.0}]
    lines += [{"step": 4, "score": float("inf")}, {"step": 5, "score": None}, {"step": 6, "score": 1}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_curve(tmp_path / "metrics.jsonl", "score") == [[1, 0.5], [6, 1.0]]
    assert read_curve(tmp_path / "none.jsonl", "score") == []


@pytest.mark.parametrize(
    ("values", "shown"),
    [([1, 2], "2"), (["random", "pooling"], "pooling"), ([{"a": 1}, {"a": 2}], '{"a": 2}'), ([None, True], "true")],
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
    its = {(trial["arm"], trial["status"], trial["score"]) for trial in analysis["trials"]}
    assert its == {
        ("attention", "finished", 0.25),
        ("attention", "finished", 0.5),
        ("pooling", "failed", None),
        ("identity", "missing", None),
        ("no_residual", "missing", None),
    }
    assert [trial["value"] for trial in analysis["trials"][:2]] == values
    text = build_document(analysis, {}).markdown()
    assert f"| attention | 25.0 | 50.0 | {shown} |" in text
    assert "| pooling | failed | failed | – |" in text
    assert ("At an end of what was tried" in text) == (shown == "2")
