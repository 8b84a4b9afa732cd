"""Where cells run: in this process, and as jobs through submitit (its debug and local executors, and a toy cluster)."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.executors import make_executor, read_options
from metaformer_nlp.study.plan import Study
from metaformer_nlp.study.run import run_study
from tasks.cli import from_dict
from tests.study.test_run import starts, wait_for

Make = Callable[[dict[str, Any]], Study]


@pytest.fixture
def small(study_data: dict[str, Any]) -> dict[str, Any]:
    """Two arms and a seed; "vision" chooses between two values, "text" starts from its cells: 4 trials, 4 cells."""
    study_data["arms"] = {name: study_data["arms"][name] for name in ("attention", "pooling")}
    tune = {"key": "seconds", "values": [0.0, 0.001], "metric": "validation/accuracy"}
    study_data["domains"]["vision"]["tune"] = tune
    study_data["domains"]["text"]["after"] = "vision"
    study_data["seeds"] = [0]
    return study_data


@pytest.mark.parametrize(("executor", "options"), [("inline", {}), ("slurm", {"cluster": "debug"})])
def test_cells_in_this_process(
    executor: str,
    options: dict[str, Any],
    small: dict[str, Any],
    make_study: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small["domains"]["text"]["set"] = {"trouble": "once"}
    study = make_study(small)
    failing = ["text/attention/seed-0", "text/pooling/seed-0"]
    summary = run_study(study, tmp_path, from_dict, executor=executor, options=options)
    assert (len(summary.finished), sorted(summary.failed)) == (6, failing)
    assert "hello from pooling" in capsys.readouterr().out
    assert len(run_study(study, tmp_path, from_dict, executor=executor, options=options).finished) == 8
    assert starts(tmp_path, "vision/pooling/seed-0") == 1
    processes = {word for path in tmp_path.rglob("starts.txt") for word in path.read_text().split()}
    assert processes == {str(os.getpid())}
    session = json.loads((tmp_path / "sessions.jsonl").read_text().splitlines()[0])
    assert session["executor"] == executor


@pytest.mark.parametrize("trouble", ["Ctrl-C", "terminate"])
def test_a_cell_in_this_process_can_be_interrupted(
    trouble: str, small: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    small["arms"]["attention"]["set_in"] = {"text": {"trouble": trouble}}
    study = make_study(small)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    summary = run_study(study, tmp_path, from_dict, executor="inline")
    assert summary.interrupted
    assert "text/attention/seed-0" in summary.left
    assert not (tmp_path / "cells/text/attention/seed-0/outcome.json").exists(), "stopped is not failed"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert len(run_study(study, tmp_path, from_dict, executor="inline").finished) == 8


def test_what_an_executor_cannot_do_is_said(small: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    study = make_study(small)
    for executor, parallel, options, message in (
        ("inline", 2, {}, "inline runs one cell at a time, not 2"),
        ("processes", 2, {"timeout_min": 5}, r"Options of the cluster \(timeout_min\) are for --executor slurm"),
        ("slurm", None, {"cluster": "local"}, "A job needs a time limit, in minutes: --slurm timeout_min=240"),
        ("slurm", None, {"cluster": "local", "timeout_min": 5, "nodes": 2}, "A cell is one process; nodes cannot"),
        ("slurm", None, {"cluster": "local", "timeout_min": 5, "colour": "red"}, "executor slurm: .*colour"),
        ("slurm", None, {"cluster": "moon", "timeout_min": 5}, "executor slurm: .*moon"),
        ("threads", None, {}, "'threads' is unknown; allowed: processes, inline, slurm"),
    ):
        with pytest.raises(ValueError, match=message):
            make_executor(executor, study, tmp_path, from_dict, parallel, options)
    assert read_options(["timeout_min=240", "slurm_partition=gpu"]) == {"timeout_min": 240, "slurm_partition": "gpu"}
    with pytest.raises(ValueError, match="'gpu' must be NAME=VALUE"):
        read_options(["gpu"])


@pytest.mark.slow
def test_jobs_outlive_the_runner_are_queued_again_and_fail_with_a_reason(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One cell is slow the first time only, one for ever, one is killed."""
    study_data["seeds"], study_data["domains"] = [0], {"text": study_data["domains"]["text"]}
    study_data["arms"] = {name: study_data["arms"][name] for name in ("attention", "pooling", "identity")}
    study_data["arms"]["attention"]["set"] |= {"seconds": 3600, "trouble": "slow once"}
    study_data["arms"]["pooling"]["set"] |= {"seconds": 3600}
    study_data["arms"]["identity"]["set"] |= {"seconds": 3600, "trouble": "slow once"}
    study = make_study(study_data)
    # With up to ten minutes, submitit takes any warning for the end of the time, of which it allows one.
    options = {"cluster": "local", "timeout_min": 10, "max_num_timeout": 1}

    def run() -> Any:
        return run_study(study, tmp_path, from_dict, executor="slurm", options=options)

    runner = os.fork()
    if runner == 0:
        run()
        os._exit(0)
    keys = [f"text/{arm}/seed-0" for arm in ("attention", "pooling", "identity")]
    try:
        wait_for(lambda: all(starts(tmp_path, key) == 1 for key in keys), "the jobs never started")
    finally:
        os.kill(runner, signal.SIGKILL)
        os.waitpid(runner, 0)

    def process(key: str) -> int:
        return int((tmp_path / "cells" / key / "starts.txt").read_text().split()[-1])

    def trouble() -> None:
        os.kill(process(keys[2]), signal.SIGKILL)
        for key in keys[:2]:
            os.kill(process(key), signal.SIGUSR2)
        wait_for(lambda: starts(tmp_path, keys[1]) == 2, "the job was not queued again")
        os.kill(process(keys[1]), signal.SIGUSR2)

    thread = threading.Thread(target=trouble)
    thread.start()
    summary = run()
    thread.join()
    printed = capsys.readouterr().out
    assert all(f"{key} is running since an earlier start" in printed for key in keys)
    assert summary.finished == keys[:1]
    assert sorted(summary.failed) == sorted(keys[1:])
    assert [starts(tmp_path, key) for key in keys] == [2, 2, 1]
    assert len(list((tmp_path / "jobs/submitit").glob("*_submitted.pkl"))) == 3, "nothing was submitted twice"
    errors = [(tmp_path / "cells" / key / "error.txt").read_text() for key in keys[1:]]
    assert "timed-out too many times" in errors[0]
    assert "ended (FINISHED) and left no outcome" in errors[1]
    assert "hello from identity" in errors[1]
