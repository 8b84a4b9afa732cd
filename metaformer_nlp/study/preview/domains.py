"""The plan's part on the study's domains: what is scored and held equal in each, and what a run of each arm takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from metaformer_nlp.study.protocol.study import Cell, Domain, Study
from metaformer_nlp.study.runner.budgets import Cost, Place, difference
from metaformer_nlp.study.runner.durations import Durations
from metaformer_nlp.study.runner.tuning import Tuning, tie_rule, tuned_on_scores
from metaformer_nlp.study.words import count, duration, listed

INDENT = 2  # columns before each part
Entries = dict[str, str]  # names and what belongs to them


class Domains:
    """The parts of each domain, top to bottom. One that is like an earlier one says only in what it differs."""

    def __init__(
        self,
        study: Study,
        costs: Mapping[Place, Cost],
        budgets: Mapping[tuple[str, str], list[str]],
        refused: Sequence[Cell],
        durations: Durations,
        console: Console,
        tunings: Mapping[tuple[str, str], Tuning],
    ) -> None:
        """`budgets` are the `budget_problems`; what concerns the cells `refused` is printed after all domains."""
        self._tunings = tunings
        self._study, self._costs, self._budgets, self._durations, self._console = (
            study,
            costs,
            budgets,
            durations,
            console,
        )
        self._refused = {(cell.domain, cell.arm, cell.trial is not None) for cell in refused}

    def parts(self, domain: Domain) -> Iterator[str | Table]:
        yield f"\nDomain {domain.name}" + (f": {domain.label}" if domain.label else "") + "\n"
        like = self._like(domain)
        if like is None:
            sets = {"Sets": written(domain.set)} if domain.set else {}
            yield pairs({**self._entries(domain), **sets})
        else:
            yield pairs(self._as_other(domain, like))
        tuned = domain.tune is not None
        if like is None or self._runs(domain, tuned) != self._runs(like, tuned):
            yield ""
            yield self._arms(domain)

    def _like(self, domain: Domain) -> Domain | None:
        """The earlier domain that this one differs least from; None if most of its settings are its own."""
        above = self._study.domains[: self._study.domains.index(domain)]
        near = {
            other.name: len(_changes(domain, other))
            for other in above
            if (other.experiment, other.after) == (domain.experiment, domain.after)
        }
        best = min(near, key=lambda name: near[name], default=None)
        return None if best is None or 2 * near[best] > len(domain.settings()) else self._study.domain(best)

    def _as_other(self, domain: Domain, like: Domain) -> Entries:
        mine, its = self._entries(domain), self._entries(like)
        changes = _changes(domain, like)
        entries = {f"As {like.name}": "but " + ", ".join(changes) if changes else "with the same settings"}
        for name in {**its, **mine}:
            if mine.get(name) != its.get(name):
                entries[name] = mine.get(name, "none")
        return entries

    def _entries(self, domain: Domain) -> Entries:
        entries = {"Experiment": domain.module or domain.experiment}
        if domain.after:
            entries["Starts from"] = f"the same arm's and seed's cell of {domain.after}"
        chance = f"that of {domain.chance}" if isinstance(domain.chance, str) else f"{domain.chance:g}"
        entries["Score"] = f"{domain.metric}; chance is {chance}"
        if domain.tasks:
            axis = f" (by {domain.axis})" if domain.axis else ""
            entries["Tasks"] = ", ".join(task.name for task in domain.tasks) + axis
        entries["Margin"] = (
            "none"
            if domain.margin is None
            else f"differences below {domain.margin:g} of {domain.metric} count as equal, if that is shown"
        )
        lines = [self._budget(domain, budget, allowed) for budget, allowed in domain.equal.items()]
        entries["Budgets"] = "\n".join(lines) or "none: whether the arms take the same is not checked"
        if domain.tune:
            entries["Tuned"] = self._tuned(domain)
        if ends := self._chosen_ends(domain):
            entries["At an end"] = ends
        if unknown := self._unknown(domain):
            entries["Not known"] = unknown
        return entries

    def _budget(self, domain: Domain, budget: str, allowed: float) -> str:
        share = f"within {100 * allowed:g} % of {self._study.baseline}'s" if allowed else "the same"
        text = f"{budget}: {share} in all arms"
        problems = self._budgets.get((domain.name, budget))
        if problems and any(name == domain.name for name, _, _ in self._refused):
            return f"{text} - broken or not known, see the end"
        return "\n- ".join([text, *(problems or ())])

    def _tuned(self, domain: Domain) -> str:
        tune = domain.tune
        assert tune is not None
        trial = self._costs[domain.name, self._study.baseline, 0]
        length = "" if trial.steps is None else f" ({_amount(trial)} each)"
        own = f"; trials differ from cells in {written(tune.set)}" if tune.set else ""
        values = listed([value_text(value) for value in tune.values])
        best, each = ("best", "one trial") if tune.trials == 1 else ("best mean", f"{tune.trials} trials")
        text = f"{tune.key} by each arm for itself: the {best} {tune.metric} of {each}{length} with each of {values}"
        if rule := tie_rule(tune.tie, tune.values):
            text += f"; {rule}"
        if tune.widen:
            text += f"; beyond a chosen end of them further ones are tried, at most {tune.widen} at each end"
        elif any(isinstance(value, float) for value in tune.values):
            text += "; where an end of them is chosen, none is tried beyond it ('widen: 2' would try two)"
        if tune.beat_control:
            more = f" by more than {tune.tie:g}" if tune.tie else ""
            text += (
                f"; none is chosen, and it stays as it is set, where no value beats {self._study.control}'s best{more}"
            )
        if tuned_on_scores({"metric": tune.metric, "set": tune.set}, domain.metric):
            own += "; caution: judged on the data that scores are measured on; hold some out with data.held_out"
        return f"{text}{own}"

    def _chosen_ends(self, domain: Domain) -> str:
        """The arms whose best value is an end of what they tried."""
        ends = {arm: its for (name, arm), its in self._tunings.items() if name == domain.name and its.end}
        listing = [f"{arm} ({value_text(its.value)}, the {its.end} tried)" for arm, its in ends.items()]
        return f"a value beyond it might be better for {listed(listing)}" if listing else ""

    def _unknown(self, domain: Domain) -> str:
        """Why the experiment could not tell what a run takes: each reason once, and for which arms."""
        reasons: dict[str, dict[str, None]] = {}
        for (name, arm, trial), cost in self._costs.items():
            if name == domain.name and cost.problem:
                at_end = cost.refused and (name, arm, trial is not None) in self._refused
                reason = "the reason is at the end" if at_end else cost.problem
                reasons.setdefault(reason, {})[arm] = None
        everyone = len(self._study.arms_of(domain.name))
        return "\n".join(
            f"what runs {'' if len(arms) == everyone else f'of {listed(list(arms))} '}take; {reason}"
            for reason, arms in reasons.items()
        )

    def _runs(self, domain: Domain, tuned: bool) -> list[tuple[str, bool, Cost, str]]:
        """What the table of the domain's arms says, to be compared with another's; with its trials if `tuned`."""
        return [
            (
                arm.name,
                trial,
                self._costs[domain.name, arm.name, 0 if trial else None],
                self._time(domain, arm.name, trial),
            )
            for arm in self._study.arms_of(domain.name)
            for trial in ((False, True) if tuned and domain.tune else (False,))
        ]

    def _arms(self, domain: Domain) -> Table:
        """What a run of each arm takes. Where it is too wide columns are left out: no name or number is ever broken."""
        table, dropped = self._table(domain, ()), list[str]()
        for column in ("away", "MACs", "a trial", "samples", "tokens"):
            if widths(table, self._console).maximum <= self._console.width - INDENT:
                break
            dropped.append(column)
            table = self._table(domain, dropped)
        return table

    def _table(self, domain: Domain, without: Sequence[str]) -> Table:
        costs = {arm.name: self._costs[domain.name, arm.name, None] for arm in self._study.arms_of(domain.name)}
        base = costs[self._study.baseline]
        columns: dict[str, list[str]] = {"arm": list(costs)}
        unit = "tokens" if any(cost.tokens is not None for cost in costs.values()) else "samples"
        for name in ("steps", unit, "parameters", "MACs"):
            values = [cost.of(name.lower()) for cost in costs.values()]
            if name in without or all(value is None for value in values):
                continue
            write = count if name in ("parameters", "MACs") else _whole
            columns[name] = [write(value) for value in values]
            if write is count and "away" not in without:
                columns[name + " "] = [_away(value, base.of(name.lower())) for value in values]
        if domain.tune and "a trial" not in without:
            columns["a trial"] = [self._time(domain, name, True) for name in costs]
        columns["a cell"] = [self._time(domain, name, False) for name in costs]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name in columns:
            header = "" if name.endswith(" ") else name  # beside the column that it belongs to
            table.add_column(header, justify="left" if name == "arm" else "right", no_wrap=True)
        for row in zip(*columns.values(), strict=True):
            table.add_row(*row)
        return table

    def _time(self, domain: Domain, arm: str, trial: bool) -> str:
        seconds = self._durations.seconds(domain.name, arm, trial)
        if seconds is None:
            return "–"
        return ("" if self._durations.measured(domain.name, arm, trial) else "~") + duration(seconds)


def widths(part: Table, console: Console) -> Measurement:
    """The columns that `part` takes on any terminal: ``maximum`` if nothing in it is broken, ``minimum`` at least."""
    return console.measure(part, options=console.options.update_width(10_000))


def pairs(entries: Mapping[str, str]) -> Table:
    """Names and what belongs to them, in two columns; the names are never broken."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in entries.items():
        table.add_row(name, text)
    return table


def written(settings: Mapping[str, Any]) -> str:
    """Settings as people write them: "model.norm=layer_norm, optim.lr=0.001"."""
    return ", ".join(f"{key}={value_text(value)}" for key, value in settings.items()) or "nothing"


def value_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _changes(domain: Domain, other: Domain) -> list[str]:
    """In which settings `domain` differs from `other`, and how: "model.norm=group_norm"."""
    mine, its = domain.settings(), other.settings()
    changed = [written({key: value}) for key, value in mine.items() if key not in its or its[key] != value]
    return [*changed, *(f"without {key}" for key in its if key not in mine)]


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
