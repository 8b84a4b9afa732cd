"""What is wrong is said before anything starts, or after the first run and not after all of them."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.command_line import study_parser
from metaformer_nlp.study.run import run_study
from metaformer_nlp.study.study_file import study_from_mapping
from tasks.cli import from_dict

ROOT = Path(__file__).parents[2]
TUNE = {"key": "trouble_seed", "values": [7, 8], "metric": "validation/topic"}


@pytest.fixture
def data(study_data: dict[str, Any]) -> dict[str, Any]:
    """One domain, two arms, two seeds."""
    data = copy.deepcopy(study_data)
    data["arms"] = {name: data["arms"][name] for name in ("attention", "pooling")}
    return {**data, "domains": {"vision": data["domains"]["vision"]}}


def test_a_refused_study_leaves_nothing_and_announces_nothing(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data["domains"]["vision"]["set"] = {"model.token_mxer": "pooling"}
    with pytest.raises(ValueError, match=r"domain vision: .*model\.token_mxer; the nearest is") as refusal:
        run_study(study_from_mapping(data, "file", tmp_path), tmp_path / "new", from_dict, executor="inline")
    assert str(refusal.value).count("token_mxer") == 1, "the same of all arms and cells is said once"
    assert not (tmp_path / "new").exists()
    assert "4 cells" not in capsys.readouterr().out


def starts(folder: Path) -> list[str]:
    return sorted(str(path.parent.relative_to(folder / "cells")) for path in folder.rglob("starts.txt"))


def test_a_metric_that_no_run_gives_costs_one_run(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the trials' metric one trial; what has run before is kept."""
    data["domains"]["vision"] |= {"metric": "accuracy_of_validation", "tune": {**TUNE, "metric": "margin"}}
    summary = run_study(study_from_mapping(data, "file", tmp_path), tmp_path, from_dict, executor="inline")
    assert starts(tmp_path) == ["vision/attention/trial-0"]
    assert (len(summary.failed), len(summary.left)) == (1, 7)
    printed = capsys.readouterr().out
    assert "Nothing more is started, since no trial of domain vision" in printed
    assert "no metric 'margin'; allowed: validation/accuracy, validation/topic, validation/order." in printed

    data["domains"]["vision"]["tune"]["metric"] = "validation/topic"
    summary = run_study(study_from_mapping(data, "file", tmp_path), tmp_path, from_dict, executor="inline")
    assert summary.failed == ["vision/attention/seed-0"]
    assert len(summary.finished) == 4
    assert "Nothing more is started, since no cell of domain vision" in capsys.readouterr().out


def test_a_metric_that_one_arm_lacks_costs_its_cells_alone(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (ROOT / "tests/study/toy_experiment.py").read_text()
    lacking = '    if config.model.token_mixer == "pooling":\n        del result["metrics"]["validation/accuracy"]\n'
    (tmp_path / "one_lacks.py").write_text(source.replace('    (folder / "result', f'{lacking}    (folder / "result'))
    data["domains"]["vision"]["experiment"] = "one_lacks.py"
    summary = run_study(study_from_mapping(data, "file", tmp_path), tmp_path, from_dict, executor="inline")
    assert summary.failed == ["vision/pooling/seed-0", "vision/pooling/seed-1"]
    assert len(summary.finished) == 2
    assert "Nothing more is started" not in capsys.readouterr().out


@pytest.mark.slow
def test_plan_and_run_agree_from_the_command_line(
    data: dict[str, Any], write_study: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    def script(*words: str) -> tuple[int, str, str]:
        command = [sys.executable, str(ROOT / "scripts/run_study.py"), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        return done.returncode, done.stdout, done.stderr

    data["domains"]["vision"]["equal"] = {"steps": 0.0}
    file = str(write_study(data))
    status, printed, _ = script("plan", file)
    assert status == 2
    assert "Study toy" in printed
    last = " ".join(printed.partition("run would refuse this:")[2].split())
    assert "equal.steps cannot be checked" in last
    status, _, said = script("run", file)
    assert status == 2
    assert last in " ".join(said.split())
    assert not (tmp_path / "runs").exists()
    del data["domains"]["vision"]["equal"]
    assert script("plan", str(write_study(data)))[0] == 0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("plan", ["default: runs/NAME", 'docs/studies.md, section "A study file"', "Exit status 2"]),
        ("run", ["timeout_min=60 cluster=local", "cifar10/pooling/seed-0", "of SLURM jobs 100"]),
        ("report", ["default: FOLDER/report", "--output runs/both"]),
    ],
)
def test_the_help_has_examples(command: str, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        study_parser("What it does.").parse_args([command, "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for part in said:
        assert part in printed, part
