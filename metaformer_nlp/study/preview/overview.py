"""The printed plan of a study: what is asked, what was decided beforehand, what is held equal, what it takes."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from metaformer_nlp.study.analysis.statistics.power import WIDTH_LEVEL
from metaformer_nlp.study.preview.domains import INDENT, Domains, Entries, pairs, widths, written
from metaformer_nlp.study.protocol.study import Arm, Cell, KnownAnswer, Scale, Study
from metaformer_nlp.study.runner.budgets import Cost, budget_problems, cell_costs
from metaformer_nlp.study.runner.cell import Build, read_outcome
from metaformer_nlp.study.runner.durations import RULE, Durations
from metaformer_nlp.study.runner.preflight import head_comment, problems_of, refuse_changes, refuse_folder
from metaformer_nlp.study.runner.queue import Queue
from metaformer_nlp.study.runner.tuning import tunings
from metaformer_nlp.study.words import count, duration, exact_percent, listed

_WIDTHS = 72, 96  # the narrowest and the widest plan, in columns


@dataclass(frozen=True)
class Preview:
    """The plan as text, and why `run` would refuse the study, each thing once; it is part of the text, too."""

    text: str
    problems: tuple[str, ...]


def describe(study: Study, folder: Path, build: Build, parallel: int | None = None) -> Preview:
    """The plan of `study` for runs in `folder`, `parallel` at once; nothing is trained or written.

    What runs will take is computed by the experiments, which read their data for it; where they cannot, the plan goes
    without and says why.
    """
    if parallel is not None and parallel < 1:
        raise ValueError(f"--parallel must be a whole number from 1 on, not {parallel}.")
    refuse_folder(study, folder.resolve())
    overview = _Overview(study, folder, build, parallel or study.parallel)
    console, width = overview.console, overview.console.width
    for part in overview.parts():
        if isinstance(part, str):
            console.print(part, soft_wrap=True)  # as it is: a command can be copied
        else:  # a table whose names and numbers alone are wider than the terminal is not broken by us
            needed = widths(part, console)
            console.width = max(width, INDENT + (needed.maximum if part.show_header else needed.minimum))
            console.print(Padding(part, (0, 0, 0, INDENT)))
            console.width = width
    text = "\n".join(line.rstrip() for line in overview.output.getvalue().rstrip().splitlines())
    return Preview(text, tuple(overview.problems))


class _Overview:
    """The plan's parts, top to bottom: headings as text, everything else as tables."""

    def __init__(self, study: Study, folder: Path, build: Build, parallel: int) -> None:
        self.study, self.folder, self.parallel = study, folder, parallel
        width = min(max(shutil.get_terminal_size((_WIDTHS[1], 24)).columns, _WIDTHS[0]), _WIDTHS[1])
        self.output = io.StringIO()
        self.console = Console(file=self.output, width=width, markup=False, highlight=False, emoji=False)
        found = tunings(study, folder)
        chosen = {place: its.value for place, its in found.items() if its.choice}
        self.costs = cell_costs(study, build, folder, chosen)
        queue = Queue(study, folder)  # as the runner's
        self.cells = list(queue.cells.values())
        self.outcomes = {cell.key: read_outcome(folder, cell) or {} for cell in self.cells}
        work = {
            (domain, arm, trial is not None): cost.training_macs
            for (domain, arm, trial), cost in self.costs.items()
            if cost.training_macs and not trial
        }
        self.durations = Durations(study, work)
        for cell in self.cells:
            if self.outcomes[cell.key].get("status") == "finished":
                self.durations.add(cell, self.outcomes[cell.key].get("seconds"))
        waiting = [queue.cells[key] for key in queue.waiting]
        budgets = budget_problems(study, self.costs)
        self.domains = Domains(study, self.costs, budgets, waiting, self.durations, self.console, found)
        self.problems = problems_of(study, self.costs, budgets, waiting)
        self.comment = head_comment(study, self.problems)
        try:
            refuse_changes(study, folder, self.cells)
        except ValueError as error:
            self.problems.append(str(error))

    def parts(self) -> Iterator[str | Table]:
        study = self.study
        yield f"Study {study.name}\n"
        yield pairs({"Question": study.question, **self._decided()})
        for domain in study.domains:
            yield from self.domains.parts(domain)
        yield "\nArms\n"
        yield pairs({arm.name: self._arm(arm) for arm in study.arms})
        yield "\nRuns\n"
        yield self._runs()
        yield ""
        yield pairs(self._total())
        if self.problems:
            yield "\nrun would refuse this:\n"
            for text in self.problems:
                yield pairs({"-": text})
            if self.comment:
                yield f"\n{self.comment}"

    def _decided(self) -> Entries:
        study = self.study
        also = f"; all arms are compared with {listed(study.references)}, too" if study.references else ""
        entries = {"Baseline": f"{study.baseline}{also}"}
        if study.control:
            entries["Control"] = f"{study.control}: what {study.baseline} scores above it is what mixing gains"
        if study.claim and study.claim.retains is not None:
            entries["Claim"] = (
                f"{study.claim.arm} retains at least {100 * study.claim.retains:g} % of {study.baseline}'s score above "
                "chance. The report gives that share as a number. No word rests on it: no mixing may retain as much"
            )
        if study.claim and study.control:
            entries["Claimed gain"] = (
                f"{study.claim.arm} keeps at least {exact_percent(study.claim.asked)} of what {study.baseline} scores "
                f"above {study.control}. Yes if the whole 95 % interval of that share (Fieller's) lies there, no if "
                f"all of it lies below, open otherwise, and where {study.baseline} is not shown above "
                f"{study.control}, so that mixing makes no difference"
            )
        more = {"Known answers": "\n".join(map(_known_answer, study.expected))}
        more["Scale" if len(study.scale) < 2 else "Scales"] = "\n".join(map(_scale, study.scale))
        entries |= {name: text for name, text in more.items() if text}
        entries["Differences"] = (
            "Two arms are compared by their means (moderated t-test, 95 % intervals). Seeds are paired where the "
            "study's own seeds correlate. An arm is different where p is below 0.05, corrected for all arms of the "
            "domain (Holm)"
        )
        if any(domain.margin is not None for domain in study.domains):
            entries["Equality"] = (
                "It is shown and not assumed: two one-sided tests at 5 % against the domain's margin, "
                "corrected for all arms (Hochberg)"
            )
        entries["Metrics"] = (
            "Whether runs give the metrics named here is known when the first run of each kind has ended: if it lacks "
            "one, its error names those that there are. If a second arm lacks it, too, nothing more is started"
        )
        return {**entries, "Seeds": f"{', '.join(map(str, study.seeds))}{self._further_seeds()}"}

    def _further_seeds(self) -> str:
        until = self.study.until
        if until is None:
            return ""
        return (
            f"; then one more at a time, {until.most} at most, until the {100 * WIDTH_LEVEL:g} % interval of "
            f"{self.study.baseline}'s difference from {listed(self.study.looked_at())} reaches at most "
            f"{until.half_width:g} to each side in every domain. The width decides, never the difference"
        )

    def _arm(self, arm: Arm) -> str:
        if arm.name == self.study.baseline:
            what = f"{arm.kind}, the baseline"
        else:
            what = f"{arm.kind}, compared with {arm.of or self.study.baseline}"
        sets = [written(arm.set), *(f"in {domain}: {written(its)}" for domain, its in arm.set_in.items())]
        sets += [f"only in {', '.join(arm.domains)}"] if arm.domains else []
        return f"{what}: {'; '.join(sets)}"

    def _runs(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for column in ("domain", "runs", "number", "finished", "failed", "left", "CPU time left"):
            table.add_column(column, justify="left" if column in ("domain", "runs") else "right", no_wrap=True)
        for domain in self.study.domains:
            for trial in (True, False) if domain.tune else (False,):
                its = [cell for cell in self.cells if (cell.domain, cell.trial is not None) == (domain.name, trial)]
                states = [self.outcomes[cell.key].get("status") for cell in its]
                finished, failed = states.count("finished"), states.count("failed")
                left = str(len(its) - finished - failed)
                seconds = self._seconds_left(its)
                time = "not known" if seconds is None else duration(seconds)
                numbers = str(len(its)), str(finished), str(failed), left, time
                table.add_row(domain.name, "trials" if trial else "cells", *numbers)
        return table

    def _total(self) -> Entries:
        trials = [cell for cell in self.cells if cell.trial is not None]
        domains, arms, seeds = len(self.study.domains), len(self.study.arms), len(self.study.seeds)
        beside = f", and {_many(len(trials), 'trial')}" if trials else ""
        cells = _many(len(self.cells) - len(trials), "cell")
        grid = f"{_many(domains, 'domain')}, {_many(arms, 'arm')}, {_many(seeds, 'seed')}"
        entries = {"In all": f"{cells} ({grid}){beside}"}
        seconds = self._seconds_left(self.cells)
        if seconds is None:
            entries["Time"] = "not known before a run of each domain has ended, or the file gives its expected_seconds"
        else:
            entries["Time left"] = (
                f"about {duration(seconds)} of one CPU core; {duration(seconds / self.parallel)} on the clock with "
                f"{self.parallel} at once, one thread each"
            )
            entries["Estimate"] = f"~ marks what is not measured yet. {RULE}"
        if work := self._work():
            entries["Work"] = work
        return {**entries, "Folder": str(self.folder)}

    def _work(self) -> str:
        """What the training of all runs takes together, as far as it is known of all."""
        costs = [self._cost(cell) for cell in self.cells]
        work = [cost.training_macs for cost in costs if cost.training_macs is not None]
        parts = []
        if len(work) == len(costs):
            parts.append(
                f"{sum(work):.2g} multiply-accumulates in the forward passes of training (about three times that with "
                "the backward passes)"
            )
        for unit in ("samples", "tokens"):
            amounts = [amount for cost in costs if (amount := cost.of(unit)) is not None]
            if amounts and (unit == "tokens" or len(amounts) == len(costs)):  # not all domains are counted in tokens
                parts.append(f"{count(sum(amounts))} {unit}")
        return ", ".join(parts)

    def _cost(self, cell: Cell) -> Cost:
        """Of a run; trials of one arm differ in the tuned setting alone."""
        return self.costs[cell.domain, cell.arm, None if cell.trial is None else 0]

    def _seconds_left(self, cells: Sequence[Cell]) -> float | None:
        total = 0.0
        for cell in cells:
            if self.outcomes[cell.key].get("status") != "finished":
                seconds = self.durations.seconds(cell.domain, cell.arm, cell.trial is not None)
                if seconds is None:
                    return None
                total += seconds
        return total


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _known_answer(answer: KnownAnswer) -> str:
    size = f" by {answer.size:g}" if answer.size else ""
    where = f" in {listed(answer.domains)}" if answer.domains else ""
    return f"{answer.arm} {answer.sign} than {answer.reference}{size}{where} ({answer.source})"


def _scale(scale: Scale) -> str:
    points = ", ".join(f"{name} ({value:,g})" for name, value in scale.domains.items())
    margin = f"; changes below {scale.margin:g} a doubling count as steady" if scale.margin else ""
    return f"{scale.axis}: {points}{margin}"
