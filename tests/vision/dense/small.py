"""Small dense models for tests."""

from typing import Any

import torch
from torch import Tensor

from vision.dense import create_detector, create_segmenter

TRUNK: dict[str, Any] = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "layer_scale_init_value": 0.1}
DETECTOR: dict[str, Any] = {
    "num_labels": 3,
    "pyramid_channels": 16,
    "short_side": 64,
    "box_head_channels": 16,
    "mask_head_channels": [8, 8],
    "proposals": 50,
    "sampled_boxes": 32,
}


def detector(kind: str, trunk: str = "poolformer_s12", seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    trunk_options = None if trunk.startswith("timm/") else TRUNK
    options = {**DETECTOR, **options}
    if "id2label" in options:
        del options["num_labels"]
    return create_detector(trunk, trunk_options=trunk_options, detector=kind, **options)


def segmenter(trunk: str = "poolformer_s12", seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    trunk_options = None if trunk.startswith("timm/") else TRUNK
    classes = {} if "id2label" in options else {"num_labels": 5}
    options = {**classes, "pyramid_channels": 16, "head_channels": 16, **options}
    return create_segmenter(trunk, trunk_options=trunk_options, **options)


def target(boxes: list[list[float]], labels: list[int], size: tuple[int, int]) -> dict[str, Tensor]:
    """Boxes whose masks fill them."""
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[int(y1) : int(y2), int(x1) : int(x2)] = 1
    return {"boxes": torch.tensor(boxes).view(-1, 4).float(), "labels": torch.tensor(labels).long(), "masks": masks}


def batch(count: int = 3, size: tuple[int, int] = (64, 96)) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Images of one size with 1, 2, 3, ... objects."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, *size, generator=generator) for _ in range(count)]
    boxes = [[8.0, 8.0, 40.0, 40.0], [30.0, 10.0, 90.0, 60.0], [2.0, 2.0, 20.0, 30.0]]
    return images, [target(boxes[: index + 1], [2, 0, 1][: index + 1], size) for index in range(count)]
