"""What the runner shows: a bar on a terminal, plain lines elsewhere; in both, one line for each run that has ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from metaformer_nlp.study.protocol.study import Cell, Study
from metaformer_nlp.study.runner.cell import read_outcome
from metaformer_nlp.study.runner.durations import Durations
from metaformer_nlp.study.words import duration


class Progress:
    """Follows the cells and trials of a study, each counted by itself; use as a context."""

    def __init__(self, study: Study, folder: Path, cells: Sequence[Cell], parallel: int) -> None:
        self._folder, self._parallel = folder, parallel
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._durations = Durations(study)
        self._cells = {cell.key: cell for cell in cells}
        self._left = dict(self._cells)
        for cell in cells:
            self._count(cell)
        self._bar: Bar | None = None
        if self._console.is_terminal:
            unit = "cells and trials" if any(cell.trial is not None for cell in cells) else "cells"
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn(unit), TextColumn("{task.description}"))
            self._bar = Bar(*columns, console=self._console, transient=True)
            done = len(self._cells) - len(self._left)
            self._task = self._bar.add_task("", total=len(self._cells), completed=done)

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def line(self, text: str) -> None:
        self._console.print(text)
        self._console.file.flush()  # when the output is a file, its reader wants each line now

    def running(self, keys: Sequence[str]) -> None:
        if self._bar:
            self._bar.update(self._task, description=f"{self.time_left()}  running: {', '.join(keys)}")

    def ended(self, cell: Cell, how: str) -> None:
        """A cell's process has ended: `how` says with what."""
        self._count(cell)
        self._left.pop(cell.key, None)
        outcome = read_outcome(self._folder, cell) or {}
        parts = [self._counter(cell), f"{cell.key:<34}"]
        if outcome.get("status") == "finished":
            metric = cell.needs[0]
            parts.append(f"{metric} {outcome['result']['metrics'][metric]:.4f}")
            parts.append(f"{outcome['seconds']:6.1f} s" if outcome.get("seconds") else "")
        if how != "finished":
            parts.append(how)
        self.line("  ".join([*parts, self.time_left()]).rstrip())
        if self._bar:
            self._bar.update(self._task, completed=len(self._cells) - len(self._left))

    def add(self, cell: Cell) -> None:
        """One more to follow: the trial of a further value."""
        self._cells[cell.key] = self._left[cell.key] = cell
        self.line(f"{cell.key} is added: the best value so far is an end of those tried")
        if self._bar:
            self._bar.update(self._task, total=len(self._cells))

    def time_left(self) -> str:
        """An estimate from the cells and trials that have ended; empty if nothing is left or known."""
        seconds = [
            self._durations.seconds(cell.domain, cell.arm, cell.trial is not None) for cell in self._left.values()
        ]
        known = [value for value in seconds if value is not None]
        if not known or len(known) < len(seconds):
            return ""
        at_once = min(self._parallel, len(known))
        return f"about {duration(max(sum(known) / at_once, *known, 0.0))} left"

    def _counter(self, cell: Cell) -> str:
        """How many of this kind have ended: "[ 3/12]" of the cells, "[trial 3/9]" of the trials."""
        total, left = (
            sum((other.trial is None) == (cell.trial is None) for other in cells.values())
            for cells in (self._cells, self._left)
        )
        return f"[{'' if cell.trial is None else 'trial '}{total - left:>{len(str(total))}}/{total}]"

    def _count(self, cell: Cell) -> None:
        outcome = read_outcome(self._folder, cell)
        if outcome and outcome.get("status") == "finished":
            self._left.pop(cell.key, None)
            self._durations.add(cell, outcome.get("seconds"))


def cells_and_trials(keys: Iterable[str]) -> str:
    """How many cells and trials: "12 cells", "12 cells and 9 trials"."""
    keys = list(keys)
    trials = sum(key.rpartition("/")[2].startswith("trial-") for key in keys)
    parts = [
        f"{number} {what}{'s' * (number != 1)}"
        for number, what in ((len(keys) - trials, "cell"), (trials, "trial"))
        if number
    ]
    return " and ".join(parts) or "0 cells"
