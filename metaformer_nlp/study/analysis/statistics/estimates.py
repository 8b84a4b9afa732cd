"""What a handful of seeds can say: means with intervals, paired differences, and the share of a score that is retained.

Every estimate carries its n, the method its interval comes from, and a note where the interval must be read with care.
No interval is better than a wrong one: with one seed there is none.

Sources: Student's t interval (Student, Biometrika 6, 1908); the interval of a ratio of two means (Fieller, J. R. Stat.
Soc. B 16, 1954); the percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

LEVEL = 0.95
# Of fewer than this many values the percentile bootstrap's 95 % interval covers far less than 95 % (of three: 75 % at
# most, since it cannot reach beyond the smallest and the largest value; of ten, simulated, 91 %; of twenty, 94 %). A
# ratio then gets Fieller's interval.
MIN_BOOTSTRAP = 20
_NOTHING = "the baseline is not clearly above chance: there is nothing to retain"


@dataclass(frozen=True)
class Estimate:
    """A number and its interval; `low` and `high` are None where the data give none, and `note` says why."""

    value: float | None
    n: int
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = ""
    note: str = ""


def side(estimate: Estimate) -> int:
    """+1 or -1 if an estimate's interval lies wholly on that side of zero, else 0."""
    if estimate.low is None or estimate.high is None:
        return 0
    return int(estimate.low > 0) - int(estimate.high < 0)


def student(level: float, df: float) -> float:
    """Student's factor of a two-sided interval: 4.30 for a level of 0.95 and 2 degrees of freedom."""
    return float(special.stdtrit(df, (1 + level) / 2))


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Mean of independent runs with Student's t interval."""
    n = len(values)
    if n == 0:
        return Estimate(None, 0, note="no finished run")
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, 1, note="a single run: no interval")
    sd = float(np.std(values, ddof=1))
    if sd <= 1e-12 * max(1.0, abs(mean)):
        if n == 2:
            # Scores on a small test set are few different numbers, of which two runs get the same by chance.
            return Estimate(mean, n, 0.0, note="the same in both runs: no interval")
        # Often a score that no seed moves (always the majority class); the width of zero is no sign of precision.
        return Estimate(mean, n, 0.0, mean, mean, "t", "the same in all runs: the interval has no width")
    half = student(level, n - 1) * sd / math.sqrt(n)
    return Estimate(mean, n, sd, mean - half, mean + half, "t")


def paired_values(scores: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    """`scores` minus `other`, seed by seed over the seeds both have, in the seeds' order."""
    return {seed: scores[seed] - other[seed] for seed in sorted(scores.keys() & other.keys())}


def retention(
    scores: Mapping[int, float], baseline: Mapping[int, float], chance: float, level: float = LEVEL
) -> Estimate:
    """How much of the baseline's score above chance an arm keeps: (mean score - chance) / (mean baseline - chance).

    Paired by seed. The interval is Fieller's below `MIN_BOOTSTRAP` seeds, and from there the percentile bootstrap over
    seeds (10,000 resamples from a fixed generator). No value if the baseline is not clearly above chance: nothing is
    there to be retained.
    """
    seeds = sorted(scores.keys() & baseline.keys())
    x = np.array([scores[seed] - chance for seed in seeds])
    y = np.array([baseline[seed] - chance for seed in seeds])
    n = len(seeds)
    if n == 0:
        return Estimate(None, 0, note="no seed in common with the baseline")
    if y.mean() <= 0:
        return Estimate(None, n, note=_NOTHING)
    value = float(x.mean() / y.mean())
    if n == 1:
        return Estimate(value, 1, note="a single run: no interval")
    if n == 2 and 0 in (np.ptp(x), np.ptp(y)):
        return Estimate(value, 2, note="two runs that score the same: no interval")
    if n < MIN_BOOTSTRAP:
        return _fieller(x, y, value, level)
    draws = np.random.default_rng(0).integers(0, n, size=(10_000, n))
    below = y[draws].mean(axis=1)
    if (below <= 0).any():
        return Estimate(None, n, note=_NOTHING)
    low, high = np.quantile(x[draws].mean(axis=1) / below, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, n, low=float(low), high=float(high), method="bootstrap")


def _fieller(x: np.ndarray, y: np.ndarray, value: float, level: float) -> Estimate:
    """Every ratio r for which the mean of x - r y is not significantly different from zero (a quadratic in r)."""
    n = len(x)
    t2 = student(level, n - 1) ** 2 / n
    covariance = np.cov(x, y)
    a = y.mean() ** 2 - t2 * covariance[1, 1]
    b = x.mean() * y.mean() - t2 * covariance[0, 1]
    c = x.mean() ** 2 - t2 * covariance[0, 0]
    if a <= 0:
        return Estimate(None, n, note=_NOTHING)
    root = math.sqrt(max(b * b - a * c, 0.0))
    note = "few seeds: Fieller's interval, since a bootstrap over so few would be too narrow"
    return Estimate(value, n, low=float((b - root) / a), high=float((b + root) / a), method="Fieller", note=note)
