"""Images per second that one processor core prepares: this project's input pipeline beside timm's, in one run.

The pipelines take turns image by image, in an order that shifts, and what is counted is the processor time of this
process: other programs on the machine slow all of them alike. In training each image is varied by the same random
numbers in all pipelines, so that they do the same work. The limits decode the files and do nothing else. Files are read
once before, so that no disk is measured.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import PIL
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from metaformer_nlp.engine.order import sample_rng
from tasks.benchmark.clock import Report
from tasks.benchmark.options import SpeedConfig
from tasks.images.classification import TransformedImages
from tasks.images.data import DataConfig, load_sources
from vision.transforms import POSTERIZE, AugmentConfig, EvalTransform, global_generators, train_transform

Pipeline = Callable[[int, int], Any]
"""Prepares an image, in a round, by number."""
COLUMNS = {
    "part": "part",
    "pipeline": "pipeline",
    "milliseconds": "ms an image",
    "images_per_second": "images/s",
    "relative_speed": "speed",
}
"""Columns of the results and their headings on the screen."""


def run(config: SpeedConfig) -> list[dict[str, Any]]:
    """Measure, print a table for training and one for evaluation, write ``config.output``; returns the rows.

    Raises:
        ValueError: wrong options or data (see :func:`tasks.images.data.load_sources`).
    """
    torch.set_num_threads(1)
    training, evaluation, count = _pipelines(config)
    caption = f"{count} images, {config.rounds} rounds, processor time of one core. speed: relative to timm, by rounds"
    report = Report(COLUMNS, config.output, f"torch {torch.__version__}, Pillow {PIL.__version__}", caption)
    for part, pipelines in (("training", training), ("evaluation", evaluation)):
        report.add(_measure(part, pipelines, count, config.rounds))
    return report.rows


def _pipelines(config: SpeedConfig) -> tuple[dict[str, Pipeline], dict[str, Pipeline], int]:
    """Pipelines by name for training and for evaluation, and the number of images."""
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ImageDataset, auto_augment, create_transform

    data = DataConfig(name="folder", root=config.root)
    source = load_sources(data, config.image_size)[0]
    if config.images < len(source):
        source = load_sources(DataConfig(name="folder", root=config.root, max_train_samples=config.images), 1)[0]
    augment = AugmentConfig(recipe="imagenet")
    train = TransformedImages(source, train_transform(config.image_size, augment))
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
        return lambda turn, index: dataset[numbers[files[index]]]

    # timm's loader with its prefetcher hands over bytes and leaves the arithmetic and the erasing to the GPU.
    training = {
        "timm": timms(True, False),
        "ours": lambda turn, index: train.sample(index, sample_rng(0, turn, index)),
        "timm, bytes only": timms(True, True),
    }
    evaluation = {
        "timm": timms(False, False),
        "ours": lambda turn, index: evaluate.sample(index),
        "timm, bytes only": timms(False, True),
    }
    limits: dict[str, Pipeline] = {
        "limit: decoding by Pillow": lambda turn, index: Image.open(files[index]).convert("RGB"),
        "limit: decoding by torchvision": lambda turn, index: decode_image(str(files[index]), ImageReadMode.RGB),
    }
    return {**training, **limits}, {**evaluation, **limits}, len(source)


def _measure(part: str, pipelines: dict[str, Pipeline], count: int, rounds: int) -> list[dict[str, Any]]:
    from tqdm import tqdm

    names = list(pipelines)
    seconds = np.zeros((rounds + 1, len(names)))
    for turn in tqdm(range(rounds + 1), desc=part, unit="round"):  # the first one warms up
        for index in range(count):
            for place in range(len(names)):
                number = (place + index + turn) % len(names)
                with _same_numbers(turn, index):
                    start = time.process_time()
                    pipelines[names[number]](turn, index)
                    seconds[turn, number] += time.process_time() - start
    times = seconds[1:] / count
    middle = [statistics.median(column) for column in times.T]
    ratios = np.median(times[:, :1] / times, axis=0)
    return [
        {
            "part": part,
            "pipeline": name,
            "milliseconds": 1e3 * middle[number],
            "images_per_second": 1 / middle[number],
            "relative_speed": float(ratios[number]),
        }
        for number, name in enumerate(names)
    ]


def _same_numbers(turn: int, index: int) -> contextlib.AbstractContextManager[None]:
    """What timm's transforms draw from: the numbers that ours draw of the same sample."""
    return global_generators(int(sample_rng(0, turn, index).integers(2**63)))
