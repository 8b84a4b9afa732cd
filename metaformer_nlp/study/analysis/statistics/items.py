"""Which items a test happens to hold is chance too: seeds and items resampled together."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from metaformer_nlp.study.analysis.statistics.estimates import LEVEL, Estimate, student

DRAWS = 2_000


def over_items(correct: Mapping[str, np.ndarray], weights: Mapping[str, float], level: float = LEVEL) -> Estimate:
    """A weighted sum of the arms' mean scores whose interval also speaks of other items of the kind.

    `correct`: for each arm its runs x items, the same items in the same order for all arms; `weights`: of the arms
    (+1 and -1 for a difference). Items are resampled for all arms together, seeds for each arm apart (crossed factors:
    Owen, Ann. Appl. Stat. 1, 2007), one seed fewer than there are, so that the variance has no bias (Rao and Wu, J. Am.
    Stat. Assoc. 83, 1988). The resampled standard error takes Student's factor: as many degrees of freedom as
    Satterthwaite gives, the seeds' part having few and the items' part many. At least two seeds.

    ValueError for arms with different items.
    """
    arms = {arm: np.asarray(correct[arm], dtype=np.float32) for arm in weights}
    sizes = {runs.shape[1] for runs in arms.values()}
    if len(sizes) != 1:
        raise ValueError(f"The arms have different numbers of items ({sorted(sizes)}); all must be scored on the same.")
    items, n = sizes.pop(), min(len(runs) for runs in arms.values())
    value = sum(weight * float(arms[arm].mean()) for arm, weight in weights.items())
    if n < 2:
        return Estimate(value, n, note="a single run: no interval")
    rng = np.random.default_rng(0)  # fixed: the same scores give the same interval
    totals = np.zeros(DRAWS)
    counts = np.stack([np.bincount(rng.integers(0, items, items), minlength=items) for _ in range(DRAWS)])
    counts = counts.astype(np.float32)
    seeds_part, below = 0.0, 0.0
    for arm, weight in weights.items():
        runs = arms[arm]
        resampled = counts @ runs.T / items  # draws x runs
        picks = rng.integers(0, len(runs), size=(DRAWS, len(runs) - 1))
        totals += weight * np.take_along_axis(resampled, picks, axis=1).mean(axis=1)
        part = weight**2 * float(runs.mean(axis=1, dtype=float).var(ddof=1)) / len(runs)
        seeds_part, below = seeds_part + part, below + part**2 / (len(runs) - 1)
    variance = float(totals.var(ddof=1))
    df = variance**2 / (below + (variance - min(seeds_part, variance)) ** 2 / items) if variance else n - 1
    half = student(level, df) * math.sqrt(variance)
    return Estimate(value, n, low=value - half, high=value + half, method="bootstrap of seeds and items")
