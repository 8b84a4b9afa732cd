"""The files that a cell's code is in, an experiment or a plugin of the user's own: what has run with other content."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.protocol.study import Cell, Study
from metaformer_nlp.study.runner.cell import cell_lock, write_json, write_outcome
from metaformer_nlp.study.runner.changes import changed_files, source_files
from metaformer_nlp.study.runner.executors.inline import Inline
from metaformer_nlp.study.runner.runner import run_study

Make = Callable[[dict[str, Any]], Study]
TOY = Path(__file__).parents[1].joinpath("toy_experiment.py").read_text(encoding="utf-8")
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
    own: Path, study_data: dict[str, Any], make_study: Make, tmp_path: Path
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
    own: Path, study_data: dict[str, Any], make_study: Make, tmp_path: Path
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
    executor: str, own: Path, study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    own.write_text(CHANGING, encoding="utf-8")
    before, study, folder = own.read_bytes(), make_study(study_data), tmp_path / "run"
    with pytest.raises(ValueError, match=r"Nothing more is started: .*own\.py has changed since this runner came"):
        run_study(study, folder, from_dict, 1, executor=executor)
    assert own.read_bytes() != before
    assert names(folder, "starts.txt") == names(folder, "outcome.json") == ["vision/attention/seed-0"]
    assert not names(folder, "error.txt")
    with pytest.raises(ValueError, match="its content has changed"):
        run_study(study, folder, from_dict, 1, executor=executor)
    own.write_bytes(before)
    assert len(run_study(study, folder, from_dict, 1, executor=executor).finished) == 4


def test_nothing_is_chosen_without_a_trial_that_was_not_run(
    own: Path, study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    own.write_text(CHANGING, encoding="utf-8")
    tune = {"key": "trouble_seed", "values": [0, 8], "metric": "validation/accuracy"}
    study_data["domains"]["vision"]["tune"] = tune
    before, study, folder = own.read_bytes(), make_study(study_data), tmp_path / "run"
    with pytest.raises(ValueError, match="has changed since"):
        run_study(study, folder, from_dict, executor="inline")
    assert names(folder, "outcome.json") == ["vision/attention/trial-0"]
    assert not list(folder.rglob("choice.json"))
    own.write_bytes(before)
    assert len(run_study(study, folder, from_dict, executor="inline").finished) == 8


@pytest.mark.parametrize("gone", [False, True])
def test_a_runner_that_came_before_a_change_leaves_all_cells_to_others(
    gone: bool, own: Path, study_data: dict[str, Any], make_study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file changes while it checks the settings."""
    study, folder = make_study(study_data), tmp_path / "run"

    def check(*args: Any) -> list[str]:
        own.unlink() if gone else own.write_text(TOY + "# changed\n", encoding="utf-8")
        return []

    with monkeypatch.context() as patch:
        patch.setattr("metaformer_nlp.study.runner.runner.find_problems", check)
        with pytest.raises(ValueError, match=rf"own\.py {'is gone' if gone else 'has changed'} since this runner came"):
            run_study(study, folder, from_dict, executor="inline")
    assert not (folder / "cells").exists()
    own.write_text(TOY + "# changed\n", encoding="utf-8")
    assert len(run_study(study, folder, from_dict, executor="inline").finished) == 4


def test_a_change_in_the_moment_of_a_start_costs_no_cell(
    own: Path, study_data: dict[str, Any], make_study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a job that was queued before it: the runner has seen the old content, the cell's process sees the new."""
    study, folder, start = make_study(study_data), tmp_path / "run", Inline.start

    def late(self: Inline, cells: Any, before: Any) -> None:
        own.write_text(TOY + "# changed\n", encoding="utf-8")
        start(self, cells, before)

    monkeypatch.setattr(Inline, "start", late)
    with pytest.raises(ValueError, match=r"own\.py has changed since"):
        run_study(study, folder, from_dict, executor="inline")
    assert not (folder / "cells").exists()
    session = json.loads((folder / "sessions.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert session["interrupted"] is False


def test_no_runner_begins_beside_a_running_cell_of_another_content(
    own: Path, study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    study, folder = make_study(study_data), tmp_path / "run"
    cell = of_another_content(own, study, folder)
    with (
        cell_lock(folder, cell),
        pytest.raises(ValueError, match=rf"1 finished or running cells .*first: {cell.key}(?s:.)*own\.py: its content"),
    ):
        run_study(study, folder, from_dict, executor="inline", only=["vision/attention/seed-0"])
    assert not names(folder, "starts.txt")
    assert len(run_study(study, folder, from_dict, executor="inline").finished) == 4, "when its runner has died"
    assert [path.name for path in (folder / "replaced").iterdir()] == ["vision--pooling--seed-0--1"]


@pytest.mark.parametrize("only", ["*", "vision/attention/seed-0"])
def test_a_cell_that_ends_elsewhere_with_another_content_is_noticed(
    only: str,
    own: Path,
    study_data: dict[str, Any],
    make_study: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a runner that came at the same time, on a machine with another file; wanted here or not."""
    study, folder = make_study(study_data), tmp_path / "run"

    def check(*args: Any) -> list[str]:
        cell = of_another_content(own, study, folder)
        write_outcome(folder, cell, None, result={"metrics": dict.fromkeys(cell.needs, 0.5)})
        return []

    monkeypatch.setattr("metaformer_nlp.study.runner.runner.find_problems", check)
    noticed = "seed-0 was run elsewhere with other files" if only == "*" else "1 finished or running cells"
    with pytest.raises(ValueError, match=rf"{noticed}(?s:.)*own\.py: its content has changed"):
        run_study(study, folder, from_dict, executor="inline", only=[only])
    assert names(folder, "starts.txt") == ([] if only == "*" else [only])


def of_another_content(own: Path, study: Study, folder: Path) -> Cell:
    """A cell that another runner has started with another content of the experiment."""
    cell = next(cell for cell in study.cells() if cell.key == "vision/pooling/seed-0")
    asked = {"digest": cell.digest, "spec": cell.spec, "starts": 1, "files": {str(own): "0" * 64}}
    write_json(folder / "cells" / cell.key / "cell.json", asked)
    return cell


def names(folder: Path, file: str) -> list[str]:
    """The cells in whose folders it is."""
    return sorted(str(path.parent.relative_to(folder / "cells")) for path in (folder / "cells").rglob(file))


def test_files_are_known_by_their_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of one name are two; one that lies elsewhere now, or was written down without its folder, is found."""
    monkeypatch.chdir(tmp_path)
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "mixer.py").write_text(f"# {version}\n")
    cell = Cell("text", "arm", 0, "probes_text", {"plugins": ["v1/mixer.py", "v2/mixer.py", "math"]}, ())
    then = source_files(cell)
    assert list(then) == ["v1/mixer.py", "v2/mixer.py"]
    cell = replace(cell, files=then)
    assert cell.digest == replace(cell, files={}).digest
    assert changed_files({"files": then}, cell) == []
    moved = {f"/elsewhere/{name}": content for name, content in then.items()}
    assert changed_files({"files": moved}, cell) == []
    (tmp_path / "v1" / "mixer.py").write_text("# other\n")
    cell = replace(cell, files=source_files(cell))
    (changed,) = changed_files({"files": then}, cell)
    assert changed.startswith("v1/mixer.py: its content has changed")
    for written in ("mixer.py", "/elsewhere/v1/mixer.py"):
        (changed,) = changed_files({"files": {written: then["v1/mixer.py"]}}, cell)
        assert changed.startswith(f"{written}: ")
    assert changed_files({"files": {"gone.py": "0" * 64}}, cell) == [], "reported where the file is not"
