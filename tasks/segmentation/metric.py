"""Scores of label maps from one confusion matrix over all pixels of the set: exact for any number of processes.

K classes; 255 is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tasks.segmentation.ade20k import IGNORE

NAMES = ("mean_iou", "pixel_accuracy", "mean_accuracy")


def records(labels: Tensor, predicted: Tensor, num_classes: int) -> dict[str, Tensor]:
    """The cells of the confusion matrix that are not 0: ``cells`` (n,), label x K + prediction, and ``counts`` (n,).

    Args:
        labels: integers of any shape, 0 ... K - 1 or 255.
        predicted: integers of the same shape, 0 ... K - 1.
        num_classes: K.
    """
    known = labels != IGNORE
    matrix = torch.bincount(labels[known].long() * num_classes + predicted[known].long(), minlength=num_classes**2)
    cells = matrix.nonzero()[:, 0]
    return {"cells": cells, "counts": matrix[cells]}


def confusion(results: Sequence[Mapping[str, Tensor]], num_classes: int) -> Tensor:
    """(K, K) int64: pixels by label (row) and prediction (column)."""
    matrix = torch.zeros(num_classes**2, dtype=torch.int64)
    for result in results:
        matrix[result["cells"]] += result["counts"]
    return matrix.view(num_classes, num_classes)


def class_ious(matrix: Tensor) -> Tensor:
    """(K,) float64: intersection over union of each class, NaN for one that is neither labelled nor predicted."""
    right = matrix.diagonal().double()
    return right / (matrix.sum(0) + matrix.sum(1) - matrix.diagonal())


def scores(matrix: Tensor) -> dict[str, float]:
    """``mean_iou``, ``pixel_accuracy`` and ``mean_accuracy``, shares of one.

    The means are over classes: of the IoU those that are labelled or predicted somewhere, of the accuracy those that
    are labelled.
    """
    right = matrix.diagonal().double()
    values = (class_ious(matrix).nanmean(), right.sum() / matrix.sum(), (right / matrix.sum(1)).nanmean())
    return {name: float(value) for name, value in zip(NAMES, values, strict=True)}
