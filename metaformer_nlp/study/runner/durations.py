"""How long runs will take: from those of the same arm that have ended, else from others, else from the study file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean, median
from typing import Any

from metaformer_nlp.study.protocol.study import Cell, Domain, Study

LENGTHS = tuple(f"schedule.{unit}" for unit in ("epochs", "steps", "tokens", "minutes"))
RULE = (
    "Where no run of an arm has ended: the seconds of the domain's other runs, else its expected_seconds for a cell of "
    "the mean arm; half of that taken as common to all arms, half scaled by the multiply-accumulates of the training "
    "(where they are known)."
)


class Durations:
    """Seconds of runs, by domain, arm, and whether they are trials.

    A run's work says how long it is beside others of its domain: the mean of its own multiply-accumulates and of those
    of all arms (reading, embedding and evaluating cost every arm about the same) where they were given for all runs of
    the domain, else the length of its schedule.
    """

    def __init__(self, study: Study, work: Mapping[tuple[str, str, bool], float] | None = None) -> None:
        """`work`: (domain, arm, is a trial) -> multiply-accumulates of the whole training."""
        self._study = study
        self._work: dict[tuple[str, str, bool], float] = {}
        for domain in study.domains:
            kinds = (False, True) if domain.tune else (False,)
            places = [(domain.name, arm.name, trial) for arm in study.arms_of(domain.name) for trial in kinds]
            if work and all(work.get(place) for place in places):
                for trial in kinds:
                    its = {place: work[place] for place in places if place[2] == trial}
                    self._work |= {place: (value + fmean(its.values())) / 2 for place, value in its.items()}
            else:
                share = trial_share(domain)
                self._work |= {place: share if place[2] else 1.0 for place in places}
        self._known: dict[tuple[Any, ...], list[tuple[float, float]]] = defaultdict(list)

    def add(self, cell: Cell, seconds: float | None) -> None:
        """A run that has ended well after so many seconds."""
        if seconds:
            for group in self._groups(cell.domain, cell.arm, cell.trial is not None):
                self._known[group].append((seconds, self._work[cell.domain, cell.arm, cell.trial is not None]))

    def measured(self, domain: str, arm: str, trial: bool) -> bool:
        """Whether a run of this very kind has ended."""
        return (domain, arm, trial) in self._known

    def seconds(self, domain: str, arm: str, trial: bool) -> float | None:
        """What a run of this kind will take; None if nothing is known of the domain."""
        work = self._work[domain, arm, trial]
        for group in self._groups(domain, arm, trial):
            if known := self._known.get(group):
                return work * median(seconds / its for seconds, its in known)  # one that had to wait moves it little
        expected = self._study.domain(domain).expected_seconds
        mean = fmean(self._work[domain, other.name, False] for other in self._study.arms_of(domain))
        return None if expected is None else work * expected / mean

    def _groups(self, domain: str, arm: str, trial: bool) -> list[tuple[Any, ...]]:
        """From the most to the least alike."""
        return [(domain, arm, trial), (domain, arm), (domain, trial), (domain,)]


def trial_share(domain: Domain) -> float:
    """The length of a trial's schedule beside a cell's, as far as the settings say it; else 1."""
    if domain.tune is None:
        return 1.0
    cell = domain.settings()
    trial = {**cell, **domain.tune.set}
    for key in LENGTHS:
        if cell.get(key) and trial.get(key):
            return float(trial[key]) / float(cell[key])
    return 1.0
