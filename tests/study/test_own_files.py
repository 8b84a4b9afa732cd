"""The files that a cell's code is in, an experiment or a plugin of the user's own: what has run with other content."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.own_files import changed_files, own_files
from metaformer_nlp.study.plan import Cell, Study
from metaformer_nlp.study.run import run_study
from tasks.cli import from_dict

TOY = Path(__file__).with_name("toy_experiment.py").read_text(encoding="utf-8")
CHANGING = TOY.replace(  # the first run changes the file, as an editor would
    "    scores =",
    """    if not Path(__file__).with_name("changed").exists():
        Path(__file__).with_name("changed").touch()
        with Path(__file__).open("a") as file:
            file.write("# changed\\n")
    scores =""",
)


@pytest.fixture
def own(study_data: dict[str, Any], tmp_path: Path) -> Path:
    """The experiment, of "vision" alone, of two arms."""
    own = tmp_path / "own.py"
    own.write_text(TOY, encoding="utf-8")
    study_data["domains"] = {"vision": {**study_data["domains"]["vision"], "experiment": str(own)}}
    study_data["arms"] = {name: study_data["arms"][name] for name in ("attention", "pooling")}
    return own


def test_finished_cells_of_another_content_are_refused(
    own: Path, study_data: dict[str, Any], make_study: Callable[[dict[str, Any]], Study], tmp_path: Path
) -> None:
    study, folder = make_study(study_data), tmp_path / "run"

    def run(*only: str) -> list[str]:
        return run_study(study, folder, from_dict, executor="inline", only=only).finished

    assert run("vision/pooling/seed-0") == ["vision/pooling/seed-0"]
    asked = json.loads((folder / "cells/vision/pooling/seed-0/cell.json").read_text(encoding="utf-8"))
    assert list(asked["files"]) == [str(own)]
    own.write_text(TOY + "# changed\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"own\.py: its content has changed \(\w{8} -> \w{8}\)"):
        run("vision/pooling/seed-0")
    own.write_text(TOY, encoding="utf-8")
    assert run("vision/pooling/seed-0") == ["vision/pooling/seed-0"]


def test_an_unfinished_run_is_not_continued_with_another_content(
    own: Path, study_data: dict[str, Any], make_study: Callable[[dict[str, Any]], Study], tmp_path: Path
) -> None:
    study, folder = make_study(study_data), tmp_path / "run"
    key = "vision/pooling/seed-0"
    run_study(study, folder, from_dict, executor="inline", only=[key])
    (folder / "cells" / key / "outcome.json").unlink()  # as if it had been killed
    own.write_text(TOY + "# changed\n", encoding="utf-8")
    run_study(study, folder, from_dict, executor="inline", only=[key])
    assert [path.name for path in (folder / "replaced").iterdir()] == ["vision--pooling--seed-0--1"]


@pytest.mark.parametrize("executor", ["inline", pytest.param("processes", marks=pytest.mark.slow)])
def test_no_cell_is_run_with_another_content_than_those_before_it(
    executor: str,
    own: Path,
    study_data: dict[str, Any],
    make_study: Callable[[dict[str, Any]], Study],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own.write_text(CHANGING, encoding="utf-8")
    before, study, folder = own.read_bytes(), make_study(study_data), tmp_path / "run"
    summary = run_study(study, folder, from_dict, 1, executor=executor)
    assert own.read_bytes() != before
    assert summary.finished == ["vision/attention/seed-0"]
    assert len(summary.failed) == 3
    assert f"not run: {own} has changed since the study was started" in capsys.readouterr().out
    assert len(list(folder.rglob("starts.txt"))) == 1
    with pytest.raises(ValueError, match="its content has changed"):
        run_study(study, folder, from_dict, 1, executor=executor)
    own.write_bytes(before)
    assert len(run_study(study, folder, from_dict, 1, executor=executor).finished) == 4


def test_nothing_is_chosen_without_a_trial_that_was_not_run(
    own: Path, study_data: dict[str, Any], make_study: Callable[[dict[str, Any]], Study], tmp_path: Path
) -> None:
    own.write_text(CHANGING, encoding="utf-8")
    tune = {"key": "trouble_seed", "values": [0, 8], "metric": "validation/accuracy"}
    study_data["domains"]["vision"]["tune"] = tune
    before, study, folder = own.read_bytes(), make_study(study_data), tmp_path / "run"
    summary = run_study(study, folder, from_dict, executor="inline")
    assert summary.finished == ["vision/attention/trial-0"]
    assert summary.failed == ["vision/attention/trial-1", "vision/pooling/trial-0", "vision/pooling/trial-1"]
    assert summary.blocked["vision/attention/seed-1"] == "vision/attention/trial-1"
    assert len(summary.blocked) == 4
    assert not list(folder.rglob("choice.json"))
    own.write_bytes(before)
    assert len(run_study(study, folder, from_dict, executor="inline").finished) == 8


def test_files_are_known_by_their_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of one name are two; one that lies elsewhere now, or was written down without its folder, is found."""
    monkeypatch.chdir(tmp_path)
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "mixer.py").write_text(f"# {version}\n")
    cell = Cell("text", "arm", 0, "tasks.text_probes", {"plugins": ["v1/mixer.py", "v2/mixer.py", "math"]}, ())
    then = own_files(cell)
    assert list(then) == ["v1/mixer.py", "v2/mixer.py"]
    assert replace(cell, files=then).digest == cell.digest
    assert changed_files({"files": then}, cell) == []
    moved = {f"/elsewhere/{name}": content for name, content in then.items()}
    assert changed_files({"files": moved}, cell) == []
    (tmp_path / "v1" / "mixer.py").write_text("# other\n")
    (changed,) = changed_files({"files": then}, cell)
    assert changed.startswith("v1/mixer.py: its content has changed")
    for written in ("mixer.py", "/elsewhere/v1/mixer.py"):
        (changed,) = changed_files({"files": {written: then["v1/mixer.py"]}}, cell)
        assert changed.startswith(f"{written}: ")
    assert changed_files({"files": {"gone.py": "0" * 64}}, cell) == [], "reported where the file is not"
