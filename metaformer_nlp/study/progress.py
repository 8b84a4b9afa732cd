"""What the runner shows: a bar on a terminal, plain lines elsewhere; in both, one line for each cell that has ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from metaformer_nlp.study.cell import is_finished, read_outcome
from metaformer_nlp.study.choices import all_cells
from metaformer_nlp.study.plan import Cell, Study


class Progress:
    """Follows the cells of a study; use as a context."""

    def __init__(self, study: Study, folder: Path, cells: Sequence[Cell], parallel: int) -> None:
        self._study, self._folder, self._parallel = study, folder, parallel
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._left = {cell.key: cell for cell in cells}
        self._total = len(cells)
        for cell in cells:
            self._count(cell)
        self._bar: Bar | None = None
        if self._console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("", total=self._total, completed=self._total - len(self._left))

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

    def stopped(self, cell: Cell) -> None:
        """A cell's process has ended because the study is interrupted."""
        self.line(f"{cell.key} stopped")

    def ended(self, cell: Cell, how: str) -> None:
        """A cell's process has ended: `how` says with what."""
        self._count(cell)
        self._left.pop(cell.key, None)
        outcome = read_outcome(self._folder, cell) or {}
        parts = [f"[{self._total - len(self._left):>{len(str(self._total))}}/{self._total}]", f"{cell.key:<34}"]
        if outcome.get("status") == "finished":
            metric = cell.needs[0]
            parts.append(f"{metric} {outcome['result']['metrics'][metric]:.4f}")
            parts.append(f"{outcome['seconds']:6.1f} s" if outcome.get("seconds") else "")
        if how != "finished":
            parts.append(how)
        self.line("  ".join([*parts, self.time_left()]).rstrip())
        if self._bar:
            self._bar.update(self._task, completed=self._total - len(self._left))

    def time_left(self) -> str:
        """An estimate from the cells that have ended, by domain; empty if nothing is left or known."""
        every = [second for seconds in self._seconds.values() for second in seconds]
        total = 0.0
        for cell in self._left.values():
            seconds = self._seconds.get(cell.domain) or every
            expected = self._study.domain(cell.domain).expected_seconds
            if not seconds and not expected:
                return ""
            total += fmean(seconds) if seconds else expected or 0.0
        return f"about {duration(total / self._parallel)} left" if self._left else ""

    def _count(self, cell: Cell) -> None:
        outcome = read_outcome(self._folder, cell)
        if outcome and outcome.get("status") == "finished":
            self._left.pop(cell.key, None)
            self._seconds[cell.domain].append(outcome.get("seconds") or 0.0)


def describe(study: Study, folder: Path, parallel: int | None = None) -> str:
    """The plan of a study as text: domains, arms, cells, and how long they will take as far as that is known."""
    cells, parallel = all_cells(study, folder), parallel or study.parallel
    finished = [cell for cell in cells if is_finished(folder, cell)]
    time_left = Progress(study, folder, cells, parallel).time_left() or "time not known before a cell has run"
    lines = [f"{study.name}: {study.question}", ""]
    lines += [f"domain {d.name}: {d.experiment}, {d.metric}, chance {d.chance}" for d in study.domains]
    for arm in study.arms:
        against = f"{arm.kind}, compared with {arm.of or study.baseline}"
        settings = {**arm.set, **{f"{domain}:{key}": v for domain, its in arm.set_in.items() for key, v in its.items()}}
        text = "baseline" if arm.name == study.baseline else against
        lines.append(f"arm {arm.name} ({text}): {', '.join(f'{key}={value}' for key, value in settings.items())}")
    lines += ["", *(f"{cell.key}{'  finished' if cell in finished else ''}" for cell in cells), ""]
    lines.append(
        f"{len(cells)} cells ({len(study.domains)} domains, {len(study.arms)} arms, {len(study.seeds)} seeds), "
        f"{len(finished)} finished in {folder}, {parallel} at once; {time_left}"
    )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """A time for people: "45 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
