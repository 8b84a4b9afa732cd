"""Every kind of image file becomes 8-bit RGB, or a :class:`BadImage` that says which file and why.

What is decided here, since Pillow's plain ``convert("RGB")`` decides it silently:

- Transparency (RGBA, LA, palette or grey with a transparent entry) is laid over **white**. ``convert`` would drop the
  alpha channel and show whatever colour is stored under fully transparent pixels. Opaque images are not touched.
- 16-bit grey (``I;16``, and ``I``, which Pillow uses for the same files) is **scaled** to 8 bits. ``convert`` clips,
  so that nearly every pixel becomes white.
- Floating-point grey (``F``) must lie in 0..1 and is scaled by 255.
- CMYK, YCbCr, LAB, HSV, palettes and 1-bit images go through ``convert``; colour profiles are ignored.
- EXIF orientation is **ignored** unless asked for: the ImageNet recipes ignore it, in training and in evaluation, and
  published accuracies are measured that way.
- Of an animation the first picture is taken.
- An image of more than :data:`MAX_PIXELS` is refused before it is decoded, a truncated one after.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

Picture = Image.Image | np.ndarray

MAX_PIXELS = 178_956_970
"""Pillow's own limit for a "decompression bomb": 512 MiB of RGB."""

FORMATS = ("JPEG", "PNG", "WEBP", "MPO", "GIF", "BMP", "PPM", "TIFF", "JPEG2000", "AVIF")
"""What is read, by Pillow's names, whatever the file is called. Not among them are formats that Pillow hands to other
programs (EPS runs Ghostscript)."""


_TO_8_BITS = [(value * 255 + 32767) // 65535 for value in range(65536)]


class BadImage(ValueError):  # noqa: N818 (a thing that is bad, not an error of the program)
    """An image that cannot be used; ``path`` names it (a file, or the file and row of a table), ``why`` the reason."""

    def __init__(self, path: str, why: str = "") -> None:
        # One argument is what a data loader's worker passes when it raises the error again in the main process.
        super().__init__(f"bad image {path}: {why}" if why else path)
        self.path = path
        self.why = why

    def __reduce__(self) -> tuple[type[BadImage], tuple[str, str]]:
        return type(self), (self.path, self.why)


def load_rgb(
    source: str | os.PathLike[str] | bytes,
    name: str = "",
    *,
    apply_exif: bool = False,
    lazy: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Decode ``source``, a path or the bytes of a file, to an image of mode RGB, (H, W, 3) in 8 bits.

    ``name`` is what an error calls the image (default: its path). More than ``max_pixels`` are refused. With ``lazy``
    a JPEG that is RGB as it is comes undecoded, for :func:`decoded`.

    Raises:
        BadImage: missing, empty, truncated, too large, or not an image.
    """
    image = open_image(source, name, max_pixels)
    if lazy and not apply_exif and (image.format, image.mode) == ("JPEG", "RGB"):
        return image
    return rgb(decoded(image), name or _name(source), apply_exif)


def rgb(image: Image.Image, name: str = "", apply_exif: bool = False) -> Image.Image:
    """A decoded image of any mode as mode RGB, turned as its EXIF entry says if ``apply_exif``.

    Raises:
        BadImage: a floating-point image with values outside 0..1, a damaged EXIF entry.
    """
    with named(name):
        return to_rgb(ImageOps.exif_transpose(image) if apply_exif else image, name)


def decode(source: str | os.PathLike[str] | bytes, name: str = "") -> Image.Image:
    """The image of ``source``, a path or the bytes of a file, in the mode that it is stored in.

    Raises:
        BadImage: missing, empty, truncated, too large, or not an image.
    """
    return decoded(open_image(source, name))


def decoded(image: Image.Image, reduction: int = 1) -> Image.Image:
    """The image, decoded if it is not yet, then a JPEG at 1/``reduction`` of its size: 1, 2, 4 or 8.

    Raises:
        BadImage: truncated or damaged.
    """
    with named(getattr(image, "filename", "")):
        if reduction > 1:
            image.draft("RGB", (image.width // reduction, image.height // reduction))
        image.load()
        return image


def open_image(source: str | os.PathLike[str] | bytes, name: str = "", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image of ``source``, a path or the bytes of a file, before it is decoded: its size and mode are known.

    Raises:
        BadImage: missing, empty, too large, or not an image.
    """
    name = name or _name(source)
    if not isinstance(source, bytes):
        try:
            if not stat.S_ISREG(os.stat(source).st_mode):  # a pipe would wait for ever, a device never end
                raise BadImage(name, "not a file")
            with open(source, "rb", buffering=0) as file:
                source = file.read()
        except BadImage:
            raise
        except (OSError, ValueError) as error:  # ValueError: a path with a null byte
            raise BadImage(name, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not source:
        raise BadImage(name, "the file is empty (0 bytes)")
    with named(name), warnings.catch_warnings():
        # Pillow warns at half of its limit; large photographs are legitimate.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(source), formats=_formats())
        if image.width * image.height > max_pixels:
            raise BadImage(name, f"{image.width} x {image.height} pixels, more than {max_pixels} are refused")
        image.filename = name  # what an error calls it when it is decoded
        return image


def is_image(source: str | os.PathLike[str] | bytes) -> bool:
    """Whether a file, or its bytes, begins as an image of one of :data:`FORMATS` does. It is not decoded.

    Raises:
        OSError: a file that cannot be read.
    """
    if not isinstance(source, bytes) and not os.path.isfile(source):
        return False  # a pipe, or a link to nowhere
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                Image.open(file, formats=_formats())
        except Image.DecompressionBombError:
            return True
        except Exception:  # a format's reader raises what it likes over what is not of its format
            return False
    return True


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is taken for an image: by its suffix, and where that says nothing, by its first bytes.

    Raises:
        OSError: a file without such a suffix that cannot be read.
    """
    return os.path.splitext(path)[1].lower() in image_suffixes() or is_image(path)


@lru_cache
def image_suffixes() -> frozenset[str]:
    """The suffixes, in lower case with their dot, that Pillow knows for the formats that are read."""
    formats = _formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def _name(source: str | os.PathLike[str] | bytes) -> str:
    return "<bytes>" if isinstance(source, bytes) else os.fspath(source)


@contextmanager
def named(name: str) -> Iterator[None]:
    """What a decoder raises becomes a :class:`BadImage` of this name."""
    name = name or "<image>"
    try:
        yield
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(name, f"not an image in one of the formats {', '.join(_formats())}") from error
    except Image.DecompressionBombError as error:
        raise BadImage(name, f"more than {MAX_PIXELS} pixels are refused") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, IndexError, ... on damaged files
        raise BadImage(name, f"damaged: {error}") from error


@lru_cache
def _formats() -> tuple[str, ...]:
    """Those of :data:`FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def to_rgb(image: Image.Image, name: str = "") -> Image.Image:
    """``image`` of any mode as mode RGB, by the rules at the top of this file.

    Raises:
        BadImage: a floating-point image with values outside 0..1.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow's own table, which cuts values off at 0 and 65535: numpy would take 24 bytes for each pixel.
        return image.convert("I").point(_TO_8_BITS, "L").convert("RGB")
    if image.mode == "F":
        floats = np.asarray(image)
        if not np.isfinite(floats).all() or floats.min() < 0 or floats.max() > 1:
            raise BadImage(name or "<image>", "floating-point pixels must lie in 0..1")
        return Image.fromarray(np.rint(floats * 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
