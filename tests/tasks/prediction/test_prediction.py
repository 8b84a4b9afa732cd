"""Every kind of saved vision model predicts on picture files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metaformer_nlp.config.command_line import from_dict
from tasks.detection.metric import rle
from tasks.prediction.options import PredictionConfig
from tasks.prediction.prediction import run
from vision import create_model
from vision.dense import create_detector, create_segmenter
from vision.dense.processing import segmentation_processor

ROOT = Path(__file__).parents[3]
NAMES = {0: "cat", 1: "dog", 2: "cow"}
HEIGHT, WIDTH = 48, 70


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = tmp_path / "pictures/one.jpg"
    path.parent.mkdir()
    Image.fromarray(pixels).save(path)
    return path


def predicted(picture: Path, model: Path, **options: Any) -> dict[str, Any]:
    output = picture.parents[1] / "out"
    run(from_dict(PredictionConfig, {"pictures": str(picture), "model": str(model), "output": str(output), **options}))
    with Image.open(output / "one.png") as drawn:
        assert min(drawn.size) >= 256, "small pictures are enlarged"
    found: dict[str, Any] = json.loads((output / "one.json").read_text())
    assert (found["picture"], found["model"]) == (str(picture), str(model))
    return found


def test_a_classifier(picture: Path, tmp_path: Path) -> None:
    create_model("poolformer_nano", image_size=32, id2label=NAMES, num_labels=3).save_pretrained(tmp_path / "model")
    classes = predicted(picture, tmp_path / "model", top=2)["classes"]
    assert [NAMES[row["label"]] for row in classes] == [row["name"] for row in classes]
    assert 1 > classes[0]["score"] >= classes[1]["score"] > 0


@pytest.mark.parametrize("kind", ["retinanet", "mask_rcnn"])
def test_a_detector(kind: str, picture: Path, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"short_side": 64, "long_side": 96, "pyramid_channels": 16, "box_head_channels": 16}
    sizes |= {"mask_head_channels": [8], "proposals": 20, "score_threshold": 0.0}
    model = create_detector("poolformer_nano", detector=kind, id2label=NAMES, category_ids=[3, 7, 9], **sizes)
    model.save_pretrained(tmp_path / "model")
    objects = predicted(picture, tmp_path / "model", threshold=0.0)["objects"]
    assert objects
    for row in objects:
        assert (row["name"], row["category_id"]) == (NAMES[row["label"]], [3, 7, 9][row["label"]])
        left, top, right, bottom = row["box"]
        assert 0 <= left <= right <= WIDTH
        assert 0 <= top <= bottom <= HEIGHT
        assert ("mask" in row) == (kind == "mask_rcnn")
        assert kind != "mask_rcnn" or rle.decode(row["mask"]).shape == (HEIGHT, WIDTH)
    assert predicted(picture, tmp_path / "model", threshold=1.0)["objects"] == []


def test_a_segmenter(picture: Path, tmp_path: Path) -> None:
    model = create_segmenter("poolformer_nano", id2label=NAMES, pyramid_channels=16, head_channels=16)
    model.save_pretrained(tmp_path / "model")
    segmentation_processor(model.config, 64).save_pretrained(tmp_path / "model")
    classes = predicted(picture, tmp_path / "model")["classes"]
    labels = np.asarray(Image.open(tmp_path / "out/one.labels.png"))
    assert labels.shape == (HEIGHT, WIDTH)
    shares = {row["label"]: row["share"] for row in classes}
    assert shares == {label: pytest.approx((labels == label).mean(), abs=1e-6) for label in np.unique(labels).tolist()}


def test_pictures_that_cannot_be_told_apart_or_read_are_refused(picture: Path, tmp_path: Path) -> None:
    create_model("poolformer_nano", image_size=32, num_labels=3).save_pretrained(tmp_path / "model")
    (tmp_path / "one.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"one.png: not an image"):
        predicted(tmp_path / "one.png", tmp_path / "model", output=str(tmp_path / "out"))
    with pytest.raises(ValueError, match="several are called one"):
        predicted(picture, tmp_path / "model", pictures=f"{picture},{tmp_path / 'one.png'}")


def test_pictures_stand_before_the_options(picture: Path, tmp_path: Path) -> None:
    create_model("poolformer_nano", image_size=32, num_labels=3).save_pretrained(tmp_path / "model")
    command = [
        sys.executable,
        "scripts/predict.py",
        picture,
        "--model",
        tmp_path / "model",
        "--output",
        tmp_path / "out",
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"one.png", "one.json"}


def test_a_picture_is_never_written_over(picture: Path, tmp_path: Path) -> None:
    create_model("poolformer_nano", image_size=32, num_labels=3).save_pretrained(tmp_path / "model")
    own = picture.with_suffix(".png")
    Image.open(picture).save(own)
    picture.unlink()
    before = own.read_bytes()
    with pytest.raises(ValueError, match=r"one\.png is one of the pictures"):
        predicted(own, tmp_path / "model", output=str(own.parent))
    assert own.read_bytes() == before


def test_a_comma_may_be_part_of_a_name(picture: Path, tmp_path: Path) -> None:
    create_model("poolformer_nano", image_size=32, num_labels=3).save_pretrained(tmp_path / "model")
    named = picture.rename(picture.with_name("one, two.jpg"))
    command = [sys.executable, "scripts/predict.py", named, "--model", tmp_path / "model", "--output", tmp_path / "out"]
    subprocess.run(command, cwd=ROOT, check=True)
    assert (tmp_path / "out/one, two.png").exists()
