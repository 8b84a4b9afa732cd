"""The statistics against simulated data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from metaformer_nlp.study.analysis.statistics import (
    MIN_BOOTSTRAP,
    Estimate,
    mean_interval,
    paired_values,
    retention,
    side,
)


def by_seed(values: np.ndarray) -> dict[int, float]:
    return dict(enumerate(values.tolist()))


def covered(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


def test_the_interval_of_three_known_values() -> None:
    estimate = mean_interval([0.8, 0.9, 1.0])
    assert estimate.value == pytest.approx(0.9)
    assert estimate.sd == pytest.approx(0.1)
    assert estimate.high == pytest.approx(0.9 + 4.302652729911275 * 0.1 / 3**0.5)  # the t table's 4.303 for n = 3


@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_t_interval_covers_the_truth_at_its_rate(n: int) -> None:
    draws = np.random.default_rng(1).normal(0.7, 0.05, size=(4000, n))
    assert np.mean([covered(mean_interval(list(row)), 0.7) for row in draws]) == pytest.approx(0.95, abs=0.012)


def test_pairing_by_seed_takes_out_what_seeds_have_in_common() -> None:
    rng = np.random.default_rng(2)
    common = rng.normal(0, 0.2, 5)
    first = by_seed(0.80 + common + rng.normal(0, 0.001, 5))
    second = by_seed(0.75 + common + rng.normal(0, 0.001, 5))
    estimate = mean_interval(list(paired_values(first, second).values()))
    assert estimate.value == pytest.approx(0.05, abs=0.005)
    assert side(estimate) == 1
    assert mean_interval(list(first.values())).sd > 10 * estimate.sd  # type: ignore[operator]


def test_only_seeds_that_both_have_are_compared() -> None:
    differences = paired_values({0: 0.9, 1: 0.8, 5: 0.1}, {0: 0.8, 1: 0.7, 2: 0.0})
    assert differences == {0: pytest.approx(0.1), 1: pytest.approx(0.1)}


@pytest.mark.parametrize(("n", "method"), [(3, "Fieller"), (5, "Fieller"), (MIN_BOOTSTRAP, "bootstrap")])
def test_the_interval_of_retention_covers_the_truth(n: int, method: str) -> None:
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(1500 if method == "Fieller" else 300):
        shared = rng.normal(0, 0.01, n)  # seeds have something in common
        arm, base = 0.7 + shared + rng.normal(0, 0.015, n), 0.9 + shared + rng.normal(0, 0.015, n)
        estimate = retention(by_seed(arm), by_seed(base), chance=0.1)
        assert estimate.method == method
        hits.append(covered(estimate, 0.6 / 0.8))
    # The percentile bootstrap is known to cover a little less than it says; that is why it is not used for few seeds.
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02 if method == "Fieller" else 0.045)


def test_a_bootstrap_of_three_seeds_would_cover_far_too_little() -> None:
    """The reason why few seeds get Fieller's interval: no resample of three reaches beyond its smallest and largest."""
    rng = np.random.default_rng(5)
    arm, base = 0.6 + rng.normal(0, 0.015, (2000, 3)), 0.8 + rng.normal(0, 0.015, (2000, 3))
    draws = np.stack(np.meshgrid(*[range(3)] * 3), axis=-1).reshape(27, 3)  # all resamples there are
    ratios = arm[:, draws].mean(axis=2) / base[:, draws].mean(axis=2)
    low, high = np.quantile(ratios, [0.025, 0.975], axis=1)
    assert np.mean((low <= 0.75) & (high >= 0.75)) == pytest.approx(0.67, abs=0.04)


def test_retention_is_the_same_each_time() -> None:
    rng = np.random.default_rng(4)
    arm, base = by_seed(rng.normal(0.7, 0.02, 20)), by_seed(rng.normal(0.9, 0.02, 20))
    assert retention(arm, base, 0.1) == retention(arm, base, 0.1)


def test_without_spread_or_runs_no_interval_is_made_up() -> None:
    assert mean_interval([]).value is None
    single = mean_interval([0.5])
    assert (single.value, single.low, side(single)) == (0.5, None, 0)
    assert "single run" in single.note
    same = mean_interval([0.5, 0.5, 0.5])
    assert (same.low, same.high) == (0.5, 0.5)
    assert "no width" in same.note
    both = mean_interval([0.5, 0.5])
    assert (both.value, both.low) == (0.5, None), "two equal scores may be chance"
    assert retention({0: 0.5, 1: 0.5}, {0: 0.9, 1: 0.9}, 0.1).low is None
    assert retention({0: 0.5, 1: 0.6}, {0: 0.9, 1: 0.9}, 0.1).low is None, "nor where one arm alone scores the same"
    assert retention({0: 0.5, 1: 0.5}, {0: 0.8, 1: 0.9}, 0.1).low is None


def test_nothing_is_retained_of_a_baseline_at_chance() -> None:
    below = retention({0: 0.5, 1: 0.6}, {0: 0.1, 1: 0.08}, chance=0.1)
    assert below.value is None
    assert "not clearly above chance" in below.note
    unclear = retention({0: 0.5, 1: 0.6, 2: 0.4}, {0: 0.1, 1: 0.6, 2: 0.2}, chance=0.1)
    assert (unclear.value, unclear.low, unclear.high) == (None, None, None)
    assert "not clearly above chance" in unclear.note
    assert retention({0: 0.5}, {1: 0.9}, 0.1).n == 0
    assert retention({0: 0.5}, {0: 0.9}, 0.1).low is None
