"""The metrics of GLUE, over scikit-learn and scipy: exact for any order of the samples, offline, never NaN.

A constant prediction has no correlation with anything. Where the textbook formula then divides 0 by 0, the value here
is 0, as GLUE's leaderboard and scikit-learn's Matthews coefficient have it; a model that collapsed scores 0, not NaN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef

__all__ = [
    "METRICS",
    "accuracy",
    "compute",
    "constant_scores",
    "f1",
    "matthews_correlation",
    "pearson",
    "spearmanr",
    "with_score",
]

Values = NDArray[Any] | Sequence[float]


def accuracy(predictions: Values, labels: Values) -> float:
    """Share of equal entries."""
    return float(np.mean(np.asarray(predictions) == np.asarray(labels)))


def f1(predictions: Values, labels: Values) -> float:
    """F1 of class 1 against class 0; 0 where class 1 is neither predicted nor there."""
    return float(f1_score(np.asarray(labels), np.asarray(predictions), zero_division=0))


def matthews_correlation(predictions: Values, labels: Values) -> float:
    """Matthews correlation coefficient of class numbers; 0 for a constant prediction."""
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if _constant(predictions) or _constant(labels):
        return 0.0
    return float(matthews_corrcoef(labels, predictions))


def pearson(predictions: Values, labels: Values) -> float:
    """Pearson correlation; 0 for a constant prediction."""
    predictions, labels = np.asarray(predictions, float), np.asarray(labels, float)
    return 0.0 if _constant(predictions) or _constant(labels) else float(stats.pearsonr(predictions, labels).statistic)


def spearmanr(predictions: Values, labels: Values) -> float:
    """Spearman rank correlation; 0 for a constant prediction."""
    predictions, labels = np.asarray(predictions, float), np.asarray(labels, float)
    return 0.0 if _constant(predictions) or _constant(labels) else float(stats.spearmanr(predictions, labels).statistic)


def _constant(values: NDArray[Any]) -> bool:
    return len(values) < 2 or bool(np.all(values == values[0]))


METRICS: dict[str, Callable[[Values, Values], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews_correlation": matthews_correlation,
    "pearson": pearson,
    "spearmanr": spearmanr,
}


def compute(names: Sequence[str], predictions: Values, labels: Values) -> dict[str, float]:
    """The named metrics.

    Raises:
        ValueError: for unknown names, no samples, unequal numbers of predictions and labels, or values that are NaN.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metrics {', '.join(unknown)}; known are {', '.join(METRICS)}")
    if len(predictions) != len(labels) or len(labels) == 0:
        raise ValueError(f"{len(predictions)} predictions for {len(labels)} labels; there must be as many, and some")
    if not np.all(np.isfinite(np.asarray(predictions, float))):
        raise ValueError(
            "predictions hold NaN or infinity: the model's outputs are broken, no metric of them means anything"
        )
    return {name: METRICS[name](predictions, labels) for name in names}


def with_score(values: Mapping[str, float]) -> dict[str, float]:
    """A task's metrics, and ``score``, their mean: what the task counts for in GLUE's average."""
    return {**values, "score": float(np.mean(list(values.values())))}


def constant_scores(names: Sequence[str], train_labels: Values, labels: Values) -> dict[str, float]:
    """Metrics and ``score`` of the answer that is most frequent in training (the mean, where labels are numbers).

    The row that every result has to be read against: on MRPC it has an F1 of 0.81.
    """
    if "pearson" in names or "spearmanr" in names:
        answer = float(np.mean(np.asarray(train_labels, float)))
    else:
        counts = Counter(np.asarray(train_labels).tolist())
        answer = min(counts, key=lambda label: (-counts[label], label))
    return with_score(compute(names, np.full(len(labels), answer), labels))
