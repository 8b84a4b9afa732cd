"""Segmenters as programs; classifiers are in tests/tasks/images/test_tools.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.export import images
from tasks.export.options import ImageExportConfig
from tasks.export.program import TOLERANCE
from vision.dense import create_detector, create_segmenter


def test_a_segmenter_is_exported_run_and_compared(tmp_path: Path) -> None:
    model = create_segmenter("poolformer_nano", id2label={0: "cat", 1: "dog"}, pyramid_channels=16, head_channels=16)
    model.save_pretrained(tmp_path / "model")
    files = [str(tmp_path / name) for name in ("a.pt2", "b.onnx")]
    differences = images.run(ImageExportConfig(str(tmp_path / "model"), files, image_size=64))
    assert list(differences) == files
    assert max(differences.values()) <= TOLERANCE
    described = json.loads((tmp_path / "b.json").read_text())
    assert (described["classes"], described["preprocessing"]["image_size"]) == (["cat", "dog"], [64, 64])
    with pytest.raises(ValueError, match="image_size 72: must be a multiple of 32"):
        images.run(ImageExportConfig(str(tmp_path / "model"), files, image_size=72))


def test_a_detector_is_refused_with_the_reason(tmp_path: Path) -> None:
    create_detector("poolformer_nano", num_labels=2, pyramid_channels=16).save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="holds a detector, whose outputs' shapes depend on what is found"):
        images.run(ImageExportConfig(str(tmp_path / "model"), str(tmp_path / "a.onnx")))
