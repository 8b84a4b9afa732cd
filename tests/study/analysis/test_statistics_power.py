"""What a study can see, when it may stop, other settings, other items, and ranks with unequal spreads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from metaformer_nlp.study.analysis.statistics import (
    Contrast,
    StoppingRule,
    minimal_detectable_difference,
    over_items,
    over_settings,
    rank_agreement,
)
from metaformer_nlp.study.analysis.statistics.power import WIDTH_LEVEL, until_error
from metaformer_nlp.study.analysis.statistics.ranks import _games_howell


@pytest.mark.parametrize(("n", "comparisons"), [(3, 1), (5, 1), (5, 8)])
def test_the_minimal_difference_is_found_in_four_of_five_studies(n: int, comparisons: int) -> None:
    rng = np.random.default_rng(0)
    difference = minimal_detectable_difference(Contrast(0.0, n, n**-0.5, n - 1), comparisons)
    runs = difference + rng.normal(size=(40_000, n))
    found = stats.ttest_1samp(runs, 0, axis=1).pvalue < 0.05 / comparisons
    assert found.mean() == pytest.approx(0.8, abs=0.01)
    assert minimal_detectable_difference(Contrast(0.0, 1)) is None


def test_seeds_are_added_until_the_interval_is_narrow() -> None:
    until = StoppingRule(half_width=1.0, most=8)
    half = stats.t.ppf((1 + WIDTH_LEVEL) / 2, 2)
    assert until.stop(Contrast(5.0, 3, 0.99 / half, 2))
    assert not until.stop(Contrast(5.0, 3, 1.01 / half, 2))
    assert not until.stop(Contrast(5.0, 2, 0.001, 2)), "never before the first look"
    assert until.stop(Contrast(5.0, 8, 100.0, 7))
    assert not until.stop(Contrast(5.0, 3)), "no interval yet"


def test_stopping_on_width_costs_what_it_says() -> None:
    worst = {
        level: max(until_error(StoppingRule(ratio, 8), 1.0, level) for ratio in (0.5, 1.0, 1.5, 2.0, 3.0))
        for level in (0.95, WIDTH_LEVEL)
    }
    assert worst[0.95] > 0.07
    assert worst[WIDTH_LEVEL] < 0.045


def test_settings_that_do_not_differ_have_no_variance_between_them() -> None:
    found = over_settings([1.0, 1.1, 0.9, 1.0], [0.5] * 4)
    assert (found.between, found.value) == (0.0, pytest.approx(1.0))
    low, high = found.interval
    assert found.prediction[0] < low < high < found.prediction[1]
    assert over_settings([1.0, 2.0], [0.1, 0.1]).interval is None
    assert over_settings([], []).value is None


def test_exact_effects_give_the_plain_t_interval() -> None:
    effects = [1.0, 3.0, 2.0, 6.0, 4.0]
    found = over_settings(effects, [0.0] * 5)
    known = stats.ttest_1samp(effects, 0).confidence_interval()
    assert found.interval == pytest.approx((known.low, known.high), rel=1e-4)
    assert found.between == pytest.approx(np.std(effects, ddof=1), rel=1e-4)
    half = stats.t.ppf(0.975, 3) * np.std(effects, ddof=1) * (1 + 1 / 5) ** 0.5
    assert found.prediction == pytest.approx((3.2 - half, 3.2 + half), rel=1e-4)


def test_few_items_widen_the_interval_and_equal_arms_do_not_care() -> None:
    rng = np.random.default_rng(0)
    easy = rng.random((1, 4000))
    one, other = (rng.random((3, 4000)) < 0.3 + 0.5 * easy for _ in range(2))

    def width(items: int) -> float:
        found = over_items({"one": one[:, :items], "other": other[:, :items]}, {"one": 1.0, "other": -1.0})
        return found.high - found.low

    assert width(100) > 2 * width(4000)
    shared = over_items({"one": one, "other": one}, {"one": 1.0, "other": -1.0})
    assert shared.value == 0
    alone = over_items({"one": one}, {"one": 1.0})
    assert alone.low < one.mean() < alone.high
    coins = over_items({"one": rng.random((100, 900)) < 0.5}, {"one": 1.0})
    assert coins.high - coins.low == pytest.approx(2 * 1.96 * (0.25 / 90_000) ** 0.5, rel=0.2), "counted once"
    assert over_items({"one": one[:1]}, {"one": 1.0}).low is None
    with pytest.raises(ValueError, match="different numbers of items"):
        over_items({"one": one, "other": other[:, :7]}, {"one": 1.0, "other": -1.0})


def test_pairs_of_unequal_spread_are_those_of_games_and_howell() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        scores = [(m + s * rng.normal(size=n)).tolist() for m, s, n in ((0, 1, 4), (3, 5, 6), (6, 0.5, 5), (6.5, 2, 9))]
        known = stats.tukey_hsd(*scores, equal_var=False).pvalue
        first, second = np.triu_indices(4, 1)
        certain = np.abs(np.log(known[first, second] / 0.05)) > 0.2  # our degrees of freedom are rounded down
        assert ((_games_howell(scores) != 0) == (known[first, second] < 0.05))[certain].all()


def test_one_noisy_arm_no_longer_hides_the_order_of_the_others() -> None:
    rng = np.random.default_rng(0)
    scores = {str(arm): (5 * arm + (20 if arm == 4 else 0.1) * rng.normal(size=5)).tolist() for arm in range(5)}
    found = rank_agreement(scores, scores)
    assert found.pairs["same"] == 6
    assert "Games and Howell" in found.tau.method
    same = {arm: [float(arm)] * 3 for arm in "123"}
    assert rank_agreement(same, same).pairs["unknown"] == 3, "runs without spread tell no order"
