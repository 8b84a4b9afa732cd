"""The twelve numbers against pycocotools by hand, and what is kept of a batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tasks.detection.data import SceneObjects
from tasks.detection.metric import NAMES, coco_scores, records, results
from tasks.images.readers.scenes import SceneConfig

SOURCE = SceneObjects("validation", SceneConfig(eval_scenes=12))


def noisy(index: int) -> dict[str, torch.Tensor]:
    """The objects of a scene, moved a little, one of them of a wrong class."""
    scene, rng = SOURCE.load(index), np.random.default_rng(index)
    boxes = torch.from_numpy(scene.boxes + rng.normal(0, 1.5, scene.boxes.shape)).float()
    masks = np.roll(scene.masks, rng.integers(0, 3), axis=2)
    labels = torch.from_numpy(np.where(rng.random(len(scene.labels)) < 0.2, 0, scene.labels))
    return {
        "boxes": boxes,
        "scores": torch.from_numpy(rng.random(len(boxes))).float(),
        "labels": labels,
        "masks": torch.from_numpy(masks).bool(),
    }


def batches(*sizes: int) -> list[dict[str, torch.Tensor]]:
    found, first = [], 0
    for size in sizes:
        indices = torch.arange(first, first + size)
        found.append(records(indices, [noisy(int(index)) for index in indices]))
        first += size
    return found


def by_hand(truth: Path, file: Path, kind: str) -> list[float]:
    expected = COCO(str(truth))
    evaluation = COCOeval(expected, expected.loadRes(str(file)), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats.tolist()


@pytest.mark.parametrize(("kind", "prefix"), [("bbox", "box"), ("segm", "mask")])
def test_scores_are_those_of_pycocotools_on_the_written_file(kind: Any, prefix: str, tmp_path: Path) -> None:
    found = results(batches(*[1] * 12), SOURCE.image_ids, SOURCE.category_ids)[kind]
    scores = coco_scores(SOURCE.ground_truth, found, kind, SOURCE.image_ids)
    (tmp_path / "truth.json").write_text(json.dumps({"info": {}, **SOURCE.ground_truth}))
    (tmp_path / "found.json").write_text(json.dumps(found))
    expected = by_hand(tmp_path / "truth.json", tmp_path / "found.json", kind)
    assert list(scores) == [f"{prefix}_{name}" for name in NAMES]
    assert list(scores.values()) == pytest.approx(expected, abs=1e-9)
    assert 0.1 < scores[f"{prefix}_ap"] < 0.9


def test_results_depend_neither_on_batches_nor_on_their_order() -> None:
    one_by_one = results(batches(*[1] * 12), SOURCE.image_ids, SOURCE.category_ids)
    assert results(batches(5, 4, 3), SOURCE.image_ids, SOURCE.category_ids) == one_by_one
    assert results(batches(*[1] * 12)[::-1], SOURCE.image_ids, SOURCE.category_ids) == one_by_one


def test_original_numbers_and_exact_values_are_written() -> None:
    found = results(batches(1, 1), [50, 70], [3, 4, 5, 6, 7, 8, 9, 11, 13, 90])
    first = noisy(0)
    assert {row["image_id"] for row in found["bbox"]} == {50, 70}
    label = int(first["labels"][0])
    assert found["bbox"][0]["category_id"] == [3, 4, 5, 6, 7, 8, 9, 11, 13, 90][label]
    assert found["bbox"][0]["score"] == first["scores"][0].item()
    x1, y1, x2, y2 = first["boxes"][0].double().tolist()
    assert found["bbox"][0]["bbox"] == [x1, y1, x2 - x1, y2 - y1]
    from pycocotools import mask as rle

    assert (rle.decode(found["segm"][0]["segmentation"]) == first["masks"][0].numpy()).all()
    assert "bbox" not in found["segm"][0], "pycocotools would take its area from the box"


def test_nothing_found_scores_zero() -> None:
    empty = {key: torch.zeros(0, *rest) for key, rest in (("boxes", (4,)), ("scores", ()), ("masks", (64, 64)))}
    nothing = records(torch.tensor([0]), [{**empty, "labels": torch.zeros(0, dtype=torch.int64)}])
    found = results([nothing], SOURCE.image_ids, SOURCE.category_ids)
    assert found == {"bbox": [], "segm": []}
    scores = coco_scores(SOURCE.ground_truth, [], "bbox", SOURCE.image_ids)
    assert (scores["box_ap"], scores["box_ar_100"], scores["box_ap_large"]) == (0, 0, -1)


def test_only_the_images_that_were_measured_count() -> None:
    found = results(batches(4), SOURCE.image_ids, SOURCE.category_ids)["bbox"]
    some = coco_scores(SOURCE.ground_truth, found, "bbox", SOURCE.image_ids[:4])
    assert some["box_ap"] > coco_scores(SOURCE.ground_truth, found, "bbox", SOURCE.image_ids)["box_ap"]
