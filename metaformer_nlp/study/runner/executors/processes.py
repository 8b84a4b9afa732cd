"""Cells as processes of this machine, several at once.

Cells are forked from one server process that has imported the experiments already (seconds saved for every cell), each
on one thread: for small models, several cells side by side are faster than one on several threads. Nothing a cell does
can harm the study: an exception, a segmentation fault or a kill costs that one cell, which the next start tries again.

The runner holds one end of a pipe to each cell, its *lifeline*. When it closes, because the study is interrupted or the
runner was killed, the cell sends itself SIGTERM, on which an experiment saves its state, and a minute later SIGKILL.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from metaformer_nlp.engine.signals import EXIT_CODE
from metaformer_nlp.study.protocol.study import Cell, Study
from metaformer_nlp.study.runner.cell import Build, Signature, log_file, read_outcome, run_cell
from metaformer_nlp.study.runner.executors.base import Ended
from metaformer_nlp.study.runner.lock import Taken

STOP_GRACE = 60.0  # seconds a cell has between SIGTERM and SIGKILL to save its state
_TAKEN, _UNWRITTEN = b"taken", b"unwritten"  # what a cell's process says on its lifeline when it ends
_LOG_END = 20_000  # bytes of a log that are looked at
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)


@dataclass
class _Running:
    cell: Cell
    process: BaseProcess
    lifeline: Connection

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)  # a cell leads a group: its data workers go with it
        self.process.kill()


class Processes:
    bar = True

    def __init__(
        self, study: Study, folder: Path, build: Build, parallel: int | None, options: Mapping[str, Any]
    ) -> None:
        self.parallel = parallel or study.parallel
        self._study, self._folder, self._build = study, folder, build
        self._context = multiprocessing.get_context("forkserver")
        self._running: list[_Running] = []
        self._deadline = float("inf")

    def __enter__(self) -> Processes:
        self._start_server()
        return self

    def __exit__(self, *error: object) -> None:
        for item in self._running:  # only if the runner itself has failed: leave nothing behind
            item.kill()

    def check(self, find: Callable[[], list[str]], stopping: Callable[[], bool]) -> list[str]:
        reader, writer = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_send, args=(find, writer), daemon=True)
        process.start()
        writer.close()
        problems: list[str] = []
        while not stopping():
            if reader.poll(0.2):
                with suppress(EOFError):  # it crashed: then the cells will tell why
                    problems = reader.recv()
                break
        process.kill() if stopping() else process.join()
        return problems

    def adopt(self, cells: Sequence[Cell]) -> list[Cell]:
        return []  # cells do not outlive their runner

    def start(self, cells: Sequence[Cell], before: Mapping[str, Signature]) -> None:
        for cell in cells:
            reader, writer = self._context.Pipe()
            # Not a daemon: a daemon may not have data loading workers.
            process = self._context.Process(
                target=_cell_process,
                args=(self._folder, cell, self._build, before[cell.key], reader),
                name=cell.key,
            )
            process.start()
            reader.close()
            self._running.append(_Running(cell, process, writer))

    def wait(self, seconds: float) -> list[Ended]:
        wait([item.process.sentinel for item in self._running], timeout=seconds)
        ended = []
        for item in [item for item in self._running if not item.process.is_alive()]:
            self._running.remove(item)
            item.process.join()
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(item.process.pid or 0, signal.SIGKILL)  # data workers of one that was killed hold its lock
            word = b""
            with suppress(EOFError, OSError):
                word = item.lifeline.recv_bytes() if item.lifeline.poll() else b""
            item.lifeline.close()
            ended.append(self._end(item.cell, item.process.exitcode, word))
        return ended

    def stop(self, requests: int) -> str:
        if requests > 1 or time.monotonic() > self._deadline:
            for item in self._running:
                item.kill()
        elif self._deadline == float("inf"):
            self._deadline = time.monotonic() + STOP_GRACE + 10
            for item in self._running:
                item.lifeline.close()
        return (
            f"Stopping: {len(self._running)} running cells have up to {STOP_GRACE:.0f} s to save their state; "
            "once more to stop at once."
        )

    def _start_server(self) -> None:
        """Starts the process that cells are forked from, with the experiments imported, on one thread."""
        named = [domain.module or domain.experiment for domain in self._study.domains]
        modules = [name for name in named if not name.endswith(".py")]
        self._context.set_forkserver_preload(["__main__", __name__, "torch", *dict.fromkeys(modules)])
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

    def _end(self, cell: Cell, status: int | None, word: bytes) -> Ended:
        """What an end without an outcome means, of which the process's last word may tell: it was killed or crashed."""
        if word == _TAKEN:
            return Ended(cell, taken=True)
        if status is not None and status < 0:
            names = {int(number): number.name for number in signal.Signals}  # not of all real-time signals
            problem = f"the process was killed by {names.get(-status, f'signal {-status}')}"
            problem += " (out of memory?)" if status == -signal.SIGKILL else ""
        elif status == EXIT_CODE:
            problem = "it was told to stop, and not by the runner"
        elif word == _UNWRITTEN:
            problem = "its outcome could not be written (is the disk full?)"
        else:
            problem = f"the process ended with status {status} and left no outcome"
        return Ended(cell, problem, f"The last lines of its log:\n{last_lines(log_file(self._folder, cell))}")


def last_lines(path: Path, number: int = 20) -> str:
    """The last lines of a log, in whatever bytes it is and however long."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_END))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-number:])


def redirect(log: Path) -> None:
    """Sends what this process and its children print to the end of `log`, and closes its input."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab", buffering=0) as file, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _send(find: Callable[[], list[str]], writer: Connection) -> None:
    writer.send(find())


def _cell_process(folder: Path, cell: Cell, build: Build, before: Signature, lifeline: Connection) -> None:
    """A cell's process, from its first to its last line."""
    os.setsid()  # Ctrl-C in the terminal goes to the runner alone, which then stops the cells in order
    redirect(log_file(folder, cell))
    stopping = _watch(lifeline)
    import torch  # cost nothing: the server has it

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    try:
        finished = run_cell(folder, cell, build, before, stopping.is_set)
    except Taken:
        lifeline.send_bytes(_TAKEN)
        return
    except OSError:
        with suppress(OSError):
            lifeline.send_bytes(_UNWRITTEN)
            traceback.print_exc()
        os._exit(1)  # an end in order would flush the log, which is as full
    if not finished:
        sys.exit(1 if read_outcome(folder, cell) else EXIT_CODE)


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
