"""The reader of ADE20K's layout: labels are shifted once, and every fault is found at the start."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaformer_nlp.config.command_line import from_dict
from tasks.images import verify
from tasks.images.readers.scenes import SceneConfig, label_map
from tasks.segmentation.ade20k import LabelMaps, read_classes
from tasks.segmentation.data import DataConfig, SceneLabels, load_source, load_sources
from tests.tasks.segmentation.small import NAMES, ade20k, labels, write_map
from vision.images import BadImage


def reader(root: Path, split: str = "training") -> LabelMaps:
    return LabelMaps(root, split, NAMES, first_is_other=True)


def test_labels_are_shifted_once(tmp_path: Path) -> None:
    train, measured = load_sources(DataConfig(name="ade20k", root=str(ade20k(tmp_path))))
    assert (len(train), len(measured)) == (4, 3)
    for source in (train, measured):
        picture, found = source.load(0)
        height, width = found.shape
        assert np.asarray(picture).shape == (height, width, 3)
        assert np.array_equal(found, labels(height, width, first_is_other=False))
    assert train.name(0) == "images/training/ADE_training_1.jpg"


def test_other_data_sets_in_the_same_layout_are_read_as_they_are(tmp_path: Path) -> None:
    root = ade20k(tmp_path, first_is_other=False)
    source = load_source(DataConfig(name="folder", root=str(root), num_classes=5), "train")
    assert list(source.classes) == ["0", "1", "2", "3", "4"]
    assert set(np.unique(source.load(0).labels)) == {0, 1, 2, 255}
    write_map(root, "training", 1, np.full((48, 40), 4, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"_1.png \(value 4; with data.num_classes 4 they are 0 ... 3, 255"):
        load_source(DataConfig(name="folder", root=str(root), num_classes=4), "train")


def test_the_names_are_first_synonyms_that_no_two_share(tmp_path: Path) -> None:
    assert read_classes(ade20k(tmp_path)) == ["wall", "door", "sky", "door, exit", "lamp"]


def test_grey_pictures_and_palettes_are_read(tmp_path: Path) -> None:
    root = ade20k(tmp_path)
    Image.new("L", (40, 48)).save(root / "images/training/ADE_training_1.jpg")
    coloured = Image.fromarray(labels(48, 40)).convert("P")
    coloured.putdata(labels(48, 40).ravel().tolist())
    coloured.putpalette([7] * 768)
    coloured.save(root / "annotations/training/ADE_training_1.png")
    picture, found = reader(root).load(0)
    assert np.asarray(picture).shape == (48, 40, 3)
    assert np.array_equal(found, labels(48, 40, first_is_other=False))


def test_the_identity_changes_with_a_label(tmp_path: Path) -> None:
    root = ade20k(tmp_path)
    before = reader(root).fingerprint()
    assert reader(root).fingerprint() == before
    changed = labels(48, 40)
    changed[0, 0] = 5
    write_map(root, "training", 1, changed)
    assert reader(root).fingerprint() != before


def test_the_identity_changes_with_a_picture_of_the_same_size(tmp_path: Path) -> None:
    picture = ade20k(tmp_path) / "images/training/ADE_training_1.jpg"
    before, data = reader(tmp_path).fingerprint(), bytearray(picture.read_bytes())
    data[-3] ^= 1
    picture.write_bytes(data)
    assert reader(tmp_path).fingerprint() != before


def test_what_is_left_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = ade20k(tmp_path) / "images/training"
    reader(tmp_path)
    assert capsys.readouterr().err == ""
    for folder, suffix in ((images, "webp"), (tmp_path / "annotations/training", "tif")):
        (folder / f"more.{suffix}").write_bytes(b"")
    (images / ".hidden.jpg").write_bytes(b"")
    assert len(reader(tmp_path)) == 4
    said = capsys.readouterr().err
    assert f"{images}: left out 2 files and folders" in said
    assert "training: left out 1 files and folders that are hidden or not .png (the first: more.tif)\n" in said


def full_release(root: Path) -> None:
    (root / "images/training/ADE_train_00000001_seg.png").write_bytes(b"")


def missing_map(root: Path) -> None:
    (root / "annotations/training/ADE_training_2.png").unlink()


def missing_picture(root: Path) -> None:
    (root / "images/training/ADE_training_3.jpg").unlink()


def two_pictures(root: Path) -> None:
    Image.new("RGB", (40, 48)).save(root / "images/training/ADE_training_1.png")


def value_255(root: Path) -> None:
    write_map(root, "training", 2, np.full((40, 48), 255, dtype=np.uint8))


def value_too_large(root: Path) -> None:
    write_map(root, "training", 2, np.full((40, 48), 6, dtype=np.uint8))


def colours(root: Path) -> None:
    write_map(root, "training", 4, np.zeros((40, 40, 3), dtype=np.uint8))


def turned(root: Path) -> None:
    write_map(root, "training", 1, labels(40, 48))


def truncated(root: Path) -> None:
    file = root / "annotations/training/ADE_training_1.png"
    file.write_bytes(file.read_bytes()[:60])


def empty(root: Path) -> None:
    for file in [*(root / "images/training").iterdir(), *(root / "annotations/training").iterdir()]:
        file.unlink()


def no_folder(root: Path) -> None:
    (root / "images").rename(root / "pictures")


def broken_link(root: Path) -> None:
    file = root / "images/training/ADE_training_1.jpg"
    file.unlink()
    file.symlink_to("nowhere")


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (full_release, r"full ADE20K release.*colours.*ADEChallengeData2016.zip"),
    (missing_map, r"annotations/training: ADE_training_2 are missing here.*fetch or remove them"),
    (missing_picture, r"images/training: ADE_training_3 are missing here"),
    (two_pictures, r"ADE_training_1\.(jpg|png) and ADE_training_1\.(jpg|png) have the same stem"),
    (value_255, r"ADE_training_2.png \(value 255; ADE20K has 0 for other and 1 ... 5 .*data.name folder"),
    (
        value_too_large,
        r"ADE_training_2.png \(value 6; ADE20K has 0 for other and 1 ... 5 for its classes\) cannot be used",
    ),
    (colours, r"ADE_training_4.png \(pixels of mode RGB; a label map is 8-bit grey"),
    (turned, r"ADE_training_1.png \(48 x 40 pixels, ADE_training_1.jpg 40 x 48; pictures are not turned by their EXIF"),
    (truncated, r"ADE_training_1.png \(cannot be read: .*mend or remove them"),
    (broken_link, r"ADE_training_1.jpg: there is no such file"),
    (empty, r"images/training: holds no image"),
    (no_folder, r"images/training: not there. The layout is .*found annotations, objectInfo150.txt, pictures"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_faults_are_found_at_the_start(fault: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    root = ade20k(tmp_path)
    reader(root)  # what was found good before does not hide a change
    fault(root)
    with pytest.raises(ValueError, match=message):
        reader(root)


def test_the_folder_above_is_named(tmp_path: Path) -> None:
    ade20k(tmp_path / "ADEChallengeData2016")
    with pytest.raises(ValueError, match=r"one folder below; give --data.root .*ADEChallengeData2016"):
        read_classes(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/index_ade20k.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"full ADE20K release"):
        read_classes(tmp_path / "full")


def test_wrong_class_files_are_refused(tmp_path: Path) -> None:
    file = ade20k(tmp_path) / "objectInfo150.txt"
    file.write_text(file.read_text().replace("2\t", "7\t", 1))
    with pytest.raises(ValueError, match=r"objectInfo150.txt: must have a head line and rows of Idx"):
        read_classes(tmp_path)
    file.write_bytes("Idx\tRatio\tTrain\tVal\tName\n1\t0\t1\t1\tcaf\xe9\n".encode("latin1"))
    with pytest.raises(ValueError, match=r"objectInfo150.txt:2: not UTF-8"):
        read_classes(tmp_path)
    file.write_text("Idx\tRatio\tTrain\tVal\tName\n1\t0\t1\t1\ta\u2028b\n", encoding="utf-8")
    assert read_classes(tmp_path) == ["a\u2028b"]
    file.unlink()
    with pytest.raises(ValueError, match=r"objectInfo150.txt: not there"):
        read_classes(tmp_path)


def test_broken_pictures_are_named_when_they_are_read(tmp_path: Path) -> None:
    root = ade20k(tmp_path)
    (root / "images/training/ADE_training_1.jpg").write_bytes(b"no picture")
    with pytest.raises(BadImage, match=re.escape("ADE_training_1.jpg: not an image")):
        reader(root).load(0)


def test_scenes_have_the_background_as_a_class() -> None:
    source = SceneLabels("validation", SceneConfig())
    scene, (picture, found) = source.scenes.load(3), source.load(3)
    assert np.array_equal(picture, scene.picture)
    assert set(np.unique(found)) == {*scene.labels, 10}
    assert np.array_equal(found, label_map(scene, 10))
    assert source.classes[10] == "background"


def test_subsets_are_fixed(tmp_path: Path) -> None:
    config = DataConfig(name="ade20k", root=str(ade20k(tmp_path)), max_train_samples=2)
    one, again = load_source(config, "train"), load_source(config, "train")
    assert [one.name(index) for index in range(2)] == [again.name(index) for index in range(2)]
    assert one.fingerprint() == again.fingerprint() != load_source(config, "validation").fingerprint()
    with pytest.raises(ValueError, match=r"data.max_train_samples 9: must lie in 1..4"):
        load_source(DataConfig(name="ade20k", root=str(tmp_path), max_train_samples=9), "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "ade20k"}, "data.root None"),
        ({"root": "somewhere"}, "data.root somewhere"),
        ({"name": "folder", "root": "somewhere"}, "data.num_classes None: from 2 to 255"),
        ({"crop_size": 8}, "data.crop_size 8: must be at least 32"),
        ({"augment.scale": [2, 1]}, r"data.augment.scale"),
        ({"augment.flip": 2}, "data.augment.flip 2"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_dict(DataConfig, options)


def test_verify_data_scans_the_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ade20k(tmp_path / "ade")
    picture = root / "images/validation/ADE_validation_2.jpg"
    picture.write_bytes(picture.read_bytes()[:500])
    data = {"data.name": "ade20k", "data.root": str(root), "report": str(tmp_path / "report.json"), "processes": 1}
    report = verify.run(from_dict(verify.CheckConfig, data))
    assert [report["parts"][part]["images"] for part in ("train", "validation")] == [4, 3]
    assert [(row["part"], Path(row["name"]).name) for row in report["broken"]] == [("validation", picture.name)]
    missing_map(root)
    with pytest.raises(ValueError, match="ADE_training_2 are missing"):
        verify.run(from_dict(verify.CheckConfig, data))
