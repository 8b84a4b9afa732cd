"""What the runner says while it runs: cells and trials are counted by themselves."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.protocol.file import study_from_mapping
from metaformer_nlp.study.runner.progress import Progress, cells_and_trials
from metaformer_nlp.study.runner.runner import run_study

TUNE = {"key": "trouble_seed", "values": [7, 8], "metric": "validation/topic"}


@pytest.fixture
def tuned(study_data: dict[str, Any]) -> dict[str, Any]:
    """One domain, two arms, one seed: two cells and four trials."""
    data = copy.deepcopy(study_data)
    data["domains"] = {"vision": {**data["domains"]["vision"], "tune": copy.deepcopy(TUNE)}}
    data["arms"] = {name: data["arms"][name] for name in ("attention", "pooling")}
    return {**data, "seeds": [0], "parallel": 1}


def test_trials_are_no_cells(
    tuned: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_from_mapping(tuned, "file", tmp_path)
    summary = run_study(study, tmp_path, from_dict, executor="inline")
    printed = capsys.readouterr().out
    assert "2 cells and 4 trials, 0 of them finished; 1 at once (inline)" in printed
    assert [line.split("]")[0] for line in printed.splitlines() if line.startswith("[")] == [
        *(f"[trial {number}/4" for number in (1, 2, 3, 4)),
        *(f"[{number}/2" for number in (1, 2)),
    ]
    assert summary.text.startswith("2 cells and 4 trials finished, 0 failed")
    run_study(study, tmp_path, from_dict, executor="inline")
    assert "Nothing is left to run: 2 cells and 4 trials finished." in capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("TERM", "xterm")
    cells = [*study.trials(), *study.cells()]
    with Progress(study, tmp_path / "new", cells, parallel=1) as progress:
        progress.running([cells[0].key])
    assert "0/6 cells and trials" in re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)


def test_runs_are_counted_in_words() -> None:
    assert cells_and_trials(["a/b/seed-0"]) == "1 cell"
    assert cells_and_trials(["a/b/seed-0", "a/b/seed-1", "a/b/trial-0"]) == "2 cells and 1 trial"
    assert cells_and_trials(["a/b/trial-0", "a/b/trial-1"]) == "2 trials"
    assert cells_and_trials([]) == "0 cells"
