"""Class files: the labels are theirs, whatever folders there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tasks.images.data import DataConfig, load_sources
from tasks.images.readers.classes import ClassList, distinct, read_class_file, readable_names


def write(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def images(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name)


def config(root: Path, **options: Any) -> DataConfig:
    return DataConfig(name="folder", root=str(root), **options)


def test_imagenet_has_its_synsets_and_distinct_names() -> None:
    classes = read_class_file("imagenet")
    assert len(classes.ids) == len(set(classes.ids)) == len(set(classes.names)) == 1000
    assert classes.ids[0] == "n01440764"
    assert classes.names[0] == "tench, Tinca tinca"
    assert classes.ids[999] == "n15075141"
    assert classes.names[134] == "crane (n02012849)"
    assert list(classes.ids) == sorted(classes.ids)


def test_missing_folders_do_not_shift_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = write(tmp_path / "classes.txt", "owl", "ape", "dog", "")
    images(tmp_path, "train/dog/1.png", "train/owl/1.png", "val/dog/1.PNG")
    train, val = load_sources(config(tmp_path, class_file=listed), 8)
    assert list(train.classes) == list(val.classes) == ["owl", "ape", "dog"]
    assert train.labels.tolist() == [2, 0]
    assert val.labels.tolist() == [2]
    assert capsys.readouterr().err.count("2 of the 3 classes") == 1
    assert readable_names(train) == ["owl", "ape", "dog"]


def test_other_folders_and_empty_ones_are_errors(tmp_path: Path) -> None:
    listed = write(tmp_path / "classes.txt", "ape", "dog")
    images(tmp_path, "train/dog/1.png", "val/dog/1.png", "val/cat/1.png")
    with pytest.raises(ValueError, match=r"val: class cat is not among the 2 of data\.class_file"):
        load_sources(config(tmp_path, class_file=listed), 8)
    (tmp_path / "val/cat/1.png").unlink()
    (tmp_path / "val/cat").rename(tmp_path / "val/ape")
    with pytest.raises(ValueError, match="val/ape holds no image"):
        load_sources(config(tmp_path, class_file=listed), 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"ape\n\ndog\n", "line 2: empty"),
        (b"ape\ndog\nape\n", "'ape' stands in lines 1, 3"),
        (b"ape\n", "at least two"),
        (b"", "at least two"),
        (b"ape\n\xff\xfe\n", "UTF-8"),
    ],
)
def test_wrong_class_files_are_named(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "classes.txt").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        read_class_file(str(tmp_path / "classes.txt"))


def test_missing_class_file_and_digits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_class_file(str(tmp_path / "nowhere.txt"))
    with pytest.raises(ValueError, match="digits has its own"):
        load_sources(DataConfig(class_file="imagenet"), 8)


def test_names_are_made_distinct() -> None:
    assert distinct(["crane", "ape", "crane"], ["a", "b", "c"]) == ("crane (a)", "ape", "crane (c)")
    assert ClassList(("x", "y"), ("x", "y"), "f").labels == {"x": 0, "y": 1}
