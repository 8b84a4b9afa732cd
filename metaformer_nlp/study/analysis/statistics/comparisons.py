"""Many arms against one reference: is there a difference, or is it shown that there is none that matters?

Every arm is compared with its own differences from the reference, paired by seed; the spread is not pooled over arms,
since arms that fail to train vary many times more than others (pooled, they would make the others look uncertain, and
the others would make them look certain).

Sources: paired t-test (Student, Biometrika 6, 1908); correction for many differences (Holm, Scand. J. Stat. 6, 1979);
simultaneous intervals (Dunn, J. Am. Stat. Assoc. 56, 1961); two one-sided tests of equivalence (Schuirmann,
J. Pharmacokinet. Biopharm. 15, 1987); correction for many equivalences (Hochberg, Biometrika 75, 1988).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy import special

from metaformer_nlp.study.analysis.statistics.estimates import LEVEL, mean_interval, student

DIFFERENT, EQUIVALENT, WITHIN, UNCLEAR = "different", "equivalent", "different within the margin", "cannot tell"


Comparison = dict[str, Any]


def compare_family(differences: Mapping[str, Sequence[float]], margin: float | None = None) -> dict[str, Comparison]:
    """Each arm's differences (arm minus reference, one a seed) tested, corrected for the number of arms.

    The result for an arm has the fields of an `Estimate` of the mean difference and

    - ``t``, ``df``, ``p``: the paired t-test; None where nothing can be tested;
    - ``p_holm``, and ``comparisons``, the number of tests it is corrected for;
    - ``low_corrected``, ``high_corrected``: intervals that hold all true differences at once in at least 95 % of
      studies (Bonferroni, after Dunn). Where one leaves out zero, ``p_holm`` is below 0.05; Holm's test is a little
      sharper, so that the reverse need not be.
    - ``tost``: with a margin (in units of the score), the equivalence test: ``p``, the larger of the two one-sided p;
      ``low`` and ``high``, the 90 % interval, which lies within the margin exactly if p < 0.05; ``p_corrected`` by
      Hochberg's rule: where all arms pass at 5 %, all are equivalent, where not, fewer are at a stricter level;
    - ``label``: "different" (``p_holm`` < 0.05), "equivalent" (``p_corrected`` < 0.05), "different within the margin"
      (both) or "cannot tell"; and ``sign`` of the difference, 0 unless it is called different.

    Among all the arms that do not differ, some arm is called different in at most 5 % of studies; among all that
    differ by the margin or more, some arm is called equivalent in at most 5 %.
    """
    tests = {arm: _test(list(values), margin) for arm, values in differences.items()}
    tested = [test for test in tests.values() if test["p"] is not None]
    alpha = 1 - LEVEL
    for test, p in zip(tested, holm([test["p"] for test in tested]), strict=True):
        test["p_holm"] = p
        half = student(1 - alpha / len(tested), test["df"]) * test["sd"] / test["n"] ** 0.5
        test["low_corrected"], test["high_corrected"] = test["value"] - half, test["value"] + half
    if margin is not None:
        for test, p in zip(tested, hochberg([test["tost"]["p"] for test in tested]), strict=True):
            test["tost"]["p_corrected"] = p
    for test in tests.values():
        test["comparisons"] = len(tested)
        different = test["p_holm"] is not None and test["p_holm"] < alpha
        equivalent = test["tost"] is not None and test["tost"]["p_corrected"] < alpha
        test["label"] = (WITHIN if equivalent else DIFFERENT) if different else (EQUIVALENT if equivalent else UNCLEAR)
        test["sign"] = int(np.sign(test["value"])) if different else 0
    return tests


def _test(values: list[float], margin: float | None) -> Comparison:
    estimate = mean_interval(values)
    test: Comparison = asdict(estimate)
    test |= dict.fromkeys(("t", "df", "p", "p_holm", "low_corrected", "high_corrected", "tost"))
    if estimate.low is None or estimate.value is None:
        return test
    if estimate.sd == 0:
        test |= {"df": estimate.n - 1, "p": float(estimate.value == 0)}
    else:
        t = estimate.value / (test["sd"] / estimate.n**0.5)
        test |= {"t": t, "df": estimate.n - 1, "p": 2 * float(special.stdtr(estimate.n - 1, -abs(t)))}
    test["tost"] = None if margin is None else _equivalence(test, margin)
    return test


def _equivalence(test: Comparison, margin: float) -> dict[str, float]:
    """Schuirmann's two one-sided tests: that the difference is above -margin, and that it is below margin."""
    error = test["sd"] / test["n"] ** 0.5
    room = margin - abs(test["value"])  # to the nearer end, whose test has the larger p
    p = float(special.stdtr(test["df"], -room / error)) if error else float(room <= 0)
    half = student(2 * LEVEL - 1, test["df"]) * error
    return {"margin": margin, "p": p, "p_corrected": p, "low": test["value"] - half, "high": test["value"] + half}


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
