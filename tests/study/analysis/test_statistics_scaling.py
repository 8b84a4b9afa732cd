"""Gaps over budgets, take-off and what may be drawn beyond, on curves whose truth is plain."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from metaformer_nlp.study.analysis.statistics import Scaling, envelope, scaling, take_off, transform
from metaformer_nlp.study.analysis.statistics.scaling import MOST_PRIOR

BUDGETS = (1.0, 2.0, 4.0, 8.0)
OFF = np.array([-0.02, 0.0, 0.02])


def line(baseline: list[float], arm: list[float], noise: float = 1.0, **options: float) -> Scaling:
    """Of accuracies with these logits at the budgets, three runs each."""
    runs = {
        budget: {
            "attention": (1 / (1 + np.exp(-(b + noise * OFF)))).tolist(),
            "arm": (1 / (1 + np.exp(-(a + noise * np.roll(OFF, 1))))).tolist(),
        }
        for budget, b, a in zip(BUDGETS, baseline, arm, strict=True)
    }
    return scaling(runs, "attention", 0.0, **options)["arm"]


def test_slope_mean_last_and_curvature_are_those_of_the_gaps() -> None:
    gaps = [0.1, 0.5, 0.6, 1.4]
    found = line([1.0] * 4, [1 - gap for gap in gaps])
    assert [gap.value for gap in found.gaps] == pytest.approx(gaps)
    assert found.slope.value == pytest.approx(np.polyfit(range(4), gaps, 1)[0])
    assert found.curvature.value == pytest.approx(np.polyfit(range(4), gaps, 2)[0])
    assert found.last.value == pytest.approx(0.8)
    assert found.mean.value == pytest.approx(np.mean(gaps))


@pytest.mark.parametrize(
    ("gaps", "trend", "crosses"),
    [
        ([0.9, 0.7, 0.5, 0.3], "closes", False),
        ([0.3, 0.5, 0.7, 0.9], "widens", False),
        ([-0.3, -0.5, -0.7, -0.9], "widens", False),
        ([0.9, 0.5, 0.1, -0.3], "crosses", True),
        ([0.3, 0.1, -0.1, -0.3], "open", True),
        ([0.5, 0.51, 0.49, 0.5], "steady", False),
    ],
)
def test_trends(gaps: list[float], trend: str, crosses: bool) -> None:
    found = line([1.0] * 4, [1 - gap for gap in gaps], margin=0.05)
    assert (found.trend, found.crosses) == (trend, crosses)


def test_noise_leaves_it_open_and_without_a_margin_nothing_is_steady() -> None:
    assert line([1.0] * 4, [0.1, 0.2, 0.3, 0.4], noise=40.0, margin=0.05).trend == "open"
    assert line([1.0] * 4, [0.5] * 4).p_steady is None


def test_a_bent_gap_shows_in_the_curvature() -> None:
    assert line([1.0] * 4, [0.9, 0.7, 0.5, 0.3]).curvature.p > 0.5
    assert line([1.0] * 4, [0.9, 0.2, 0.2, 0.9]).curvature.p < 0.01


def test_budgets_where_an_arm_is_not_above_the_floor_take_no_part() -> None:
    found = line([1.0] * 4, [-2.0, 0.4, 0.5, 0.6], floor=0.3)
    assert (found.budgets, found.note) == ((2.0, 4.0, 8.0), "1 budget takes no part")
    nothing = line([1.0] * 4, [-2.0] * 4, floor=0.3)
    assert (nothing.budgets, nothing.slope.value, nothing.trend) == ((), None, "open")


def test_noise_that_grows_near_the_ceiling_as_that_of_a_share_is_no_unequal_spread() -> None:
    """Each cell is then drawn towards what all have in common by the same factor, which is that of equal variances."""
    means = {budget: {"attention": 1.0 + 0.8 * place, "arm": 0.9 * place} for place, budget in enumerate(BUDGETS)}

    def run(mean: float, off: float) -> float:
        return float(1 / (1 + np.exp(-(mean + off * (2 + 2 * np.cosh(mean)) ** 0.5))))

    runs = {b: {arm: [run(mean, off) for off in OFF] for arm, mean in by.items()} for b, by in means.items()}
    weights = (np.arange(4) - 1.5) / 5
    own = sum(
        w**2 * 0.02**2 * (2 + 2 * np.cosh(m)) / 3
        for w, by in zip(weights, means.values(), strict=True)
        for m in by.values()
    )
    drawn = (MOST_PRIOR * np.exp(np.euler_gamma) + 2) / (MOST_PRIOR + 2)  # a log variance of 2 df lies low by gamma
    assert scaling(runs, "attention", 0.0)["arm"].slope.error == pytest.approx((own * drawn) ** 0.5)


def test_losses_are_compared_as_logarithms_and_higher_is_better() -> None:
    """Two power laws, exponents 0.5 and 0.3: the gap grows by 0.2 log 2 a doubling."""
    spread = np.array([0.99, 1.0, 1.01])
    runs = {b: {"attention": (5 * b**-0.5 * spread).tolist(), "arm": (5 * b**-0.3 * spread).tolist()} for b in BUDGETS}
    found = scaling(runs, "attention", None, floor=4.0)["arm"]
    assert found.slope.value == pytest.approx(0.2 * math.log(2), rel=1e-3)
    assert found.budgets == (4.0, 8.0), "a floor of losses is a ceiling"
    assert found.trend == "open", "two budgets are no trend"


def test_many_arms_are_corrected_by_holm() -> None:
    rng = np.random.default_rng(0)
    runs = {b: {str(a): (0.5 + 0.05 * rng.random(3)).tolist() for a in range(5)} for b in BUDGETS}
    found = scaling(runs, "0", 0.1)
    smallest = min(item.slope.p for item in found.values())
    assert min(item.p_holm for item in found.values()) == pytest.approx(min(1, 4 * smallest))
    smallest = min(item.slope.p for item in found.values())
    assert min(item.p_holm for item in found.values()) == pytest.approx(min(1, 4 * smallest))


def test_the_transformation_stays_finite_at_chance_and_at_the_top() -> None:
    assert transform(0.55, 0.1) == pytest.approx(0.0)
    assert transform(0.05, 0.1) == transform(0.1, 0.1) == pytest.approx(-transform(1.0, 0.1))
    assert transform(2.0, None) == -math.log(2)


def test_the_envelope_holds_the_line_and_the_power_law_and_ends_after_two_doublings() -> None:
    found = line([1.0] * 4, [1 - gap for gap in (0.8, 0.4, 0.2, 0.1)])
    drawn = envelope(found)
    assert drawn.budgets[-1] == pytest.approx(32.0)
    assert drawn.low[-1] < -0.2 < 0.025 < drawn.high[-1] + 0.01, "the line falls below zero, the power law does not"
    assert drawn.missed_last == pytest.approx(0.1 - np.polyval(np.polyfit(range(3), (0.8, 0.4, 0.2), 1), 3))
    assert envelope(line([1.0] * 4, [-2.0, -2.0, 0.4, 0.5], floor=0.3)) is None


def test_tokens_until_an_arm_leaves_the_control() -> None:
    early, late = [(1, 0.1), (2, 0.3), (3, 0.4)], [(1, 0.3), (2, 0.1), (3, 0.4)]
    never = [(1, 0.1), (2, 0.15), (3, 0.2)]
    found = take_off([early, late, never], 0.2)
    assert (found.tokens, found.left, found.runs, found.seen) == (3, 2, 3, 3), "a look above it does not count"
    assert take_off([never, never, early], 0.2).tokens is None
    assert take_off([[(1, 0.5), (2, 0.6)]], 0.2).tokens == 1


def test_with_many_runs_the_slope_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    runs = {b: {arm: (2 * np.exp(0.1 * rng.normal(size=400))).tolist() for arm in "ab"} for b in BUDGETS}
    found = scaling(runs, "a", None)["b"].slope
    x = np.repeat(np.log2(BUDGETS), 400)
    gaps = np.concatenate([np.log(runs[b]["b"]) - np.log(runs[b]["a"]) for b in BUDGETS])
    known = stats.linregress(x, gaps)
    assert (found.value, found.error) == (pytest.approx(known.slope), pytest.approx(known.stderr, rel=0.05))
