"""Moderated variances and contrasts: known values, scipy's tests where nothing is borrowed, and what gives no test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from metaformer_nlp.study.analysis.statistics import Contrast, Family, compare_arms, holm, seed_correlation
from metaformer_nlp.study.analysis.statistics.moderated import MOST_PRIOR, Prior, fit_prior

ONE, OTHER = [1.0, 2.0, 4.0, 5.0], [2.5, 2.0, 3.5, 9.0, 4.0]


def family(*arms: list[float]) -> Family:
    return Family({f"arm {number}": dict(enumerate(values)) for number, values in enumerate(arms)})


def alone(*arms: list[float], monkeypatch: pytest.MonkeyPatch) -> Family:
    monkeypatch.setattr(Family, "prior", Prior(0.0, 0.0))
    return family(*arms)


def test_without_a_prior_it_is_the_test_of_welch(monkeypatch: pytest.MonkeyPatch) -> None:
    contrast = alone(ONE, OTHER, monkeypatch=monkeypatch).contrast({"arm 0": 1, "arm 1": -1})
    welch = stats.ttest_ind(ONE, OTHER, equal_var=False)
    assert (contrast.p, contrast.df) == (pytest.approx(welch.pvalue), pytest.approx(welch.df))
    assert contrast.interval() == pytest.approx(tuple(welch.confidence_interval()))
    assert contrast.p_above(-9) == pytest.approx(1 - contrast.p_below(-9))


def test_with_paired_seeds_and_no_prior_it_is_the_paired_t_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Family, "paired", True)
    contrast = alone(ONE, OTHER, ONE, monkeypatch=monkeypatch).contrast({"arm 0": 1, "arm 1": -1})
    assert contrast.p == pytest.approx(stats.ttest_rel(ONE, OTHER[:4]).pvalue)
    assert (contrast.n, contrast.df) == (4, 3)


@pytest.mark.parametrize(("df", "prior"), [(2.0, 3.0), (4.0, 1.0), (30.0, 3.5)])
def test_the_prior_that_variances_were_drawn_from_is_found(df: float, prior: float) -> None:
    rng = np.random.default_rng(0)
    true = 0.5 * prior / rng.chisquare(prior, 40_000)
    found = fit_prior((true * rng.chisquare(df, 40_000) / df).tolist(), [df] * 40_000)
    assert found.df == pytest.approx(prior, rel=0.05)
    median = 0.5 * stats.f.ppf(0.5, df, prior)
    assert found.variance == pytest.approx(max(0.5, median), rel=0.05), "Smyth's scale, or the median arm's"


def test_equal_variances_are_worth_no_more_than_four_degrees_of_freedom() -> None:
    rng = np.random.default_rng(0)
    found = fit_prior((0.5 * rng.chisquare(2, 40_000) / 2).tolist(), [2.0] * 40_000)
    assert (found.df, found.variance) == (MOST_PRIOR, pytest.approx(0.5, rel=0.05))
    assert fit_prior([0.3], [2]).df == 0
    assert fit_prior([0.0, 0.0], [2, 2]).df == 0


def test_a_variance_is_drawn_up_but_never_down() -> None:
    quiet, noisy = [1.0, 1.01, 1.02], [1.0, 5.0, 9.0]
    others = [[1.0, 1.5, 2.0], [1.5, 2.0, 1.0], [2.0, 1.0, 1.5]] * 2  # seeds have nothing in common
    arms = family(quiet, noisy, *others)
    assert not arms.paired
    assert arms.contrast({"arm 0": 1}).error > 5 * np.std(quiet, ddof=1) / 3**0.5
    assert arms.contrast({"arm 1": 1}).error == pytest.approx(np.std(noisy, ddof=1) / 3**0.5)
    assert arms.contrast({"arm 0": 1}).df == pytest.approx(2 + arms.prior.df)
    assert arms.contrast({"arm 1": 1}).df < 2.2, "an arm that varies far more than the others borrows next to nothing"


def test_pairing_is_decided_by_residuals_alone() -> None:
    rng = np.random.default_rng(0)
    shared, noise = rng.normal(size=4), rng.normal(size=(8, 4))

    def correlation(means: np.ndarray, seeds: float) -> tuple[float | None, bool]:
        runs = means[:, None] + seeds * shared + noise
        found = seed_correlation({str(arm): dict(enumerate(values)) for arm, values in enumerate(runs.tolist())})
        return found.value, found.paired

    assert correlation(np.zeros(8), 0.0)[1] is False
    assert correlation(np.zeros(8), 3.0)[1] is True
    assert correlation(np.zeros(8), 3.0)[0] == pytest.approx(correlation(100 * rng.normal(size=8), 3.0)[0])
    assert seed_correlation({"one": {0: 1.0, 1: 2.0}, "other": {0: 1.0, 1: 3.0}}).paired is False, "two arms: unknown"
    assert seed_correlation({"one": {}, "other": {}}).value is None


def test_a_seed_that_one_arm_lacks_leaves_the_others_correlated() -> None:
    rng = np.random.default_rng(0)
    shared = 3 * rng.normal(size=5)
    scores = {str(arm): dict(enumerate((shared + rng.normal(size=5)).tolist())) for arm in range(6)}
    del scores["0"][3]
    assert Family(scores).paired
    assert Family(scores).contrast({"0": 1, "1": -1}).n == 4


def test_what_gives_no_test() -> None:
    same = family([1.0] * 3, [2.0] * 3, [3.0] * 3)
    assert same.contrast({"arm 0": 1, "arm 1": -1}).error is None, "equal runs, below five seeds"
    assert same.contrast({"arm 0": 1, "arm 1": -1}).p == 1
    assert family([1.0] * 5, [2.0] * 5).contrast({"arm 0": 1, "arm 1": -1}).p == 0
    assert family([1.0], [2.0, 3.0]).contrast({"arm 0": 1, "arm 1": -1}) == Contrast(
        -1.5, 1, note="a single run: no interval"
    )
    assert family([1.0, 2.0], []).contrast({"arm 0": 1, "arm 1": -1}).value is None


def test_equal_differences_of_paired_seeds_give_no_test_below_five_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Family, "paired", True)
    three = family([1.0, 5.0, 9.0], [2.0, 6.0, 10.0], [1.0, 4.0, 8.0]).contrast({"arm 0": 1, "arm 1": -1})
    assert (three.value, three.error) == (-1, None)


def test_arms_without_runs_do_not_hide_that_seeds_go_together() -> None:
    runs = {f"arm {place}": {0: place, 1: place + 1.0, 2: place + 1.9} for place in range(4)}
    waiting = {f"waiting {place}": dict[int, float]() for place in range(9)}
    assert seed_correlation({**runs, **waiting}) == seed_correlation(runs)
    assert Family({**runs, **waiting}).paired


def test_comparisons_are_corrected_and_labelled() -> None:
    near = [[60 + 0.3 * a, 60.5, 61 - 0.3 * a] for a in range(4)]
    found = compare_arms(family([60.0, 60.5, 61.0], [70.0, 70.5, 71.0], *near), "arm 0", margin=3.0)
    assert [test.word for test in found.values()] == ["above", *["equal"] * 4]
    assert (found["arm 1"].within_margin, found["arm 2"].within_margin) == (False, True)
    assert [test.p_holm for test in found.values()] == pytest.approx(holm([test.p for test in found.values()]))
    wide, narrow = found["arm 1"].corrected, found["arm 1"].interval
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert found["arm 1"].comparisons == 5
    missing = compare_arms(Family({"a": {0: 1.0, 1: 2.0}, "b": {0: 1.0, 1: 2.5}, "c": {}}), "a")
    begun = compare_arms(Family({"a": {0: 1.0, 1: 2.0}, "b": {0: 1.0, 1: 2.5}, "c": {0: 1.0}}), "a")
    assert begun["b"].comparisons == missing["b"].comparisons == 2, "an arm of one run is one that is to come"
    assert (missing["c"].p, missing["c"].word, missing["b"].comparisons) == (None, "open", 2)
