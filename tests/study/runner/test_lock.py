"""The lock of a cell: one holder on one machine or on several, and none that is gone for good."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.runner import cell as cell_module
from metaformer_nlp.study.runner import lock
from metaformer_nlp.study.runner import runner as run_module
from metaformer_nlp.study.runner.cell import cell_lock, run_cell, write_outcome
from metaformer_nlp.study.runner.lock import STALE, Taken, held, is_held
from metaformer_nlp.study.runner.queue import Queue


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "cell"


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("metaformer_nlp.study.runner.lock.fcntl.flock", refuse)


def claim_of_another_machine(path: Path, age: float) -> Path:
    claim = path.with_name("cell.claims") / "1"
    claim.parent.mkdir(parents=True)
    claim.write_text(json.dumps({"machine": "node-2 another-boot", "process": 1, "job": None}))
    path.touch()
    os.utime(claim, (time.time() - age,) * 2)
    return claim


def test_held_once(path: Path) -> None:
    assert not is_held(path)
    for _ in range(2):
        with held(path):
            assert is_held(path)
            with pytest.raises(Taken), held(path):
                pass
        assert not is_held(path)


def test_a_killed_holder_of_this_machine_is_gone_at_once(path: Path) -> None:
    child = os.fork()
    if child == 0:
        with held(path):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert not is_held(path)
    with held(path):
        assert is_held(path)


def test_another_machine_holds_as_long_as_it_shows_life(path: Path) -> None:
    claim = claim_of_another_machine(path, age=STALE - 60)
    assert is_held(path)
    with pytest.raises(Taken), held(path):
        pass
    os.utime(claim, (time.time() - STALE - 1,) * 2)
    assert not is_held(path)
    with held(path) as mine:
        assert not mine.lost()


@pytest.mark.usefixtures("no_flock")
def test_one_of_many_takes_over_where_the_file_system_knows_no_locks(path: Path) -> None:
    claim_of_another_machine(path, age=STALE + 1)
    start, results = threading.Barrier(8), []
    with ExitStack() as stack:

        def take() -> None:
            start.wait()
            try:
                stack.enter_context(held(path))
                results.append("held")
            except Taken:
                results.append("taken")

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == ["held"] + ["taken"] * 7
        assert is_held(path)
    assert not is_held(path)


def test_a_holder_shows_life_and_ends_when_it_has_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = threading.Event()
    monkeypatch.setattr(lock, "BEAT", 0.02)
    monkeypatch.setattr("metaformer_nlp.study.runner.lock.os.kill", lambda process, number: killed.set())
    with held(path) as mine:
        claim = path.with_name("cell.claims") / "1"
        os.utime(claim, (0, 0))
        end = time.monotonic() + 60
        while claim.stat().st_mtime == 0:
            assert time.monotonic() < end, "the claim was not touched"
            time.sleep(0.01)
        assert not killed.is_set()
        claim.with_name("2").touch()  # another machine believed this one dead
        assert mine.lost()
        assert killed.wait(60)
    assert not claim.with_name("1.released").exists()


def test_who_has_lost_the_cell_writes_no_outcome(
    study_data: dict[str, Any], make_study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = make_study(study_data).cells()[0]
    problem = cell_module.result_problem

    def meanwhile(result: Any, cell: Any) -> str | None:
        (claim,) = (tmp_path / "locks").glob("*.claims/1")
        claim.with_name("2").touch()
        return problem(result, cell)

    monkeypatch.setattr(cell_module, "result_problem", meanwhile)
    with pytest.raises(Taken):
        run_cell(tmp_path, cell, from_dict)
    assert not (tmp_path / "cells" / cell.key / "outcome.json").exists()


def test_under_the_lock_a_process_looks_whether_its_cell_has_failed_elsewhere(
    study_data: dict[str, Any], make_study: Any, tmp_path: Path
) -> None:
    study = make_study(study_data)
    cell = study.cells()[0]
    for tries in (0, 1):
        before = Queue(study, tmp_path).before[cell.key]
        write_outcome(tmp_path, cell, "it failed at another runner")
        assert not run_cell(tmp_path, cell, from_dict, before)
        assert not (tmp_path / "cells" / cell.key / "starts.txt").exists(), f"after {tries} failures before"
    assert run_cell(tmp_path, cell, from_dict, Queue(study, tmp_path).before[cell.key]), "the next start tries it"


@pytest.mark.slow
def test_a_cell_that_was_killed_and_is_finished_by_another_runner_has_not_failed(
    study_data: dict[str, Any], make_study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other runner finishes it after this one has looked and before it has the lock to write the failure."""
    study_data["domains"]["vision"]["set"] = {"trouble": "kill"}
    study = make_study(study_data)
    cell = study.cells()[0]

    def late(folder: Path, its: Any) -> Any:
        scores = dict.fromkeys(its.needs, 0.5)
        write_outcome(folder, its, None, result={"metrics": scores})
        return cell_lock(folder, its)

    monkeypatch.setattr(run_module, "cell_lock", late)
    summary = run_module.run_study(study, tmp_path, from_dict, only=[cell.key])
    assert (summary.finished, summary.failed) == ([cell.key], [])
