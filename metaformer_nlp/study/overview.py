"""The printed plan of a study: what is asked, what was decided beforehand, what is held equal, what it takes."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from metaformer_nlp.study.budgets import Cost, budget_problems, cell_costs, difference
from metaformer_nlp.study.cell import Build, read_outcome
from metaformer_nlp.study.choices import all_cells, chosen_values
from metaformer_nlp.study.expected import RULE, Times
from metaformer_nlp.study.plan import Cell, Domain, Study
from metaformer_nlp.study.statistics.estimates import MIN_BOOTSTRAP
from metaformer_nlp.study.wording import count, duration, listed

_WIDTHS = 72, 96  # the narrowest and the widest plan, in columns


def describe(study: Study, folder: Path, build: Build, parallel: int | None = None) -> str:
    """The plan of `study` as text, for runs in `folder`, `parallel` at once; nothing is trained or written.

    What runs will take is computed by the experiments, which read their data for it; where they cannot, the plan says
    why and goes without.
    """
    if parallel is not None and parallel < 1:
        raise ValueError(f"--parallel must be a whole number from 1 on, not {parallel}.")
    plan = _Plan(study, folder, build, parallel or study.parallel)
    for part in plan.parts():
        if isinstance(part, str):
            plan.console.print(part)
        else:
            plan.console.print(Padding(part, (0, 0, 0, 2)))
    return "\n".join(line.rstrip() for line in plan.output.getvalue().rstrip().splitlines())


class _Plan:
    """The plan's parts, top to bottom: headings as text, everything else as tables."""

    def __init__(self, study: Study, folder: Path, build: Build, parallel: int) -> None:
        self.study, self.folder, self.parallel = study, folder, parallel
        width = min(max(shutil.get_terminal_size((_WIDTHS[1], 24)).columns, _WIDTHS[0]), _WIDTHS[1])
        self.output = io.StringIO()
        self.console = Console(file=self.output, width=width, markup=False, highlight=False, emoji=False)
        self.costs = cell_costs(study, build, folder, chosen_values(study, folder))
        self.problems = budget_problems(study, self.costs)
        self.cells = all_cells(study, folder)
        self.outcomes = {cell.key: read_outcome(folder, cell) or {} for cell in self.cells}
        work = {
            (domain, arm, trial is not None): cost.training_macs
            for (domain, arm, trial), cost in self.costs.items()
            if cost.training_macs and not trial
        }
        self.times = Times(study, work)
        for cell in self.cells:
            if self.outcomes[cell.key].get("status") == "finished":
                self.times.add(cell, self.outcomes[cell.key].get("seconds"))

    def parts(self) -> Iterator[str | Table]:
        study = self.study
        yield f"Study {study.name}\n"
        yield _list([("Question", study.question), *self._decided()])
        for domain in study.domains:
            yield f"\nDomain {domain.name}" + (f": {domain.label}" if domain.label else "") + "\n"
            yield _list(self._protocol(domain))
            yield ""
            yield self._arms_of(domain)
            if unknown := self._unknown(domain):
                yield ""
                yield _list([("Not known", unknown)])
        yield "\nArms\n"
        yield self._settings()
        yield "\nRuns\n"
        yield self._runs()
        yield ""
        yield _list(self._total())

    def _decided(self) -> Iterator[tuple[str, str]]:
        study = self.study
        also = f"; all arms are compared with {listed(study.references)}, too" if study.references else ""
        yield "Baseline", f"{study.baseline}{also}"
        if study.claim:
            yield (
                "Claim",
                f"{study.claim.arm} retains at least {100 * study.claim.retains:g} % of {study.baseline}'s score above "
                "chance. Supported if the whole 95 % interval of that share (paired by seed; Fieller's, from "
                f"{MIN_BOOTSTRAP} seeds on a bootstrap) lies there, not supported if all of it lies below, else nobody "
                "can tell",
            )
        yield (
            "Differences",
            "Arms are paired by seed (t-test, 95 % intervals). An arm is different where p is below 0.05, "
            "corrected for all arms of the domain (Holm)",
        )
        if any(domain.margin is not None for domain in study.domains):
            yield (
                "Equality",
                "It is shown and not assumed: two one-sided tests at 5 % against the domain's margin, "
                "corrected for all arms (Hochberg)",
            )
        yield "Seeds", ", ".join(map(str, study.seeds))

    def _protocol(self, domain: Domain) -> Iterator[tuple[str, str]]:
        yield "Experiment", domain.experiment
        if domain.after:
            yield "Starts from", f"the same arm's and seed's cell of {domain.after}"
        chance = f"that of {domain.chance}" if isinstance(domain.chance, str) else f"{domain.chance:g}"
        yield "Score", f"{domain.metric}; chance is {chance}"
        if domain.tasks:
            yield (
                "Tasks",
                ", ".join(task.name for task in domain.tasks) + (f" (by {domain.axis})" if domain.axis else ""),
            )
        margin = domain.margin
        yield "Margin", "none" if margin is None else f"differences below {margin:g} count as equal, if that is shown"
        for budget, allowed in domain.equal.items():
            mine = [text for text in self.problems if text.startswith(f"domains.{domain.name}.equal.{budget}")]
            share = f"within {100 * allowed:g} % of {self.study.baseline}'s" if allowed else "the same"
            yield "Held equal", "\n".join(mine) or f"{budget}: {share} in all arms, as computed by the experiment"
        if not domain.equal:
            yield "Held equal", "nothing that is checked"
        if domain.tune:
            tune = domain.tune
            trial = self.costs[domain.name, self.study.baseline, 0]
            length = "" if trial.steps is None else f" ({_amount(trial)} each)"
            own = f"; trials differ from cells in {_set(tune.set)}" if tune.set else ""
            yield (
                "Tuned",
                f"{tune.key} by each arm for itself: the best {tune.metric} of one trial{length} with each of "
                f"{listed([_value(value) for value in tune.values])}{own}",
            )

    def _arms_of(self, domain: Domain) -> Table:
        """What a run of each arm takes."""
        costs = {arm.name: self.costs[domain.name, arm.name, None] for arm in self.study.arms_of(domain.name)}
        base = costs[self.study.baseline]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("arm", no_wrap=True)
        # On a narrow terminal the names are worth more than how far each number is from the baseline's.
        away = self.console.width >= _WIDTHS[1] - 6
        unit = "tokens" if any(cost.tokens is not None for cost in costs.values()) else "samples"
        gap = [""] if away else []
        columns = ["steps", unit, "parameters", *gap, "MACs", *gap, *(["a trial"] if domain.tune else []), "a cell"]
        for column in columns:
            table.add_column(column, justify="right", no_wrap=True)
        for name, cost in costs.items():
            pairs = [(cost.parameters, base.parameters), (cost.macs, base.macs)]
            table.add_row(
                name,
                *(_whole(cost.of(budget)) for budget in ("steps", unit)),
                *(text for value, its in pairs for text in (count(value), *([_away(value, its)] if away else []))),
                *([self._time(domain.name, name, True)] if domain.tune else []),
                self._time(domain.name, name, False),
            )
        return table

    def _unknown(self, domain: Domain) -> str:
        """Why the experiment could not tell what a run takes: the first reason, and for which arms."""
        reasons: dict[str, list[str]] = {}
        for (name, arm, _), cost in self.costs.items():
            if name == domain.name and cost.problem:
                reasons.setdefault(cost.problem, []).append(arm)
        everyone = len(self.study.arms_of(domain.name))
        lines = []
        for reason, arms in reasons.items():
            names = list(dict.fromkeys(arms))
            lines.append(f"{'what runs take' if len(names) == everyone else ', '.join(names)}: {reason}")
        return "\n".join(lines)

    def _settings(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for column in ("arm", "kind", "compared with", "sets"):
            table.add_column(column, overflow="fold")
        for arm in self.study.arms:
            against = "–" if arm.name == self.study.baseline else arm.of or self.study.baseline
            sets = [_set(arm.set), *(f"in {domain}: {_set(its)}" for domain, its in arm.set_in.items())]
            sets += [f"only in {', '.join(arm.domains)}"] if arm.domains else []
            table.add_row(arm.name, arm.kind, against, "; ".join(sets))
        return table

    def _runs(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("domain")
        for column in ("runs", "number", "finished", "failed", "left", "CPU time left"):
            table.add_column(column, justify="left" if column == "runs" else "right")
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

    def _total(self) -> Iterator[tuple[str, str]]:
        trials = [cell for cell in self.cells if cell.trial is not None]
        domains, arms, seeds = len(self.study.domains), len(self.study.arms), len(self.study.seeds)
        beside = f", and {len(trials)} trials" if trials else ""
        yield (
            "In all",
            f"{len(self.cells) - len(trials)} cells ({_many(domains, 'domain')}, {_many(arms, 'arm')}, "
            f"{_many(seeds, 'seed')}){beside}",
        )
        seconds = self._seconds_left(self.cells)
        if seconds is None:
            yield "Time", "not known before a run of each domain has ended, or the file gives its expected_seconds"
        else:
            yield (
                "Time left",
                f"about {duration(seconds)} of one CPU core; {duration(seconds / self.parallel)} on the clock with "
                f"{self.parallel} at once, one thread each",
            )
            yield "Estimate", f"~ marks what is not measured yet. {RULE}"
        if work := self._work():
            yield "Work", work
        yield "Folder", str(self.folder)

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
                seconds = self.times.seconds(cell.domain, cell.arm, cell.trial is not None)
                if seconds is None:
                    return None
                total += seconds
        return total

    def _time(self, domain: str, arm: str, trial: bool) -> str:
        seconds = self.times.seconds(domain, arm, trial)
        if seconds is None:
            return "–"
        return ("" if self.times.measured(domain, arm, trial) else "~") + duration(seconds)


def _list(entries: Any) -> Table:
    """Names and what belongs to them, in two columns."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in entries:
        table.add_row(name, text)
    return table


def _amount(cost: Cost) -> str:
    parts = (
        {"steps": cost.steps, "tokens": cost.tokens} if cost.tokens else {"steps": cost.steps, "samples": cost.samples}
    )
    return ", ".join(f"{_whole(value)} {unit}" for unit, value in parts.items() if value is not None)


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _away(value: float | None, base: float | None) -> str:
    """How far from the baseline: "+12 %"."""
    if value is None or base is None or value == base:
        return ""
    return f"{100 * difference(value, base):+.0f} %".replace("-", "\N{MINUS SIGN}")


def _set(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_value(value)}" for key, value in settings.items()) or "nothing"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
