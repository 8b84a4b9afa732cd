"""The runner: cells as processes of this machine, any number of times, until all are finished.

Cells are forked from one server process that has imported the experiments already (seconds saved for every cell), each
on one thread: for small models, several cells side by side are faster than one on several threads. Nothing a cell does
can harm the study: an exception, a segmentation fault or a kill costs that one cell, which the next start tries again.

The runner holds one end of a pipe to each cell, its *lifeline*. When it closes, because the study is interrupted or the
runner was killed, the cell sends itself SIGTERM, on which an experiment saves its state, and a minute later SIGKILL.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from metaformer_nlp.study.cell import (
    Build,
    CellTaken,
    cell_folder,
    cell_lock,
    changed_keys,
    configure,
    is_finished,
    read_outcome,
    run_cell,
    write_json,
    write_outcome,
)
from metaformer_nlp.study.choices import all_cells, can_start
from metaformer_nlp.study.plan import Cell, Study
from metaformer_nlp.study.progress import Progress
from metaformer_nlp.study.study_file import study_to_mapping

STOP_GRACE = 60.0  # seconds a cell has between SIGTERM and SIGKILL to save its state
_TAKEN = 77  # exit status of a cell that another runner holds
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)


@dataclass
class Summary:
    """What became of the cells when the runner returned, as keys: finished (now or before), failed, taken, left."""

    finished: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    interrupted: bool = False


@dataclass
class _Running:
    cell: Cell
    process: BaseProcess
    lifeline: Connection

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)  # a cell leads a group: its data workers go with it
        self.process.kill()


def run_study(
    study: Study, folder: Path | str, build: Build, parallel: int | None = None, command: str = ""
) -> Summary:
    """Runs every cell that is not finished, at most `parallel` at once, and returns what became of them.

    `build` makes an experiment's configuration from a mapping (`tasks.cli.from_dict`); `command` is for the report.
    Raises ValueError, before anything starts, if a cell's configuration is wrong, or if the folder holds finished cells
    that were run with other settings. Two runners on one folder share the cells between them.
    """
    folder = Path(folder).resolve()
    parallel = parallel or study.parallel
    cells = all_cells(study, folder)
    _refuse_changes(folder, cells)
    waiting = [cell for cell in cells if not is_finished(folder, cell)]
    summary = Summary(finished=[cell.key for cell in cells if cell not in waiting])
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "study.json", {"study": study_to_mapping(study), "text": study.text})
    (folder / "study.yaml").write_text(study.text, encoding="utf-8")
    if not waiting:
        print(f"All {len(cells)} cells are finished.")
        return summary
    _start_server(study)
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    with _Signals() as stop, Progress(study, folder, cells, parallel) as progress:
        progress.line(
            f"{len(cells)} cells, {len(summary.finished)} of them finished; {parallel} at once, one thread each; "
            f"logs in {folder / 'logs'}"
        )
        _check_configurations(study, {cell.key for cell in waiting}, build, stop)
        if not stop.requests:
            _run_cells(study, folder, waiting, build, parallel, stop, progress, summary)
        summary.interrupted = stop.requests > 0
        ended = {*summary.finished, *summary.failed, *summary.taken}
        summary.left = [cell.key for cell in cells if cell.key not in ended]
    session = {
        "started": started,
        "seconds": time.perf_counter() - clock,
        "command": command,
        "parallel": parallel,
        "cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "interrupted": summary.interrupted,
    }
    with (folder / "sessions.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(session) + "\n")
    return summary


def _refuse_changes(folder: Path, cells: Sequence[Cell]) -> None:
    """Cells of two different experiments in one table would be worse than no table."""
    changes = {cell.key: keys for cell in cells if (keys := changed_keys(folder, cell))}
    if changes:
        differences = Counter(key for keys in changes.values() for key in keys)
        shown = "\n".join(f"  {key}  ({count} cells)" for key, count in differences.most_common(10))
        raise ValueError(
            f"{folder} holds {len(changes)} finished cells that were run with other settings than the study has now "
            f"(first: {next(iter(changes))}):\n{shown}\nChoose another folder with --folder, or change the settings "
            f"back, or delete the folders of these cells under {folder / 'cells'} to run them again."
        )


def _start_server(study: Study) -> None:
    """Starts the process that cells are forked from, with the experiments imported, on one thread."""
    context = multiprocessing.get_context("forkserver")
    modules = [domain.experiment for domain in study.domains if not domain.experiment.endswith(".py")]
    context.set_forkserver_preload(["__main__", __name__, "torch", *dict.fromkeys(modules)])
    kept = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)  # read by OpenMP when the server imports torch
    try:
        forkserver.ensure_running()
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check_configurations(study: Study, keys: set[str], build: Build, stop: _Signals) -> None:
    """Builds every arm's configuration once, in a process of its own: a misspelt key costs seconds, not hours."""
    values = {(d.name, arm.name): d.tune.values[0] for d in study.domains if d.tune for arm in study.arms}
    cells = [cell for cell in (*study.trials(values), *study.cells(values)) if cell.key in keys]
    first = {(cell.domain, cell.arm, cell.trial is None): cell for cell in reversed(cells)}
    context = multiprocessing.get_context("forkserver")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_report_problems, args=(list(first.values()), build, writer), daemon=True)
    process.start()
    writer.close()
    problems: list[str] = []
    while not stop.requests:
        if reader.poll(0.2):
            with suppress(EOFError):  # it crashed: then the cells will tell why
                problems = reader.recv()
            break
    process.kill() if stop.requests else process.join()
    if problems:
        raise ValueError("The study's settings do not fit its experiments:\n  " + "\n  ".join(sorted(problems)))


def _report_problems(cells: Sequence[Cell], build: Build, writer: Connection) -> None:
    problems = []
    for cell in cells:
        try:
            configure(cell, build, Path("check"), Path())
        except ValueError as error:
            problems.append(f"{cell.domain}/{cell.arm}: {error}")
        except Exception:  # not the study file's fault: the cell itself will fail of it, and record it
            continue
    writer.send(problems)


def _run_cells(
    study: Study,
    folder: Path,
    waiting: list[Cell],
    build: Build,
    parallel: int,
    stop: _Signals,
    progress: Progress,
    summary: Summary,
) -> None:
    queue, running = [cell.key for cell in waiting], list[_Running]()
    deadline = float("inf")
    try:
        while running or (queue and not stop.requests):
            while queue and len(running) < parallel and not stop.requests:
                cells = {cell.key: cell for cell in all_cells(study, folder)}
                ready = next((key for key in queue if can_start(cells[key], cells, folder)), None)
                if ready is None:
                    break
                queue.remove(ready)
                cell = cells[ready]
                if is_finished(folder, cell):  # by another runner
                    summary.finished.append(cell.key)
                    progress.ended(cell, "finished elsewhere")
                else:
                    running.append(_start(folder, cell, build))
                    progress.running([item.cell.key for item in running])
            if not running:  # what is left waits for cells that have failed, or that another runner is at
                break
            wait([item.process.sentinel for item in running], timeout=0.5)
            for item in [item for item in running if not item.process.is_alive()]:
                running.remove(item)
                _record_end(folder, item, bool(stop.requests), progress, summary)
            if stop.requests and deadline == float("inf") and running:
                deadline = time.monotonic() + STOP_GRACE + 10
                progress.line(
                    f"Stopping: {len(running)} running cells have up to {STOP_GRACE:.0f} s to save their state; "
                    "once more to stop at once."
                )
                for item in running:
                    item.lifeline.close()
            if stop.requests > 1 or time.monotonic() > deadline:
                for item in running:
                    item.kill()
    finally:
        for item in running:  # only if this process itself has failed: leave nothing behind
            item.kill()


def _start(folder: Path, cell: Cell, build: Build) -> _Running:
    context = multiprocessing.get_context("forkserver")
    reader, writer = context.Pipe(duplex=False)
    # Not a daemon: a daemon may not have data loading workers.
    process = context.Process(target=_cell_process, args=(folder, cell, build, reader), name=cell.key)
    process.start()
    reader.close()
    return _Running(cell, process, writer)


def _record_end(folder: Path, item: _Running, stopping: bool, progress: Progress, summary: Summary) -> None:
    """Files a process that has ended; one that ended without a word (killed, crashed) has failed."""
    cell, status = item.cell, item.process.exitcode
    item.process.join()
    item.lifeline.close()
    if is_finished(folder, cell):
        summary.finished.append(cell.key)
        progress.ended(cell, "finished")
    elif status == _TAKEN:
        summary.taken.append(cell.key)
        progress.ended(cell, "taken: another runner is at it")
    elif stopping:
        progress.stopped(cell)
    else:
        if read_outcome(folder, cell) is None:
            with suppress(CellTaken), cell_lock(folder, cell):
                _record_crash(folder, cell, status)
        summary.failed.append(cell.key)
        problem = str((read_outcome(folder, cell) or {}).get("problem")).partition("\n")[0]
        progress.ended(cell, f"FAILED: {problem} (see {cell_folder(folder, cell) / 'error.txt'})")


def _record_crash(folder: Path, cell: Cell, status: int | None) -> None:
    """The outcome of a process that could not write one itself."""
    if status is not None and status < 0:
        problem = f"the process was killed by {signal.Signals(-status).name}"
        problem += " (out of memory?)" if status == -signal.SIGKILL else ""
    else:
        problem = f"the process ended with status {status} and left no outcome"
    log = log_file(folder, cell)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    write_outcome(folder, cell, problem, "The last lines of its log:\n" + "\n".join(lines[-20:]))


def log_file(folder: Path, cell: Cell) -> Path:
    return folder / "logs" / f"{cell.key.replace('/', '--')}.txt"


def _cell_process(folder: Path, cell: Cell, build: Build, lifeline: Connection) -> None:
    """A cell's process, from its first to its last line."""
    os.setsid()  # Ctrl-C in the terminal goes to the runner alone, which then stops the cells in order
    log = log_file(folder, cell)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab", buffering=0) as file, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    stopping = _watch(lifeline)
    import torch  # cost nothing: the server has it

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    try:
        done = run_cell(folder, cell, build, stopping.is_set)
    except CellTaken:
        sys.exit(_TAKEN)
    sys.exit(0 if done else 1)


def _watch(lifeline: Connection) -> threading.Event:
    """Stops this process when the lifeline closes; the event says that this is why it ends."""
    stopping = threading.Event()

    def follow() -> None:
        with suppress(EOFError, OSError):
            lifeline.recv_bytes()
        stopping.set()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_GRACE)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=follow, name="lifeline", daemon=True).start()
    return stopping


class _Signals:
    """Counts the requests to stop (Ctrl-C, SIGTERM, a closed terminal) instead of dying of them."""

    def __init__(self) -> None:
        self.requests = 0

    def __enter__(self) -> _Signals:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self._before[number] = signal.signal(number, self._count)
        return self

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.requests += 1

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
