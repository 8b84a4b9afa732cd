"""Where cells run: in this process, and as jobs through submitit (its debug and local executors, and a toy cluster)."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import submitit
from submitit.core.submission import process_job
from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.runner.cell import cell_lock, lock_file, read_outcome
from metaformer_nlp.study.runner.executors import make_executor, read_options
from metaformer_nlp.study.runner.executors.base import SubmissionRefused
from metaformer_nlp.study.runner.executors.slurm import CellJob
from metaformer_nlp.study.runner.lock import is_held
from metaformer_nlp.study.runner.runner import run_study
from tests.study.runner.test_runner import starts, wait_for

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
        ("processes", -1, {}, "--parallel must be a whole number from 1 on, not -1"),
        ("slurm", 0, {"timeout_min": 5}, "--parallel must be a whole number from 1 on, not 0"),
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
def test_a_job_outlives_its_runner_and_its_preemption(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_data["arms"]["pooling"]["set"] |= {"seconds": 3600, "trouble": "slow once"}
    study, key = make_study(study_data), "text/pooling/seed-0"
    options = {"cluster": "local", "timeout_min": 60}

    def run() -> Any:
        return run_study(study, tmp_path, from_dict, executor="slurm", options=options, only=[key])

    runner = os.fork()
    if runner == 0:
        run()
        os._exit(0)
    try:
        wait_for(lambda: starts(tmp_path, key) == 1, "the job never started", 1200)
    finally:
        os.kill(runner, signal.SIGKILL)
        os.waitpid(runner, 0)
    preempted = threading.Timer(
        3.0, os.kill, (int((tmp_path / "cells" / key / "starts.txt").read_text()), signal.SIGUSR2)
    )
    preempted.start()
    summary = run()
    assert summary.finished == [key]
    assert f"{key} is running since an earlier start" in capsys.readouterr().out
    assert starts(tmp_path, key) == 2, "once before it was preempted and once after"
    assert len(list((tmp_path / "jobs/submitit").glob("*_submitted.pkl"))) == 1, "nothing was submitted twice"


@pytest.mark.parametrize(
    ("loop", "signals", "countdown", "expected"),
    [
        (False, [signal.SIGUSR2], 3, "queued again"),
        (True, [signal.SIGUSR2], 3, "queued again"),
        (True, [signal.SIGTERM, signal.SIGUSR2], 3, "queued again"),  # a second request to stop would end it at once
        (True, [signal.SIGUSR2], 0, "failed"),
        (True, [signal.SIGTERM], 3, "left to SLURM"),
    ],
)
def test_a_job_that_is_told_to_end(
    loop: bool,
    signals: list[int],
    countdown: int,
    expected: str,
    study_data: dict[str, Any],
    make_study: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The job's part of submitit, in a process that is forked and has everything imported."""
    study_data["domains"]["text"]["set"] = {"seconds": 3600, "trouble": "training loop" if loop else "none"}
    cell = next(cell for cell in make_study(study_data).cells() if cell.domain == "text")
    monkeypatch.setattr("metaformer_nlp.study.runner.executors.slurm.LINGER", 0.0)
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", "1")
    (tmp_path / "jobs").mkdir()
    job = submitit.helpers.DelayedSubmission(CellJob(tmp_path, cell, from_dict, None))
    # With up to ten minutes, submitit takes any warning for the end of the time.
    job.set_timeout(10 if countdown == 0 else 60, countdown)
    job.dump(tmp_path / "jobs/1_submitted.pkl")
    process = os.fork()
    if process == 0:
        status = 1
        try:
            process_job(tmp_path / "jobs")
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os._exit(status)
    folder = tmp_path / "cells" / cell.key
    wait_for(lambda: starts(tmp_path, cell.key) == 1 and (not loop or (folder / "training").exists()), "it never began")
    for number in signals:
        time.sleep(1.2)
        os.kill(process, number)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status == (LOCAL_REQUEUE_RETURN_CODE if expected == "queued again" else 0)
    assert (folder / "saved").exists() == loop
    outcome = read_outcome(tmp_path, cell)
    if expected == "failed":
        assert outcome is not None
        assert "timed-out too many times" in outcome["problem"]
    else:
        assert outcome is None, "stopped is not failed"
    assert not is_held(lock_file(tmp_path, cell))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that plays SLURM: ``calls`` tells what was called, ``states`` is what sacct says, ``down`` refuses."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    for name, body in {
        "sbatch": 'test -e down && { echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1; }\n'
        'echo sbatch >> calls; cp "$1" script; echo "Submitted batch job 7$(grep -c sbatch calls)"',
        "sacct": "cat states",
        "scancel": 'echo "scancel $*" >> calls',
        "srun": "",
    }.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\ncd {folder}\n{body}\n")
        path.chmod(0o755)
    (folder / "states").write_text("JobID|State|NodeList\n")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr("metaformer_nlp.study.runner.executors.slurm.FILES_LATE", 0.0)
    return folder


def test_jobs_are_submitted_once_and_followed_by_the_next_runner(
    cluster: Path, study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    def executor() -> Any:
        options = {"timeout_min": 240, "slurm_partition": "gpu", "gpus_per_node": 1}
        return make_executor("slurm", study, tmp_path, from_dict, None, options)

    def states(*lines: str) -> None:
        (cluster / "states").write_text("\n".join(["JobID|State|NodeList", *lines]) + "\n")
        submitit.SlurmJob.watcher.clear()

    study = make_study(study_data)
    cells = study.cells()[:3]
    before = dict.fromkeys([cell.key for cell in cells])
    first = executor()
    (cluster / "down").touch()
    with pytest.raises(SubmissionRefused, match="QOSMaxSubmitJobPerUserLimit"):
        first.start(cells, before)
    (cluster / "down").unlink()
    assert not first.adopt(cells)
    first.start(cells[:2], before)
    script = (cluster / "script").read_text()
    for line in ("--array=0-1%2", "--partition=gpu", "--time=240", "--gpus-per-node=1", "--job-name=toy"):
        assert line in script

    # The first runner is gone; the second follows what is queued or running and submits the rest.
    states("71_0|PENDING|", "71_1|RUNNING|node-1")
    second = executor()
    second.start(cells, before)
    assert (cluster / "calls").read_text().split() == ["sbatch", "sbatch"], "one job array, and one job"
    assert second.wait(0) == []
    states("71_0|TIMEOUT|node-1", "71_1|REQUEUED|", "72|OUT_OF_MEMORY|node-2")
    (cluster.parent / "jobs/submitit/72_0_log.err").write_text("slurmstepd: error: Detected 1 oom_kill event")
    ended = {end.cell.key: end for end in second.wait(0)}
    assert ended[cells[0].key].problem == "job 71_0 ended (TIMEOUT) and left no outcome"
    assert ended[cells[2].key].problem == "job 72 ended (OUT_OF_MEMORY) and left no outcome"
    assert "oom_kill" in ended[cells[2].key].trace
    assert cells[1].key not in ended

    # A job that ended because another process has the cell is no failure.
    states("71_1|COMPLETED|node-1")
    with cell_lock(tmp_path, cells[1]):
        assert [end.taken for end in second.wait(0)] == [True]

    # A queued job of other settings is not left to spoil the folder.
    states("71_0|PENDING|", "71_1|COMPLETED|", "72|COMPLETED|")
    study_data["domains"]["vision"]["set"] = {"seconds": 0.001}
    study = make_study(study_data)
    assert executor().adopt(study.cells()[:3]) == []
    assert "scancel 71_0" in (cluster / "calls").read_text()


def test_the_runner_leaves_its_jobs(
    cluster: Path, study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    study = make_study(study_data)
    place = make_executor("slurm", study, tmp_path, from_dict, None, {"timeout_min": 240})
    place.start(study.cells()[:1], {study.cells()[0].key: None})
    assert "scancel 71" in place.stop(1)
    assert [end.stopped for end in place.wait(0)] == ["goes on as job 71"]


def test_a_queued_job_of_other_files_is_cancelled(
    cluster: Path, study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    """It would find its file changed and not run; the next runner submits the cell anew."""

    def executor() -> Any:
        return make_executor("slurm", study, tmp_path, from_dict, None, {"timeout_min": 240})

    study = make_study(study_data)
    cell = replace(study.cells()[0], files={"my_mixer.py": "0" * 64})
    executor().start([cell], {cell.key: None})
    (cluster / "states").write_text("JobID|State|NodeList\n71|PENDING|\n")
    submitit.SlurmJob.watcher.clear()
    assert executor().adopt([cell]) == [cell]
    assert not (cluster / "calls").read_text().count("scancel")
    assert executor().adopt([replace(cell, files={"my_mixer.py": "1" * 64})]) == []
    assert "scancel 71" in (cluster / "calls").read_text()
