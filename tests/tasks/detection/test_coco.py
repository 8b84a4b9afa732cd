"""COCO's layout: what is read, and every fault that is found before the first step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.detection.coco import CocoImages, decode_mask
from tests.tasks.detection.small import CROWD, HEIGHT, SQUARE, WIDTH, coco, content, write

Change = Callable[[dict[str, Any]], Any]


def opened(root: Path, **options: Any) -> CocoImages:
    return CocoImages(root, "train2017", **{"training": True, "masks": True, **options})


def changed(root: Path, change: Change, **options: Any) -> CocoImages:
    value = content()
    change(value)
    write(root, "train2017", value)
    return opened(root, **options)


def test_classes_follow_the_ids_and_images_too(tmp_path: Path) -> None:
    source = opened(coco(tmp_path))
    assert (source.classes, source.category_ids) == (("dog", "cat"), [3, 7])
    assert source.image_ids == [10, 30], "20 has no box"
    assert [source.name(index) for index in range(2)] == ["train2017/10.jpg", "train2017/30.jpg"]
    scene = source.load(1)
    assert scene.boxes.tolist() == [[5, 4, 15, 12], [20, 0, 30, 30]], "without the crowd"
    assert scene.labels.tolist() == [1, 0]
    square, strip = np.zeros((2, HEIGHT, WIDTH), dtype=np.uint8)
    square[4:12, 5:15] = strip[:, 20:30] = 1
    assert (scene.masks[0] == square).all()
    assert (scene.masks[1] == strip).all()
    assert np.asarray(scene.picture).shape == (HEIGHT, WIDTH, 3)
    assert opened(tmp_path, empty_images=True).image_ids == [10, 20, 30]
    assert opened(tmp_path, masks=False).load(0).masks.shape == (0, HEIGHT, WIDTH)


def test_evaluation_takes_every_image_and_crowds_as_they_are(tmp_path: Path) -> None:
    source = opened(coco(tmp_path), training=False)
    assert source.image_ids == [10, 20, 30]
    assert source.ground_truth["annotations"] == content()["annotations"]


def test_masks_of_every_kind() -> None:
    from pycocotools import mask as rle

    coded = rle.frPyObjects(CROWD, HEIGHT, WIDTH)
    texts = {"size": coded["size"], "counts": coded["counts"].decode()}
    assert (decode_mask(CROWD, HEIGHT, WIDTH) == decode_mask(texts, HEIGHT, WIDTH)).all()
    two = decode_mask([*SQUARE, [20.0, 20.0, 30.0, 20.0, 30.0, 25.0, 20.0, 25.0]], HEIGHT, WIDTH)
    assert two.sum() == 80 + 50


def entry(number: int, **values: Any) -> Change:
    return lambda value: value["annotations"][number].update(values)


STOPPED: dict[str, tuple[Change, str]] = {
    "corners given as a size": (entry(0, bbox=[25, 10, 35, 20]), r"1 \(bbox \[25, 10, 35, 20\]\) .*x2 - x1"),
    "negative": (entry(0, bbox=[15, 4, -10, 8]), r"annotations 1 \(bbox .* negative width"),
    "not four numbers": (entry(0, bbox=[15, 4, 8]), r"annotations 1 .* four finite numbers"),
    "background": (entry(0, category_id=0, bbox=[0, 0, 0, 0]), "annotations 1 .*without objects has no annotation"),
    "twice": (entry(0, id=2), "annotations 2 have an id that another has"),
    "unknown image": (entry(0, image_id=99), r"annotations 1 \(99\) have a image_id that is not in images"),
    "unknown category": (entry(0, category_id=4), r"annotations 1 \(4\) have a category_id that is not in categories"),
    "four coordinates": (entry(0, segmentation=[[5, 4, 15, 12]]), "annotations 1 .*fewer than three points"),
    "odd coordinates": (entry(0, segmentation=[[*SQUARE[0], 5]]), "annotations 1 .*odd number"),
    "no mask": (entry(0, segmentation=[]), "annotations 1 have no segmentation.*retinanet"),
    "mask of another size": (entry(3, segmentation={**CROWD, "size": [WIDTH, HEIGHT]}), "annotations 6 .*another size"),
    "run lengths": (entry(3, segmentation={**CROWD, "counts": [3]}), "annotations 6 .*do not add up"),
    "another size": (lambda value: value["images"][0].update(width=HEIGHT, height=WIDTH), r"30.jpg \(40 x 30, not 30"),
    "missing picture": (lambda value: value["images"][0].update(file_name="x.jpg"), "images x.jpg are not in"),
    "image twice": (lambda value: value["images"][0].update(id=10), "images 10 have an id"),
    "no area": (lambda value: value["annotations"][0].pop("area"), r"entry 0 of annotations \(id 1\) lacks area"),
    "strip": (lambda value: value["images"][1].update(width=3001), r"images 10.jpg \(3001 x 30\) .*100 times as long"),
    "area NaN": (entry(0, area=float("nan")), r"entry 0 of annotations \(id 1\) has area nan; .*finite"),
    "area a text": (entry(0, area="80"), r"entry 0 of annotations \(id 1\) has area '80'"),
    "id a text": (lambda value: value["images"][0].update(id="a"), r"entry 0 of images \(id a\) has id 'a'"),
    "no object": (lambda value: value["images"].append(3), "entry 3 of images is a int"),
    "beyond all floats": (entry(0, bbox=[1, 1, 10**400, 3]), "annotations 1 .* four finite numbers"),
    "polygon NaN": (entry(0, segmentation=[[1, 1, float("nan"), 4, 9, 9]]), "annotations 1 have polygons .* numbers"),
    "polygon of texts": (entry(0, segmentation=["abcdef"]), "annotations 1 have polygons .* numbers"),
    "polygon far away": (entry(0, segmentation=[[1, 1, 1e9, 4, 9, 9]]), "annotations 1 have polygons .* far beyond"),
    "mask a text": (entry(3, segmentation="abc"), "annotations 6 .*neither polygons nor a run-length mask"),
    "run lengths below 0": (entry(3, segmentation={**CROWD, "counts": [-1, 1201]}), "annotations 6 .*do not add up"),
    "panoptic": (lambda value: value["annotations"][0].update(segments_info=[]), "a panoptic file"),
    "no list": (lambda value: value.pop("categories"), "must hold the lists"),
}


@pytest.mark.parametrize("fault", STOPPED)
def test_a_fault_stops_with_file_entry_and_mend(fault: str, tmp_path: Path) -> None:
    change, text = STOPPED[fault]
    with pytest.raises(ValueError, match=f"instances_train2017.json: .*{text}"):
        changed(tmp_path, change)


def test_five_of_many_are_listed(tmp_path: Path) -> None:
    def change(value: dict[str, Any]) -> None:
        value["annotations"] = [{**value["annotations"][0], "id": n, "category_id": 99} for n in range(1, 9)]

    with pytest.raises(ValueError, match=r"1 \(99\), 2 \(99\), 3 \(99\), 4 \(99\), 5 \(99\) and 3 more"):
        changed(tmp_path, change)


REPAIRED: dict[str, tuple[Change, str, int]] = {
    "no height": (entry(0, bbox=[5, 4, 10, 0]), r"1 boxes of less than a pixel are left out \(annotations 1\)", 1),
    "no area": (entry(0, area=0), r"1 boxes of less than a pixel are left out \(annotations 1\)", 1),
    "outside": (entry(0, bbox=[41, 4, 10, 8]), r"1 boxes outside their images are left out \(annotations 1\)", 1),
    "reaching out": (entry(0, bbox=[35, 4, 10, 8]), r"1 boxes that reach .* are clipped \(annotations 1\)", 2),
}


@pytest.mark.parametrize("fault", REPAIRED)
def test_a_repair_is_counted_and_said(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    change, text, left = REPAIRED[fault]
    source = changed(tmp_path, change)
    assert re.search(text, capsys.readouterr().err)
    scene = source.load(source.image_ids.index(30))
    assert len(scene.boxes) == left
    assert (scene.boxes[:, 2:] > scene.boxes[:, :2]).all()
    assert (scene.boxes <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()
    assert changed(tmp_path, change, training=False).ground_truth["annotations"][0]["id"] == 1, "the scorer gets all"


def test_annotation_0_is_renumbered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = changed(tmp_path, entry(0, id=0))
    assert "annotation 0 is scored under another id" in capsys.readouterr().err
    assert [one["id"] for one in source.ground_truth["annotations"]] == [7, 2, 5, 6]


def test_boxes_alone_need_no_segmentation(tmp_path: Path) -> None:
    assert len(changed(tmp_path, entry(0, segmentation=[]), masks=False)) == 2


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA"])
def test_pictures_are_read_by_content(mode: str, tmp_path: Path) -> None:
    source = opened(coco(tmp_path))
    Image.new(mode, (WIDTH, HEIGHT)).save(tmp_path / "train2017/10.jpg", format="PNG" if mode == "RGBA" else "JPEG")
    assert np.asarray(source.load(0).picture).shape == (HEIGHT, WIDTH, 3)


def test_the_fingerprint_sees_annotations_and_pictures(tmp_path: Path) -> None:
    before = opened(coco(tmp_path)).fingerprint()
    assert changed(tmp_path, lambda value: None).fingerprint() == before
    assert changed(tmp_path, entry(0, bbox=[5, 4, 10, 7])).fingerprint() != before
    (tmp_path / "train2017/10.jpg").write_bytes((tmp_path / "train2017/10.jpg").read_bytes() + b"\0")
    assert opened(tmp_path).fingerprint() != before


def test_the_fingerprint_sees_a_picture_of_the_same_size(tmp_path: Path) -> None:
    picture = coco(tmp_path) / "train2017/10.jpg"
    before, size = opened(tmp_path).fingerprint(), picture.stat().st_size
    data = bytearray(picture.read_bytes())
    data[-3] ^= 1
    picture.write_bytes(data)
    assert picture.stat().st_size == size
    assert opened(tmp_path).fingerprint() != before


def test_what_is_left_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(coco(tmp_path))
    said = capsys.readouterr().err
    assert "instances_train2017.json: 1 boxes of crowds are left out (annotations 5)\n" in said
    assert "1 of 3 images have no box and are left out (the first: 20.jpg)\n" in said


def test_json_without_end_is_named(tmp_path: Path) -> None:
    (coco(tmp_path) / "annotations/instances_train2017.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"instances_train2017.json: no valid json .*fetch it again"):
        opened(tmp_path)


def test_a_key_that_is_there_twice_is_named(tmp_path: Path) -> None:
    file = coco(tmp_path) / "annotations/instances_train2017.json"
    file.write_text(file.read_text().replace('{"images":', '{"annotations": [], "images":', 1))
    with pytest.raises(ValueError, match=r"instances_train2017.json: .*'annotations' is there twice .*keep one"):
        opened(tmp_path)


def test_a_missing_file_says_the_layout(tmp_path: Path) -> None:
    coco(tmp_path)
    with pytest.raises(
        ValueError, match=r"instances_val2014.json: not there.*found instances_train2017.json, instances"
    ):
        CocoImages(tmp_path, "val2014", training=False, masks=False)
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(content())[:-5])
    with pytest.raises(ValueError, match=r"instances_val2017.json: no valid json .*fetch it again"):
        CocoImages(tmp_path, "val2017", training=False, masks=False)
