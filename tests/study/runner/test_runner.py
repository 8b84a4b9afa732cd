"""The runner, with an experiment that fails in every way a cell may fail."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.analysis.more_seeds import with_further_seeds
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.write import build_report
from metaformer_nlp.study.runner.cell import cell_lock, is_finished, outcome_signature, run_cell, write_outcome
from metaformer_nlp.study.runner.lock import Taken, is_held
from metaformer_nlp.study.runner.runner import Summary, run_study

ROOT = Path(__file__).parents[3]
Make = Callable[[dict[str, Any]], Study]


def starts(folder: Path, key: str) -> int:
    file = folder / "cells" / key / "starts.txt"
    return len(file.read_text().split()) if file.is_file() else 0


@pytest.mark.slow
def test_a_failing_cell_costs_one_cell_and_is_tried_again(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_data["seeds"] = [0]
    for trouble in ("raise", "kill", "exit", "once"):
        arm = {"kind": "mixer", "domains": ["text"], "set": {"model.token_mixer": "pooling", "trouble": trouble}}
        study_data["arms"][f"will_{trouble}"] = arm
    study, folder = make_study(study_data), tmp_path / "study"
    summary = run_study(study, folder, from_dict)
    failing = ["text/will_raise/seed-0", "text/will_kill/seed-0", "text/will_exit/seed-0", "text/will_once/seed-0"]
    assert sorted(summary.failed) == sorted(failing)
    assert len(summary.finished) == 8
    assert not summary.left
    assert not summary.interrupted

    errors = {key: (folder / "cells" / key / "error.txt").read_text() for key in failing}
    assert "RuntimeError: the toy was told to fail" in errors[failing[0]]
    assert "in make" in errors[failing[0]], "the traceback"
    assert "killed by SIGKILL" in errors[failing[1]]
    assert "hello from pooling" in errors[failing[1]], "the last lines of its log"
    assert "ended with status 3" in errors[failing[2]]
    printed = capsys.readouterr().out
    assert "FAILED: RuntimeError: the toy was told to fail" in printed
    assert "[12/12]" in printed
    result = json.loads((folder / "cells/text/pooling/seed-0/result.json").read_text())
    assert result["threads"] == {"OMP_NUM_THREADS": "1"}

    # The report of an unfinished study, with its failures named.
    page = build_report(folder).read_text()
    assert "8 of 12 cells are finished and 4 have failed" in page
    assert "the toy was told to fail" in page

    # Again: what is finished stays, what has failed is tried again.
    summary = run_study(study, folder, from_dict)
    assert sorted(summary.failed) == sorted(failing[:3])
    assert "text/will_once/seed-0" in summary.finished
    assert not (folder / "cells/text/will_once/seed-0/error.txt").exists()
    assert {starts(folder, key) for key in summary.finished if "once" not in key} == {1}
    assert {starts(folder, key) for key in failing} == {2}
    assert len((folder / "sessions.jsonl").read_text().splitlines()) == 2 * 2, "a line at each start, one at each end"


@pytest.mark.slow
def test_other_settings_in_the_same_folder(study_data: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    study_data["seeds"], study_data["domains"] = [0], {"text": study_data["domains"]["text"]}
    study_data["domains"]["text"]["set"] = {"trouble": "raise", "trouble_seed": 1}
    original = copy.deepcopy(study_data)
    run_study(make_study(study_data), folder, from_dict)

    # A finished cell of other settings: refused, with the difference.
    study_data["domains"]["text"]["set"]["seconds"] = 0.001
    with pytest.raises(ValueError, match=r"holds 4 finished or running cells of other settings") as refusal:
        run_study(make_study(study_data), folder, from_dict)
    assert "seconds: 0.0 -> 0.001  (4 cells)" in str(refusal.value)
    assert "--folder" in str(refusal.value)

    # More seeds are no change. A failed cell of other settings is moved away, not mixed into and not lost.
    study_data = {**copy.deepcopy(original), "seeds": [0, 1]}
    study_data["arms"] = {name: study_data["arms"][name] for name in ("attention", "pooling")}
    summary = run_study(make_study(study_data), folder, from_dict)
    assert sorted(summary.failed) == ["text/attention/seed-1", "text/pooling/seed-1"]
    study_data["arms"]["pooling"]["set"]["trouble"] = "none"
    study_data["seeds"] = [1]
    summary = run_study(make_study(study_data), folder, from_dict)
    assert summary.finished == ["text/pooling/seed-1"]
    assert (folder / "replaced/text--pooling--seed-1--1/error.txt").is_file()
    assert starts(folder, "text/pooling/seed-1") == 1


@pytest.mark.slow
def test_a_misspelt_setting_is_refused_before_anything_starts(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    study_data["arms"]["pooling"]["set"] = {"model.token_mxer": "pooling"}
    with pytest.raises(ValueError, match=r"text/pooling: .*model\.token_mxer; the nearest is model\.token_mixer"):
        run_study(make_study(study_data), tmp_path / "study", from_dict)
    assert not (tmp_path / "study/cells").exists()


def test_a_cell_is_run_by_one_process_only(study_data: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    cell = make_study(study_data).cells()[0]
    with cell_lock(tmp_path, cell), pytest.raises(Taken):
        run_cell(tmp_path, cell, from_dict)
    assert run_cell(tmp_path, cell, from_dict)
    assert is_finished(tmp_path, cell)
    assert run_cell(tmp_path, cell, from_dict), "a finished cell is not run again"
    assert starts(tmp_path, cell.key) == 1


@pytest.mark.slow
def test_two_runners_share_the_cells(study_data: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    study_data["domains"]["text"]["after"] = "vision"
    study_data["arms"]["pooling"]["set"]["trouble"] = "raise"
    study = make_study(study_data)
    summaries: list[Summary] = []
    runners = [
        threading.Thread(target=lambda: summaries.append(run_study(study, tmp_path, from_dict, parallel=1)))
        for _ in range(2)
    ]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    for summary in summaries:  # each stays until all is done
        assert len(summary.finished) == 12
        assert sorted(summary.failed) == ["vision/pooling/seed-0", "vision/pooling/seed-1"]
        assert sorted(summary.blocked) == ["text/pooling/seed-0", "text/pooling/seed-1"]
    once = [cell.key for cell in study.cells() if cell.key not in (*summaries[0].blocked, *summaries[0].failed)]
    assert {starts(tmp_path, key) for key in once} == {1}
    assert {starts(tmp_path, key) for key in summaries[0].failed} == {1}, "what failed at one is not tried by the other"


@pytest.mark.slow
def test_a_cell_whose_runner_is_gone_is_taken_over(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_data["seeds"] = [0]
    study = make_study(study_data)
    first, *others = study.cells()
    held, release = threading.Event(), threading.Event()

    def other_runner() -> None:
        with cell_lock(tmp_path, first):
            held.set()
            wait_for(lambda: all(is_finished(tmp_path, cell) for cell in others), "the others are not run meanwhile")
            release.wait(3)

    thread = threading.Thread(target=other_runner)
    thread.start()
    held.wait()
    summary = run_study(study, tmp_path, from_dict)
    thread.join()
    assert len(summary.finished) == 8
    assert starts(tmp_path, first.key) == 1
    assert "Waiting for cells that other runners are at: vision/attention/seed-0" in capsys.readouterr().out


@pytest.mark.slow
def test_a_full_disk_costs_the_cells_that_could_not_be_written(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_data["seeds"] = [0]
    study_data["arms"]["pooling"]["set"]["trouble"] = "full disk"
    study = make_study(study_data)
    summary = run_study(study, tmp_path, from_dict)
    assert sorted(summary.failed) == ["text/pooling/seed-0", "vision/pooling/seed-0"]
    assert len(summary.finished) == 6
    assert "FAILED: its outcome could not be written (is the disk full?)" in capsys.readouterr().out
    assert not list((tmp_path / "cells").rglob(".tmp-*")), "no half-written file is left"
    assert len(run_study(study, tmp_path, from_dict).finished) == 8


@pytest.mark.slow
def test_only_some_cells(study_data: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    study_data["domains"]["text"]["after"] = "vision"
    study = make_study(study_data)
    summary = run_study(study, tmp_path, from_dict, only=["text/pooling/*-1"])
    assert summary.finished == ["vision/pooling/seed-1", "text/pooling/seed-1"]
    assert sorted(path.parent.name for path in tmp_path.rglob("outcome.json")) == ["seed-1", "seed-1"]
    with pytest.raises(ValueError, match="--only 'text/poling/seed-1' fits none of the 16 cells; did you mean"):
        run_study(study, tmp_path, from_dict, only=["text/poling/seed-1"])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("point", ["metaformer_nlp.engine.files.write_text", "os.fsync", "pathlib.Path.replace"])
def test_an_outcome_is_whole_or_not_there_wherever_its_process_is_killed(
    point: str, after: bool, study_data: dict[str, Any], make_study: Make, tmp_path: Path, monkeypatch: Any
) -> None:
    cell = make_study(study_data).cells()[0]
    outcome = tmp_path / "cells" / cell.key / "outcome.json"
    write_outcome(tmp_path, cell, "an earlier failure")
    before, failure = outcome.read_bytes(), outcome_signature(tmp_path, cell)
    child = os.fork()
    if child == 0:
        holder, name = point.rsplit(".", 1)
        original = getattr(sys.modules.get(holder, Path), name)

        def killed(*args: Any, **options: Any) -> None:
            if after:
                original(*args, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(point, killed)
        with cell_lock(tmp_path, cell):
            write_outcome(tmp_path, cell, None, result={"metrics": {"validation/accuracy": 0.5}})
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    if point == "pathlib.Path.replace" and after:
        assert is_finished(tmp_path, cell)
    else:
        assert outcome.read_bytes() == before
    assert run_cell(tmp_path, cell, from_dict, failure), "the lock of a process that is gone is free"


def test_a_result_without_the_score_is_a_failure(study_data: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    study_data["domains"]["vision"]["metric"] = "validation/acuracy"
    cell = make_study(study_data).cells()[0]
    assert not run_cell(tmp_path, cell, from_dict)
    outcome = json.loads((tmp_path / "cells" / cell.key / "outcome.json").read_text())
    expected = "the result has no metric 'validation/acuracy'; did you mean 'validation/accuracy'?"
    assert outcome["problem"] == expected


def test_a_damaged_outcome_is_not_taken_for_a_result(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    cell = make_study(study_data).cells()[0]
    run_cell(tmp_path, cell, from_dict)
    (tmp_path / "cells" / cell.key / "outcome.json").write_text('{"status": "finis')
    assert not is_finished(tmp_path, cell)
    assert run_cell(tmp_path, cell, from_dict)


@pytest.fixture
def endless(study_data: dict[str, Any]) -> dict[str, Any]:
    """A study whose third arm never ends by itself; both its cells of the first seed will be running."""
    for name in ("identity", "no_residual"):
        study_data["arms"][name]["set"]["seconds"] = 3600
    return study_data


ENDLESS = ("vision/identity/seed-0", "text/identity/seed-0")


def running(folder: Path, number: int) -> list[int]:
    """Waits for the `number`-th start of both endless cells; their processes."""
    wait_for(lambda: all(starts(folder, key) == number for key in ENDLESS), "the cells never started")
    return [int((folder / "cells" / key / "starts.txt").read_text().split()[-1]) for key in ENDLESS]


@pytest.mark.slow
def test_an_interrupted_study_stops_its_cells_and_can_be_reported(
    endless: dict[str, Any], make_study: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells: list[int] = []

    def interrupt() -> None:
        cells.extend(running(tmp_path, 1))
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=interrupt)
    thread.start()
    summary = run_study(make_study(endless), tmp_path, from_dict)
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert summary.interrupted
    assert not any(alive(pid) for pid in cells)
    assert (len(summary.finished), len(summary.failed), len(summary.left)) == (4, 0, 12)
    assert "vision/identity/seed-0" in capsys.readouterr().out
    assert not (tmp_path / "cells/vision/identity/seed-0/outcome.json").exists(), "stopped is not failed"
    assert "4 of 16 cells are finished" in build_report(tmp_path).read_text()


@pytest.mark.slow
def test_a_killed_runner_leaves_no_orphans_and_its_study_goes_on(
    endless: dict[str, Any], write_study: Callable[[dict[str, Any]], Path], make_study: Make, tmp_path: Path
) -> None:
    folder, output = tmp_path / "study", tmp_path / "output"
    script = str(ROOT / "scripts/run_study.py")
    command = [sys.executable, script, "run", str(write_study(endless)), "--folder", str(folder)]
    with output.open("w") as file:
        runner = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=tmp_path)
    try:
        cells = running(folder, 1)
    finally:
        runner.kill()
        runner.wait()
    assert "[ 4/16]" in output.read_text(), "a line for each cell, at once"
    wait_for(lambda: not any(alive(pid) for pid in cells), "the cells must not outlive the runner")
    locks = [folder / "locks" / key.replace("/", "--") for key in ENDLESS]
    wait_for(lambda: not any(map(is_held, locks)), "nor their threads, which end a moment later")
    for name in ("identity", "no_residual"):
        del endless["arms"][name]["set"]["seconds"]
    summary = run_study(make_study(endless), folder, from_dict)
    assert len(summary.finished) == 16
    assert {starts(folder, f"vision/{arm}/seed-0") for arm in ("attention", "pooling")} == {1}


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], bool], message: str, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, message
        time.sleep(0.05)


def test_a_value_beyond_a_chosen_end_is_run_before_the_cells(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The toy scores the same whatever the value, so that the first is chosen, which is the smallest."""
    study_data["domains"] = {"vision": study_data["domains"]["vision"]}
    study_data["arms"] = {name: study_data["arms"][name] for name in ("attention", "pooling")}
    tune = {"key": "seconds", "values": [0.001, 0.002], "metric": "validation/accuracy", "widen": 1}
    study_data["domains"]["vision"]["tune"] = tune
    summary = run_study(make_study(study_data), tmp_path / "study", from_dict, executor="inline")
    assert summary.text == "4 cells and 6 trials finished, 0 failed, 0 waiting for a failed one, 0 left."
    printed = capsys.readouterr().out
    assert "vision/pooling/trial-3 is added" in printed
    assert "[trial 6/6]" in printed
    assert starts(tmp_path / "study", "vision/pooling/trial-3") == 1
    assert starts(tmp_path / "study", "vision/pooling/trial-2") == 0, "beyond the other end"
    choice = json.loads((tmp_path / "study/cells/vision/pooling/choice.json").read_text())
    assert (choice["value"], choice["end"], choice["values"]) == (0.001, None, [0.001, 0.002, 0.0005])


def test_seeds_are_added_and_a_later_start_comes_to_the_same(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_data["domains"]["text"] |= {"tasks": {}}
    study_data |= {"seeds": [0, 1, 2], "claim": {"arm": "pooling", "retains": 0.9}}
    study_data["until"] = {"half_width": 0.03, "most": 12}
    study, folder = make_study(study_data), tmp_path / "study"

    def run(*only: str) -> list[int]:
        run_study(study, folder, from_dict, executor="inline", only=only, further_seeds=with_further_seeds)
        seeds: list[int] = json.loads((folder / "study.json").read_text())["study"]["seeds"]
        return seeds

    assert run("*/pooling/seed-0", "*/attention/seed-0") == [0, 1, 2], "what is asked for alone is run alone"
    seeds = run()
    assert 3 < len(seeds) < 12
    assert "With 3 seeds an interval is too wide (until): going on with seed 3." in capsys.readouterr().out
    assert starts(folder, f"vision/no_residual/seed-{seeds[-1]}") == 1
    assert run() == seeds
    assert f"Nothing is left to run: {16 // 2 * len(seeds)} cells finished." in capsys.readouterr().out
    assert not [line for line in (folder / "sessions.jsonl").read_text().splitlines() if "changed" in line]
    (folder / f"cells/text/pooling/seed-{seeds[-1]}/outcome.json").unlink()  # as after a kill
    assert run() == seeds
    study = make_study({**study_data, "until": {"half_width": 0.03, "most": 13}})
    assert run() == seeds
    assert '"until"' in (folder / "sessions.jsonl").read_text(), "another rule is a change"
