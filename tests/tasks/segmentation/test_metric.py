"""Scores against a matrix made by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tasks.segmentation.metric import class_ious, confusion, records, scores

LABELS = torch.tensor([[0, 0, 0, 1], [1, 1, 255, 255], [2, 2, 2, 2]], dtype=torch.uint8)
PREDICTED = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 3], [2, 2, 0, 3]])
MATRIX = torch.tensor([[2, 1, 0, 0, 0], [1, 2, 0, 0, 0], [1, 0, 2, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_one_matrix_over_all_images() -> None:
    split = [records(labels, found, 5) for labels, found in zip(LABELS, PREDICTED, strict=True)]
    whole = [records(LABELS, PREDICTED, 5)]
    assert torch.equal(confusion(whole, 5), MATRIX)
    assert torch.equal(confusion(split, 5), MATRIX)
    assert all(len(result["cells"]) <= 3 for result in split), "a class that is not there takes no room"


def test_scores_by_hand() -> None:
    # Class 3 is predicted only: it counts in the IoU. Class 4 is nowhere.
    ious = [2 / 5, 2 / 4, 2 / 4, 0.0]
    assert class_ious(MATRIX)[:4].tolist() == pytest.approx(ious)
    assert math.isnan(class_ious(MATRIX)[4])
    assert scores(MATRIX) == pytest.approx(
        {"mean_iou": sum(ious) / 4, "pixel_accuracy": 6 / 10, "mean_accuracy": (2 / 3 + 2 / 3 + 2 / 4) / 3}
    )
