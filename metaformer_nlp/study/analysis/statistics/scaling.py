"""Does the gap to the baseline close, stay or widen as the budget doubles?

Gaps in points are humps, as all arms start and end together. Accuracies are therefore compared in logits of their share
above chance, and losses in logarithms, where a power law is straight. Every budget is a run of its own.

Nothing is ever judged beyond the largest budget: where both curves bend to one ceiling a straight line holds the
truth in half of the studies, and where an arm takes off later it never does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import numpy as np
from scipy import special

from metaformer_nlp.study.analysis.statistics.comparisons import hochberg, holm
from metaformer_nlp.study.analysis.statistics.composed import ALPHA
from metaformer_nlp.study.analysis.statistics.estimates import LEVEL
from metaformer_nlp.study.analysis.statistics.moderated import MIN_EQUAL, Contrast, fit_prior

Runs = Mapping[float, Mapping[str, Sequence[float]]]  # budget -> arm -> scores of its runs
Trend = Literal["closes", "widens", "steady", "crosses", "open"]
MIN_BUDGETS = 3
MOST_PRIOR = 0.5
FARTHEST = 2.0  # doublings beyond the largest budget
_EDGE = 1e-4  # of a share above chance: a logit beyond has no meaning on a test set


def transform(score: float, chance: float | None) -> float:
    """The logit of an accuracy's share above chance, (score - chance) / (1 - chance), kept inside (0, 1); of a loss or
    an error rate (`chance` None) minus the logarithm. Higher is better in both."""
    if chance is None:
        return -math.log(score)
    return float(special.logit(min(max((score - chance) / (1 - chance), _EDGE), 1 - _EDGE)))


@dataclass(frozen=True)
class Scaling:
    """One arm's gap (baseline minus arm, transformed scores) over log2 of the budget."""

    arm: str
    budgets: tuple[float, ...]  # those that take part
    gaps: tuple[Contrast, ...]  # at each of them
    slope: Contrast  # per doubling
    mean: Contrast  # over the budgets
    last: Contrast  # change over the last doubling
    curvature: Contrast  # of the parabola, per doubling squared; takes three budgets
    p_holm: float | None = None  # of the slope, over the arms
    p_steady: float | None = None  # two one-sided tests of the slope within the margin, Hochberg over the arms
    trend: Trend = "open"
    crosses: bool = False  # first and last budget are shown on different sides of zero
    note: str = ""


def scaling(
    runs: Runs, baseline: str, chance: float | None, floor: float | None = None, margin: float | None = None
) -> dict[str, Scaling]:
    """Every arm's gap to the baseline over budgets, transformed as `transform` has it.

    The slope is least squares on log2(budget), as a contrast of the budgets' means: its error comes from the spread of
    each arm's runs in each budget and not from the distance to the line, so that it also holds where the truth is
    curved (it is then the slope of the best line). Each cell has its own variance, drawn by half a degree of freedom
    (`MOST_PRIOR`) towards what all cells have in common: in logits, noise that grows near the ceiling
    as that of a share p does, by 1 / (p (1 - p)). Degrees of freedom by Satterthwaite. Simulated
    (scripts/simulate_verdicts.py), the 95 % interval covers in 94 to 96 %; where one arm's noise grows against that
    rule, five-fold, in 91 to 93 %.

    A budget takes part where arm and baseline are both shown above `floor` (chance or the control, in scores;
    one-sided 2.5 %). Steady: the slope lies within `margin` a doubling (two one-sided tests; Schuirmann 1987;
    Hochberg over arms). Else,
    where the slope is shown after Holm's correction over arms, the gap closes if the mean gap is shown on the other
    side of zero than the slope, and widens if on the same: its size at the largest budget is then the smaller, or the
    larger, of the line's ends. It crosses instead of closing where the first and the last gap are shown on different
    sides. Where the last doubling is shown to go the other way, and else, it stays open.
    """
    cells = _Cells(runs, chance)
    arms = dict.fromkeys(arm for by_arm in runs.values() for arm in by_arm if arm != baseline)
    lines = {arm: _line(arm, cells, baseline, floor) for arm in arms}
    tested = [arm for arm, line in lines.items() if line.slope.error is not None]
    corrected = dict(zip(tested, holm([lines[arm].slope.p for arm in tested]), strict=True))
    steady: dict[str, float] = {}
    if margin is not None:
        enough = [arm for arm in tested if len(lines[arm].budgets) >= MIN_BUDGETS]
        slopes = [lines[arm].slope for arm in enough]
        p_steady = hochberg([max(slope.p_above(-margin), slope.p_below(margin)) for slope in slopes])
        steady = dict(zip(enough, p_steady, strict=True))
    return {arm: _judge(line, corrected.get(arm), steady.get(arm)) for arm, line in lines.items()}


class _Cells:
    """Mean and variance of every budget and arm, in transformed scores."""

    def __init__(self, runs: Runs, chance: float | None) -> None:
        self.runs, self.sign = runs, 1.0 if chance is not None else -1.0
        self.cells: dict[tuple[float, str], tuple[float, float, int, float]] = {}
        for budget, by_arm in runs.items():
            for arm, scores in by_arm.items():
                if len(scores):
                    values = np.array([transform(score, chance) for score in scores])
                    mean, n = float(values.mean()), len(values)
                    expected = 2 + 2 * math.cosh(mean) if chance is not None else 1.0  # 1 / (p (1 - p)) of a logit
                    self.cells[budget, arm] = (mean, float(values.var(ddof=1)) if n > 1 else math.nan, n, expected)
        known = [(variance / expected, n - 1) for _, variance, n, expected in self.cells.values() if n > 1]
        self.most = sum(df for _, df in known)
        self.prior = fit_prior([variance for variance, _ in known], [df for _, df in known], MOST_PRIOR)

    def above(self, budget: float, arm: str, floor: float | None) -> bool:
        if floor is None:
            return True
        scores = self.sign * np.asarray(self.runs[budget][arm])
        n = len(scores)
        error = float(scores.std(ddof=1)) / n**0.5 if n > 1 else None
        return Contrast(float(scores.mean()), n, error, n - 1).p_above(self.sign * floor) <= ALPHA

    def contrast(self, weights: Mapping[tuple[float, str], float]) -> Contrast:
        """A weighted sum of cells' true means."""
        cells = [(weight, *self.cells[key]) for key, weight in weights.items() if weight]
        value, n = sum(weight * mean for weight, mean, *_ in cells), min(n for *_, n, _ in cells)
        if n < 2:
            return Contrast(value, n, note="a single run: no interval")
        if n < MIN_EQUAL and not any(variance for _, _, variance, *_ in cells):
            return Contrast(value, n, note="the same in all runs: no interval from so few")
        total, below = 0.0, 0.0
        for weight, _, variance, runs, expected in cells:
            part = weight**2 * self.prior.squeeze(variance, runs - 1, expected) / runs
            total, below = total + part, below + part**2 / (self.prior.lent(variance, expected) + runs - 1)
        return Contrast(value, n, math.sqrt(total), min(total**2 / below, self.most) if below else n - 1)


def _line(arm: str, cells: _Cells, baseline: str, floor: float | None) -> Scaling:
    def over_budgets(weights: Sequence[float]) -> Contrast:
        signs = ((baseline, 1.0), (arm, -1.0))
        return cells.contrast({(b, name): s * w for b, w in zip(part, weights, strict=True) for name, s in signs})

    both = [budget for budget in sorted(cells.runs) if {(budget, arm), (budget, baseline)} <= cells.cells.keys()]
    part = tuple(b for b in both if cells.above(b, arm, floor) and cells.above(b, baseline, floor))
    gaps = tuple(over_budgets([float(budget == at) for budget in part]) for at in part)
    slope = mean = last = curvature = Contrast(None, 0, note="too few budgets take part")
    if len(part) > 1:
        x = np.log2(part)
        slope, mean = over_budgets((x - x.mean()) / ((x - x.mean()) ** 2).sum()), over_budgets([1 / len(x)] * len(x))
        last = over_budgets([*[0.0] * (len(x) - 2), *(np.array([-1.0, 1.0]) / (x[-1] - x[-2]))])
    if len(part) >= MIN_BUDGETS:
        curvature = over_budgets(np.linalg.pinv(np.vander(x, 3))[0])
    left = len(cells.runs) - len(part)
    note = f"{left} {'budget takes' if left == 1 else 'budgets take'} no part" if left else ""
    return Scaling(arm, part, gaps, slope, mean, last, curvature, note=note)


def _judge(line: Scaling, p_holm: float | None, p_steady: float | None) -> Scaling:
    slope, mean, enough = line.slope, line.mean, len(line.budgets) >= MIN_BUDGETS
    trend: Trend = "open"
    note = line.note
    crosses = bool(line.gaps) and _side(line.gaps[0]) * _side(line.gaps[-1]) < 0
    if p_steady is not None and p_steady < 1 - LEVEL:
        trend = "steady"
    elif enough and p_holm is not None and p_holm < 1 - LEVEL and mean.p < 1 - LEVEL:
        trend = "widens" if (slope.p_above() < 0.5) == (mean.p_above() < 0.5) else "closes"
    if trend in ("closes", "widens") and crosses:
        trend = "crosses"
    elif trend in ("closes", "widens") and _side(line.last) * (1 if slope.p_above() < 0.5 else -1) < 0:
        trend, note = "open", "the last doubling goes the other way"
    return replace(line, p_holm=p_holm, p_steady=p_steady, trend=trend, crosses=crosses, note=note)


def _side(gap: Contrast) -> int:
    return int(gap.p_above() <= ALPHA) - int(gap.p_below() <= ALPHA)


@dataclass(frozen=True)
class Envelope:
    """What may be drawn, grey, beyond the largest budget, and how far the last budget was from such a drawing."""

    budgets: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    missed_last: float | None  # observed minus predicted gap at the largest budget, from the others


def envelope(line: Scaling) -> Envelope | None:
    """Hull of the straight line's interval and, where all gaps lie on one side, of a gap that shrinks by a constant
    factor a doubling (a power law).

    Never for a verdict, and no farther than `FARTHEST`. None with fewer than three budgets.
    """
    if len(line.budgets) < MIN_BUDGETS or any(not gap.error for gap in line.gaps):
        return None
    x, gaps = np.log2(line.budgets), np.array([gap.value for gap in line.gaps])
    errors, half = np.array([gap.error for gap in line.gaps]), special.stdtrit(line.slope.df, (1 + LEVEL) / 2)
    beyond = x[-1] + np.linspace(0, FARTHEST, 9)
    low, high = _band(x, gaps, errors, beyond, half)
    if (gaps > 0).all() or (gaps < 0).all():
        ends = np.sign(gaps[0]) * np.exp(_band(x, np.log(np.abs(gaps)), errors / np.abs(gaps), beyond, half))
        low, high = np.minimum(low, ends.min(axis=0)), np.maximum(high, ends.max(axis=0))
    missed = None
    if len(x) > MIN_BUDGETS:
        missed = float(gaps[-1] - np.polyval(np.polyfit(x[:-1], gaps[:-1], 1), x[-1]))
    return Envelope(tuple((2**beyond).tolist()), tuple(low.tolist()), tuple(high.tolist()), missed)


def _band(x: np.ndarray, y: np.ndarray, errors: np.ndarray, at: np.ndarray, half: float) -> np.ndarray:
    """(2, places): interval of the weighted straight line at other places."""
    design, places = np.vander(x, 2), np.vander(at, 2)
    covariance = np.linalg.inv(design.T @ (design / errors[:, None] ** 2))
    centre = places @ (covariance @ (design.T @ (y / errors**2)))
    width = half * np.sqrt(np.einsum("ij,jk,ik->i", places, covariance, places))
    return np.stack([centre - width, centre + width])


@dataclass(frozen=True)
class TakeOff:
    """Tokens (or steps) until an arm's runs leave the control; `tokens` is None where half or more never do."""

    tokens: float | None  # median over runs
    left: int  # runs that have left
    runs: int
    seen: float  # the budget they were watched for: a censored run leaves later than this


def take_off(curves: Sequence[Sequence[tuple[float, float]]], ceiling: float) -> TakeOff:
    """From each run's curve of (tokens, score, higher is better): where it goes above `ceiling`, the highest score that
    any run of the control ever had, and stays there."""
    seen = min(curve[-1][0] for curve in curves)
    times = []
    for curve in curves:
        below = [place for place, (_, score) in enumerate(curve) if score <= ceiling]
        first = below[-1] + 1 if below else 0
        times.append(curve[first][0] if first < len(curve) else math.inf)
    middle = float(median(times))
    left = sum(time < math.inf for time in times)
    return TakeOff(middle if math.isfinite(middle) else None, left, len(times), seen)
