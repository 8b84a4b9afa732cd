"""Parameters of every model of the papers' dense tables, without memory; the published numbers stand in millions."""

import pytest
import torch
from torch import nn

from vision.dense import create_detector, create_segmenter

RETINANET, MASK_RCNN, SEGMENTER = "retinanet", "mask_rcnn", "semantic_fpn"
COUNTS = {
    # trunk: RetinaNet, Mask R-CNN, Semantic FPN; of ResNets all and, for detectors, those that are trained
    "poolformer_s12": ("21.653", "31.575", "15.670"),
    "poolformer_s24": ("31.127", "41.049", "25.144"),
    "poolformer_s36": ("40.601", "50.523", "34.617"),
    "poolformer_m36": (None, None, "59.778"),
    "poolformer_m48": (None, None, "77.079"),
    "pvt_v1_tiny": ("22.965", "32.887", "16.982"),
    "pvt_v1_small": ("34.222", "44.144", "28.239"),
    "pvt_v1_medium": ("53.944", "63.866", "47.961"),
    "pvt_v1_large": ("71.105", "81.027", "65.122"),
    "timm/resnet18": ("21.410", None, "15.43"),
    "timm/resnet50": ("37.969", None, "28.50"),
    "timm/resnet101": ("56.961", None, "47.49"),
    "timm/resnet50c": (None, None, "28.51"),  # the deep stem of the published Semantic FPN
    "timm/resnet101c": (None, None, "47.51"),
    "timm/resnext101_32x4d": ("56.59", None, "47.12"),
    "timm/resnext101_64x4d": ("95.87", None, "86.39"),
}
TRAINED = {
    "timm/resnet18": ("21.25", "31.17"),
    "timm/resnet50": ("37.74", "44.18"),
    "timm/resnet101": ("56.74", "63.17"),
    "timm/resnext101_32x4d": ("56.4", "62.8"),
    "timm/resnext101_64x4d": ("95.5", "101.9"),
}


def build(trunk: str, kind: str) -> nn.Module:
    with torch.device("meta"):
        if kind == SEGMENTER:
            return create_segmenter(trunk, num_labels=150, head_norm="batch_norm")
        return create_detector(trunk, detector=kind, num_labels=80)


def millions(model: nn.Module, like: str, trained: bool = False) -> str:
    """Parameters in millions, with as many digits as `like`."""
    count = sum(x.numel() for x in model.parameters() if x.requires_grad or not trained)
    return f"{count / 1e6:.{len(like.partition('.')[2])}f}"


@pytest.mark.parametrize("trunk", COUNTS)
def test_all_parameters(trunk: str) -> None:
    kinds = (RETINANET, MASK_RCNN, SEGMENTER)
    expected = {kind: count for kind, count in zip(kinds, COUNTS[trunk], strict=True) if count}
    assert {kind: millions(build(trunk, kind), count) for kind, count in expected.items()} == expected


@pytest.mark.parametrize("trunk", TRAINED)
def test_trained_parameters(trunk: str) -> None:
    expected = dict(zip((RETINANET, MASK_RCNN), TRAINED[trunk], strict=True))
    assert {kind: millions(build(trunk, kind), count, trained=True) for kind, count in expected.items()} == expected


def test_tensors() -> None:
    trunk = build("poolformer_s12", RETINANET).pyramid.body
    assert len(trunk.state_dict()) == 134  # no norm on the finest map, which RetinaNet does not use
    assert len(build("poolformer_s12", MASK_RCNN).pyramid.body.state_dict()) == 136
