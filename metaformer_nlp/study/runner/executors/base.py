"""What every executor is to the runner: it starts the cells it is given, and says when they have ended.

It decides nothing: which cell is next, what an end means and what is recorded is the runner's part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from metaformer_nlp.study.protocol.study import Cell
from metaformer_nlp.study.runner.cell import Signature


@dataclass(frozen=True)
class Ended:
    """A cell that an executor has seen end.

    `problem` and `trace` are recorded if the cell has left no outcome itself. `taken`: it did not run, another process
    holds it. `stopped`: in a word, that it was told to stop and can go on later, or goes on without the runner.
    """

    cell: Cell
    problem: str = ""
    trace: str = ""
    taken: bool = False
    stopped: str = ""


class SubmissionRefused(RuntimeError):  # noqa: N818 - named for what happened
    """The cluster did not take the jobs; it may take them later."""


class Executor(Protocol):
    """Use as a context; what still runs on this machine when it is left is killed."""

    parallel: int
    """Cells at once."""
    bar: bool
    """Whether the runner may draw its bar on the terminal: cells print elsewhere."""

    def __enter__(self) -> Executor: ...

    def __exit__(self, *error: object) -> None: ...

    def check(self, find: Callable[[], list[str]], stopping: Callable[[], bool]) -> list[str]:
        """Calls `find`, which imports the experiments, where that does no harm; [] if it crashed."""
        ...

    def adopt(self, cells: Sequence[Cell]) -> list[Cell]:
        """Those of `cells` that were started before this runner and go on: they will be reported as ended, too."""
        ...

    def start(self, cells: Sequence[Cell], before: Mapping[str, Signature]) -> None:
        """`before` goes to `run_cell`, for each cell's key. SubmissionRefused if none of them could be started."""
        ...

    def wait(self, seconds: float) -> list[Ended]:
        """What has ended; returns after about `seconds` at the latest, except in this process."""
        ...

    def stop(self, requests: int) -> str:
        """Called as long as cells run after the runner was told to stop, with the number of times it was.

        What it returns the first time is told to the user. Cells that stop are reported by `wait`.
        """
        ...
