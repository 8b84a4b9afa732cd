"""From a decoded image to the model's input: pure functions of ``(image, rng)``.

The augmentation of a sample depends on the generator that is handed in and on nothing else, so that a run that was
interrupted sees the same pictures again, whatever the number of workers and processes.

Shapes: an image is a Pillow image or an (H, W, 3) array of uint8; it is prepared as (C, S, S) bytes. A batch of these
is float32 (B, C, S, S), with the mean taken away and divided by the standard deviation, ImageNet's unless the model was
made with others.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from PIL.ImageFile import ImageFile
from timm.data import auto_augment, create_transform
from torchvision.io import ImageReadMode, decode_jpeg

from vision.images import Picture, decoded, named
from vision.options import AugmentConfig
from vision.pixels import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EvalTransform,
    Prepared,
    Statistics,
    Transform,
    resize_and_crop,
    to_bytes,
)


@dataclass(frozen=True)
class SmallTransform(Transform):
    """A random shift by up to ``padding`` pixels and a random mirror image: the usual recipe for 32 x 32."""

    size: int
    padding: int = 4
    flip: float = 0.5
    mean: Statistics = IMAGENET_MEAN
    std: Statistics = IMAGENET_STD

    def prepare(self, image: Picture, rng: np.random.Generator | None = None) -> Prepared:
        if rng is None:
            raise ValueError("a training transform needs the sample's random generator")
        array = np.asarray(resize_and_crop(image, self.size))
        if self.padding:
            top, left = rng.integers(0, 2 * self.padding + 1, size=2)
            padded = np.zeros((self.size + 2 * self.padding, self.size + 2 * self.padding, 3), dtype=np.uint8)
            padded[self.padding : self.padding + self.size, self.padding : self.padding + self.size] = array
            array = padded[top : top + self.size, left : left + self.size]
        if self.flip and rng.random() < self.flip:
            array = array[:, ::-1]
        return Prepared(to_bytes(array, len(self.mean)))


class ImageNetTransform(Transform):
    """timm's training transform: random resized crop, mirroring, RandAugment, random erasing.

    timm draws from the global generators of ``random``, numpy and torch; they are seeded from the sample's generator
    for the length of the call and put back afterwards. Only the conversion to a tensor, which draws nothing, is ours.
    """

    def __init__(
        self, size: int, config: AugmentConfig, mean: Statistics = IMAGENET_MEAN, std: Statistics = IMAGENET_STD
    ) -> None:
        try:
            with replaced(auto_augment.NAME_TO_OP, POSTERIZE):
                parts: tuple[Any, ...] = create_transform(
                    input_size=size,
                    is_training=True,
                    hflip=config.flip,
                    scale=config.crop_scale,
                    color_jitter=config.color_jitter,  # type: ignore[arg-type]  # None is allowed
                    auto_augment=config.auto_augment,
                    interpolation="random",
                    re_prob=config.random_erasing,
                    re_mode="pixel",
                    mean=mean,
                    std=std,
                    separate=True,
                )
        except (AssertionError, KeyError, ValueError, IndexError) as error:
            raise ValueError(
                f"data.augment.auto_augment {config.auto_augment!r} is no policy in timm's notation "
                f"({type(error).__name__}: {error}); for example rand-m9-mstd0.5-inc1, or null for none"
            ) from error
        crop, vary, finish = parts
        self._crop: Any = crop.transforms[0]
        self._vary = [*crop.transforms[1:], *vary.transforms]
        self._erasing = finish.transforms[2:]  # after timm's own conversion and normalisation
        self.mean, self.std = mean, std

    def prepare(self, image: Picture, rng: np.random.Generator | None = None) -> Prepared:
        if rng is None:
            raise ValueError("a training transform needs the sample's random generator")
        picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        with global_generators(int(rng.integers(2**63))):
            picture = self.crop(picture)
            for change in self._vary:
                picture = change(picture)
            pixels = to_bytes(picture, len(self.mean))
            drawn = Patch(pixels.shape)
            for erase in self._erasing:
                erase(drawn)
        return Prepared(pixels, drawn.patch)

    def crop(self, picture: Image.Image) -> Image.Image:
        """A random part of the picture, of the model's size."""
        cropped: Image.Image = self._crop(picture)
        return cropped


class FastImageNetTransform(ImageNetTransform):
    """The same with the same draws, but for how the crop is made: nearly the same pixels in less time.

    A crop that is at least twice as large as the model's image is taken from a JPEG that Pillow decodes at half of its
    size, or at a quarter or an eighth. Other JPEGs are decoded by torchvision, to the same bytes, three a pixel where
    Pillow writes four. Crops are then resized by torch, which computes Pillow's filters with smaller integers.
    """

    lazy = True

    def crop(self, picture: Image.Image) -> Image.Image:
        crop = self._crop
        top, left, height, width = crop.get_params(picture, crop.scale, crop.ratio)
        method = random.choice(crop.interpolation).value
        right, bottom = left + width, top + height
        undecoded = picture if isinstance(picture, ImageFile) and picture.tile else None
        reduction = next((n for n in (8, 4, 2) if min(width / crop.size[1], height / crop.size[0]) >= n), 1)
        if undecoded is not None and reduction > 1:
            # A pixel is a square of `reduction` pixels then, and Pillow takes parts of it.
            box = left / reduction, top / reduction, right / reduction, bottom / reduction
            return decoded(undecoded, reduction).resize(crop.size, Image.Resampling[method.upper()], box)
        if undecoded is not None:
            pixels = decode_by_torchvision(undecoded)[:, top:bottom, left:right]
        else:
            pixels = torch.from_numpy(np.array(picture.crop((left, top, right, bottom)))).permute(2, 0, 1)
        red_green_blue = F.interpolate(pixels[None], crop.size, mode=method, antialias=True)[0].numpy()
        return Image.merge("RGB", [Image.fromarray(channel) for channel in red_green_blue])


def decode_by_torchvision(image: ImageFile) -> torch.Tensor:
    """An undecoded JPEG -> (3, H, W) of uint8.

    Raises:
        BadImage: truncated or damaged.
    """
    with named(str(image.filename)):
        assert isinstance(image.fp, BytesIO)  # as vision.images.open_image makes it
        return decode_jpeg(torch.frombuffer(image.fp.getbuffer(), dtype=torch.uint8), ImageReadMode.RGB)


class Patch:
    """What timm's random erasing sees of an image: its size and type, and the place where the drawn pixels go."""

    dtype = torch.float32

    def __init__(self, shape: torch.Size) -> None:
        self._shape = shape
        self.patch: tuple[int, int, torch.Tensor] | None = None

    def size(self) -> torch.Size:
        """(C, H, W)"""
        return self._shape

    def __setitem__(self, place: tuple[slice, slice, slice], pixels: torch.Tensor) -> None:
        _, rows, columns = place
        self.patch = rows.start, columns.start, pixels


def posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """Keep the upper ``bits`` of each pixel. RandAugment at full strength asks for 0, which newer Pillow refuses and
    which was a black image before: what the published recipes trained with."""
    mask = 255 & ~(2 ** (8 - max(0, bits)) - 1) if bits < 8 else 255
    return image.point([level & mask for level in range(256)] * len(image.getbands()))


POSTERIZE = dict.fromkeys(("Posterize", "PosterizeIncreasing", "PosterizeOriginal"), posterize)
"""Replaces timm's entries of these names while a transform is built."""


@contextlib.contextmanager
def replaced(table: dict[str, Any], entries: dict[str, Any]) -> Iterator[None]:
    """Give ``table`` other values of the names in ``entries``, all of which it has; put its own back on leaving."""
    before = {name: table[name] for name in entries}
    table.update(entries)
    try:
        yield
    finally:
        table.update(before)


@contextlib.contextmanager
def global_generators(seed: int) -> Iterator[None]:
    """Seed the generators of ``random``, numpy and torch's CPU; put them back on leaving.

    Not ``torch.manual_seed``: it would seed the accelerators too, and those could not be put back cheaply. Numpy's is
    exchanged, since saving and restoring its state takes 0.2 ms; the second of a pair of normal numbers that it may
    hold ready is lost.
    """
    generator = np.random.get_bit_generator()  # type: ignore[attr-defined]
    saved = random.getstate(), generator, torch.default_generator.get_state()
    random.seed(seed)
    np.random.set_bit_generator(np.random.MT19937(seed))  # type: ignore[attr-defined]
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(saved[0])
        np.random.set_bit_generator(saved[1])  # type: ignore[attr-defined]
        torch.default_generator.set_state(saved[2])


def train_transform(
    size: int,
    config: AugmentConfig,
    crop_pct: float = 1.0,
    interpolation: str = "bicubic",
    mean: Statistics = IMAGENET_MEAN,
    std: Statistics = IMAGENET_STD,
) -> Transform:
    """The training transform that ``config`` names; ``crop_pct`` and ``interpolation`` serve the recipe "none" only.

    Raises:
        ValueError: ``auto_augment`` is no policy, or ``fast_pixels`` for another recipe than "imagenet".
    """
    if config.recipe == "imagenet":
        return (FastImageNetTransform if config.fast_pixels else ImageNetTransform)(size, config, mean, std)
    if config.fast_pixels:
        raise ValueError(
            f"data.augment.fast_pixels: has a meaning for the recipe imagenet only, not for {config.recipe}; leave it "
            "false"
        )
    if config.recipe == "small":
        return SmallTransform(size, config.crop_padding, config.flip, mean, std)
    return EvalTransform(size, crop_pct, interpolation, mean, std)
