"""Readers of labelled images: folders, parquet, the hub; what is wrong with the data is named."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.images.data import DataConfig, fingerprint, load_sources
from tasks.images.readers import table as image_table
from vision.images import BadImage, decoded


def jpeg(level: int, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (level, level, level)).save(buffer, "JPEG")
    return buffer.getvalue()


def fill(folder: Path, files: dict[str, int]) -> Path:
    for name, level in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(level))
    return folder


TREE = {f"{part}/{name}/{i}.jpg": 10 * i for part in ("train", "val") for name in ("cat", "dog", "owl") for i in (1, 2)}


def folder_config(root: Path, **options: Any) -> DataConfig:
    return DataConfig(name="folder", root=str(root), **options)


def test_folder_with_two_parts(tmp_path: Path) -> None:
    fill(tmp_path, TREE)
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "cat" / ".hidden.jpg").write_bytes(b"")
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    fill(tmp_path, {"train/dog/deeper/9.JPEG": 90})
    train, val = load_sources(folder_config(tmp_path), 8)
    assert list(train.classes) == list(val.classes) == ["cat", "dog", "owl"]
    assert train.labels.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert [train.name(i) for i in range(3)] == ["train/cat/1.jpg", "train/cat/2.jpg", "train/dog/1.jpg"]
    assert np.asarray(train.load(4))[0, 0, 0] == pytest.approx(90, abs=2)
    assert len(val) == 6


def test_folder_without_parts_is_divided_by_name(tmp_path: Path) -> None:
    fill(tmp_path, {f"{name}/{i}.jpg": i for name in ("cat", "dog") for i in range(20)})
    config = folder_config(tmp_path, validation_fraction=0.25)
    train, val = load_sources(config, 8)
    assert (len(train), len(val)) == (30, 10)
    names = [{source.name(i) for i in range(len(source))} for source in (train, val)]
    assert not names[0] & names[1]
    again = load_sources(config, 8)[1]
    assert fingerprint(again) == fingerprint(val)
    with pytest.raises(ValueError, match="validation_fraction"):
        load_sources(folder_config(tmp_path, validation_fraction=0.0), 8)


def test_the_fingerprint_notices_a_replaced_file(tmp_path: Path) -> None:
    fill(tmp_path, TREE)
    for options in ({}, {"max_train_samples": 6}):
        before = fingerprint(load_sources(folder_config(tmp_path, **options), 8)[0])
        path = tmp_path / "train/cat/1.jpg"
        path.write_bytes(path.read_bytes() + b"more")
        assert fingerprint(load_sources(folder_config(tmp_path, **options), 8)[0]) != before


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    fill(tmp_path, TREE)
    (tmp_path / "train" / "ape").mkdir()
    (tmp_path / "val" / "ape").mkdir()
    with pytest.raises(ValueError, match=r"train/ape holds no image"):
        load_sources(folder_config(tmp_path), 8)


def test_parts_must_have_the_same_classes(tmp_path: Path) -> None:
    fill(tmp_path, {**TREE, "val/ape/1.jpg": 1})
    with pytest.raises(ValueError, match=r"unknown \['ape'\]"):
        load_sources(folder_config(tmp_path), 8)
    with pytest.raises(ValueError, match="at least two"):
        load_sources(folder_config(tmp_path / "train" / "cat"), 8)


def test_a_broken_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    fill(tmp_path, TREE)
    (tmp_path / "val" / "owl" / "2.jpg").write_bytes(b"")
    val = load_sources(folder_config(tmp_path), 8)[1]
    with pytest.raises(BadImage, match=r"owl/2\.jpg: the file is empty"):
        val.load(5)


def test_roots_and_limits(tmp_path: Path) -> None:
    fill(tmp_path, TREE)
    for config, message in (
        (DataConfig(name="folder"), "needs --data.root"),
        (folder_config(tmp_path / "nowhere"), "no such folder"),
        (folder_config(tmp_path, max_eval_samples=7), r"1\.\.6"),
    ):
        with pytest.raises(ValueError, match=message):
            load_sources(config, 8)
    train, val = load_sources(folder_config(tmp_path, max_train_samples=3, max_eval_samples=5), 8)
    assert (len(train), len(val)) == (3, 5)
    assert fingerprint(train) != fingerprint(load_sources(folder_config(tmp_path), 8)[0])
    assert train.name(0).startswith("train/")
    assert len(train.labels) == 3


NAMES = ["ape", "bee", "cat"]


def write_table(path: Path, labels: list[int], names: list[str] | None = NAMES, image: str = "image") -> None:
    rows = [{"bytes": jpeg(10 * number), "path": f"{number}.jpg"} for number in range(len(labels))]
    table = pa.table({image: rows, "label": pa.array(labels, pa.int64())})
    if names is not None:
        features = {image: {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=2)


def parquet_config(root: Path, **options: Any) -> DataConfig:
    return DataConfig(name="parquet", root=str(root), **options)


@pytest.mark.parametrize("in_memory", [True, False])
def test_parquet(tmp_path: Path, in_memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    root.mkdir()
    write_table(root / "train-00000-of-00002.parquet", [0, 1, 2])
    write_table(root / "train-00001-of-00002.parquet", [2, 1])
    write_table(root / "test-00000-of-00001.parquet", [1])
    if not in_memory:
        import datasets

        monkeypatch.setattr(image_table, "IN_MEMORY_BYTES", 0)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    train, test = load_sources(parquet_config(root), 8)
    assert list(train.classes) == NAMES
    assert train.labels.tolist() == [0, 1, 2, 2, 1]
    levels = [int(np.asarray(train.load(i))[0, 0, 0]) for i in range(5)]
    assert levels == pytest.approx([0, 10, 20, 0, 10], abs=2)
    assert len(test) == 1


def test_jpegs_come_undecoded_where_that_is_asked_for(tmp_path: Path) -> None:
    fill(tmp_path / "folder", TREE)
    big = {"bytes": jpeg(50, 64), "path": None}
    table = pa.table({"image": [big, big, {"bytes": jpeg(50), "path": None}], "label": [0, 1, 1]})
    for part in ("train", "test"):
        (tmp_path / "table").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "table" / f"{part}-0.parquet")
    folder, _ = load_sources(folder_config(tmp_path / "folder", max_train_samples=3), 8)
    rows, _ = load_sources(parquet_config(tmp_path / "table"), 8)
    for source in (folder, rows):
        lazy = source.load(1, lazy=True)
        assert isinstance(lazy, Image.Image)
        assert lazy.tile  # type: ignore[attr-defined]  # what is still to be decoded
        assert np.array_equal(np.asarray(decoded(lazy)), np.asarray(source.load(1)))
    small = rows.load(2, lazy=True)  # kept decoded
    assert rows.load(2, lazy=True) is not small
    turned, _ = load_sources(folder_config(tmp_path / "folder", apply_exif=True), 8)
    assert not getattr(turned.load(0, lazy=True), "tile", [])


def test_parquet_without_metadata_counts_its_classes(tmp_path: Path) -> None:
    write_table(tmp_path / "train.parquet", [0, 2, 1, 2], None, image="img")
    write_table(tmp_path / "validation.parquet", [1], None, image="img")
    assert list(load_sources(parquet_config(tmp_path), 8)[0].classes) == ["0", "1", "2"]


def test_parquet_parts_must_number_the_classes_alike(tmp_path: Path) -> None:
    write_table(tmp_path / "train.parquet", [0, 1], ["cat", "dog"])
    write_table(tmp_path / "test.parquet", [0, 1], ["dog", "cat"])
    with pytest.raises(ValueError, match=r"test\.parquet.*\['dog', 'cat'\].*train\.parquet.*\['cat', 'dog'\]"):
        load_sources(parquet_config(tmp_path), 8)


@pytest.mark.parametrize("wrong", [3, -1])
def test_a_label_out_of_range_names_its_row(tmp_path: Path, wrong: int) -> None:
    write_table(tmp_path / "train.parquet", [0, 1])
    write_table(tmp_path / "test-a.parquet", [0, 1, 2])
    write_table(tmp_path / "test-b.parquet", [0, wrong])
    with pytest.raises(ValueError, match=rf"test-b\.parquet row 1: label {wrong} is out of range, allowed are 0\.\.2"):
        load_sources(parquet_config(tmp_path), 8)


def test_parquet_errors(tmp_path: Path) -> None:
    write_table(tmp_path / "train.parquet", [0, 1], None, image="picture")
    with pytest.raises(ValueError, match="no file validation"):
        load_sources(parquet_config(tmp_path), 8)
    write_table(tmp_path / "test.parquet", [0, 1], None, image="picture")
    with pytest.raises(ValueError, match=r"--data\.image_column"):
        load_sources(parquet_config(tmp_path), 8)
    assert len(load_sources(parquet_config(tmp_path, image_column="picture"), 8)[0]) == 2
    (tmp_path / "test.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(ValueError, match=r"test\.parquet: damaged, or not a parquet file"):
        load_sources(parquet_config(tmp_path, image_column="picture"), 8)


def test_a_class_file_numbers_a_table(tmp_path: Path) -> None:
    listed = tmp_path / "classes.txt"
    listed.write_text("cat\ndog\nape\nbee\n")
    write_table(tmp_path / "train.parquet", [0, 1, 2])  # ape, bee, cat
    write_table(tmp_path / "test.parquet", [0, 1], ["dog", "cat"])
    train, test = load_sources(parquet_config(tmp_path, class_file=str(listed)), 8)
    assert (train.labels.tolist(), test.labels.tolist()) == ([2, 3, 0], [1, 0])
    assert list(train.classes) == ["cat", "dog", "ape", "bee"]
    write_table(tmp_path / "test.parquet", [0, 3], None)  # plain numbers are the class file's
    assert load_sources(parquet_config(tmp_path, class_file=str(listed)), 8)[1].labels.tolist() == [0, 3]
    write_table(tmp_path / "test.parquet", [0, 1], ["dog", "owl"])
    with pytest.raises(ValueError, match=r"test\.parquet: class owl is not among the 4"):
        load_sources(parquet_config(tmp_path, class_file=str(listed)), 8)
    write_table(tmp_path / "test.parquet", [0, 2], ["dog", "cat"])
    with pytest.raises(ValueError, match=r"test\.parquet row 1: label .* out of range"):
        load_sources(parquet_config(tmp_path, class_file=str(listed)), 8)


def test_a_table_without_rows(tmp_path: Path) -> None:
    write_table(tmp_path / "train.parquet", [0, 1])
    write_table(tmp_path / "test.parquet", [])
    with pytest.raises(ValueError, match=r"test\.parquet: no rows"):
        load_sources(parquet_config(tmp_path), 8)


def test_the_revision_goes_to_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    write_table(tmp_path / "train.parquet", [0, 1])
    asked: dict[str, Any] = {}

    def load_dataset(name: str, **options: Any) -> Any:
        asked.update(options, name=name)
        part = datasets.Dataset(pq.read_table(tmp_path / "train.parquet"))
        return datasets.DatasetDict({"train": part, "validation": part})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    train, _ = load_sources(DataConfig(name="someone/birds", revision="0a1b2c"), 8)
    assert asked == {"name": "someone/birds", "revision": "0a1b2c"}
    assert (len(train), train.name(1)) == (2, "someone/birds train row 1")


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"none of digits, folder, parquet"):
        load_sources(DataConfig(name="digts"), 8)


@pytest.mark.parametrize("options", [{"name": "fodler"}, {"name": "wds", "root": "."}])
def test_a_slip_in_the_name_does_not_ask_the_hub(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.images.data.read_hub", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(ValueError, match="is none of digits, folder, parquet, webdataset"):
        load_sources(DataConfig(**options), 32)


def test_a_share_of_the_training_images_can_be_held_out(tmp_path: Path) -> None:
    """For choosing settings: both sides are training images, none is on both, and it is always the same ones."""
    fill(tmp_path, TREE | {f"train/cat/{i}.jpg": i for i in range(10, 16)})
    everything, _ = load_sources(folder_config(tmp_path), 8)
    train, held_out = load_sources(folder_config(tmp_path, held_out=0.25), 8)
    names = [{source.name(i) for i in range(len(source))} for source in (train, held_out, everything)]
    assert (len(train), len(held_out)) == (9, 3)
    assert names[0] | names[1] == names[2]
    assert not names[0] & names[1]
    again = load_sources(folder_config(tmp_path, held_out=0.25), 8)[1]
    assert fingerprint(again) == fingerprint(held_out)
    with pytest.raises(ValueError, match="held_out"):
        load_sources(folder_config(tmp_path, held_out=0.01), 8)
    digits = load_sources(DataConfig(name="digits", held_out=0.25), 32)[1]
    assert np.array_equal(digits.load(0), digits.load(0)), "what is measured on is the same each time"


def test_small_pictures_are_decoded_once_and_large_ones_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a transform does to its picture is not seen by the next one."""
    for part in ("train", "test"):
        images = [{"bytes": jpeg(level, side), "path": None} for level, side in ((40, 8), (80, 64))]
        table = pa.table({"image": pa.array(images), "label": pa.array([0, 1])})
        pq.write_table(table, tmp_path / f"{part}-0.parquet")
    source, _ = load_sources(DataConfig(name="parquet", root=str(tmp_path)), 8)
    first = [source.load(i) for i in range(2)]
    decoded = []
    monkeypatch.setattr(image_table, "load_rgb", lambda *given, **options: decoded.append(given) or first[1])
    first[0].putpixel((0, 0), (255, 0, 0))  # type: ignore[union-attr]
    assert np.asarray(source.load(0)).max() <= 41
    assert not decoded
    source.load(1)
    assert len(decoded) == 1
