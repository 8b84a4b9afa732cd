"""A small data set in ADE20K's layout, and small runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metaformer_nlp.config.command_line import from_dict
from tasks.segmentation.options import SegmentationConfig

NAMES = ("wall", "door", "sky, heaven", "door, exit", "lamp")
SIZES = {"training": [(48, 40), (40, 48), (64, 40), (40, 40)], "validation": [(40, 64), (48, 40), (70, 40)]}


def ade20k(root: Path, first_is_other: bool = True) -> Path:
    """Both splits without a fault, five classes; sizes are (height, width)."""
    rows = [f"{number}\t0.1\t10\t1\t{name}" for number, name in enumerate(NAMES, 1)]
    root.mkdir(parents=True, exist_ok=True)
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]) + "\n")
    for split, sizes in SIZES.items():
        for folder in ("images", "annotations"):
            (root / folder / split).mkdir(parents=True, exist_ok=True)
        for number, (height, width) in enumerate(sizes, 1):
            rng = np.random.default_rng([len(split), number])
            pixels = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / split / f"ADE_{split}_{number}.jpg")
            write_map(root, split, number, labels(height, width, first_is_other))
    return root


def labels(height: int, width: int, first_is_other: bool = True) -> np.ndarray:
    """Stripes of all classes, ten pixels wide; the first is ignored."""
    stripes = np.arange(width) // 10 % (len(NAMES) + 1)
    values = stripes if first_is_other else np.where(stripes == 0, 255, stripes - 1)
    return np.tile(values.astype(np.uint8), (height, 1))


def write_map(root: Path, split: str, number: int, values: np.ndarray) -> None:
    Image.fromarray(values).save(root / "annotations" / split / f"ADE_{split}_{number}.png")


def config(folder: Path | str, **options: Any) -> SegmentationConfig:
    """A segmenter that takes a moment, on eight embedded scenes."""
    values = {
        "run.folder": str(folder),
        "run.batch_size": 2,
        "run.micro_batch_size": 1,
        "run.eval_batch_size": 1,
        "schedule.steps": 2,
        "optim.lr": 1e-3,
        "model.name": "poolformer_nano",
        "segmenter.pyramid_channels": 16,
        "segmenter.head_channels": 16,
        "data.scenes.train_scenes": 8,
        "data.scenes.eval_scenes": 5,
    }
    return from_dict(SegmentationConfig, {**values, **options})
