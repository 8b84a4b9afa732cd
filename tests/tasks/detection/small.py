"""A small data set in COCO's layout, and small runs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metaformer_nlp.config.command_line import from_dict
from tasks.detection.options import DetectionConfig

WIDTH, HEIGHT = 40, 30
SQUARE = [[5.0, 4.0, 15.0, 4.0, 15.0, 12.0, 5.0, 12.0]]
"""x 5 to 15, y 4 to 12."""
CROWD = {"size": [HEIGHT, WIDTH], "counts": [30 * 20, 30 * 10, 30 * 10]}
"""Columns 20 to 30, as COCO writes crowds: run lengths down the columns."""


def content() -> dict[str, Any]:
    """Three images, the last without boxes; two categories with a gap between their ids, in falling order."""
    entry = {"image_id": 30, "category_id": 7, "iscrowd": 0, "area": 80.0, "bbox": [5.0, 4.0, 10.0, 8.0]}
    return {
        "images": [
            {"id": number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT} for number in (30, 10, 20)
        ],
        "annotations": [
            {**entry, "id": 1, "segmentation": SQUARE},
            {**entry, "id": 2, "category_id": 3, "image_id": 10, "segmentation": SQUARE},
            {**entry, "id": 5, "bbox": [20.0, 0.0, 10.0, 30.0], "iscrowd": 1, "area": 300.0, "segmentation": CROWD},
            {**entry, "id": 6, "bbox": [20.0, 0.0, 10.0, 30.0], "category_id": 3, "area": 300.0, "segmentation": CROWD},
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    }


def write(root: Path, split: str, value: dict[str, Any]) -> dict[str, Any]:
    """Write annotations and grey pictures; returns the annotations."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(value))
    for image in content()["images"]:
        pixels = np.random.default_rng(image["id"]).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / split / image["file_name"])
    return value


def coco(root: Path) -> Path:
    """Both splits, without a fault."""
    for split in ("train2017", "val2017"):
        write(root, split, copy.deepcopy(content()))
    return root


def config(folder: Path | str, kind: str = "retinanet", **options: Any) -> DetectionConfig:
    """A detector that takes a moment, on eight embedded scenes."""
    values = {
        "run.folder": str(folder),
        "run.batch_size": 2,
        "run.micro_batch_size": 1,
        "run.eval_batch_size": 1,
        "schedule.steps": 2,
        "optim.lr": 1e-3,
        "model.name": "poolformer_nano",
        "detector.kind": kind,
        "detector.short_side": 64,
        "detector.long_side": 86,
        "detector.pyramid_channels": 16,
        "detector.extra_levels": 0,
        "detector.score_threshold": 0.0,
        "detector.proposals": 20,
        "detector.sampled_boxes": 16,
        "detector.box_head_channels": 16,
        "detector.mask_head_channels": [8],
        "data.flip": 0.0,
        "data.scenes.train_scenes": 8,
        "data.scenes.eval_scenes": 5,
    }
    return from_dict(DetectionConfig, {**values, **options})
