"""Detectors and segmenters are shared with a card that says what they are and what they were measured to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from tasks.export.share import write_shared
from vision.dense import create_detector, create_segmenter, load_dense_model
from vision.dense.processing import segmentation_processor

NAMES = {0: "cat", 1: "dog"}


def shared(folder: Path, model: Any, metrics: dict[str, float]) -> tuple[Path, ModelCard]:
    """The folder that is shared of a run's, and its card."""
    model.save_pretrained(folder / "run/model")
    if "segmentation" in model.config.model_type:
        segmentation_processor(model.config, 64).save_pretrained(folder / "run/model")
    values = {
        "result": {"metrics": metrics, "macs": 3_210_000_000, "parameters": {"total": 1234}},
        "config": {"data": {"name": "coco", "root": "/home/somebody/COCO"}, "optim": {"name": "adamw"}},
        "environment": {"starts": []},
    }
    for name, content in values.items():
        (folder / f"run/{name}.json").write_text(json.dumps(content))
    (folder / "shared").mkdir()
    write_shared(folder / "run", folder / "shared", "somebody/model")
    card = ModelCard.load(folder / "shared/README.md")
    assert "somebody/COCO" not in card.content
    assert "| Multiply-accumulates an image | 3.210 G |" in card.content
    assert "Classes: cat, dog." in card.content
    assert "import vision" in card.content
    return folder / "shared", card


@pytest.mark.parametrize("kind", ["retinanet", "mask_rcnn"])
def test_a_detector(kind: str, tmp_path: Path) -> None:
    model = create_detector("poolformer_nano", detector=kind, id2label=NAMES, pyramid_channels=16)
    metrics = {"validation/box_ap": 0.345, "validation/box_ap_large": -1.0}
    folder, card = shared(tmp_path, model, metrics)
    assert "| validation/box_ap | 34.50 % |" in card.content
    assert "box_ap_large" not in card.content, "a mean over nothing"
    assert "| Token mixer | pooling |" in card.content
    assert ("and masks" in card.content) == (kind == "mask_rcnn")
    (result,) = card.data.eval_results or []
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("coco (COCO)", "box_ap", 34.5)
    opened = load_dense_model(folder)
    assert all(torch.equal(x, opened.state_dict()[name]) for name, x in model.state_dict().items())


def test_a_segmenter(tmp_path: Path) -> None:
    model = create_segmenter("timm/resnet18", id2label=NAMES, pyramid_channels=16, head_channels=16)
    folder, card = shared(tmp_path, model, {"validation/mean_iou": 0.5})
    assert card.data.pipeline_tag == "image-segmentation"
    assert "over timm's `resnet18`" in card.content
    AutoModelForSemanticSegmentation.from_pretrained(folder)
    assert AutoImageProcessor.from_pretrained(folder).size["height"] == 64
