"""Every file of a study's folder and of a run's, damaged in every way: it is named, or nothing is lost by it.

Never is anything else trained, chosen or reported than without the damage.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.engine import read_items
from metaformer_nlp.study.analysis.analyse import analyse_folders
from metaformer_nlp.study.protocol.file import study_from_mapping
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.write import build_report
from metaformer_nlp.study.runner.runner import run_study
from tests.engine import toy
from tests.engine.harness import at_step, die, launch
from tests.study.conftest import TOY

OPTIONS = {"steps": 8, "save_every": 2, "eval_every": 4}
SAME = ("domain", "arm", "seed", "status", "score", "chance", "steps", "tuned", "curve")


def absent(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def other_encoding(path: Path) -> None:
    path.write_bytes(b"\xff\xfe" + path.read_bytes())


def half_way(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xe9\x00" + data[len(data) // 2 :])


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def no_object(path: Path) -> None:
    path.write_text("[]\n")


def empty_object(path: Path) -> None:
    path.write_text("{}\n")


DAMAGES = [
    absent, empty, truncated, other_encoding, half_way, folder_in_its_place, link_to_nothing, no_object, empty_object,
]  # fmt: skip


def files_of(folder: Path) -> list[Path]:
    """Its files, but for those that nothing is read from, and those of a second arm, which are alike."""
    unread = {"locks", "logs", "pooling", "starts.txt", "error.txt", "study.yaml", "run.lock", "model", "summary.csv"}
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not unread & set(path.parts))


def walk(made: Path, work: Path, damage: Callable[[Path], None], use: Callable[[Path], Any], right: Any) -> None:
    """Each file of the folder `made` damaged alone: what is made of it in `work` is `right`, or the file is named."""
    wrong = []
    for name in files_of(made):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(made, work)
        damage(work / name)
        try:
            if (found := use(work)) != right:
                wrong.append(f"{name}: {found}")
        except (ValueError, OSError) as error:
            if name.name not in str(error):
                wrong.append(f"{name}: not named by {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


# ---- a study ----


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A finished study of a tuned setting, its runs with a log, and its report."""
    folder = tmp_path_factory.mktemp("study")
    tune = {"key": "seconds", "values": [0.0, 0.0001], "metric": "validation/topic"}
    domain = {"experiment": str(TOY), "config": {}, "metric": "validation/accuracy", "chance": 0.1, "tune": tune}
    arms = {name: {"kind": "mixer", "set": {"model.token_mixer": name}} for name in ("attention", "pooling")}
    data = {"name": "s", "question": "?", "baseline": "attention", "seeds": [0], "domains": {"d": domain}, "arms": arms}
    made = study_from_mapping(data, "file", folder)
    run_study(made, folder / "run", from_dict, executor="inline")
    for cell in (folder / "run/cells/d").glob("*/seed-0"):
        (cell / "metrics.jsonl").write_text('{"step": 5, "validation/accuracy": 0.5}\n')
    return made, folder / "run"


def reported(folder: Path) -> list[dict[str, Any]]:
    return [{key: row[key] for key in SAME} for row in analyse_folders([folder]).cells]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_study_goes_on_or_names_the_file(
    damage: Callable[[Path], None], study: tuple[Study, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, folder = study
    right = reported(folder)
    assert [row["curve"] for row in right] == [[[5, 0.5]]] * 2

    def go_on(work: Path) -> Any:
        summary = run_study(made, work, from_dict, executor="inline")
        if summary.failed:
            raise ValueError(capsys.readouterr().out)  # as it was told
        rows = reported(work)
        for row, expected in zip(rows, right, strict=True):  # a cell that is run again leaves no such log
            row["curve"] = row["curve"] or expected["curve"]
        return rows

    walk(folder, tmp_path / "work", damage, go_on, right)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_report_is_made_again_or_names_the_file(
    damage: Callable[[Path], None], study: tuple[Study, Path], tmp_path: Path
) -> None:
    folder = study[1]
    report = build_report(folder, output=tmp_path / "report").parent
    for path in files_of(report):
        if path.name != "report.json":
            (report / path).unlink()  # only it is read
    walk(report, tmp_path / "work", damage, reported, reported(folder))


# ---- a run ----


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    toy.train(folder, **OPTIONS)
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed") / "run"
    launch(folder, prepare=at_step(7, die), **OPTIONS)
    return folder


def result_of(folder: Path) -> dict[str, Any]:
    result = toy.train(folder, **OPTIONS)
    stored = json.loads((folder / "result.json").read_text())
    assert stored == result
    read_items(folder)
    model = {path.name: path.read_bytes() for path in (folder / "model").iterdir()}
    return {"metrics": result["metrics"], "loss": result["train"]["loss"], "model": model}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("state", ["killed", "finished"])
def test_a_run_goes_on_or_names_the_file(
    state: str, damage: Callable[[Path], None], killed: Path, finished: Path, tmp_path: Path
) -> None:
    right = result_of(finished)
    made = tmp_path / "made"
    shutil.copytree(killed if state == "killed" else finished, made)
    shutil.rmtree(made / "checkpoints/step-00000004", ignore_errors=True)
    walk(made, tmp_path / "work", damage, result_of, right)
