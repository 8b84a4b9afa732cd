"""Comparisons of many arms with one reference, on simulated differences whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from metaformer_nlp.study.analysis.statistics import compare_family, hochberg, holm

SDS = np.array([0.003, 0.004, 0.005, 0.005, 0.006, 0.008, 0.01, 0.03])  # arms differ in how much they vary


def simulate(means: Sequence[float], n: int, studies: int, seed: int, margin: float | None = None) -> list[Any]:
    """The comparisons of `studies` studies of eight arms; the reference's own noise is common to all of them."""
    rng = np.random.default_rng(seed)
    noise = SDS[:, None] * rng.normal(size=(studies, 8, n)) - 0.004 * rng.normal(size=(studies, 1, n))
    values = np.asarray(means)[:, None] + noise
    return [compare_family({str(arm): row.tolist() for arm, row in enumerate(study)}, margin) for study in values]


def rate(studies: list[Any], *labels: str, arms: Sequence[int] = range(8)) -> float:
    """The share of studies that give one of the arms one of the labels."""
    return float(np.mean([any(study[str(arm)]["label"] in labels for arm in arms) for study in studies]))


def test_corrections_of_known_p_values() -> None:
    p = [0.01, 0.04, 0.03, 0.005]  # the worked values of R's p.adjust
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert hochberg(p) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert hochberg([0.049, 0.049, 0.049]) == [0.049] * 3, "all pass, so all hold"
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_comparison_of_three_known_values() -> None:
    (test,) = compare_family({"arm": [0.01, 0.02, 0.03]}, margin=0.05).values()
    assert test["t"] == pytest.approx(0.02 / (0.01 / 3**0.5))
    assert test["p"] == pytest.approx(stats.ttest_rel([1.01, 1.02, 1.03], [1, 1, 1]).pvalue)
    assert test["tost"]["p"] == pytest.approx(stats.t.sf(0.03 / (0.01 / 3**0.5), 2)), "the nearer end of the margin"
    assert test["tost"]["high"] == pytest.approx(0.02 + 2.919985580353726 * 0.01 / 3**0.5)  # t table, one-sided 5 %
    assert (test["p_holm"], test["low_corrected"]) == (test["p"], pytest.approx(test["low"])), "one arm: no correction"


@pytest.mark.parametrize("n", [3, 8])
def test_where_nothing_differs_few_studies_find_a_difference(n: int) -> None:
    studies = simulate([0.0] * 8, n, 800, seed=1)
    assert rate(studies, "different") <= 0.05 + 2 * (0.05 * 0.95 / 800) ** 0.5
    uncorrected = np.mean([any(test["p"] < 0.05 for test in study.values()) for study in studies])
    assert uncorrected > 0.2, "without the correction it would be far more"


def test_a_planted_difference_is_found_beside_others_that_are_none() -> None:
    studies = simulate([-0.05, *[0.0] * 7], 5, 300, seed=2)
    assert rate(studies, "different", arms=[0]) > 0.95
    assert {study["0"]["sign"] for study in studies if study["0"]["label"] == "different"} == {-1}
    assert rate(studies, "different", arms=range(1, 8)) <= 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5


def test_intervals_cover_one_by_one_and_all_at_once() -> None:
    truth = np.linspace(-0.05, 0.05, 8)
    studies = simulate(truth, 3, 800, seed=3)

    def inside(study: Any, ends: str) -> list[bool]:
        return [study[str(arm)][f"low{ends}"] <= truth[arm] <= study[str(arm)][f"high{ends}"] for arm in range(8)]

    assert np.mean([inside(study, "") for study in studies]) == pytest.approx(0.95, abs=0.012)
    assert np.mean([all(inside(study, "_corrected")) for study in studies]) >= 0.95 - 0.016
    for study in studies[:100]:
        for test in study.values():
            assert not test["low_corrected"] > 0 or test["label"] == "different", "the interval and the word agree"


def test_equivalence_is_shown_within_the_margin_and_not_at_it() -> None:
    at_it = simulate([0.02] * 4 + [-0.02] * 4, 5, 800, seed=4, margin=0.02)
    labels = ("equivalent", "different within the margin")
    single = np.mean([[test["tost"]["p"] < 0.05 for test in study.values()] for study in at_it])
    assert single == pytest.approx(0.05, abs=0.01), "one test rejects at its rate"
    assert rate(at_it, *labels) <= 0.05 + 2 * (0.05 * 0.95 / 800) ** 0.5, "and all of them together, too"
    same = simulate([0.0] * 8, 5, 200, seed=5, margin=0.1)
    assert np.mean([[test["label"] == "equivalent" for test in study.values()] for study in same]) > 0.9
    assert rate(simulate([0.0] * 8, 5, 20, seed=6), *labels) == 0.0, "without a margin nothing is shown to be equal"


def test_a_difference_may_be_real_and_too_small_to_matter() -> None:
    values = {
        "small": [0.0101, 0.0099, 0.0100, 0.0102],
        "large": [0.3, 0.31, 0.29, 0.3],
        "vague": [0.1, -0.1, 0.0, 0.05],
    }
    family = compare_family(values, margin=0.02)
    assert [test["label"] for test in family.values()] == ["different within the margin", "different", "cannot tell"]
    assert [test["sign"] for test in family.values()] == [1, 1, 0]
    assert {test["comparisons"] for test in family.values()} == {3}


def test_equal_runs_and_too_few_of_them() -> None:
    family = compare_family(
        {"none": [], "one": [0.5], "same": [0.0, 0.0, 0.0], "shifted": [0.5, 0.5, 0.5]}, margin=0.02
    )
    assert [test["label"] for test in family.values()] == ["cannot tell", "cannot tell", "equivalent", "different"]
    assert family["none"]["comparisons"] == 2, "what cannot be tested is not counted"
    assert (family["same"]["p"], family["shifted"]["p"], family["shifted"]["t"]) == (1.0, 0.0, None)
    for value in (0.5, 0.0):
        two = compare_family({"arm": [value, value]}, margin=0.02)["arm"]
        assert (two["label"], two["p"], two["low"]) == ("cannot tell", None, None), "two equal runs may be chance"
    assert compare_family({}) == {}
