"""Every kind of image, from a folder, a table and a shard: RGB, or a BadImage that says where it lies."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.images.data import DataConfig, ImageSource, load_sources
from vision.images import BadImage

GREY = (120, 120, 120)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def solid(mode: str, value: object) -> Image.Image:
    return Image.new(mode, (16, 12), value)  # type: ignore[arg-type]


def deep(dtype: str) -> Image.Image:
    return Image.fromarray(np.full((12, 16), 120 * 257).astype(dtype))


def palette(**options: object) -> bytes:
    image = solid("P", 1)
    image.putpalette([0, 0, 0, *GREY])
    return encode(image, "PNG", **options)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(solid("RGB", GREY), "JPEG", exif=exif)


WHITE = (255, 255, 255)
GOOD: dict[str, tuple[bytes, tuple[int, int, int]]] = {
    "jpeg": (encode(solid("RGB", GREY), "JPEG"), GREY),
    "progressive": (encode(solid("RGB", GREY), "JPEG", progressive=True), GREY),
    "cmyk": (encode(solid("CMYK", (135, 135, 135, 0)), "JPEG"), GREY),
    "grey_jpeg": (encode(solid("L", 120), "JPEG"), GREY),
    "grey_png": (encode(solid("L", 120), "PNG"), GREY),
    "palette": (palette(), GREY),
    "palette_alpha": (palette(transparency=1), WHITE),
    "alpha": (encode(solid("RGBA", (*GREY, 255)), "PNG"), GREY),
    "alpha_clear": (encode(solid("RGBA", (*GREY, 0)), "PNG"), WHITE),
    "alpha_webp": (encode(solid("RGBA", (*GREY, 0)), "WEBP", lossless=True), WHITE),
    "grey_alpha": (encode(solid("LA", (120, 255)), "PNG"), GREY),
    "deep_png": (encode(deep("uint16"), "PNG"), GREY),
    "deep_tiff": (encode(deep("uint16"), "TIFF"), GREY),
    "deep_tiff_big_endian": (encode(deep(">u2"), "TIFF"), GREY),
    "deep_integers": (encode(deep("int32"), "TIFF"), GREY),
    "one_bit": (encode(solid("1", 1), "PNG"), WHITE),
    "floats": (encode(Image.fromarray(np.full((12, 16), 120 / 255, np.float32)), "TIFF"), GREY),
    "animation": (encode(solid("L", 120), "GIF", save_all=True, append_images=[solid("L", 9)]), GREY),
    "exif": (turned(), GREY),
    "bitmap": (encode(solid("RGB", GREY), "BMP"), GREY),
}
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "text": (b"<html>404 not found</html>", "not an image"),
    "truncated_jpeg": (encode(NOISE, "JPEG")[:1500], "truncated"),
    "truncated_png": (encode(NOISE, "PNG")[:4000], "damaged|truncated"),
    "truncated_webp": (encode(NOISE, "WEBP")[:900], "damaged|not an image"),
    "header_only": (encode(NOISE, "JPEG")[:20], "not an image|damaged|truncated"),
    "bomb": (encode(Image.new("1", (15_000, 13_000)), "PNG"), "pixels"),
    "program": (EPS, "not an image"),
}


def folder(root: Path, images: dict[str, bytes]) -> DataConfig:
    for part in ("train", "val"):
        for label in ("a", "b"):
            (root / part / label).mkdir(parents=True)
            (root / part / label / "z.png").write_bytes(GOOD["grey_png"][0])
    for name, data in images.items():  # the suffix says nothing about what is in the file
        (root / "train/a" / f"{name}.JpEg").write_bytes(data)
    return DataConfig(name="folder", root=str(root))


def table(root: Path, images: dict[str, bytes]) -> DataConfig:
    for part in ("train", "test"):
        rows = [{"bytes": data, "path": None} for data in images.values()]
        labels = pa.array([index % 2 for index in range(len(rows))], pa.int64())
        pq.write_table(pa.table({"image": rows, "label": labels}), root / f"{part}.parquet")
    return DataConfig(name="parquet", root=str(root))


def shards(root: Path, images: dict[str, bytes]) -> DataConfig:
    for part in ("train", "val"):
        with tarfile.open(root / f"{part}-0.tar", "w") as tar:
            for name, data in images.items():
                for suffix, content in (("JPG", data), ("cls", b"0")):
                    member = tarfile.TarInfo(f"{name}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return DataConfig(name="webdataset", root=str(root))


Build = Callable[[Path, dict[str, bytes]], DataConfig]


def find(source: ImageSource, images: dict[str, bytes], name: str) -> int:
    """Number of the image ``name``: a table numbers its rows, the others have the name."""
    names = [source.name(index) for index in range(len(source))]
    place = rf"([/ ]{name}\.)|(row {list(images).index(name)}$)"
    return next(number for number, found in enumerate(names) if re.search(place, found))


@pytest.mark.parametrize("build", [folder, table, shards])
def test_every_kind_from_everywhere(build: Build, tmp_path: Path) -> None:
    images = {name: data for name, (data, _) in {**GOOD, **BAD}.items()}  # type: ignore[dict-item]
    source = load_sources(build(tmp_path, images), 8)[0]
    for name, (_, colour) in GOOD.items():
        picture = np.asarray(source.load(find(source, images, f"{name}")))
        assert picture.shape == (12, 16, 3), name  # the EXIF entry is ignored
        assert picture.dtype == np.uint8
        assert picture[6, 8].tolist() == pytest.approx(colour, abs=2), name
    for name, (_, why) in BAD.items():
        index = find(source, images, name)
        with pytest.raises(BadImage, match=why) as caught:
            source.load(index)
        assert caught.value.path.endswith(source.name(index)), name
        assert str(tmp_path) in caught.value.path


def test_exif_is_followed_when_asked_for(tmp_path: Path) -> None:
    images = {"exif": GOOD["exif"][0]}
    for build in (folder, table, shards):
        root = tmp_path / build.__name__
        root.mkdir()
        config = build(root, images)
        source = load_sources(DataConfig(name=config.name, root=config.root, apply_exif=True), 8)[0]
        assert np.asarray(source.load(find(source, images, "exif"))).shape == (16, 12, 3)


def test_rows_without_an_image(tmp_path: Path) -> None:
    for column in (pa.array([3, 4], pa.int64()), pa.array([None, None], pa.binary())):
        for part in ("train", "test"):
            pq.write_table(pa.table({"image": column, "label": [0, 1]}), tmp_path / f"{part}.parquet")
        with pytest.raises(BadImage, match=r"train\.parquet row 1.*neither"):
            load_sources(DataConfig(name="parquet", root=str(tmp_path)), 8)[0].load(1)


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(GOOD["grey_png"][0])


@pytest.mark.parametrize(
    "names", [("Train", "Val"), ("val", "test"), ("training", "validation"), ("cat", "dog", "test")]
)
def test_parts_are_not_taken_for_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        write(tmp_path / name / "cat" / "1.png")
    with pytest.raises(ValueError, match=r"which are no classes\. .*train/"):
        load_sources(DataConfig(name="folder", root=str(tmp_path)), 8)


def test_links_in_folders(tmp_path: Path) -> None:
    config = folder(tmp_path / "data", {})
    root = tmp_path / "data" / "train"
    (root / "a" / "loop").symlink_to(root / "a")
    assert len(load_sources(config, 8)[0]) == 2
    write(tmp_path / "elsewhere" / "more.png")
    (root / "a" / "far").symlink_to(tmp_path / "elsewhere")
    assert len(load_sources(config, 8)[0]) == 3
    (root / "c").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"train/c: a link to .*nowhere, which is not there"):
        load_sources(config, 8)


def test_folders_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = folder(tmp_path, {})
    (tmp_path / "train/a/deeper").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith(name):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for name in ("deeper", "train/b", "train"):
        with pytest.raises(ValueError, match=rf"folder .*{name} cannot be read: Permission denied"):
            load_sources(config, 8)


def test_revision_is_for_the_hub(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only data sets of the hub"):
        load_sources(DataConfig(name="folder", root=str(tmp_path), revision="main"), 8)
