"""The metrics as a module of the evaluate library: opened from the file, without a network, never NaN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest

import tasks.glue.tasks
from tasks.glue.metric import evaluate_task
from tasks.glue.metrics import compute
from tasks.glue.tasks import GLUE, TASKS

MODULE = str(Path(str(tasks.glue.tasks.__file__)).with_name("metric.py"))


@pytest.fixture(autouse=True)
def _own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library copies the file into its cache."""
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", str(tmp_path / "modules"))


def load(name: str, tmp_path: Path) -> Any:
    return evaluate.load(MODULE, name, cache_dir=str(tmp_path))


def test_every_task_under_both_names(tmp_path: Path) -> None:
    mrpc = load("mrpc", tmp_path).compute(predictions=[1, 1, 1, 0, 0, 1], references=[1, 0, 1, 0, 1, 1])
    assert mrpc == {"accuracy": pytest.approx(4 / 6), "f1": pytest.approx(3 / 4)}
    for task in GLUE.values():
        for name in (task.name, task.hub_name):
            found = load(str(name), tmp_path).compute(predictions=[0, 1, 1], references=[0, 1, 1])
            assert found == dict.fromkeys(task.metrics, pytest.approx(1.0))
    assert load("mnli_mismatched", tmp_path).compute(predictions=[2, 1], references=[2, 0]) == {"accuracy": 0.5}


def test_batches_add_up_and_constants_score_zero(tmp_path: Path) -> None:
    metric = load("stsb", tmp_path)
    for predictions, references in (([0.1, 2.0], [0.0, 2.5]), ([4.9], [5.0])):
        metric.add_batch(predictions=predictions, references=references)
    assert metric.compute()["spearmanr"] == pytest.approx(1)
    assert metric.compute(predictions=[2.5] * 3, references=[1.0, 2.0, 3.0]) == {"pearson": 0, "spearmanr": 0}
    assert load("cola", tmp_path).compute(predictions=[1, 1], references=[0, 1]) == {"matthews_correlation": 0}


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'squad' is no task of GLUE; use one of cola"):
        load("squad", tmp_path)
    with pytest.raises(ValueError, match="NaN"):
        load("stsb", tmp_path).compute(predictions=[float("nan"), 1.0], references=[1.0, 2.0])


@pytest.mark.parametrize("name", ["CoLA", "MRPC", "STS-B", "MNLI", "order"])
def test_the_task_computes_with_it_and_leaves_no_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in ("HF_METRICS_CACHE", "HF_EVALUATE_CACHE"):
        monkeypatch.setattr(f"evaluate.config.{setting}", tmp_path / "cache")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    task, rng = TASKS[name], np.random.default_rng(0)
    draw = rng.normal if task.is_regression else lambda size: rng.integers(0, 2, size)
    predictions, labels = draw(size=50), draw(size=50)
    if task.is_regression:
        predictions = predictions.astype(np.float32)  # as a model gives it
    assert evaluate_task(task, predictions, labels) == compute(task.metrics, predictions, labels)
    assert not list(tmp_path.iterdir())
