"""Cells as jobs of a SLURM cluster, through submitit.

A job is submitted when its cell can start, so that trials and cells that others start from need no dependencies of the
cluster. Jobs outlive the runner: ``jobs/<cell>.json`` says which job is at which cell, and the next start follows those
that are queued or running instead of submitting them again. Should a cell be submitted twice all the same (the runner
was killed in the moment between the two), its second job finds the cell held or finished, and ends.

Before its time is up, and where the cluster announces a preemption in the same way (SLURM's ``--signal``), a job makes
its experiment save and stop and is queued again, as often as ``max_num_timeout`` says. A job that SLURM ends otherwise
has failed, with SLURM's word for it as the reason.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError

from metaformer_nlp.engine.signals import EXIT_CODE, StopRequest
from metaformer_nlp.study.protocol.study import Cell, Study
from metaformer_nlp.study.runner.cell import (
    Build,
    Signature,
    cell_folder,
    cell_lock,
    lock_file,
    log_file,
    read_json,
    read_outcome,
    run_cell,
    write_json,
    write_outcome,
)
from metaformer_nlp.study.runner.executors.base import Ended, SubmissionRefused
from metaformer_nlp.study.runner.executors.processes import last_lines, redirect
from metaformer_nlp.study.runner.interrupts import handling
from metaformer_nlp.study.runner.lock import STALE, Taken, held, is_held

_WARNING: signal.Signals = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")  # that the job will be ended
_JOBS = {"slurm": submitit.SlurmJob, "local": submitit.LocalJob}

PARALLEL = 100  # jobs queued or running at once, if the user does not say
FILES_LATE = 15.0  # seconds that another machine's file may take to be seen here
LINGER = 60.0  # seconds that a job told to end waits for what the cluster does with it
_FIXED = ("nodes", "tasks_per_node")


class Slurm:
    """`options` are submitit's (``timeout_min``, ``slurm_partition``, ``gpus_per_node``, ``cpus_per_task``, ...) and
    ``max_num_timeout``; ``cluster: local`` runs the jobs as processes of this machine, ``debug`` in this process.
    """

    bar = True

    def __init__(
        self, study: Study, folder: Path, build: Build, parallel: int | None, options: Mapping[str, Any]
    ) -> None:
        self.parallel = parallel or PARALLEL
        self._folder, self._build = folder, build
        self._jobs: dict[str, tuple[Cell, submitit.Job[Any]]] = {}
        self._over_since: dict[str, float] = {}
        self._leaving = False
        options = dict(options)
        self._cluster = str(options.pop("cluster", "slurm"))
        timeouts = {} if self._cluster == "debug" else {"max_num_timeout": options.pop("max_num_timeout", 3)}
        if fixed := [name for name in _FIXED if name in options]:
            raise ValueError(f"A cell is one process; {' and '.join(fixed)} cannot be set.")
        if self._cluster != "debug" and "timeout_min" not in options:
            raise ValueError("A job needs a time limit, in minutes: --slurm timeout_min=240")
        constructor = {f"{self._cluster}_{name}": value for name, value in timeouts.items()}
        try:
            self._executor = submitit.AutoExecutor(folder / "jobs/submitit", cluster=self._cluster, **constructor)
            self._executor.update_parameters(**{"name": study.name, **options, "nodes": 1, "tasks_per_node": 1})
        except (RuntimeError, ValueError, NameError, TypeError) as error:
            raise ValueError(f"--executor slurm: {error}") from error

    def __enter__(self) -> Slurm:
        return self

    def __exit__(self, *error: object) -> None:
        pass  # jobs go on

    def check(self, find: Callable[[], list[str]], stopping: Callable[[], bool]) -> list[str]:
        return find()

    def adopt(self, cells: Sequence[Cell]) -> list[Cell]:
        adopted = []
        for cell in cells:
            if job := self._live_job(cell):
                self._jobs[cell.key] = cell, job
                adopted.append(cell)
        return adopted

    def start(self, cells: Sequence[Cell], before: Mapping[str, Signature]) -> None:
        with self._submitting():  # another runner may have submitted some of them meanwhile
            adopted = {cell.key for cell in self.adopt(cells)}
            new = [cell for cell in cells if cell.key not in adopted]
            if not new:
                return
            functions = [CellJob(self._folder, cell, self._build, before[cell.key]) for cell in new]
            try:
                if len(new) == 1:
                    jobs = [self._executor.submit(functions[0])]
                else:
                    with self._executor.batch():  # one job array
                        jobs = [self._executor.submit(function) for function in functions]
            except (FailedJobError, FailedSubmissionError, OSError) as error:
                raise SubmissionRefused(f"The cluster did not take {len(new)} jobs: {error}") from error
            for cell, job in zip(new, jobs, strict=True):
                record = {"job": job.job_id, "cluster": self._cluster, "digest": cell.digest}
                write_json(self._record(cell), record | {"files": dict(cell.files)})
                self._jobs[cell.key] = cell, job

    def wait(self, seconds: float) -> list[Ended]:
        time.sleep(seconds)
        if self._leaving:
            jobs, self._jobs = self._jobs, {}
            return [Ended(cell, stopped=f"goes on as job {job.job_id}") for cell, job in jobs.values()]
        over = [key for key, (cell, job) in self._jobs.items() if self._has_ended(cell, job)]
        return [self._end(*self._jobs.pop(key)) for key in over]

    def stop(self, requests: int) -> str:
        self._leaving = True
        numbers = " ".join(job.job_id for _, job in self._jobs.values())
        return f"The jobs go on: start the command again to follow them, or end them with: scancel {numbers}"

    @contextmanager
    def _submitting(self) -> Iterator[None]:
        """One runner of the folder at a time looks which cells have jobs, and submits the others."""
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(held(self._folder / "locks/submission"))
                    break
                except Taken:
                    time.sleep(0.2)
            yield

    def _record(self, cell: Cell) -> Path:
        return self._folder / "jobs" / f"{cell.key.replace('/', '--')}.json"

    def _live_job(self, cell: Cell) -> submitit.Job[Any] | None:
        """The cell's job if one is queued or running; one with other settings or files than the cell's is cancelled."""
        record = read_json(self._record(cell))
        if record is None or record.get("cluster") != self._cluster or self._cluster not in _JOBS:
            return None
        job = _JOBS[self._cluster](folder=self._executor.folder, job_id=str(record.get("job")))
        if _is_over(job):
            return None
        if (record.get("digest"), record.get("files", {})) != (cell.digest, dict(cell.files)):
            job.cancel(check=False)
            return None
        return job

    def _has_ended(self, cell: Cell, job: submitit.Job[Any]) -> bool:
        if not _is_over(job):
            self._over_since.pop(cell.key, None)
            return False
        since = self._over_since.setdefault(cell.key, time.monotonic())
        late = FILES_LATE if self._cluster == "slurm" else 0.0
        return time.monotonic() - since >= late or (cell_folder(self._folder, cell) / "outcome.json").exists()

    def _end(self, cell: Cell, job: submitit.Job[Any]) -> Ended:
        del self._over_since[cell.key]
        if is_held(lock_file(self._folder, cell)):
            return Ended(cell, taken=True)
        lines = [last_lines(path) for path in (log_file(self._folder, cell), job.paths.stderr)]
        trace = "The last lines of its log:\n{}\n\nand of the job's:\n{}".format(*lines)
        return Ended(cell, f"job {job.job_id} ended ({job.state}) and left no outcome", trace)


def _is_over(job: submitit.Job[Any]) -> bool:
    if isinstance(job, submitit.LocalJob) and job._process is None:  # another runner's: submitit does not know it
        try:
            process = psutil.Process(int(job.job_id))
            return process.status() == psutil.STATUS_ZOMBIE or "submitit.local._local" not in process.cmdline()
        except psutil.Error:
            return True
    return job.done()


class CellJob:
    """What a job does: runs a cell, and makes room for others in order when it is told to."""

    def __init__(self, folder: Path, cell: Cell, build: Build, before: Signature) -> None:
        self._folder, self._cell, self._build, self._before = folder, cell, build, before

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What submitit queues again: the cell goes on from its experiment's last saved state."""
        return submitit.helpers.DelayedSubmission(self)

    def __call__(self) -> None:
        if submitit.JobEnvironment().cluster != "debug":
            import torch

            redirect(log_file(self._folder, self._cell))
            torch.set_num_threads(int(os.environ.get("SLURM_CPUS_PER_TASK", "1")))
        signals = _JobSignals()
        with handling({signal.SIGTERM: signals.stop, _WARNING: signals.warn}):
            has_ended = self._run(signals)
        if not has_ended and signals.will_end:
            self._queue_again()
        elif not has_ended and signals.stop_requested:
            # SIGTERM alone is a cancelled job, or a preemption that SLURM sees to itself, but only of a job that lives.
            time.sleep(LINGER)

    def _run(self, signals: _JobSignals) -> bool:
        """Whether the cell has ended, here or elsewhere, and not only stopped."""
        patience = time.monotonic() + 1.5 * STALE
        while True:
            try:
                finished = run_cell(self._folder, self._cell, self._build, self._before, lambda: signals.stop_requested)
                return finished or not signals.stop_requested
            except SystemExit:  # told to stop before or after the experiment itself
                return False
            except Taken:
                # Perhaps by this job's first run, whose node was lost: its claim is void after a while.
                if time.monotonic() > patience:
                    return True
                time.sleep(10)

    def _queue_again(self) -> None:
        """Leaves it to submitit, which counts how often the time was up: this does not return, or the cell failed."""
        try:
            signal.raise_signal(_WARNING)
            time.sleep(1)  # Python calls the handler at a moment of its choice
        except UncompletedJobError as error:
            with suppress(Taken), cell_lock(self._folder, self._cell):
                if read_outcome(self._folder, self._cell) is None:  # another process may have gone on with it
                    write_outcome(self._folder, self._cell, f"{error} It can go on from where it was saved.")


class _JobSignals:
    """Handlers that make the experiment save and stop, whether it sees to signals itself or not.

    ``stop_requested`` once one came; ``will_end`` if the job's time is up or it is preempted.
    """

    def __init__(self) -> None:
        self.will_end = False
        self.stop_requested = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        if not self.stop_requested:
            self.stop_requested = True
            raise SystemExit(EXIT_CODE)

    def warn(self, number: int, frame: FrameType | None) -> None:
        self.will_end = True
        handler = signal.getsignal(signal.SIGTERM)
        request = getattr(handler, "__self__", None)
        if isinstance(request, StopRequest):  # the training loop's: a second signal would end it at once
            self.stop_requested = True
            if request():
                return
        signal.raise_signal(signal.SIGTERM)
