"""What a reader leaves out is counted and named; what a decoder knows is read, whatever it is called."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.images.data import DataConfig, load_sources
from tasks.images.verify import CheckConfig, run
from vision.images import _formats, image_suffixes, load_rgb

WRITABLE = sorted(name for name in _formats() if name != "MPO")


def encode(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (120, 120, 120)).save(buffer, kind)
    return buffer.getvalue()


PNG = encode("PNG")


def fill(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def shard(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)


BASE = {f"{part}/{name}/1.png": PNG for part in ("train", "val") for name in ("cat", "dog")}


def test_every_suffix_of_the_decoder_and_none_at_all(tmp_path: Path) -> None:
    named = {f"train/cat/i{suffix}": encode("JPEG") for suffix in image_suffixes()}
    plain = {f"train/dog/{kind}{suffix}": encode(kind) for kind in WRITABLE for suffix in ("", ".bak", ".12")}
    assert {".jfif", ".jpe", ".jp2", ".avif", ".jpg"} <= image_suffixes()
    train, _ = load_sources(DataConfig(name="folder", root=str(fill(tmp_path, BASE | named | plain))), 8)
    assert {train.name(index) for index in range(len(train))} == {
        name for name in BASE | named | plain if name.startswith("train")
    }
    for index in range(len(train)):
        assert np.asarray(train.load(index))[8, 8].tolist() == pytest.approx([120] * 3, abs=3)


LEFT_OUT = {
    "train/cat/notes.txt": b"P2 is how a picture of text begins",
    "train/cat/a/Thumbs.db": b"\xd0\xcf\x11\xe0",
    "train/dog/empty": b"",
    "train/dog/.hidden.png": PNG,
    "train/dog/.hidden": PNG,
    "train/dog/._1.png": b"\x00\x05\x16\x07",  # of macOS, no image
    "train/dog/.thumbs/1.png": PNG,
    "train/.ape/1.png": PNG,
    "train/list.csv": b"1.png,cat",
    "train/loose.png": PNG,
}


@pytest.mark.parametrize("parts", [True, False])
def test_a_folder_names_what_it_leaves_out(parts: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = BASE | LEFT_OUT | {"valid/cat/1.png": PNG}
    if not parts:
        files = {name.removeprefix("train/"): data for name, data in files.items() if name.startswith("train")}
    config = DataConfig(name="folder", root=str(fill(tmp_path, files)), validation_fraction=0.5)
    train, _ = load_sources(config, 8)
    assert len(train) == (2 if parts else 1)
    said = capsys.readouterr().err
    first = "train/" if parts else ""
    place = tmp_path / "train" if parts else tmp_path
    assert (
        f"{place}: left out 3 files that are no images (the first: {first}cat/a/Thumbs.db), 4 hidden images "
        f"(the first: {first}.ape/1.png), 2 files beside the class folders (the first: {first}list.csv)\n"
    ) in said
    if parts:
        assert f"{tmp_path}: left out 1 files and folders beside train and val (the first: valid)\n" in said
        run(CheckConfig(config, processes=1, report=str(tmp_path / "report.json")))
        assert capsys.readouterr().err.startswith(said)


def test_a_folder_of_which_all_is_read_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_sources(DataConfig(name="folder", root=str(fill(tmp_path, BASE))), 8)
    assert capsys.readouterr().err == ""


def test_shards_name_what_they_leave_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"a.cls": b"0", "a.jfif": PNG, "b.cls": b"1", "b": PNG, "._a.jfif": b"x", ".c.jpg": PNG, "__d__": b"x"}
    shard(tmp_path / "train-0.tar", files, {"e.jpg": "a.jfif"})
    shard(tmp_path / "val-0.TAR", {"a.cls": b"0", "a.avif": encode("AVIF")})
    for name in ("test-0.tar", "train-1.tar.gz", ".train-2.tar"):
        (tmp_path / name).write_bytes(b"")
    config = DataConfig(name="webdataset", root=str(tmp_path))
    for _ in range(2):  # the second time from the cache
        train, val = load_sources(config, 8)
        assert (len(train), len(val)) == (2, 1)
        assert [train.name(index) for index in range(2)] == ["train-0.tar: a.jfif", "train-0.tar: b"]
        said = capsys.readouterr().err
        assert "left out 3 archives that are not of train or val (the first: .train-2.tar)\n" in said
        assert (
            f"{tmp_path}, train: left out 1 hidden images (the first: train-0.tar: .c.jpg), "
            "1 links (the first: train-0.tar: e.jpg)\n"
        ) in said


def test_tables_name_what_they_leave_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more").mkdir()
    for name in ("train-0.parquet", "Train-1.PARQUET", "validation.parquet", "test.parquet", "more/train-2.parquet"):
        pq.write_table(pa.table({"image": [PNG, PNG], "label": [0, 1]}), tmp_path / name)
    train, _ = load_sources(DataConfig(name="parquet", root=str(tmp_path)), 8)
    assert len(train) == 4
    said = capsys.readouterr().err
    assert said == (
        f"{tmp_path}: left out 2 parquet files that are of neither part (the first: more/train-2.parquet)\n"
    )
    (tmp_path / "more").rename(tmp_path.parent / "elsewhere")
    (tmp_path / "more").symlink_to(tmp_path.parent / "elsewhere")
    (tmp_path / "test.parquet").rename(tmp_path / "train-3.pq")
    load_sources(DataConfig(name="parquet", root=str(tmp_path)), 8)
    assert capsys.readouterr().err == (
        f"{tmp_path}: left out 1 parquet files that are of neither part (the first: more/train-2.parquet), "
        "1 parquet files not named *.parquet (the first: train-3.pq)\n"
    )


def test_a_folder_that_is_linked_twice_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = fill(tmp_path / "data", BASE)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "x.png").write_bytes(PNG)
    folder = root / next(name for name in BASE if name.startswith("train/")).rsplit("/", 1)[0]
    for name in ("again", "first"):
        (folder / name).symlink_to(tmp_path / "one")
    load_sources(DataConfig(name="folder", root=str(root)), 8)
    assert "left out 1 links to folders that are read already (the first: train/" in capsys.readouterr().err


@pytest.mark.parametrize("labels", [[0, 1, 20231204], [1, 2, 3], [0, 2], [2**40, 0, 1]])
@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_gaps_in_the_labels(kind: str, labels: list[int], tmp_path: Path) -> None:
    """They are an error that lists them and says how they can be used: three labels are three classes."""
    if kind == "webdataset" and max(labels) >= 10**9:
        pytest.skip("no number in a shard")
    for part in ("train", "val"):
        if kind == "parquet":
            table = pa.table({"image": [PNG] * len(labels), "label": labels})
            pq.write_table(table, tmp_path / f"{part}.parquet")
        else:
            samples = {f"{n}.{kind}": data for n, x in enumerate(labels) for kind, data in (("png", PNG), ("cls", x))}
            files = {name: data if isinstance(data, bytes) else str(data).encode() for name, data in samples.items()}
            shard(tmp_path / f"{part}-0.tar", files)
    with pytest.raises(ValueError, match=rf"train.*{', '.join(map(str, sorted(labels)))} .*--data\.class_file"):
        load_sources(DataConfig(name=kind, root=str(tmp_path)), 8)
    if max(labels) < 10**9:
        (tmp_path / "classes.txt").write_text("\n".join(map(str, sorted(labels, reverse=True))))
        config = DataConfig(name=kind, root=str(tmp_path), class_file=str(tmp_path / "classes.txt"))
        train, _ = load_sources(config, 8)
        assert [train.classes[label] for label in train.labels] == [str(label) for label in labels]
        assert len(train.classes) == len(labels)


@pytest.mark.parametrize("character", ["\u2028", "\x85", "\x0b", "\x1c"])
def test_only_a_line_feed_ends_a_class(character: str, tmp_path: Path) -> None:
    from tasks.images.readers.classes import read_class_file

    (tmp_path / "classes.txt").write_text(f"a{character}b\r\nc\nd\n", encoding="utf-8", newline="")
    assert read_class_file(str(tmp_path / "classes.txt")).ids == (f"a{character}b", "c", "d")


def test_pictures_that_a_row_names(tmp_path: Path) -> None:
    """A relative path begins at the parquet file, wherever the program was started."""
    fill(tmp_path, {"data/pictures/one.png": PNG})
    outside = fill(tmp_path, {"elsewhere.png": PNG}) / "elsewhere.png"
    paths = ["pictures/one.png", str(outside), "pictures/two.png"]
    for part in ("train", "val"):
        rows = [{"bytes": None, "path": path} for path in paths]
        pq.write_table(pa.table({"image": rows, "label": [0, 1, 1]}), tmp_path / "data" / f"{part}.parquet")
    train, _ = load_sources(DataConfig(name="parquet", root=str(tmp_path / "data")), 8)
    for index in range(2):
        assert np.array_equal(np.asarray(train.load(index)), np.asarray(load_rgb(PNG)))
    with pytest.raises(ValueError, match=rf"train\.parquet row 2: {tmp_path}/data/pictures/two\.png: cannot be read"):
        train.load(2)
