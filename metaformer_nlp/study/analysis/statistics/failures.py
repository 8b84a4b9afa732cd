"""Runs that failed: how often, and what may still be said.

Failures are informative (a loss that is not finite fails a run), so an analysis without them speaks of survivors only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from statistics import median

from scipy import special

from metaformer_nlp.study.analysis.statistics.composed import Answer
from metaformer_nlp.study.analysis.statistics.estimates import LEVEL
from metaformer_nlp.study.analysis.statistics.moderated import Scores

FAR = 5.0  # typical standard deviations


@dataclass(frozen=True)
class FailureRate:
    """Share of runs that failed, with its exact interval."""

    failed: int
    runs: int
    low: float
    high: float


def failure_rate(failed: int, runs: int, level: float = LEVEL) -> FailureRate:
    """With the interval of Clopper and Pearson (Biometrika 26, 1934): none of 5 may still be up to 52 %."""
    tail = (1 - level) / 2
    low = float(special.betaincinv(failed, runs - failed + 1, tail)) if failed else 0.0
    high = float(special.betaincinv(failed + 1, runs - failed, 1 - tail)) if failed < runs else 1.0
    return FailureRate(failed, runs, low, high)


def without_and_with(
    scores: Scores, failed: Mapping[str, Collection[int]], chance: float
) -> tuple[dict[str, dict[int, float]], dict[str, dict[int, float]]]:
    """The scores without the failed runs (arm -> seeds), and with them, at `chance` where they have no score."""
    without = {
        arm: {seed: score for seed, score in runs.items() if seed not in failed.get(arm, ())}
        for arm, runs in scores.items()
    }
    return without, {arm: {**dict.fromkeys(failed.get(arm, ()), chance), **runs} for arm, runs in scores.items()}


def with_failures(
    judge: Callable[[Scores], Answer], scores: Scores, failed: Mapping[str, Collection[int]], chance: float
) -> Answer:
    """Judge twice: without the failed runs (arm -> seeds), and with them, at `chance` where they have no score.

    A word is given where both give it, so that it is wrong at most as often as in either.
    """
    without, including = without_and_with(scores, failed, chance)
    left = judge(without)
    if not any(failed.values()):
        return left
    full = judge(including)
    p_yes, p_no = max(left.p_yes, full.p_yes), max(left.p_no, full.p_no)
    if left.word == full.word:
        return Answer(left.word, p_yes, p_no, left.note)
    note = f"{left.word} without the runs that failed, diverged or are missing, {full.word} with them"
    return Answer("open", p_yes, p_no, note)


def diverged(runs: Mapping[int, float], chance: float, spread: float) -> tuple[int, ...]:
    """Seeds of one arm whose run finished but learned little: nearer to chance than to the median of the other runs,
    and more than `FAR` typical standard deviations (`spread`, of the family's arms) below that median.

    These are named, and the answer given with and without them (`with_failures`); none is ever dropped.
    """
    found = []
    for seed, score in runs.items():
        others = [other for name, other in runs.items() if name != seed]
        if len(others) > 1 and 2 * score < chance + median(others) and score < median(others) - FAR * spread:
            found.append(seed)
    return tuple(found)
