"""Whether two domains put the same arms in the same order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from metaformer_nlp.study.analysis.statistics.estimates import LEVEL, Estimate

MIN_ARMS = 3
_DEGREES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, 40.0)
METHOD = "Kendall's tau-b; interval from Games and Howell's simultaneous comparisons in each domain"

Scores = Mapping[str, Sequence[float]]  # arm -> scores of its runs


@dataclass(frozen=True)
class RankAgreement:
    """Kendall's tau of two orders, and how many pairs of arms are known to be in the same or the opposite order."""

    tau: Estimate  # `n` counts arms
    p: float | None
    pairs: Mapping[str, int] | None  # same, opposite, unknown


def rank_agreement(first: Scores, second: Scores) -> RankAgreement | None:
    """Kendall's tau-b between the mean scores of the arms that both domains have.

    ``p`` tests whether the orders have nothing to do with one another (exact without ties; Kendall, Biometrika 30,
    1938), the arms being taken as drawn from many.

    The interval is for the agreement between the true means of these very arms. Noise can only blur an order, so that
    the tau of resampled means is drawn to zero: a bootstrap over seeds covered the truth, simulated, in anything from
    0 to 99 % of studies, the less the closer the arms. Instead, Games and Howell's simultaneous comparisons (J. Educ.
    Stat. 1, 1976: each pair of arms with its own two spreads, as some arms vary 30-fold) say in each domain which pairs
    of arms have a known order. A pair with a known order in both counts as same or opposite, and the rest might all be
    the one or all the other: that gives the ends. It is wide, up to [-1, 1], where arms are close.

    None with fewer than `MIN_ARMS` common arms; tau has no value where a domain has one score for all.
    """
    arms = [arm for arm in first if arm in second and len(first[arm]) and len(second[arm])]
    if len(arms) < MIN_ARMS:
        return None
    from scipy import stats  # here, since it takes a second

    means = [[math.fsum(scores[arm]) / len(scores[arm]) for arm in arms] for scores in (first, second)]
    result = stats.kendalltau(*means)
    known = not math.isnan(result.statistic)
    orders = [_games_howell([scores[arm] for arm in arms]) for scores in (first, second)]
    note = f"{len(arms)} arms, which were chosen and not drawn: other arms might agree otherwise"
    tau = Estimate(float(result.statistic) if known else None, len(arms), None, None, None, METHOD, note)
    p = float(result.pvalue) if known else None
    if tau.value is None or orders[0] is None or orders[1] is None:
        return RankAgreement(tau, p, None)
    both = orders[0] * orders[1]
    pairs = {"same": int((both > 0).sum()), "opposite": int((both < 0).sum()), "unknown": int((both == 0).sum())}
    middle = pairs["same"] - pairs["opposite"]
    low, high = (middle - pairs["unknown"]) / len(both), (middle + pairs["unknown"]) / len(both)
    # Where scores are tied, tau-b divides by the untied pairs only.
    return RankAgreement(replace(tau, low=min(low, tau.value), high=max(high, tau.value)), p, pairs)


def _games_howell(scores: Sequence[Sequence[float]]) -> np.ndarray | None:
    """For every pair of arms +1 or -1 if the first is above or below the second, 0 if that is not known.

    With Welch's error and degrees of freedom for each pair; runs that are all equal tell no order.
    """
    if min(len(values) for values in scores) < 2:
        return None
    means = np.array([np.mean(values) for values in scores])
    squared = np.array([np.var(values, ddof=1) / len(values) for values in scores])
    dfs = np.array([len(values) - 1 for values in scores])
    first, second = np.triu_indices(len(scores), 1)
    differences, total = means[first] - means[second], squared[first] + squared[second]
    df = total**2 / np.maximum(squared[first] ** 2 / dfs[first] + squared[second] ** 2 / dfs[second], 1e-300)
    # Degrees of freedom rounded down, so that few quantiles are ever computed: each takes a third of a second.
    rounded = np.array(_DEGREES)[np.searchsorted(_DEGREES, np.maximum(df, 1.0), side="right") - 1]
    critical = np.array([_critical(len(scores), each) for each in rounded.tolist()])
    return np.where((total > 0) & (np.abs(differences) > critical * np.sqrt(total / 2)), np.sign(differences), 0.0)


@lru_cache(maxsize=4096)
def _critical(arms: int, df: float) -> float:
    from scipy import stats  # as above

    return float(stats.studentized_range.ppf(LEVEL, arms, df))
