"""The arms of one domain as a family: variances that lend each other strength, and every contrast of means from them.

Three seeds know little about a variance. Arms of one study vary alike, though, so each variance is drawn towards what
the arms have in common (empirical Bayes: Smyth, Stat. Appl. Genet. Mol. Biol. 3, 2004; the fit is limma's squeezeVar).
Guards, since some arms vary many times more than others: a variance is never below the arm's own; the common value is
never below the median arm's, never weighs more than `MOST_PRIOR` degrees of freedom, and lends fewer to an arm that
varies more than it says.

Whether seeds are paired is decided once a domain, from residuals alone, before any mean is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import special

from metaformer_nlp.study.analysis.statistics.comparisons import hochberg, holm
from metaformer_nlp.study.analysis.statistics.estimates import LEVEL, Estimate, student

MOST_PRIOR = 4.0
MIN_EQUAL = 5  # runs that score the same are chance on a small test set, below this many
Scores = Mapping[str, Mapping[int, float]]  # arm -> seed -> score
Standing = Literal["above", "below", "equal", "open"]  # of an arm beside a reference, as shown


@dataclass(frozen=True)
class Prior:
    """What the variances of a family have in common: their scale, and the degrees of freedom it is worth."""

    variance: float
    df: float

    def squeeze(self, variance: float, df: float, scale: float = 1.0) -> float:
        """A variance drawn towards `scale` times the common one."""
        return (self.df * scale * self.variance + df * variance) / (self.df + df)

    def lent(self, variance: float, scale: float = 1.0) -> float:
        """Degrees of freedom that a variance gains; fewer, in proportion, where it exceeds the common one."""
        return self.df * min(1.0, scale * self.variance / variance) if variance else self.df


def fit_prior(variances: Sequence[float], dfs: Sequence[float], most: float = MOST_PRIOR) -> Prior:
    """Smyth's fit of a scaled F distribution to log variances, worth at most `most` degrees of freedom; 0 where fewer
    than two are known."""
    own, df = np.asarray(variances, float), np.asarray(dfs, float)
    if len(own) < 2 or not own.any():
        return Prior(0.0, 0.0)
    own = np.maximum(own, 1e-5 * np.median(own[own > 0]))  # as limma does: a variance of zero has no logarithm
    logs = np.log(own) - special.digamma(df / 2) + np.log(df / 2)
    excess = float(logs.var(ddof=1) - special.polygamma(1, df / 2).mean())
    prior = 2 * _inverse_trigamma(excess) if excess > 1e-6 else math.inf
    shift = float(special.digamma(prior / 2)) - math.log(prior / 2) if prior < math.inf else 0.0
    return Prior(max(math.exp(logs.mean() + shift), float(np.median(own))), min(prior, most))


def _inverse_trigamma(value: float) -> float:
    """Newton's method on 1 / trigamma, which is nearly straight (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(20):
        trigamma = float(special.polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x


@dataclass(frozen=True)
class SeedCorrelation:
    """Mean correlation of two arms over seeds, and the p value of there being none above zero (None: unknown)."""

    value: float | None
    p: float | None

    @property
    def paired(self) -> bool:
        return self.p is not None and self.p < 1 - LEVEL


def seed_correlation(scores: Scores) -> SeedCorrelation:
    """Do seeds do the same to all arms? An intraclass correlation of arms x seeds with each arm on its own scale.

    Each arm's residuals are scaled to length one; where seeds do nothing these are random directions, the squared
    length of their sum is about the number of arms, and (seeds - 1) times their ratio is chi-square with seeds - 1
    degrees of freedom (Rayleigh's test of directions; Mardia and Jupp, Directional Statistics, 2000, chapter 10).
    Means do not enter. Of the arms that have run, the seeds that half of them have count, and the arms that have all of
    these.
    """
    scores = {arm: runs for arm, runs in scores.items() if runs}
    counts: dict[int, int] = {}
    for runs in scores.values():
        for seed in runs:
            counts[seed] = counts.get(seed, 0) + 1
    seeds = sorted(seed for seed, count in counts.items() if 2 * count >= len(scores))
    full = [[runs[seed] for seed in seeds] for runs in scores.values() if all(seed in runs for seed in seeds)]
    if len(seeds) < 2 or len(full) < 3:
        return SeedCorrelation(None, None)
    residuals = np.array(full)
    residuals -= residuals.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(residuals, axis=1)
    directions = residuals[lengths > 0] / lengths[lengths > 0, None]
    arms = len(directions)
    if arms < 3:
        return SeedCorrelation(None, None)
    squared = float((directions.sum(axis=0) ** 2).sum())
    p = float(special.chdtrc(len(seeds) - 1, (len(seeds) - 1) * squared / arms))
    return SeedCorrelation((squared - arms) / (arms * (arms - 1)), p)


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of true means: its estimate, standard error and degrees of freedom; without error, no test."""

    value: float | None
    n: int
    error: float | None = None
    df: float = 0.0
    note: str = ""

    def p_above(self, bound: float = 0.0) -> float:
        """One-sided p value of the truth not being above `bound`; 1 where nothing can be tested."""
        if self.value is None or self.error is None:
            return 1.0
        off = self.value - bound
        return float(special.stdtr(self.df, -off / self.error)) if self.error else float(off <= 0)

    def p_below(self, bound: float = 0.0) -> float:
        """As `p_above`, of the truth not being below `bound`."""
        return Contrast(None if self.value is None else -self.value, self.n, self.error, self.df).p_above(-bound)

    @property
    def p(self) -> float:
        """Two-sided, of the truth being zero."""
        return min(1.0, 2 * min(self.p_above(), self.p_below()))

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        if self.value is None or self.error is None:
            return None
        half = student(level, self.df) * self.error
        return self.value - half, self.value + half

    def estimate(self) -> Estimate:
        """The value with its 95 % interval."""
        low, high = self.interval() or (None, None)
        return Estimate(self.value, self.n, None, low, high, "moderated t", self.note)


@dataclass(frozen=True)
class Family:
    """All arms of a domain; `contrast` gives every weighted sum of their means with its error.

    `pairing` says whether seeds are paired; None decides it from the scores.
    """

    scores: Scores
    pairing: bool | None = None

    @cached_property
    def correlation(self) -> SeedCorrelation:
        return seed_correlation(self.scores)

    @property
    def paired(self) -> bool:
        return self.correlation.paired if self.pairing is None else self.pairing

    @cached_property
    def _own(self) -> dict[str, tuple[float, int, float]]:
        """Mean, number of runs, and variance of each arm; the variance of one run is not known (nan)."""
        own = {}
        for arm, runs in self.scores.items():
            values, n = list(runs.values()), len(runs)
            mean = math.fsum(values) / n if n else math.nan
            squares = math.fsum((value - mean) ** 2 for value in values)
            exact = squares <= (1e-12 * max(1.0, abs(mean))) ** 2 * n  # rounding is no spread
            own[arm] = (mean, n, math.nan if n < 2 else 0.0 if exact else squares / (n - 1))
        return own

    @cached_property
    def prior(self) -> Prior:
        """Of the arms' variances; with paired seeds, of what is left of them without the seeds' means."""
        if not self.paired:
            known = [(variance, n - 1) for _, n, variance in self._own.values() if n > 1]
            return fit_prior([variance for variance, _ in known], [df for _, df in known])
        seeds = sorted(set[int].union(*(set(runs) for runs in self.scores.values())))
        rows = [runs for runs in self.scores.values() if len(runs) > 1]
        table = np.array([[runs.get(seed, math.nan) for seed in seeds] for runs in rows])
        table -= np.nanmean(table, axis=1, keepdims=True)
        table -= np.nanmean(table, axis=0)
        factor = len(rows) / (len(rows) - 1)  # a mean over arms takes its part of each arm's own spread
        return fit_prior(factor * np.nanvar(table, axis=1, ddof=1), (~np.isnan(table)).sum(axis=1) - 1)

    def contrast(self, weights: Mapping[str, float]) -> Contrast:
        """The sum of weight times true mean, with Satterthwaite's degrees of freedom (Biometrics Bull. 2, 1946).

        No error, and so no test and no interval, where an arm has fewer than two runs (paired: where fewer than two
        seeds are common), and where all runs are the same in fewer than `MIN_EQUAL` seeds.
        """
        weights = {arm: weight for arm, weight in weights.items() if weight}
        if any(not self.scores.get(arm) for arm in weights):
            return Contrast(None, 0, note="no finished run")
        return self._paired(weights) if self.paired else self._unpaired(weights)

    @cached_property
    def _squared_errors(self) -> dict[str, tuple[float, float]]:
        """Of each arm's mean, squeezed, with its degrees of freedom; for arms of two and more runs."""
        errors = {}
        for arm, (_, n, variance) in self._own.items():
            if n > 1:
                squeezed = max(variance, self.prior.squeeze(variance, n - 1))
                errors[arm] = squeezed / n, self.prior.lent(variance) + n - 1
        return errors

    @cached_property
    def _most(self) -> int:
        return sum(n - 1 for _, n, _ in self._own.values() if n > 1)

    def _unpaired(self, weights: Mapping[str, float]) -> Contrast:
        own = [self._own[arm] for arm in weights]
        value = math.fsum(weight * mean for weight, (mean, _, _) in zip(weights.values(), own, strict=True))
        n = min(runs for _, runs, _ in own)
        if n < 2:
            return Contrast(value, n, note="a single run: no interval")
        if n < MIN_EQUAL and not any(variance for *_, variance in own):
            return Contrast(value, n, note="the same in all runs: no interval from so few")
        total, below = 0.0, 0.0
        for arm, weight in weights.items():
            squared, df = self._squared_errors[arm]
            part = weight * weight * squared
            total, below = total + part, below + part * part / df
        return Contrast(value, n, math.sqrt(total), min(total * total / below, self._most) if below else n - 1)

    def _paired(self, weights: Mapping[str, float]) -> Contrast:
        seeds = sorted(set[int].intersection(*(set(self.scores[arm]) for arm in weights)))
        n = len(seeds)
        values = [math.fsum(weight * self.scores[arm][seed] for arm, weight in weights.items()) for seed in seeds]
        if n < 2:
            return Contrast(values[0] if values else None, n, note="fewer than two common seeds: no interval")
        mean, variance = math.fsum(values) / n, float(np.var(values, ddof=1))
        if math.sqrt(variance) <= 1e-12 * max(1.0, abs(mean)):
            variance = 0.0
            if n < MIN_EQUAL:
                return Contrast(mean, n, note="the same in all seeds: no interval from so few")
        scale = sum(weight**2 for weight in weights.values())
        df = min(self.prior.lent(variance, scale) + n - 1, (len(self.scores) - 1) * (n - 1))
        return Contrast(mean, n, math.sqrt(max(variance, self.prior.squeeze(variance, n - 1, scale)) / n), df)


@dataclass(frozen=True)
class Comparison:
    """An arm minus the reference: the contrast's interval, its test corrected by Holm, and equivalence by Hochberg."""

    arm: str
    contrast: Contrast
    interval: tuple[float, float] | None
    corrected: tuple[float, float] | None  # simultaneous over the family (Bonferroni; Dunn 1961)
    p: float | None
    p_holm: float | None
    p_equivalent: float | None  # the two one-sided tests, corrected by Hochberg; None without a margin
    word: Standing
    within_margin: bool  # shown to be smaller than the margin, whether or not it is shown
    comparisons: int


def compare_arms(
    family: Family, reference: str, margin: float | None = None, arms: Collection[str] | None = None
) -> dict[str, Comparison]:
    """Every other arm (of `arms`, if given) minus the reference, as one family of tests, with the family's variances.

    An arm that has no error yet, for lack of runs, is counted, so that no word is lost when they come in.

    Simulated (scripts/simulate_verdicts.py): where no arm differs, some arm is called different in at most 5 % of
    studies with equal spreads, in at most 9 % (3 seeds) and 7 % (5 seeds) with spreads ten-fold apart.
    """
    others = [arm for arm in family.scores if arm != reference and (arms is None or arm in arms)]
    contrasts = {arm: family.contrast({arm: 1.0, reference: -1.0}) for arm in others}
    tested = {arm: contrast for arm, contrast in contrasts.items() if contrast.error is not None}
    alpha = 1 - LEVEL
    to_come = [1.0] * (len(others) - len(tested))
    number = len(others)
    p_holm = dict(zip(tested, holm([contrast.p for contrast in tested.values()] + to_come), strict=False))
    p_equivalent: dict[str, float] = {}
    if margin is not None:
        tost = [max(contrast.p_above(-margin), contrast.p_below(margin)) for contrast in tested.values()]
        p_equivalent = dict(zip(tested, hochberg(tost + to_come), strict=False))
    found = {}
    for arm, contrast in contrasts.items():
        different = p_holm.get(arm, 1.0) < alpha
        equivalent = p_equivalent.get(arm, 1.0) < alpha
        shown: Standing = "above" if (contrast.value or 0) > 0 else "below"
        found[arm] = Comparison(
            arm,
            contrast,
            contrast.interval(),
            contrast.interval(1 - alpha / max(1, number)),
            contrast.p if arm in tested else None,
            p_holm.get(arm),
            p_equivalent.get(arm),
            shown if different else "equal" if equivalent else "open",
            equivalent,
            number,
        )
    return found
