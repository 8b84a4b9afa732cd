"""What an analysis finds: typed and frozen, all that the verdict, the pictures and the templates read.

Scores and differences are in the unit of the domain's metric, mostly accuracies between 0 and 1. A field that is None
is not known, and an estimate's ``note`` says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaformer_nlp.study.analysis.rows import Row
from metaformer_nlp.study.analysis.statistics import (
    Answer,
    Envelope,
    Estimate,
    FailureRate,
    Gain,
    OverSettings,
    Pairs,
    Scaling,
    SeedCorrelation,
    TakeOff,
)
from metaformer_nlp.study.analysis.statistics.moderated import Standing
from metaformer_nlp.study.protocol.study import KnownAnswer, Scale, Study

Curve = Sequence[Sequence[float | None]]  # [step, mean, low, high, n] at every step that all runs of an arm have


@dataclass(frozen=True)
class Difference:
    """How far an arm lies above a reference, and what of that is shown among all arms compared with it."""

    estimate: Estimate
    corrected: tuple[float, float] | None  # holds all differences of the family at once in 95 % of studies
    p: float | None
    p_holm: float | None
    p_equivalent: float | None
    word: Standing
    within_margin: bool
    comparisons: int
    detectable: float | None  # the true difference that is shown in 80 % of studies like this one


@dataclass(frozen=True)
class Arm:
    """One arm of a domain: its runs, its score, and its difference from every arm it is compared with."""

    name: str
    kind: str
    of: str | None
    label: str
    planned: int
    seeds: Mapping[str, float]  # the score of each finished run
    absent: tuple[int, ...]  # seeds that have no score: the run failed, or is missing
    diverged: tuple[int, ...]  # seeds whose run finished and learned little
    failures: FailureRate
    score: Estimate
    retention: Estimate  # of the baseline's score above chance: a number, on which no verdict rests
    share: Gain | None  # of what the baseline gains over the control
    against: Mapping[str, Difference]
    tasks: Mapping[str, Estimate]
    over_tasks: Estimate | None  # difference from the baseline, over tasks and seeds
    over_items: Estimate | None  # difference from the baseline, over test items and seeds
    curve: Curve
    take_off: TakeOff | None
    tuned: Mapping[str, Mapping[str, Any]]
    total: float | None
    trainable: float | None
    macs: float | None
    steps: float | None
    tokens: float | None
    train_seconds: float | None  # median over runs

    @property
    def began(self) -> bool:
        """Whether any run has ended, well or not."""
        return bool(self.seeds or self.failures.failed)


@dataclass(frozen=True)
class Known:
    """A published difference, and what is found of it: yes is reproduced, no is contradicted."""

    expected: KnownAnswer
    found: Estimate  # arm minus reference
    answer: Answer
    size_inside: bool | None  # whether the published size lies in the interval


@dataclass(frozen=True)
class Removal:
    """What it costs to take the mixer, or a part of the architecture, out of the arm `of`."""

    arm: str
    of: str
    cost: Estimate
    word: Standing  # of the arm that is left, beside `of`
    to_chance: bool  # the arm that is left is not above chance, so that the cost is at least this


@dataclass(frozen=True)
class Swap:
    """What it costs to take another mixer, norm or activation."""

    arm: str
    of: str
    mixer: bool
    cost: Estimate


@dataclass(frozen=True)
class Domain:
    """One domain: every arm, and the answers to the questions that its arms allow, by the question's name."""

    name: str
    label: str
    metric: str
    chance: float | None
    margin: float | None
    axis: str | None
    telling: bool  # some arm is above chance
    correlation: SeedCorrelation
    paired: bool
    detectable: float | None  # median over the arms compared with the baseline
    mixing: Estimate | None  # baseline minus control
    task_chance: Mapping[str, float | None]
    arms: Mapping[str, Arm]
    known: tuple[Known, ...]
    removals: tuple[Removal, ...]
    swaps: tuple[Swap, ...]
    pairs: Mapping[str, Pairs]  # of the questions that are answered by pairs
    answers: Mapping[str, Answer]

    @property
    def runs(self) -> list[Arm]:
        """The arms that have a finished run."""
        return [arm for arm in self.arms.values() if arm.seeds]

    @property
    def best_mixer(self) -> Arm | None:
        """The mixer with the highest mean score; None where none has a finished run."""
        mixers = [arm for arm in self.runs if arm.kind == "mixer"]
        return max(mixers, key=lambda arm: arm.score.value or 0.0, default=None)


@dataclass(frozen=True)
class Question:
    """A question of the verdict: its word over all domains, and the word in each. The wording is in the templates."""

    name: str
    answer: Answer
    domains: Mapping[str, Answer]
    against: tuple[str, ...] = ()  # domains in which "no" is shown, corrected for their number


@dataclass(frozen=True)
class Ranks:
    """Whether two domains order their mixers alike: Kendall's tau."""

    domains: tuple[str, str]
    tau: Estimate
    p: float | None
    pairs: Mapping[str, int] | None  # same, opposite, unknown


@dataclass(frozen=True)
class Setting:
    """The difference of an arm from a reference over domains that are settings of one experiment."""

    arm: str
    reference: str
    domains: tuple[str, ...]
    over: OverSettings


@dataclass(frozen=True)
class Trends:
    """The gap of every arm to the baseline over the budgets of a scale."""

    scale: Scale
    margin: float | None  # a doubling, in the unit of the fit (logits, or logarithms of a loss)
    lines: Mapping[str, Scaling]
    beyond: Mapping[str, Envelope]
    waiting: tuple[str, ...] = ()  # domains in which the baseline has not run yet

    @property
    def largest(self) -> str:
        """The domain of the largest budget that takes part in a line; the first one where there is no line."""
        budgets = [budget for line in self.lines.values() for budget in line.budgets]
        return next(name for name, budget in self.scale.domains.items() if not budgets or budget == max(budgets))


@dataclass(frozen=True)
class Analysis:
    """A study and what its cells show. The inputs are `study`, `cells`, `trials`, `text` and `sessions`; the rest
    follows from them."""

    study: Study
    cells: Sequence[Row]
    trials: Sequence[Row]
    text: str
    sessions: Sequence[str]
    domains: Mapping[str, Domain]
    first: tuple[str, ...]  # the domains of the first screen
    questions: tuple[Question, ...]
    ranks: tuple[Ranks, ...]
    settings: tuple[Setting, ...]
    trends: tuple[Trends, ...]

    @property
    def centre(self) -> str:
        """The arm that the first screen is about: the claim's, else the first reference, else the baseline."""
        return self.study.claim.arm if self.study.claim else (*self.study.references, self.study.baseline)[0]

    def question(self, name: str) -> Question | None:
        return next((question for question in self.questions if question.name == name), None)

    def labels(self) -> dict[str, str]:
        """What each arm is called."""
        return {arm.name: arm.title for arm in self.study.arms}
