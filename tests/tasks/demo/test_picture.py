"""Uploaded pictures of every kind are read, or refused with a sentence."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.demo import picture


def saved(path: Path, image: Image.Image, **options: object) -> str:
    image.save(path, **options)  # type: ignore[arg-type]
    return str(path)


@pytest.fixture
def colours() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 20, 3), dtype=np.uint8))


def test_kinds_that_are_read(tmp_path: Path, colours: Image.Image) -> None:
    for name, image in {"a.png": colours, "b.jpg": colours.convert("CMYK"), "c.png": colours.convert("LA")}.items():
        read = picture.read(saved(tmp_path / name, image))
        assert (read.mode, read.size) == ("RGB", (20, 30))


def test_an_animation_shows_its_first_picture(tmp_path: Path) -> None:
    black, white = (Image.new("L", (8, 8), value) for value in (0, 255))
    read = picture.read(saved(tmp_path / "a.gif", black, save_all=True, append_images=[white]))
    assert np.asarray(read).max() == 0


def test_a_picture_is_turned_as_its_camera_was_held(tmp_path: Path, colours: Image.Image) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    assert picture.read(saved(tmp_path / "a.jpg", colours, exif=turned)).size == (30, 20)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"no picture at all", "photo.jpg is no picture that can be read: not an image in one of the formats"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=why):
        picture.read(str(tmp_path / "photo.jpg"))


def test_damaged_and_extreme_pictures_are_refused(tmp_path: Path, colours: Image.Image) -> None:
    file = io.BytesIO()
    colours.save(file, "JPEG")
    (tmp_path / "half.jpg").write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    with pytest.raises(ValueError, match=r"half\.jpg is no picture that can be read: damaged: .*[Tt]runcated"):
        picture.read(str(tmp_path / "half.jpg"))
    with pytest.raises(ValueError, match="10000 x 10000 pixels, more than 40000000 are refused"):
        picture.read(saved(tmp_path / "large.png", Image.new("1", (10_000, 10_000))))
    with pytest.raises(ValueError, match=r"1 x 1 pixels\. Give a picture of at least 2 pixels each way"):
        picture.read(saved(tmp_path / "dot.png", Image.new("L", (1, 1))))
    with pytest.raises(ValueError, match="not more than 20 times as long"):
        picture.read(saved(tmp_path / "line.png", Image.new("L", (5000, 2))))
    with pytest.raises(ValueError, match="Drop a picture first"):
        picture.read(None)
