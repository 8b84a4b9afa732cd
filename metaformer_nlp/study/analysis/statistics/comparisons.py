"""p values corrected for their number: of differences (Holm), and of equivalences (Hochberg)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number, step by step from the smallest (Holm 1979); no assumption is needed."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values))))
    return np.minimum(adjusted, 1.0).tolist()


def hochberg(p: Sequence[float]) -> list[float]:
    """p values corrected for their number, step by step from the largest (Hochberg 1988).

    The largest stays as it is: if every single test passes, all hold together, as an intersection-union test has it
    (Berger, Technometrics 24, 1982). Valid for tests that are independent or go together, as those against one
    reference do.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)[::-1]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum.accumulate(values[order] * (1 + np.arange(len(values))))
    return np.minimum(adjusted, 1.0).tolist()
