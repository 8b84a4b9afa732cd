"""Which items a test happens to hold is chance too: the error of a score over seeds and items together."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from metaformer_nlp.study.analysis.statistics.estimates import LEVEL, Estimate, student


def over_items(correct: Mapping[str, np.ndarray], weights: Mapping[str, float], level: float = LEVEL) -> Estimate:
    """A weighted sum of the arms' mean scores whose interval also speaks of other items of the kind.

    `correct`: for each arm its runs x items, the same items in the same order for all arms; `weights`: of the arms
    (+1 and -1 for a difference; those of `share_of_gain` for the test of a share). Runs and items are crossed random
    factors (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4): the variance is that of the arms' run
    means, plus that of the items' means, less what both contain, the chance of a run on an item. This is what
    resampling runs and items together aims at; the resampling itself counts that chance three times (Owen, Ann. Appl.
    Stat. 1, 2007), and covered, simulated, in 99.7 % for 95. Degrees of freedom by Satterthwaite. At least two runs.

    ValueError for arms with different items.
    """
    arms = {arm: np.asarray(correct[arm], dtype=float) for arm in weights}
    sizes = sorted({runs.shape[1] for runs in arms.values()})
    if len(sizes) != 1:
        raise ValueError(f"The arms have different numbers of items ({sizes}); all must be scored on the same items.")
    items, n = sizes[0], min(len(runs) for runs in arms.values())
    value = sum(weight * float(arms[arm].mean()) for arm, weight in weights.items())
    if n < 2:
        return Estimate(value, n, note="a single run: no interval")
    of_items = float(np.var(sum(weight * arms[arm].mean(axis=0) for arm, weight in weights.items()), ddof=1)) / items
    of_seeds, in_both, below = 0.0, 0.0, of_items**2 / (items - 1)
    for arm, weight in weights.items():
        runs = arms[arm]
        means = runs.mean(axis=1, keepdims=True)
        part = weight**2 * float(means.var(ddof=1)) / len(runs)
        rest = runs - means - runs.mean(axis=0) + runs.mean()
        in_both += weight**2 * float((rest**2).sum()) / ((len(runs) - 1) * (items - 1)) / (len(runs) * items)
        of_seeds, below = of_seeds + part, below + part**2 / (len(runs) - 1)
    variance = max(of_seeds + of_items - in_both, of_seeds, of_items)
    half = student(level, variance**2 / below) * math.sqrt(variance) if variance else 0.0
    return Estimate(value, n, low=value - half, high=value + half, method="runs and items crossed")
