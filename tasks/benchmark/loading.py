"""Images per second that one processor core prepares: this project's input pipeline beside timm's, in one run.

The pipelines take turns as in ``tasks/benchmark/clock.py``. A step is a batch, from the files to one tensor, and
processor time of this process is counted: other programs on the machine slow all of them alike. In training each image
is varied by the same random numbers in all pipelines, so that they do the same work. The limits decode the files and do
nothing else. Files are read once before, so that no disk is measured.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import PIL
import torch
from PIL import Image
from torch.utils.data import default_collate
from torchvision.io import ImageReadMode, decode_image

from metaformer_nlp.engine.order import sample_rng
from metaformer_nlp.engine.processes import keep_freed_memory
from tasks.benchmark.clock import CAPTION, Report, Timed, columns, compare
from tasks.benchmark.options import Options, SpeedConfig
from tasks.images.classification import TransformedImages
from tasks.images.data import DataConfig, ImageSource, load_sources
from vision.transforms import POSTERIZE, AugmentConfig, EvalTransform, global_generators, train_transform

COLUMNS = columns(
    {"part": "part", "pipeline": "pipeline"},
    "images",
    {"difference": "mean difference", "changed_percent": "% by 2 and more", "psnr": "PSNR, dB"},
)
FAST = "ours, fast pixels"


class Pipeline(NamedTuple):
    """How images are prepared."""

    sample: Callable[[int, int], Any]
    """An image, in a round, by number."""
    batch: Callable[[list[Any]], Any]
    """One of several samples."""


class Batches(Timed):
    """A pipeline that prepares the same ``count`` images again and again; a step is a batch."""

    def __init__(self, pipeline: Pipeline, count: int, batch_size: int) -> None:
        size = min(batch_size, count)
        super().__init__({}, size)
        self.pipeline, self.count, self.size, self.done = pipeline, count, size, 0

    def timed(self) -> float:
        seconds, samples = 0.0, []
        for _ in range(self.size):
            turn, index = divmod(self.done, self.count)
            self.done += 1
            with _same_numbers(turn, index):
                start = time.process_time()
                samples.append(self.pipeline.sample(turn, index))
                seconds += time.process_time() - start
        start = time.process_time()
        self.pipeline.batch(samples)
        return 1000 * (seconds + time.process_time() - start)


def run(config: SpeedConfig) -> list[dict[str, Any]]:
    """Measure, print a table for training and one for evaluation, write ``config.output``; returns the rows.

    Raises:
        ValueError: wrong options or data (see :func:`tasks.images.data.load_sources`).
    """
    torch.set_num_threads(1)
    keep_freed_memory()  # as in training; all pipelines have it
    training, evaluation, count = _pipelines(config)
    options = Options(rounds=config.rounds, steps=-(-count // config.batch_size), warmup=1)
    size = min(config.batch_size, count)
    caption = f"{count} images, {config.rounds} rounds, batches of {size}, processor time of one core. {CAPTION}"
    report = Report(COLUMNS, config.output, f"torch {torch.__version__}, Pillow {PIL.__version__}", caption)
    for part, pipelines in (("training", training), ("evaluation", evaluation)):
        print(f"{part} ...", file=sys.stderr)
        measured = compare(
            {name: functools.partial(Batches, each, count, config.batch_size) for name, each in pipelines.items()},
            options,
        )
        rows = [{"part": part, "pipeline": name, **row} for name, row in measured.items()]
        for row in rows:
            if row["pipeline"] == FAST:
                row |= differences(config)
        report.add(rows)
    return report.rows


def differences(config: SpeedConfig) -> dict[str, float]:
    """How far the bytes of fast pixels are from the exact ones, in the same crops, before they are augmented.

    The mean of the absolute difference, the per cent of the bytes that differ by 2 or more, and the ratio of the
    largest value to the root of the mean square in decibels.
    """
    source = _source(config)
    plain = AugmentConfig(recipe="imagenet", auto_augment=None, color_jitter=None, random_erasing=0.0)
    exact, fast = _exact_and_fast(source, config, plain)
    found = []
    for turn in range(2):
        for index in range(len(source)):
            a, b = (data.sample(index, sample_rng(0, turn, index))[0].pixels.float() for data in (exact, fast))
            gap = (a - b).abs()
            found.append((float(gap.mean()), float((gap > 1).float().mean()), float(gap.square().mean())))
    mean, changed, square = np.mean(found, axis=0)
    return {
        "difference": float(mean),
        "changed_percent": 100 * float(changed),
        "psnr": 10 * math.log10(255**2 / square) if square else math.inf,
    }


def _source(config: SpeedConfig) -> ImageSource:
    data = DataConfig(name="folder", root=config.root)
    source = load_sources(data, config.image_size)[0]
    if config.images < len(source):
        source = load_sources(replace(data, max_train_samples=config.images), config.image_size)[0]
    return source


def _exact_and_fast(source: ImageSource, config: SpeedConfig, augment: AugmentConfig) -> list[TransformedImages]:
    """The images as training sees them, without fast pixels and with them."""
    transforms = (
        train_transform(config.image_size, replace(augment, fast_pixels=fast_pixels)) for fast_pixels in (False, True)
    )
    return [TransformedImages(source, transform) for transform in transforms]


def _pipelines(config: SpeedConfig) -> tuple[dict[str, Pipeline], dict[str, Pipeline], int]:
    """Pipelines by name for training and for evaluation, and the number of images."""
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ImageDataset, auto_augment, create_transform
    from timm.data.loader import fast_collate

    source = _source(config)
    augment = AugmentConfig(recipe="imagenet")
    exact, fast = _exact_and_fast(source, config, augment)
    evaluate = TransformedImages(source, EvalTransform(config.image_size, config.crop_pct))

    root = Path(config.root).expanduser()
    files = [root / source.name(index) for index in range(len(source))]
    numbers: dict[Path, int] = {}

    def timms(training: bool, prefetcher: bool) -> Pipeline:
        with patch.dict(auto_augment.NAME_TO_OP, POSTERIZE):  # its own stops at what newer versions of Pillow refuse
            transform = create_transform(
                config.image_size,
                is_training=training,
                use_prefetcher=prefetcher,
                crop_pct=config.crop_pct,
                interpolation="random" if training else "bicubic",
                auto_augment=augment.auto_augment,
                hflip=augment.flip,
                re_prob=augment.random_erasing,
                re_mode="pixel",
                mean=IMAGENET_DEFAULT_MEAN,
                std=IMAGENET_DEFAULT_STD,
            )
        dataset = ImageDataset(str(root / "train" if (root / "train").is_dir() else root), transform=transform)
        if not numbers:
            numbers.update({Path(dataset.filename(index, absolute=True)): index for index in range(len(dataset))})
        return Pipeline(
            lambda turn, index: dataset[numbers[files[index]]], fast_collate if prefetcher else default_collate
        )

    def ours(data: TransformedImages, training: bool) -> Pipeline:
        return Pipeline(
            lambda turn, index: data.sample(index, sample_rng(0, turn, index) if training else None),
            lambda samples: data.transform.batch([picture for picture, _ in samples]),
        )

    def half(turn: int, index: int) -> Image.Image:
        image = Image.open(files[index])
        image.draft("RGB", (image.width // 2, image.height // 2))
        return image.convert("RGB")

    # timm's loader with its prefetcher hands over bytes and leaves the arithmetic and the erasing to the GPU.
    training = {
        "timm": timms(True, False),
        "ours": ours(exact, True),
        FAST: ours(fast, True),
        "timm, bytes only": timms(True, True),
    }
    evaluation = {
        "timm": timms(False, False),
        "ours": ours(evaluate, False),
        "timm, bytes only": timms(False, True),
    }
    limits = {
        "limit: decoding by Pillow": Pipeline(lambda turn, index: Image.open(files[index]).convert("RGB"), len),
        "limit: decoding at half size by Pillow": Pipeline(half, len),
        "limit: decoding by torchvision": Pipeline(
            lambda turn, index: decode_image(str(files[index]), ImageReadMode.RGB), len
        ),
    }
    return {**training, **limits}, {**evaluation, **limits}, len(source)


def _same_numbers(turn: int, index: int) -> contextlib.AbstractContextManager[None]:
    """What timm's transforms draw from: the numbers that ours draw of the same sample."""
    return global_generators(int(sample_rng(0, turn, index).integers(2**63)))
