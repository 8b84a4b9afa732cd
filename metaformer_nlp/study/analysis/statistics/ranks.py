"""Whether two domains put the same arms in the same order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from metaformer_nlp.study.analysis.statistics.estimates import LEVEL

MIN_ARMS = 3
METHOD = "Kendall's tau-b; interval from Tukey's simultaneous comparisons in each domain"
METHOD_UNEQUAL = "Kendall's tau-b; interval from Games and Howell's simultaneous comparisons in each domain"


Scores = Mapping[str, Sequence[float]]  # arm -> scores of its runs


def rank_agreement(first: Scores, second: Scores, *, unequal: bool = False) -> dict[str, Any] | None:
    """Kendall's tau-b between the mean scores of the arms that both domains have.

    ``p`` tests whether the orders have nothing to do with one another (exact without ties; Kendall, Biometrika 30,
    1938), the arms being taken as drawn from many.

    The interval is for the agreement between the true means of these very arms. Noise can only blur an order, so that
    the tau of resampled means is drawn to zero: a bootstrap over seeds covered the truth, simulated, in anything from
    0 to 99 % of studies, the less the closer the arms. Instead, Tukey's simultaneous comparisons (Tukey 1953; Kramer,
    Biometrics 12, 1956, for unequal numbers; spread pooled over the arms of a domain) say in each domain which pairs
    of arms have a known order. A pair with a known order in both counts as same or opposite, and the rest might all be
    the one or all the other: that gives the ends. Wrong orders are found in at most 2.5 % of each domain's studies,
    so that the interval covers in at least 95 %: simulated, in 97 to 100 %, and in no less than 91 % where the spread
    of the arms differs up to sevenfold and the arms are all but equal. It is wide, up to [-1, 1], where arms are close.

    `unequal`: each pair of arms is compared with its own two spreads instead (Games and Howell, J. Educ. Stat. 1,
    1976), for arms that vary 30-fold.

    None with fewer than `MIN_ARMS` common arms; ``value`` is None where a domain has one score for all.
    """
    arms = [arm for arm in first if arm in second and len(first[arm]) and len(second[arm])]
    if len(arms) < MIN_ARMS:
        return None
    from scipy import stats  # here, since it takes a second

    means = [[math.fsum(scores[arm]) / len(scores[arm]) for arm in arms] for scores in (first, second)]
    result = stats.kendalltau(*means)
    known = not math.isnan(result.statistic)
    known_orders = _games_howell if unequal else _known_orders
    orders = [known_orders([scores[arm] for arm in arms]) for scores in (first, second)]
    found: dict[str, Any] = {
        "arms": arms,
        "n": len(arms),
        "value": float(result.statistic) if known else None,
        "p": float(result.pvalue) if known else None,
        "low": None,
        "high": None,
        "pairs": None,
        "method": METHOD_UNEQUAL if unequal else METHOD,
        "note": f"{len(arms)} arms, which were chosen and not drawn: other arms might agree otherwise",
    }
    if orders[0] is None or orders[1] is None or not known:
        return found
    both = orders[0] * orders[1]
    pairs = {"same": int((both > 0).sum()), "opposite": int((both < 0).sum()), "unknown": int((both == 0).sum())}
    middle = pairs["same"] - pairs["opposite"]
    low, high = (middle - pairs["unknown"]) / len(both), (middle + pairs["unknown"]) / len(both)
    # Where scores are tied, tau-b divides by the untied pairs only.
    return found | {"pairs": pairs, "low": min(low, found["value"]), "high": max(high, found["value"])}


def _known_orders(scores: Sequence[Sequence[float]]) -> np.ndarray | None:
    """For every pair of arms +1 or -1 if the first is above or below the second, 0 if that is not known."""
    counts = np.array([len(values) for values in scores])
    df = int((counts - 1).sum())
    if df < 1:
        return None
    variance = sum(float(((np.asarray(values) - np.mean(values)) ** 2).sum()) for values in scores) / df
    means = np.array([np.mean(values) for values in scores])
    first, second = np.triu_indices(len(scores), 1)
    differences = means[first] - means[second]
    errors = np.sqrt(variance / 2 * (1 / counts[first] + 1 / counts[second]))
    return np.where(np.abs(differences) > _critical(len(scores), df) * errors, np.sign(differences), 0.0)


def _games_howell(scores: Sequence[Sequence[float]]) -> np.ndarray | None:
    """As `_known_orders`, with Welch's error and degrees of freedom for each pair; equal runs tell no order."""
    if min(len(values) for values in scores) < 2:
        return None
    means = np.array([np.mean(values) for values in scores])
    squared = np.array([np.var(values, ddof=1) / len(values) for values in scores])
    dfs = np.array([len(values) - 1 for values in scores])
    first, second = np.triu_indices(len(scores), 1)
    differences, total = means[first] - means[second], squared[first] + squared[second]
    df = total**2 / np.maximum(squared[first] ** 2 / dfs[first] + squared[second] ** 2 / dfs[second], 1e-300)
    # Degrees of freedom rounded down, so that few quantiles are ever computed: each takes a third of a second.
    rounded = np.maximum(1.0, np.where(df < 10, np.floor(4 * df) / 4, np.floor(df)))
    critical = np.array([_critical(len(scores), each) for each in rounded.tolist()])
    return np.where((total > 0) & (np.abs(differences) > critical * np.sqrt(total / 2)), np.sign(differences), 0.0)


@lru_cache(maxsize=4096)
def _critical(arms: int, df: float) -> float:
    from scipy import stats  # as above

    return float(stats.studentized_range.ppf(LEVEL, arms, df))
