"""Every kind of image becomes 8-bit RGB, or an error that names it."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vision.images import BadImage, load_rgb, to_rgb


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(data: bytes, **options: bool) -> tuple[int, ...]:
    image = load_rgb(data, "x", **options)
    assert image.mode == "RGB"
    array = np.asarray(image)
    assert array.dtype == np.uint8
    return tuple(int(value) for value in array[0, 0])


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("RGB", (4, 4), (10, 20, 30)), "PNG", (10, 20, 30)),
        (Image.new("L", (4, 4), 77), "PNG", (77, 77, 77)),
        (Image.new("1", (4, 4), 1), "PNG", (255, 255, 255)),
        (Image.new("CMYK", (4, 4), (0, 0, 0, 0)), "TIFF", (255, 255, 255)),
        (Image.new("CMYK", (4, 4), (255, 255, 0, 0)), "TIFF", (0, 0, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 255)), "PNG", (255, 0, 0)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "PNG", (255, 255, 255)),  # not the hidden red
        (Image.new("RGBA", (4, 4), (0, 0, 0, 128)), "PNG", (127, 127, 127)),
        (Image.new("LA", (4, 4), (0, 0)), "PNG", (255, 255, 255)),
        (Image.fromarray(np.full((4, 4), 65535, np.uint16)), "PNG", (255, 255, 255)),
        (Image.fromarray(np.full((4, 4), 257 * 40, np.uint16)), "PNG", (40, 40, 40)),  # scaled, not clipped
        (Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF", (128, 128, 128)),
        (Image.new("RGB", (1, 1), (1, 2, 3)), "BMP", (1, 2, 3)),
        (Image.new("RGB", (1, 5000), (1, 2, 3)), "PNG", (1, 2, 3)),
    ],
)
def test_every_mode_becomes_rgb(image: Image.Image, kind: str, expected: tuple[int, ...]) -> None:
    assert pixel(encode(image, kind)) == pytest.approx(expected, abs=1)


def test_transparent_palette_and_colour_key_are_white() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 10, 10])
    assert pixel(encode(palette)) == (200, 10, 10)
    assert pixel(encode(palette, transparency=1)) == (255, 255, 255)
    assert pixel(encode(palette, "GIF", transparency=1)) == (255, 255, 255)
    assert pixel(encode(Image.new("RGB", (4, 4), (9, 9, 9)), transparency=(9, 9, 9))) == (255, 255, 255)


def test_exif_orientation_is_off_unless_asked_for() -> None:
    image = Image.new("RGB", (4, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    data = encode(image, "JPEG", exif=exif)
    assert load_rgb(data).size == (4, 2)
    assert load_rgb(data, apply_exif=True).size == (2, 4)


def noise(side: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"not an image at all", "not an image"),
        (encode(noise(), "JPEG")[:800], "truncated"),
        (encode(noise(), "PNG")[:3000], "damaged|truncated"),
        (encode(Image.fromarray(np.full((2, 2), 7.0, np.float32)), "TIFF"), "0..1"),
    ],
)
def test_bad_images_are_named(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(data)
    with pytest.raises(BadImage, match=why) as caught:
        load_rgb(path)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    with pytest.raises(BadImage, match=r"rows\.parquet row 7"):
        load_rgb(data, "rows.parquet row 7")


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    data = encode(Image.new("1", (15_000, 13_000)))
    assert len(data) < 100_000
    with pytest.raises(BadImage, match="pixels"):
        load_rgb(data, "bomb")


def test_missing_file_and_broken_link(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path / "missing.jpg", tmp_path / "link.jpg"):
        with pytest.raises(BadImage, match="cannot be read"):
            load_rgb(path)


def test_the_error_survives_the_way_from_a_worker() -> None:
    error = pickle.loads(pickle.dumps(BadImage("a.jpg", "empty")))
    assert (error.path, error.why) == ("a.jpg", "empty")
    assert isinstance(BadImage("any message"), ValueError)  # as a data loader builds it again


def test_opaque_rgb_is_not_copied() -> None:
    image = noise()
    assert to_rgb(image) is image
