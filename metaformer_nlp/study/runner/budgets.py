"""Budgets: what each arm's runs will take, before anything is trained, and whether they take the same.

An experiment that can tell defines ``cost(config)``, in a domain that comes ``after`` another ``cost(config, start)``
with the configuration of the run it starts from, whose model may not be there yet. It returns, as far as it knows them,
``steps``, ``samples``, ``tokens``, ``parameters`` ({"total", "trainable"}), ``macs`` (a forward pass of one sample) and
``training_macs`` (all forward passes of the training), computed and not trained. It raises ValueError as ``run`` would,
for options that do not fit and data that is not there; of what it merely cannot tell it says nothing, or raises
NotImplementedError.

`budget_problems` holds these against what the study's domains declare ``equal``, before the study starts;
`kept_budgets` the finished cells' rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from metaformer_nlp.config.names import flatten
from metaformer_nlp.config.numbers import number
from metaformer_nlp.study.protocol.study import BUDGETS, Arm, Cell, Domain, Study, make_cell
from metaformer_nlp.study.runner.cell import Build, configure, load_experiment

MINUTES = "schedule.minutes"
SLACK = 1e-9  # of rounding
_COLUMNS = {"parameters": "total", "seconds": "train_seconds"}  # where a row holds a budget, if not under its name

Place = tuple[str, str, int | None]  # domain, arm, number of the trial or None for the cells


@dataclass(frozen=True)
class Cost:
    """What one run will take, None where that is not known.

    `problem` says why nothing is known; `refused`: for a reason that would make the run itself fail (its settings are
    wrong, its data is not there).
    """

    steps: float | None = None
    samples: float | None = None
    tokens: float | None = None
    parameters: float | None = None
    macs: float | None = None
    training_macs: float | None = None
    minutes: float | None = None
    problem: str | None = None
    refused: bool = False

    def of(self, budget: str) -> float | None:
        """The value of one of the `BUDGETS`; of seconds those that the schedule grants."""
        if budget == "seconds":
            return None if self.minutes is None else 60 * self.minutes
        value: float | None = getattr(self, budget)
        return value


def cell_costs(
    study: Study,
    build: Build,
    folder: Path,
    chosen: Mapping[tuple[str, str], Any] | None = None,
    domains: Iterable[str] | None = None,
) -> dict[Place, Cost]:
    """The cost of a cell of each arm in each of the `domains` (all, if None), and of its trials.

    Arms try the same values: all trials are counted for the baseline, the first one for the others. Where nothing is
    chosen yet, cells are counted with the first value. What goes wrong is in the costs' `problem`.
    """
    values = {(d.name, arm.name): d.tune.values[0] for d in study.domains if d.tune for arm in study.arms}
    values |= dict(chosen or {})
    costs: dict[Place, Cost] = {}
    for domain in study.domains:
        if domains is not None and domain.name not in domains:
            continue
        for arm in study.arms_of(domain.name):
            tried = len(domain.tune.values) if domain.tune else 0
            for trial in (None, *range(tried if arm.name == study.baseline else min(tried, 1))):
                costs[domain.name, arm.name, trial] = _cost(study, domain, arm, trial, values, build, folder)
    return costs


def _cost(
    study: Study,
    domain: Domain,
    arm: Arm,
    trial: int | None,
    values: Mapping[tuple[str, str], Any],
    build: Build,
    folder: Path,
) -> Cost:
    try:
        cell = make_cell(study, domain, arm, study.seeds[0], values, trial)
        minutes = number(flatten(dict(cell.config)).get(MINUTES))
        configurations = [_configuration(cell, build, folder)]
        count = getattr(load_experiment(cell.module or cell.experiment), "cost", None)
        if count is None:
            return Cost(minutes=minutes, problem=f"{cell.module or cell.experiment} defines no cost(config)")
        if domain.after:
            before = make_cell(study, study.domain(domain.after), arm, study.seeds[0], values)
            configurations.append(_configuration(before, build, folder))
        counts = count(*configurations)
        parameters = counts.get("parameters") or {}
        known: dict[str, Any] = {
            key: number(counts.get(key)) for key in ("steps", "samples", "tokens", "macs", "training_macs")
        }
        return Cost(**known, parameters=number(parameters.get("total")), minutes=minutes)
    except ValueError as error:
        return Cost(problem=str(error), refused=True)
    except (TypeError, SyntaxError, ImportError) as error:  # a mixer has no such option, a plugin cannot be imported
        return Cost(problem=f"{type(error).__name__}: {error}", refused=True)
    except NotImplementedError as error:  # the experiment says so itself
        return Cost(problem=str(error))
    except Exception as error:  # not known to be the study's fault: if the run fails of it, too, it will be recorded
        return Cost(problem=f"{type(error).__name__}: {error}")


def _configuration(cell: Cell, build: Build, folder: Path) -> Any:
    return configure(cell, build, Path("check"), folder)[1]


def budget_problems(study: Study, costs: Mapping[Place, Cost]) -> dict[tuple[str, str], list[str]]:
    """(domain, budget) -> what breaks one that is declared equal, or keeps it from being checked; {} if all is well.

    Runs that are refused anyway are left out, and with the baseline's all of its domain: they are compared once they
    can be.
    """
    problems: dict[tuple[str, str], list[str]] = {}
    for domain in study.domains:
        its = {place: cost for place, cost in costs.items() if place[0] == domain.name and not cost.refused}
        for budget in domain.equal if (domain.name, study.baseline, None) in its else ():
            if found := _unknown(domain, budget, its) or _broken(study, domain, budget, its):
                problems[domain.name, budget] = found
    return problems


def _unknown(domain: Domain, budget: str, costs: Mapping[Place, Cost]) -> list[str]:
    """Why this budget cannot be compared: one line a reason, with the arms it holds for."""
    reasons: dict[str, list[str]] = {}
    for (_, arm, _), cost in costs.items():
        if cost.of(budget) is None:
            known = [name for name in BUDGETS if cost.of(name) is not None]
            experiment = domain.module or domain.experiment
            missing = f"{experiment} cannot tell it before a run (it tells {', '.join(known) or 'nothing'})"
            if budget == "seconds":
                missing = f"time is held equal by {MINUTES} alone, which is not set; set it, or"
            elif cost.minutes is not None:
                missing += f", since {MINUTES} limits the run and not a number of steps"
            reasons.setdefault(cost.problem or missing, []).append(arm)
    return [
        f"domains.{domain.name}.equal.{budget} cannot be checked for {_some(arms)}: {reason}; take the budget out of "
        "'equal' if that cannot be mended."
        for reason, arms in reasons.items()
    ]


def _broken(study: Study, domain: Domain, budget: str, costs: Mapping[Place, Cost]) -> list[str]:
    allowed, problems = domain.equal[budget], dict[str, str]()
    for (_, arm, trial), cost in costs.items():  # an arm's cells, then its trials
        # Every trial is held against the first: a tuned setting must not change the budget either.
        base_cost = costs.get((domain.name, study.baseline, None if trial is None else 0))
        if base_cost is None or arm in problems:
            continue
        base, value = base_cost.of(budget) or 0.0, cost.of(budget) or 0.0
        away = difference(value, base)
        if abs(away) <= allowed + SLACK:
            continue
        problem = (
            f"domains.{domain.name}.equal.{budget}: arm {arm} takes {value:,.10g}, {100 * abs(away):.3g} % "
            f"{'more' if away > 0 else 'less'} than the {base:,.10g} of the baseline {study.baseline}; "
            f"{100 * allowed:g} % are allowed."
        )
        if trial is not None and domain.tune:
            problems[arm] = f"{problem} This is its trial of {domain.tune.key}={domain.tune.values[trial]!r}."
            continue
        mend = "Give all arms the same data, batch and schedule"
        if budget in ("parameters", "macs"):
            text = " (scripts/match_cost.py finds text encoders of equal cost)" if cost.tokens is not None else ""
            mend = f"Change the arm's sizes in arms.{arm}.set{text}"
        problems[arm] = f"{problem} {mend}, allow more in domains.{domain.name}.equal, or take the budget out."
    return list(problems.values())


def kept_budgets(equal: Mapping[str, float], baseline: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Whether the finished cells of one domain kept its budgets: one entry for each budget of `equal`.

    `rows` are the domain's cells as the report knows them. An arm's value is the mean over its finished cells. An entry
    has ``budget``, ``allowed``, ``kept`` (True, False, or None where an arm's value is not known yet and nothing is
    broken), ``broken`` (``arm``, ``value``, ``baseline``, ``difference`` relative to the baseline) and ``unknown``, the
    arms without a value.
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    entries = []
    for budget, allowed in equal.items():
        key = _COLUMNS.get(budget, budget)
        values = {arm: [row[key] for row in rows if row["arm"] == arm and row.get(key) is not None] for arm in arms}
        means = {arm: fmean(found) for arm, found in values.items() if found}
        unknown = [arm for arm in arms if arm not in means]
        base, broken = means.get(baseline), []
        for arm, value in means.items():
            away = 0.0 if base is None else difference(value, base)
            if abs(away) > allowed + SLACK:
                broken.append({"arm": arm, "value": value, "baseline": base, "difference": away})
        kept = False if broken else (None if unknown or base is None else True)
        entries.append({"budget": budget, "allowed": allowed, "kept": kept, "broken": broken, "unknown": unknown})
    return entries


def difference(value: float, base: float) -> float:
    """How far `value` lies above `base`, as a share of it."""
    if base:
        return value / base - 1
    return 0.0 if value == base else float("inf")


def _some(arms: Sequence[str]) -> str:
    names = list(dict.fromkeys(arms))
    shown = ", ".join(names[:3])
    return f"arm{'s' * (len(names) > 1)} {shown}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
