"""An uploaded picture: read with limits, by its content whatever it is called, or refused with a sentence."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from vision.images import BadImage, load_rgb

__all__ = ["read"]

MAX_PIXELS = 40_000_000
"""More than cameras of telephones have; a picture of so many takes 120 MB."""
MAX_BYTES = 64 * 2**20
LEAST_SIDE = 2
LARGEST_SHARE = 20


def read(path: str | None) -> Image.Image:
    """The picture as RGB, turned as its camera was held; of an animation the first picture.

    Raises:
        ValueError: nothing was given, no picture, a damaged one, or one that is too large or too narrow.
    """
    if not path:
        raise ValueError("Drop a picture first, or take one of the examples.")
    name = Path(path).name
    if not Path(path).is_file():
        raise ValueError(f"{name} is no longer there. Drop the picture again.")
    if Path(path).stat().st_size > MAX_BYTES:
        raise ValueError(f"{name} has more than {MAX_BYTES >> 20} MB. Make the picture smaller.")
    try:
        image = load_rgb(path, name, apply_exif=True, max_pixels=MAX_PIXELS)
    except BadImage as error:
        raise ValueError(f"{name} is no picture that can be read: {error.why}.") from error
    short, long = sorted(image.size)
    if short < LEAST_SIDE or long > LARGEST_SHARE * short:
        raise ValueError(
            f"{name} has {image.width} x {image.height} pixels. Give a picture of at least {LEAST_SIDE} pixels each "
            f"way that is not more than {LARGEST_SHARE} times as long as it is short."
        )
    return image
