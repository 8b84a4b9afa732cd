"""A walk over all readers of images with files that cannot be read: each error says which file, and is one line."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.images.data import DataConfig, fingerprint, load_sources
from tasks.images.evaluation import TIMM_COLUMNS, append_row, check_output, read_real_labels
from tasks.images.explain import find_images
from tasks.images.readers import table as image_table
from vision.images import load_rgb
from vision.loading import stored_config

BUFFER = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(BUFFER, "PNG")
PNG = BUFFER.getvalue()


class OneImage:
    """A source of one image of ImageNet's validation part."""

    def __len__(self) -> int:
        return 1

    def name(self, index: int) -> str:
        return "ILSVRC2012_val_00000001.JPEG"


def read_all(config: DataConfig) -> None:
    for source in load_sources(config, 8):
        fingerprint(source)
        for index in range(len(source)):
            source.load(index)


def folder(root: Path, file: str) -> tuple[Path, Callable[[], object]]:
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            (root / part / name / "1.png").write_bytes(PNG)
    path = root / "train/cat" / file
    path.write_bytes(PNG)
    return path, lambda: read_all(DataConfig(name="folder", root=str(root)))


def parquet(root: Path) -> tuple[Path, Callable[[], object]]:
    for part in ("train", "val"):
        pq.write_table(pa.table({"image": [PNG] * 2, "label": [0, 1]}), root / f"{part}.parquet")
    return root / "train.parquet", lambda: read_all(DataConfig(name="parquet", root=str(root)))


def picture_of_a_row(root: Path) -> tuple[Path, Callable[[], object]]:
    (root / "one.png").write_bytes(PNG)
    for part in ("train", "val"):
        rows = [{"bytes": None, "path": "one.png"}] * 2
        pq.write_table(pa.table({"image": rows, "label": [0, 1]}), root / f"{part}.parquet")
    return root / "one.png", lambda: read_all(DataConfig(name="parquet", root=str(root)))


def shards(root: Path) -> tuple[Path, Callable[[], object]]:
    for part in ("train", "val"):
        with tarfile.open(root / f"{part}-0.tar", "w") as tar:
            for name, data in {"a.png": PNG, "a.cls": b"0"}.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return root / "train-0.tar", lambda: read_all(DataConfig(name="webdataset", root=str(root)))


def class_file(root: Path) -> tuple[Path, Callable[[], object]]:
    parquet(root)
    path = root / "classes.txt"
    path.write_text("cat\ndog\n")
    return path, lambda: read_all(DataConfig(name="parquet", root=str(root), class_file=str(path)))


def real_labels(root: Path) -> tuple[Path, Callable[[], object]]:
    path = root / "real.json"
    path.write_text("[[1], [2, 3]]")
    return path, lambda: read_real_labels(str(path), OneImage())  # type: ignore[arg-type]


def output(root: Path) -> tuple[Path, Callable[[], object]]:
    path = root / "results.csv"
    append_row(path, dict.fromkeys(TIMM_COLUMNS, 1), TIMM_COLUMNS)
    return path, lambda: check_output(path, TIMM_COLUMNS)


def configuration(root: Path) -> tuple[Path, Callable[[], object]]:
    path = root / "config.json"
    path.write_text(json.dumps({"model_type": "metaformer_vision"}))
    return path, lambda: stored_config(root)


def explained(root: Path) -> tuple[Path, Callable[[], object]]:
    path = root / "one.png"
    path.write_bytes(PNG)
    return path, lambda: [load_rgb(file) for file in find_images(str(path))]


READERS: dict[str, Callable[[Path], tuple[Path, Callable[[], object]]]] = {
    "image": lambda root: folder(root, "0.png"),
    "image without suffix": lambda root: folder(root, "0"),
    "parquet": parquet,
    "picture of a row": picture_of_a_row,
    "shards": shards,
    "class file": class_file,
    "real labels": real_labels,
    "output": output,
    "configuration": configuration,
    "explained": explained,
}


def absent(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def truncated_in_the_middle(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3] + data[len(data) // 2 :])


def wrong_encoding(path: Path) -> None:
    path.write_bytes("[[1], caf\xe9, {}]\n".encode("latin1"))


def wrong_format(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 a zip file, or so\x00\x01\x02")


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def unreadable(path: Path) -> None:
    """A link to itself: neither its owner nor root can read it."""
    path.unlink()
    path.symlink_to(path)


DAMAGES = [
    absent, empty, truncated, truncated_in_the_middle, wrong_encoding, wrong_format, folder_in_its_place, unreadable
]  # fmt: skip
FINE = {
    # A file that is not there is no fault: nothing is missing of the folder, the table is written anew, ...
    ("image", "absent"), ("image without suffix", "absent"), ("output", "absent"), ("output", "empty"),
    ("configuration", "absent"), ("configuration", "folder_in_its_place"), ("configuration", "unreadable"),
    # A shorter list of classes is one, too; of a folder the images are read.
    ("class file", "truncated"), ("image", "folder_in_its_place"), ("image without suffix", "folder_in_its_place"),
    # What begins as no image is left out with a line (test_left_out.py), and the rest of the class is read.
    ("image without suffix", "empty"), ("image without suffix", "wrong_encoding"),
    ("image without suffix", "wrong_format"), ("image without suffix", "unreadable"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("reader", READERS)
def test_errors_name_the_file(
    reader: str, damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, read = READERS[reader](tmp_path)
    read()
    capsys.readouterr()
    damage(path)
    if (reader, damage.__name__) in FINE:
        read()
        if reader == "image without suffix" and damage is not absent and damage is not folder_in_its_place:
            assert f"left out 1 files that are no images (the first: {path.relative_to(tmp_path)})" in str(
                capsys.readouterr().err
            )
        return
    with pytest.raises(ValueError, match=r".") as caught:
        read()
    message = str(caught.value)
    wanted = "train*.parquet" if (reader, damage) == ("parquet", absent) else path.name
    assert wanted in message or ((reader, damage) == ("shards", absent) and "train-*.tar" in message), message
    assert "\n" not in message
    assert not isinstance(caught.value, UnicodeDecodeError | json.JSONDecodeError), "a library's words alone"


@pytest.mark.parametrize("metadata", [b"not json", b"[1]", b'{"info": []}', b"\xff"])
@pytest.mark.parametrize("large", [False, True])
def test_damaged_metadata_of_a_table(
    metadata: bytes, large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(image_table, "IN_MEMORY_BYTES", 0)
    for part in ("train", "val"):
        table = pa.table({"image": [PNG], "label": [0]}).replace_schema_metadata({b"huggingface": metadata})
        pq.write_table(table, tmp_path / f"{part}-0.parquet")
    with pytest.raises(ValueError, match=r"train-0\.parquet: its metadata 'huggingface'"):
        load_sources(DataConfig(name="parquet", root=str(tmp_path)), 8)


@pytest.mark.parametrize("lists", ['{"12": [1]}', "[1, 2]", "[[1.5]]", '["12"]', "[[true]]", "[[-1]]", "[" * 100_000])
def test_real_labels_are_lists_of_class_numbers(lists: str, tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text(lists)
    with pytest.raises(ValueError, match=r"real\.json.*json list of lists of class numbers"):
        read_real_labels(str(tmp_path / "real.json"), OneImage())  # type: ignore[arg-type]


def test_an_output_that_cannot_be_written_keeps_the_row(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"results\.csv: cannot be written .*; the row is 0\.5"):
        append_row(tmp_path / "file" / "results.csv", {"top1": 0.5}, ["top1"])
