"""What is wrong is said before anything starts, or after the first run and not after all of them."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.command_line import study_parser
from metaformer_nlp.study.preview.overview import describe
from metaformer_nlp.study.protocol.file import study_from_mapping
from metaformer_nlp.study.runner.runner import run_study

ROOT = Path(__file__).parents[3]
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


def test_a_refused_study_writes_down_no_choice(data: dict[str, Any], tmp_path: Path) -> None:
    data["domains"]["vision"]["tune"] = TUNE
    study = study_from_mapping(data, "file", tmp_path)
    run_study(study, tmp_path / "run", from_dict, executor="inline", only=["*/trial-*"])
    choices = sorted((tmp_path / "run").rglob("choice.json"))
    assert len(choices) == 2
    for path in choices:
        path.unlink()  # as if the runner had been killed before it wrote them
    data["arms"]["wrong"] = {"kind": "mixer", "set": {"model.token_mxer": "pooling"}}
    with pytest.raises(ValueError, match="token_mxer"):
        run_study(study_from_mapping(data, "file", tmp_path), tmp_path / "run", from_dict, executor="inline")
    assert not list((tmp_path / "run").rglob("choice.json"))
    run_study(study, tmp_path / "run", from_dict, executor="inline")
    assert sorted((tmp_path / "run").rglob("choice.json")) == choices


def starts(folder: Path) -> list[str]:
    return sorted(str(path.parent.relative_to(folder / "cells")) for path in folder.rglob("starts.txt"))


def test_a_metric_that_no_run_gives_stops_at_the_second_arm(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of trials, too; what has run before is kept."""
    data["domains"]["vision"] |= {"metric": "accuracy_of_validation", "tune": {**TUNE, "metric": "margin"}}
    summary = run_study(study_from_mapping(data, "file", tmp_path), tmp_path, from_dict, executor="inline")
    assert starts(tmp_path) == [
        f"vision/{name}" for name in ("attention/trial-0", "attention/trial-1", "pooling/trial-0")
    ]
    assert len(summary.failed) == 3
    printed = capsys.readouterr().out
    assert "Nothing more is started: no trial of domain vision" in printed
    assert "attention and pooling lacked it: the result has" in printed
    assert "no metric 'margin'; allowed: validation/accuracy, validation/topic, validation/order." in printed

    data["domains"]["vision"]["tune"]["metric"] = "validation/topic"
    summary = run_study(study_from_mapping(data, "file", tmp_path), tmp_path, from_dict, executor="inline")
    assert summary.failed == ["vision/attention/seed-0", "vision/pooling/seed-0"]
    assert (len(summary.finished), len(summary.left)) == (4, 2)
    assert "Nothing more is started: no cell of domain vision" in capsys.readouterr().out


def test_a_domain_of_one_arm_stops_at_its_first_run(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del data["arms"]["pooling"]
    data["domains"]["vision"]["metric"] = "accuracy_of_validation"
    summary = run_study(study_from_mapping(data, "file", tmp_path), tmp_path, from_dict, executor="inline")
    assert (summary.failed, summary.left) == (["vision/attention/seed-0"], ["vision/attention/seed-1"])
    assert "Nothing more is started" in capsys.readouterr().out


def give_no_accuracy(data: dict[str, Any], folder: Path, mixers: list[str]) -> None:
    """Runs with these mixers lack the metric that the study is about."""
    source = (ROOT / "tests/study/toy_experiment.py").read_text()
    lacking = f'    if config.model.token_mixer in {mixers}:\n        del result["metrics"]["validation/accuracy"]\n'
    (folder / "some_lack.py").write_text(source.replace('    (folder / "result', f'{lacking}    (folder / "result'))
    data["domains"]["vision"]["experiment"] = "some_lack.py"


@pytest.mark.parametrize("lacks", ["attention", "pooling"])  # the first arm of the file, and the last
def test_a_metric_that_one_arm_lacks_costs_its_cells_alone(
    lacks: str, data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    give_no_accuracy(data, tmp_path, [lacks])
    study, failing = study_from_mapping(data, "file", tmp_path), [f"vision/{lacks}/seed-{seed}" for seed in (0, 1)]
    for ended, only in ((1, ["*/seed-0"]), (2, [])):  # so at the next start, too, which tries what has failed first
        summary = run_study(study, tmp_path, from_dict, executor="inline", only=only)
        assert (summary.failed, len(summary.finished), summary.left) == (failing[:ended], ended, [])
    assert "Nothing more is started" not in capsys.readouterr().out


def test_a_metric_that_a_run_has_given_before_stops_nothing(
    data: dict[str, Any], study_data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data["arms"]["identity"] = study_data["arms"]["identity"]
    give_no_accuracy(data, tmp_path, ["attention", "pooling"])
    study = study_from_mapping(data, "file", tmp_path)
    run_study(study, tmp_path, from_dict, executor="inline")
    assert "Nothing more is started" in capsys.readouterr().out, "nothing has given it yet"
    run_study(study, tmp_path, from_dict, executor="inline", only=["*/identity/seed-0"])
    summary = run_study(study, tmp_path, from_dict, executor="inline", only=["*/attention/*", "*/pooling/*"])
    assert len(summary.failed) == 4
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
        ("plan", ["default: runs/NAME", "docs/study_file.md has all keys", "Exit status 2"]),
        ("run", ["timeout_min=60 cluster=local", "one_stage/pooling/seed-0", "of SLURM jobs 100"]),
        ("report", ["default: FOLDER/report", "docs/results/images docs/results/text --output runs/both"]),
    ],
)
def test_the_help_has_examples(command: str, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        study_parser("What it does.").parse_args([command, "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for part in said:
        assert part in printed, part
    for folder in re.findall(r"docs/results/\S+", printed):
        assert (ROOT / folder / "report.json").is_file(), f"{folder} has no report that could be made again"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("a/" * 2000, "too long by"),
        ("x" * 300, "is too long by 93 bytes"),
        ("file/run", "file is no folder"),
    ],
)
def test_plan_and_run_refuse_a_folder_alike(where: str, message: str, data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    study = study_from_mapping(data, "file", tmp_path)
    for start in (describe, run_study):
        with pytest.raises(ValueError, match=message):
            start(study, tmp_path / where, from_dict)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_longest_names_run(data: dict[str, Any], tmp_path: Path) -> None:
    """A name of the study is at most as long as lets all files be made from it."""
    domain, arm = "d" * 80, "a" * 80
    tune = {"key": "seconds", "values": [0.0, 0.001], "metric": "validation/accuracy", "trials": 2}
    data["domains"] = {domain: {**data["domains"]["vision"], "tune": tune}}
    data |= {"name": "s" * 80, "seeds": [0, 2**63 - 1], "baseline": arm, "arms": {arm: {"kind": "mixer", "set": {}}}}
    study = study_from_mapping(data, "file", tmp_path)
    describe(study, tmp_path / study.name, from_dict)
    summary = run_study(study, tmp_path / study.name, from_dict, executor="inline", only=["*/trial-*"])
    assert len(summary.finished) == 4
