"""One effect in several settings: the mean over settings like these, and what to expect in another one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metaformer_nlp.study.analysis.statistics.estimates import LEVEL, student

MIN_SETTINGS = 3


@dataclass(frozen=True)
class OverSettings:
    """Random effects of settings; intervals are None with fewer than three settings."""

    value: float | None
    settings: int
    between: float | None  # standard deviation of the true effects between settings
    interval: tuple[float, float] | None  # of the mean over settings
    prediction: tuple[float, float] | None  # of the true effect in another setting of the kind


def over_settings(effects: Sequence[float], errors: Sequence[float], level: float = LEVEL) -> OverSettings:
    """Random-effects mean and prediction interval of estimates with standard errors, one a setting.

    Variance between settings by Paule and Mandel (J. Res. Natl. Bur. Stand. 87, 1982), the mean's error by Hartung and
    Knapp (Stat. Med. 20, 2001), and the prediction interval with k - 2 degrees of freedom (Higgins, Thompson and
    Spiegelhalter, J. R. Stat. Soc. A 172, 2009; Partlett and Riley, Stat. Med. 36, 2017). Settings are taken as drawn
    from settings of the kind, with normal effects.
    """
    y, variances = np.asarray(effects, float), np.asarray(errors, float) ** 2
    k = len(y)
    if k < MIN_SETTINGS:
        return OverSettings(float(y.mean()) if k else None, k, None, None, None)
    floor = max(1e-12 * float(np.ptp(y)) ** 2, 1e-300)  # an error of zero would outweigh everything
    variances = np.maximum(variances, floor)
    between = _paule_mandel(y, variances)
    weights = 1 / (variances + between)
    mean = float((weights * y).sum() / weights.sum())
    squared = float((weights * (y - mean) ** 2).sum() / ((k - 1) * weights.sum()))
    half = student(level, k - 1) * math.sqrt(squared)
    beyond = student(level, k - 2) * math.sqrt(between + squared)
    return OverSettings(mean, k, math.sqrt(between), (mean - half, mean + half), (mean - beyond, mean + beyond))


def _paule_mandel(y: np.ndarray, variances: np.ndarray) -> float:
    """The variance between settings at which weighted squares are what they should be on average (bisection)."""

    def excess(between: float) -> float:
        weights = 1 / (variances + between)
        return float((weights * (y - (weights * y).sum() / weights.sum()) ** 2).sum()) - (len(y) - 1)

    low, high = 0.0, float(np.ptp(y)) ** 2
    if excess(low) <= 0:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2
