"""Images are known by what their files hold: a picture that is replaced in place is noticed, in every source."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.images import data
from tasks.images.data import DataConfig, ImageSource, fingerprint, load_sources
from vision.images import BadImage


def bmp(level: int) -> bytes:
    """Pictures of any level are files of one size."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8), level).save(buffer, "BMP")
    return buffer.getvalue()


def keeping_times(write: Callable[[Path], object], path: Path) -> None:
    times = (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns) if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    if times:
        os.utime(path, ns=times)


def folder(root: Path, level: int) -> DataConfig:
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            for number in range(3):
                keeping_times(lambda path: path.write_bytes(bmp(level)), root / part / name / f"{number}.bmp")
    return DataConfig(name="folder", root=str(root))


def parquet(root: Path, level: int) -> DataConfig:
    table = pa.table({"image": [bmp(level)] * 6, "label": [0, 1] * 3})
    for part in ("train", "val"):
        keeping_times(lambda path: pq.write_table(table, path, compression=None), root / f"{part}.parquet")
    return DataConfig(name="parquet", root=str(root))


def parquet_of_paths(root: Path, level: int) -> DataConfig:
    keeping_times(lambda path: path.write_bytes(bmp(level)), root / "one.bmp")
    return _table_of(root, [{"bytes": None, "path": "one.bmp"}] * 6)


def parquet_of_repeated_paths(root: Path, level: int) -> DataConfig:
    keeping_times(lambda path: path.write_bytes(bmp(level)), root / "one.bmp")
    return _table_of(root, pa.array(["one.bmp"] * 6).dictionary_encode())


def parquet_of_views(root: Path, level: int) -> DataConfig:
    keeping_times(lambda path: path.write_bytes(bmp(level)), root / "one.bmp")
    return _table_of(root, pa.array(["one.bmp"] * 6, pa.string_view()))


def _table_of(root: Path, images: Any) -> DataConfig:
    table = pa.table({"image": images, "label": [0, 1] * 3})
    for part in ("train", "val"):
        if not (root / f"{part}.parquet").exists():
            pq.write_table(table, root / f"{part}.parquet")
    return DataConfig(name="parquet", root=str(root))


def webdataset(root: Path, level: int) -> DataConfig:
    def write(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            for number in range(6):
                for suffix, content in (("bmp", bmp(level)), ("cls", b"%d" % (number % 2))):
                    member = tarfile.TarInfo(f"{number}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))

    for part in ("train", "val"):
        keeping_times(write, root / f"{part}-0.tar")
    return DataConfig(name="webdataset", root=str(root))


KINDS = [folder, parquet, parquet_of_paths, parquet_of_repeated_paths, parquet_of_views, webdataset]


def sources(config: DataConfig) -> tuple[ImageSource, ImageSource]:
    return load_sources(config, 8)


@pytest.mark.parametrize("options", [{}, {"max_train_samples": 4}, {"held_out": 0.5}])
@pytest.mark.parametrize("write", KINDS)
def test_a_replaced_picture_is_noticed(
    write: Callable[[Path, int], DataConfig], options: dict[str, float], tmp_path: Path
) -> None:
    """Of the same size, with the same name and time."""
    found = []
    for level in (10, 10, 200):
        config = write(tmp_path, level)
        config = DataConfig(name=config.name, root=config.root, **options)  # type: ignore[arg-type]
        found.append([fingerprint(source) for source in sources(config)])
    assert found[0] == found[1]
    for before, after in zip(found[0], found[2], strict=True):
        assert before["content"] != after["content"]
        assert {**before, "content": None} == {**after, "content": None}, "what older runs have stored stays as it was"


def test_the_files_of_the_hub_are_known_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    found = []
    for level in (10, 200):
        table = datasets.Dataset.from_dict({"image": [bmp(level)] * 2, "label": [0, 1]})
        table.save_to_disk(tmp_path / str(level))
        part = datasets.load_from_disk(str(tmp_path / str(level)))
        parts = datasets.DatasetDict({"train": part, "validation": part})
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, parts=parts, **__: parts)
        found.append(fingerprint(sources(DataConfig(name="someone/birds"))[0]))
    assert found[0]["content"] != found[1]["content"]


@pytest.mark.parametrize("write", KINDS)
def test_too_much_for_a_hash_is_said(
    write: Callable[[Path, int], DataConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(data, "CONTENT_LIMIT", 100)
    found = fingerprint(sources(write(tmp_path, 10))[0])
    assert "content" not in found
    assert found["bytes"] > 100
    assert "are known by names and sizes only" in capsys.readouterr().err


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    train, _ = sources(folder(tmp_path, 10))
    (tmp_path / "train/cat/1.bmp").unlink()
    with pytest.raises(BadImage, match=r"train/cat/1\.bmp: cannot be read"):
        fingerprint(train)


def shard(path: Path, names: list[str] | None = None, **columns: pa.Array) -> None:
    table = pa.table({"image": [bmp(1)] * 2, "label": pa.array([0, 1]), **columns})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ({"names": ["cat", "dog"]}, {"names": ["dog", "cat"]}, r"\['dog', 'cat'\].*\['cat', 'dog'\]"),
        ({"names": ["cat", "dog"]}, {"names": ["cat", "dog", "owl"]}, "'owl'"),
        ({"names": ["cat", "dog"]}, {}, r"the classes: \{\}"),
        ({}, {"label": pa.array([0, 1], pa.int8())}, "label: int8, .*: int64"),
        ({}, {"label": pa.array(["0", "1"])}, "label: string, .*: int64"),
        ({}, {"more": pa.array([1, 2])}, "more: int64, .*: missing"),
        ({"more": pa.array([1, 2])}, {}, "more: missing, .*: int64"),
    ],
)
@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("class_file", [False, True])
def test_shards_of_a_part_must_be_alike(
    first: dict, second: dict, what: str, part: str, class_file: bool, tmp_path: Path
) -> None:
    for name in ("train", "validation"):
        shard(tmp_path / f"{name}-0.parquet", **first)
    shard(tmp_path / f"{part}-1.parquet", **second)
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    listed = str(tmp_path / "classes.txt") if class_file else None
    with pytest.raises(ValueError, match=rf"{part}-1\.parquet: .*{part}-0\.parquet") as caught:
        load_sources(DataConfig(name="parquet", root=str(tmp_path), class_file=listed), 8)
    assert caught.match(what)
