"""What is known of a domain before anything is compared: its scores, the runs that are missing, its family of arms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from math import fsum

from metaformer_nlp.study.analysis.rows import Row
from metaformer_nlp.study.analysis.statistics import (
    LEVEL,
    Answer,
    Family,
    diverged,
    mean_interval,
    with_failures,
    without_and_with,
)
from metaformer_nlp.study.protocol.study import SHARE, Domain, Study


class Facts:
    """The finished runs of each arm, and which of its runs failed, are missing or diverged."""

    def __init__(self, study: Study, domain: Domain, rows: Sequence[Row]) -> None:
        self.study, self.domain, self.rows = study, domain, rows
        self.arms = {arm.name: arm for arm in study.arms_of(domain.name)}
        finished = [row for row in rows if row["status"] == "finished"]
        self.finished = {name: [row for row in finished if row["arm"] == name] for name in self.arms}
        self.scores = {arm: {row["seed"]: row["score"] for row in its} for arm, its in self.finished.items()}
        self.family = Family(self.scores)
        self.chance = mean_of(row["chance"] for row in finished)
        if self.chance is None and not isinstance(domain.chance, str):
            self.chance = domain.chance
        self.absent = {
            name: tuple(sorted(row["seed"] for row in rows if row["arm"] == name and row["status"] != "finished"))
            for name in self.arms
        }
        spread = self.family.prior.variance**0.5
        self.diverged = {
            name: () if self.chance is None else diverged(runs, self.chance, spread)
            for name, runs in self.scores.items()
        }
        self.control = study.control if study.control in self.arms else None

    def began(self, arm: str) -> bool:
        """Whether any run of an arm has ended, well or not."""
        return bool(self.finished[arm]) or any(row["arm"] == arm and row["status"] == "failed" for row in self.rows)

    def above_chance(self, arm: str, level: float = LEVEL) -> bool:
        low = mean_interval(list(self.scores[arm].values()), level).low
        return self.chance is not None and low is not None and low > self.chance

    @cached_property
    def telling(self) -> bool:
        level = 1 - (1 - LEVEL) / len(self.arms)  # where all are at chance, few studies find one that is not
        return any(self.above_chance(name, level) for name in self.arms)

    def share_asked(self, arm: str) -> float:
        """The share of the gain of mixing that the claim asks of an arm."""
        claim = self.study.claim
        return claim.asked if claim and claim.arm == arm else SHARE

    def gone(self, arm: str) -> set[int]:
        """The seeds whose run failed, is missing or diverged."""
        return {*self.absent[arm], *self.diverged[arm]}

    @cached_property
    def other_families(self) -> list[Family]:
        """Without the runs that diverged, and with those that have no score at chance; none where all went well."""
        if self.chance is None or not any(map(self.gone, self.arms)):
            return []
        both = without_and_with(self.scores, {arm: self.gone(arm) for arm in self.arms}, self.chance)
        return [Family(scores, self.family.paired) for scores in both]

    def judge(self, arms: Iterable[str], judge: Callable[[Family], Answer]) -> Answer:
        """The answer, which is yes or no only if it stands with and without the runs that failed or diverged."""
        gone = {arm: self.gone(arm) for arm in arms}
        if not any(gone.values()):
            return judge(self.family)
        if self.chance is None:
            return Answer("open", 1.0, 1.0, "runs are missing")
        return with_failures(lambda scores: judge(Family(scores, self.family.paired)), self.scores, gone, self.chance)


def mean_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) / len(known) if known else None
