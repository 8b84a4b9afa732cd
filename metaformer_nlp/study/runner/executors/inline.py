"""Cells in this process, one after the other: what they print is seen, and a debugger stops in them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metaformer_nlp.study.protocol.study import Cell, Study
from metaformer_nlp.study.runner.cell import Build, Signature, read_outcome, run_cell
from metaformer_nlp.study.runner.executors.base import Ended
from metaformer_nlp.study.runner.interrupts import handling
from metaformer_nlp.study.runner.lock import Taken


class Inline:
    """Runs a cell while it is started. A crash of the cell (a segmentation fault, a kill) is one of the runner."""

    parallel = 1
    bar = False

    def __init__(
        self, study: Study, folder: Path, build: Build, parallel: int | None, options: Mapping[str, Any]
    ) -> None:
        if parallel not in (None, 1):
            raise ValueError(f"--executor inline runs one cell at a time, not {parallel}.")
        self._folder, self._build = folder, build
        self._ended: list[Ended] = []

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def check(self, find: Callable[[], list[str]], stopping: Callable[[], bool]) -> list[str]:
        return find()

    def adopt(self, cells: Sequence[Cell]) -> list[Cell]:
        return []

    def start(self, cells: Sequence[Cell], before: Mapping[str, Signature]) -> None:
        import torch

        (cell,) = cells
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a process of its own: the same numbers, to the last digit
        print(f"--- {cell.key}", flush=True)
        try:
            # The runner counts signals; here they raise KeyboardInterrupt, unless the experiment sees to them itself.
            with handling(dict.fromkeys((signal.SIGINT, signal.SIGTERM), signal.default_int_handler)):
                finished = run_cell(self._folder, cell, self._build, before[cell.key])
            stopped = not finished and read_outcome(self._folder, cell) is None
            self._ended.append(Ended(cell, stopped="stopped" if stopped else ""))
        except KeyboardInterrupt:  # before or after the experiment itself
            self._ended.append(Ended(cell, stopped="stopped"))
        except Taken:
            self._ended.append(Ended(cell, taken=True))
        except OSError as error:
            self._ended.append(Ended(cell, f"its outcome could not be written: {error}"))
        finally:
            torch.set_num_threads(threads)

    def wait(self, seconds: float) -> list[Ended]:
        ended, self._ended = self._ended, []
        if not ended:
            threading.Event().wait(seconds)
        return ended

    def stop(self, requests: int) -> str:
        return ""
