"""What the finished cells decide about the others: the tuned values, and which cells can start.

Everything is read from the cells' outcomes each time, so that a study that was stopped, or that two runners share,
comes to the same decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaformer_nlp.study.cell import is_finished, read_outcome
from metaformer_nlp.study.plan import Cell, Study

Chosen = dict[tuple[str, str], Any]


def all_cells(study: Study, folder: Path) -> list[Cell]:
    """Trials and cells, in the order in which they are best run, with the values that are chosen by now."""
    chosen = chosen_values(study, folder)
    return [*study.trials(chosen), *study.cells(chosen)]


def chosen_values(study: Study, folder: Path) -> Chosen:
    """(domain, arm) -> the value of the best trial, where all trials have ended.

    A trial that failed (its loss was no number, say) is no candidate; where all have failed nothing is chosen.
    """
    chosen: Chosen = {}
    # A trial may itself start from tuned cells, whose digest depends on what they chose: domains in the file's order.
    for domain in study.domains:
        if domain.tune is None:
            continue
        for arm in study.arms_of(domain.name):
            trials = [cell for cell in study.trials(chosen) if (cell.domain, cell.arm) == (domain.name, arm.name)]
            outcomes = [read_outcome(folder, trial) for trial in trials]
            if all(outcomes):
                number = best_trial(domain.tune.metric, [outcome or {} for outcome in outcomes])
                if number is not None:
                    chosen[domain.name, arm.name] = domain.tune.values[number]
    return chosen


def best_trial(metric: str, outcomes: list[Mapping[str, Any]]) -> int | None:
    """The number of the trial with the highest `metric` (the lowest loss), the first of equals; None if all failed."""
    sign = -1 if metric.endswith("loss") else 1
    scores = {
        number: sign * float(outcome["result"]["metrics"][metric])
        for number, outcome in enumerate(outcomes)
        if outcome.get("status") == "finished"
    }
    return max(scores, key=lambda number: (scores[number], -number)) if scores else None


def can_start(cell: Cell, cells: Mapping[str, Cell], folder: Path) -> bool:
    """Whether what `cell` waits for is there: its trials have ended, the cell it starts from is finished."""
    needed = [cells[key] for key in cell.waits_for]
    return all(
        is_finished(folder, other) if other.trial is None else read_outcome(folder, other) is not None
        for other in needed
    )
