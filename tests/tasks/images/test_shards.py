"""Tar shards: found, indexed once, read in any order from any process; what is damaged is named."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.images.data import DataConfig, fingerprint, load_sources
from vision.images import BadImage


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


def shard(path: Path, files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write(root: Path) -> Path:
    """Five images for training in two shards, two for validation, with labels of every kind."""
    one = {"a.jpg": png(10), "a.cls": b"0", "b.PNG": png(20), "b.json": b'{"label": 1, "w": 8}'}
    shard(root / "train-0000.tar", {"__notes__": b"", **one, "._b.PNG": b"a hidden file"})
    long = "n01440764/" + 150 * "x"
    two = {f"{long}.webp": png(30), f"{long}.cls": b"2\n", "d.cls": b"1", "d.jpeg": png(40), "d.seg.png": b"unused"}
    shard(root / "train-0001.tar", {**two, "e.jpg": png(50), "e.cls": b" 0 "}, tarfile.GNU_FORMAT)
    shard(
        root / "val-0000.tar", {"f.jpg": png(60), "f.cls": b"2", "g.jpg": png(70), "g.cls": b"0"}, tarfile.USTAR_FORMAT
    )
    return root


def config(root: Path, **options: Any) -> DataConfig:
    return DataConfig(name="webdataset", root=str(root), **options)


def levels(source: Any, order: Any) -> list[int]:
    return [int(np.asarray(source.load(index))[0, 0, 0]) for index in order]


def test_shards_are_read_in_any_order(tmp_path: Path) -> None:
    train, val = load_sources(config(write(tmp_path)), 8)
    assert train.labels.tolist() == [0, 1, 2, 1, 0]
    assert list(train.classes) == ["0", "1", "2"]
    assert levels(train, [4, 0, 3, 1, 2]) == [50, 10, 40, 20, 30]
    assert levels(val, [1, 0]) == [70, 60]
    assert train.name(1) == "train-0000.tar: b.PNG"
    assert train.name(2).endswith(f"{150 * 'x'}.webp")


def test_reader_processes_share_nothing(tmp_path: Path) -> None:
    train = load_sources(config(write(tmp_path)), 8)[0]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.starmap(levels, [(train, [index]) for index in [0, 1, 2, 3, 4] * 4])
    assert found == [[10], [20], [30], [40], [50]] * 4
    assert levels(pickle.loads(pickle.dumps(train)), [2]) == [30]


def test_the_index_is_made_once_and_again_when_a_shard_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path)
    before = fingerprint(load_sources(config(root), 8)[0])
    assert "index of 2 shards" in capsys.readouterr().err
    assert fingerprint(load_sources(config(root), 8)[0]) == before
    assert "index" not in capsys.readouterr().err
    shard(root / "train-0001.tar", {"z.jpg": png(90), "z.cls": b"2"})
    train = load_sources(config(root), 8)[0]
    assert levels(train, range(3)) == [10, 20, 90]
    assert fingerprint(train) != before


def test_labels_by_name_need_a_class_file(tmp_path: Path) -> None:
    for part in ("train", "val"):
        shard(
            tmp_path / f"x-{part}-0.tar",
            {"a.jpg": png(1), "a.cls": b"owl", "b.jpg": png(2), "b.json": b'{"label": "ape"}'},
        )
    with pytest.raises(ValueError, match=r"owl.*--data\.class_file"):
        load_sources(config(tmp_path), 8)
    (tmp_path / "classes.txt").write_text("ape\ndog\nowl\n")
    train = load_sources(config(tmp_path, class_file=str(tmp_path / "classes.txt")), 8)[0]
    assert train.labels.tolist() == [2, 0]
    (tmp_path / "classes.txt").write_text("ape\ndog\n")
    with pytest.raises(ValueError, match=r"x-train-0\.tar: a\.jpg: label 'owl' is neither a number nor a class of"):
        load_sources(config(tmp_path, class_file=str(tmp_path / "classes.txt")), 8)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.jpg": b"x"}, "sample a: needs its label"),
        ({"a.cls": b"0"}, "sample a: needs one image"),
        ({"a.jpg": b"x", "a.png": b"x", "a.cls": b"0"}, "sample a: needs one image"),
        ({"a.jpg": b"x", "a.cls": b"\xff\xfe"}, r"a\.cls holds no label"),
        ({"a.jpg": b"x", "a.json": b"[1]"}, r"a\.json holds no label"),
        ({"a.jpg": b"x", "a.json": b'{"class": 1}'}, r"a\.json holds no label"),
        ({"a.jpg": b"x", "a.json": b'{"label": NaN}'}, r"a\.json holds no label \(TypeError: nan is neither"),
        ({"a.jpg": b"x", "a.json": b'{"label": [1]}'}, r"a\.json holds no label"),
        ({"a.jpg": b"x", "a.json": b"[" * 100_000}, r"a\.json holds no label"),
        (
            {"a.jpg": b"x", "a.cls": b"1", "b.jpg": b"x", "b.cls": b"cat"},
            r"b\.jpg: label 'cat' is neither .*class_file",
        ),
        ({"a.jpg": b"x", "a.cls": b"-1"}, "owl|no class numbers"),
        ({"a.jpg": b"x", "a.cls": b"0", "b.jpg": b"x", "b.cls": b"-1"}, r"b\.jpg: label -1 is out of range"),
        ({}, "hold no sample"),
    ],
)
def test_wrong_samples_are_named(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    shard(tmp_path / "train-0.tar", files)
    shard(tmp_path / "val-0.tar", {"a.jpg": b"x", "a.cls": b"0"})
    with pytest.raises(ValueError, match=message):
        load_sources(config(tmp_path), 8)


def test_a_label_of_validation_that_training_lacks(tmp_path: Path) -> None:
    shard(tmp_path / "train-0.tar", {"a.jpg": b"x", "a.cls": b"1", "b.jpg": b"x", "b.cls": b"0"})
    shard(tmp_path / "validation-0.tar", {"v.jpg": b"x", "v.cls": b"2"})
    with pytest.raises(ValueError, match=r"validation-0\.tar: v\.jpg: label 2 is out of range, allowed are 0\.\.1"):
        load_sources(config(tmp_path), 8)


@pytest.mark.parametrize("cut", [100, 512, 700, 1024, 1536, 2048, 2560, 3072])
def test_a_truncated_shard_is_named(tmp_path: Path, cut: int) -> None:
    root = write(tmp_path)
    path = root / "train-0000.tar"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"train-0000\.tar is damaged"):
        load_sources(config(root), 8)


@pytest.mark.parametrize("data", [b"", b"no tar file at all" * 100, b"\x1f\x8b" + bytes(5000)])
def test_what_is_no_tar_file_is_named(tmp_path: Path, data: bytes) -> None:
    root = write(tmp_path)
    (root / "train-0001.tar").write_bytes(data)
    with pytest.raises(ValueError, match=r"train-0001\.tar is damaged or no tar"):
        load_sources(config(root), 8)


def test_shards_joined_into_one_are_refused(tmp_path: Path) -> None:
    """Readers of tar files stop at the first end of an archive."""
    joined = write(tmp_path) / "train-0000.tar"
    joined.write_bytes(joined.read_bytes() + (tmp_path / "train-0001.tar").read_bytes())
    with pytest.raises(ValueError, match=r"train-0000.tar is damaged .*more follows after the end of the archive"):
        load_sources(config(tmp_path), 8)


def test_links_to_folders_are_followed_and_hidden_copies_are_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "data")
    shard(tmp_path / "elsewhere/train-0002.tar", {"h.jpg": png(80), "h.cls": b"0"})
    (root / "more").symlink_to(tmp_path / "elsewhere")
    shard(root / ".copies/train-0003.tar", {"h.jpg": png(80), "h.cls": b"0"})
    train, _ = load_sources(config(root), 8)
    assert len(train) == 6
    assert "left out 1 archives that are not of train or val (the first: .copies/train-0003.tar)" in (
        capsys.readouterr().err
    )


def test_garbage_between_samples_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = write(tmp_path) / "train-0001.tar"
    data = bytearray(path.read_bytes())
    header = data.index(b"e.jpg")
    data[header : header + 512] = bytes(range(256)) * 2
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"train-0001\.tar is damaged.*no end of the archive"):
        load_sources(config(tmp_path), 8)


def test_parts_must_be_there(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "val-0000.tar").rename(root / "val-0000.tar.gz")
    with pytest.raises(ValueError, match=r"2 for training and 0 for validation.*unpacked"):
        load_sources(config(root), 8)
    (root / "val-0000.tar.gz").rename(root / "val-0000.tar")
    for name in ("train-0000.tar", "train-0001.tar"):
        (root / name).unlink()
    with pytest.raises(ValueError, match="0 for training"):
        load_sources(config(root), 8)


def test_shards_in_folders_and_broken_links(tmp_path: Path) -> None:
    root = write(tmp_path / "source")
    for part, name in (
        ("train", "train-0000.tar"),
        ("train", "train-0001.tar"),
        ("train-data/test", "val-0000.tar"),
    ):
        (tmp_path / "sorted" / part).mkdir(parents=True, exist_ok=True)
        (root / name).rename(tmp_path / "sorted" / part / f"{name[-8:-4]}.tar")
    train, val = load_sources(config(tmp_path / "sorted"), 8)
    assert (len(train), len(val)) == (5, 2)
    (tmp_path / "sorted/train/0009.tar").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"0009\.tar.*cannot be read"):
        load_sources(config(tmp_path / "sorted"), 8)


def test_broken_images_name_shard_and_file(tmp_path: Path) -> None:
    broken = {"a.jpg": b"", "a.cls": b"0", "b.jpg": png(3)[:44], "b.cls": b"1", "c.jpg": b"text", "c.cls": b"1"}
    shard(tmp_path / "train-0.tar", broken)
    shard(tmp_path / "val-0.tar", {"a.jpg": png(1), "a.cls": b"0"})
    train, val = load_sources(config(tmp_path), 8)
    for index, (name, why) in enumerate({"a": "empty", "b": "truncated|damaged", "c": "not an image"}.items()):
        with pytest.raises(BadImage, match=why) as caught:
            train.load(index)
        assert caught.value.path == f"{tmp_path}/train-0.tar: {name}.jpg"
    os.truncate(tmp_path / "val-0.tar", 520)
    with pytest.raises(BadImage, match="was changed"):
        val.load(0)
    (tmp_path / "val-0.tar").unlink()
    with pytest.raises(BadImage, match="cannot be read"):
        val.load(0)
