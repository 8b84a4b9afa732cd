"""The metrics: known values, scikit-learn's and scipy's on random data, and 0 where a constant has no correlation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from tasks.glue.metrics import METRICS, compute, constant_scores, with_score
from tasks.glue.tasks import GLUE


def test_known_values() -> None:
    predictions, labels = [1, 1, 1, 0, 0, 1], [1, 0, 1, 0, 1, 1]
    # tp 3, fp 1, fn 1, tn 1
    values = compute(("accuracy", "f1", "matthews_correlation"), predictions, labels)
    assert values["accuracy"] == pytest.approx(4 / 6)
    assert values["f1"] == pytest.approx(3 / 4)
    assert values["matthews_correlation"] == pytest.approx((3 * 1 - 1 * 1) / np.sqrt(4 * 4 * 2 * 2))
    assert with_score(values)["score"] == pytest.approx(np.mean([4 / 6, 3 / 4, 2 / 8]))
    assert compute(("spearmanr",), [1, 10, 100], [1, 2, 3])["spearmanr"] == pytest.approx(1)
    assert compute(("pearson",), [1, 2, 3], [3, 2, 1])["pearson"] == pytest.approx(-1)


def test_against_the_libraries_in_any_order_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 3, 500), rng.integers(0, 3, 500)
    scores, guesses = rng.normal(size=500), rng.normal(size=500)
    order = rng.permutation(500)
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, predictions),
        "matthews_correlation": sklearn_metrics.matthews_corrcoef(labels, predictions),
        "f1": sklearn_metrics.f1_score(labels % 2, predictions % 2),
        "pearson": stats.pearsonr(scores, guesses)[0],
        "spearmanr": stats.spearmanr(scores, guesses)[0],
    }
    for name, metric in METRICS.items():
        a, b = (guesses, scores) if name in ("pearson", "spearmanr") else (predictions, labels)
        a, b = (a % 2, b % 2) if name == "f1" else (a, b)
        assert metric(a, b) == pytest.approx(expected[name])
        assert metric(a[order], b[order]) == pytest.approx(expected[name])


@pytest.mark.parametrize("name", ["matthews_correlation", "pearson", "spearmanr", "f1"])
def test_a_constant_prediction_scores_zero_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert METRICS[name]([0] * 4, [0, 1, 0, 1]) == 0
        assert METRICS[name]([0.5] * 4 if name in ("pearson", "spearmanr") else [0] * 4, [0, 0, 0, 0]) == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="2 predictions for 3 labels"):
        compute(("accuracy",), [0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="0 predictions"):
        compute(("accuracy",), [], [])
    with pytest.raises(ValueError, match="NaN"):
        compute(("pearson",), [0.1, np.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match="unknown metrics recall; known are accuracy"):
        compute(("recall",), [0], [0])


def test_the_constant_answer_is_the_most_frequent_one_of_training() -> None:
    mrpc = constant_scores(GLUE["MRPC"].metrics, [1, 1, 0], [1] * 279 + [0] * 129)
    assert mrpc["accuracy"] == pytest.approx(279 / 408)
    assert mrpc["f1"] == pytest.approx(2 * 279 / (2 * 279 + 129))  # 0.81: why a score without this row means little
    assert constant_scores(GLUE["CoLA"].metrics, [1, 1, 0], [1, 0])["score"] == 0
    assert constant_scores(GLUE["STS-B"].metrics, [1.0, 2.0], [0.0, 5.0]) == {"pearson": 0, "spearmanr": 0, "score": 0}
