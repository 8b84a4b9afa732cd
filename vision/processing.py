"""What an image goes through before a model sees it, and the image processor that a saved model carries."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image
from torch import nn
from transformers import BatchFeature, PreTrainedConfig, TimmWrapperConfig
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.poolformer.image_processing_pil_poolformer import (
    PoolFormerImageProcessorKwargs,
    PoolFormerImageProcessorPil,
)
from transformers.models.poolformer.image_processing_poolformer import PoolFormerImageProcessor

from vision.configuration import MetaFormerVisionConfig
from vision.images import decode, rgb
from vision.pixels import IMAGENET_MEAN, IMAGENET_STD, EvalTransform, Statistics, middle

_DO = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the pixels that a model was made for, at test time."""

    image_size: tuple[int, int]
    """(height, width) in pixels of what the model sees."""
    crop_pct: float
    """Share of the resized image's short side that the centre crop keeps."""
    interpolation: str
    """Of the resizing: bicubic, bilinear, ..."""
    mean: tuple[float, ...]
    """Subtracted from pixels in [0, 1], one a channel."""
    std: tuple[float, ...]
    """Divides what is left, one a channel."""


def preprocessing(model: nn.Module | PreTrainedConfig) -> Preprocessing:
    """What a model's images go through: for ours from the configuration, for timm's from its pretrained row.

    Args:
        model: a classifier of `create_model` or `load_model`, or its configuration.

    Raises:
        ValueError: a model of neither kind, or of other channels than a picture's one or three.
    """
    config = getattr(model, "config", model)
    if isinstance(config, MetaFormerVisionConfig):
        size = config.image_height_width
        return Preprocessing(size, float(config.crop_pct), "bicubic", *_statistics(config.num_channels))
    if isinstance(config, TimmWrapperConfig):
        row = config.pretrained_cfg
        _, height, width = row["input_size"]
        mean, std = tuple(row["mean"]), tuple(row["std"])
        return Preprocessing((height, width), float(row["crop_pct"]), row["interpolation"], mean, std)
    raise ValueError(
        f"no preprocessing is known for {type(model).__name__}: it is neither ours nor a wrapped one of timm"
    )


def _statistics(channels: int) -> tuple[Statistics, Statistics]:
    """Mean and standard deviation of ImageNet's pixels; of one channel, grey, the means of the three."""
    if channels == 1:
        return (round(sum(IMAGENET_MEAN) / 3, 4),), (round(sum(IMAGENET_STD) / 3, 4),)
    if channels != 3:
        raise ValueError(
            f"num_channels {channels}: a picture becomes one channel (grey) or three (RGB). A model of other channels "
            "needs pixels that you prepare yourself."
        )
    return IMAGENET_MEAN, IMAGENET_STD


class MetaFormerImageProcessorKwargs(PoolFormerImageProcessorKwargs, total=False):
    """The options of the processor, beside PoolFormer's `crop_pct`."""

    apply_exif: bool


class MetaFormerImageProcessor(PoolFormerImageProcessorPil):
    """What evaluation makes of a picture, to the bit: `vision.images.load_rgb`, then `vision.pixels.EvalTransform`.

    Takes what transformers' processors take: pictures of Pillow, arrays, tensors, paths, URLs and base64. Give it
    files, or pictures as `PIL.Image.open` gives them: what transformers' `load_image` has read is turned as its EXIF
    entry says, and has lost its transparency. Where an option asks for something else (`do_resize=False`, a size that
    is no square) the steps are PoolFormer's.

    Without this package the saved file opens as transformers' PoolFormer processor, which resizes alike but reads
    transparent, turned and 16-bit pictures otherwise. A saved PoolFormer opens as that here as well.
    """

    valid_kwargs = MetaFormerImageProcessorKwargs
    apply_exif = False
    do_convert_rgb = True  # type: ignore[assignment]
    theirs: ClassVar[type[BaseImageProcessor]] = PoolFormerImageProcessor

    @classmethod
    def from_dict(cls, image_processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The processor that these fields describe: ours, or transformers' own."""
        if "apply_exif" not in image_processor_dict:
            return cls.theirs.from_dict(image_processor_dict, **kwargs)
        return super().from_dict(image_processor_dict, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """The fields, under the name of a class that transformers has."""
        return {**super().to_dict(), "image_processor_type": PoolFormerImageProcessor.__name__}

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """Paths, URLs and base64 as pictures, in the mode that they are stored in."""
        given = image_url_or_urls
        if isinstance(given, list | tuple):
            return [self.fetch_images(one) for one in given]
        if not isinstance(given, str | os.PathLike):
            return super().fetch_images(given)
        if isinstance(given, os.PathLike) or os.path.exists(given):
            return decode(given)
        if given.startswith(("http://", "https://")):
            with urlopen(Request(given, headers={"User-Agent": "metaformer-nlp"}), timeout=60) as answer:
                return decode(answer.read(), given)
        text = given.partition(",")[2] if given.startswith("data:image/") else given
        try:
            data = base64.b64decode("".join(text.split()), validate=True)
        except ValueError:
            return decode(given)  # a path to nowhere, which the error names
        return decode(data, given if len(given) < 100 else f"{given[:100]}...")

    def process_image(self, image: Any, *_: Any, input_data_format: Any = None, **options: Any) -> np.ndarray:
        """A picture, array or tensor as an array, channels first; RGB in 8 bits if it is in 8 bits or Pillow's."""
        if not isinstance(image, Image.Image):
            array = super().process_image(image, do_convert_rgb=False, input_data_format=input_data_format)
            if array.dtype != np.uint8 or len(array) not in (1, 3, 4):
                return np.asarray(array)
            image = Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))
        return np.asarray(rgb(image, apply_exif=bool(options.get("apply_exif")))).transpose(2, 0, 1)

    def _preprocess(self, images: list[np.ndarray], **options: Any) -> BatchFeature:  # type: ignore[override]
        crop, size, mean = options["crop_size"], options["size"], tuple(options["image_mean"])
        usual = all(options[step] for step in _DO) and not options["do_pad"] and options["rescale_factor"] == 1 / 255
        if not (usual and crop.height == crop.width == size.shortest_edge and all(map(_is_rgb, images))):
            return super()._preprocess([_channels(image, len(mean)) for image in images], **options)
        interpolation = Image.Resampling(options["resample"]).name.lower()
        transform = EvalTransform(crop.height, options["crop_pct"], interpolation, mean, tuple(options["image_std"]))
        pixels = [transform(image.transpose(1, 2, 0)).numpy() for image in images]
        return BatchFeature(data={"pixel_values": pixels}, tensor_type=options["return_tensors"])


class MetaFormerImageProcessorPil(MetaFormerImageProcessor):
    """The same, where transformers is asked for its backend "pil"."""

    theirs: ClassVar[type[BaseImageProcessor]] = PoolFormerImageProcessorPil


IMAGE_PROCESSORS: dict[str, type] = {
    "torchvision": MetaFormerImageProcessor,
    "pil": MetaFormerImageProcessorPil,
    "poolformer": PoolFormerImageProcessor,  # the name that saved folders give, by which transformers finds ours
}
"""Backend of transformers -> the class that opens a saved folder."""


def _is_rgb(image: np.ndarray) -> bool:
    return image.dtype == np.uint8 and len(image) == 3


def _channels(image: np.ndarray, channels: int) -> np.ndarray:
    """A picture (C, H, W), no strip, grey where the model has one channel."""
    picture = np.asarray(middle(image.transpose(1, 2, 0)))
    if channels == 1 and _is_rgb(image):
        return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).convert("L"))[None]
    return picture.transpose(2, 0, 1)


def image_processor(
    config: MetaFormerVisionConfig,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    apply_exif: bool = False,
) -> MetaFormerImageProcessor:
    """Resize the short side to image_size / crop_pct (bicubic), crop the centre, normalise, for this configuration.

    Save it beside the model: `image_processor(model.config).save_pretrained(folder)`.

    Args:
        config: of the model, whose size, `crop_pct` and channels are taken.
        mean, std: of pixels in [0, 1], one a channel; None: ImageNet's.
        apply_exif: turn pictures as their EXIF entry says; as in training.

    Raises:
        ValueError: a model of other channels than a picture's one or three.
    """
    seen = preprocessing(config)
    height, width = seen.image_size
    return MetaFormerImageProcessor(
        size={"shortest_edge": height} if height == width else {"height": height, "width": width},
        crop_size={"height": height, "width": width},
        crop_pct=seen.crop_pct,
        image_mean=list(seen.mean if mean is None else mean),
        image_std=list(seen.std if std is None else std),
        apply_exif=apply_exif,  # type: ignore[call-arg]  # of our own valid_kwargs
    )
