"""How cells are started: in this process, as processes of this machine, as jobs of a cluster.

An executor starts the cells it is given and says when they have ended. It decides nothing: which cell is next, what an
end means and what is recorded is the runner's part (`run`, `schedule`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from metaformer_nlp.study.protocol.study import Cell, Study
from metaformer_nlp.study.runner.cell import Build, Signature

EXECUTORS = ("processes", "inline", "slurm")


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


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """The options of a cluster from a command line: ["timeout_min=240", "slurm_partition=gpu"]."""
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise ValueError(f"--slurm {word!r} must be NAME=VALUE, such as timeout_min=240.")
        options[name] = yaml.safe_load(value)
    return options


def make_executor(
    name: str, study: Study, folder: Path, build: Build, parallel: int | None, options: Mapping[str, Any]
) -> Executor:
    """The executor called `name`; `parallel` None is what the study says, `options` are those of the cluster.

    ValueError for an unknown name, options that do not fit, or a cluster that is not there.
    """
    if parallel is not None and parallel < 1:
        raise ValueError(f"--parallel must be a whole number from 1 on, not {parallel}.")
    if options and name != "slurm":
        raise ValueError(f"Options of the cluster ({', '.join(options)}) are for --executor slurm, not {name}.")
    if name == "processes":
        from metaformer_nlp.study.runner.executors.processes import Processes

        return Processes(study, folder, build, parallel or study.parallel)
    if name == "inline":
        from metaformer_nlp.study.runner.executors.inline import Inline

        if parallel not in (None, 1):
            raise ValueError(f"--executor inline runs one cell at a time, not {parallel}.")
        return Inline(folder, build)
    if name == "slurm":
        try:
            from metaformer_nlp.study.runner.executors.slurm import Slurm
        except ModuleNotFoundError as error:
            raise ValueError(f"--executor slurm needs {error.name}: pip install -e '.[slurm]'") from error
        return Slurm(study, folder, build, parallel, options)
    raise ValueError(f"--executor {name!r} is unknown; allowed: {', '.join(EXECUTORS)}.")
