"""Labelled images from five kinds of places, all looking the same: an :class:`ImageSource` of (picture, label, name).

- ``digits``: :mod:`tasks.images.readers.digits`, embedded, nothing to download.
- ``folder``: ``root/train/<class>/*`` and ``root/val/<class>/*`` as ImageNet is laid out, or ``root/<class>/*``, of
  which a fixed share is then kept for validation.
- ``parquet``: ``root/train-*.parquet`` and ``root/validation-*`` (or ``test-*``), the layout of the Hugging Face hub.
- ``webdataset``: ``root/train-*.tar`` and ``root/val-*.tar`` (or ``validation-*``, ``test-*``); see
  :mod:`tasks.images.readers.shards`.
- any other name: a data set of the Hugging Face hub.

Labels are checked once, at the start: a wrong one is an error that names its file or row. Pictures are decoded when
they are asked for; a broken one is a :class:`vision.images.BadImage`, in training as in evaluation.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from metaformer_nlp.config.names import closest
from tasks.content import CONTENT_LIMIT, content_hash
from tasks.images.readers.classes import read_class_file, readable_names, say
from tasks.images.readers.digits import CanvasConfig, DigitsOnCanvas
from tasks.images.readers.folder import FolderImages, read_folder
from tasks.images.readers.shards import ShardImages, read_shards
from tasks.images.readers.table import Columns, read_hub, read_parquet
from vision.images import BadImage, Picture
from vision.options import AugmentConfig

LOCAL = ("digits", "folder", "parquet", "webdataset")


@dataclass(frozen=True)
class DataConfig:
    """Where the images come from and how they are shown to the model."""

    name: str = "digits"
    """digits (embedded), folder, parquet, webdataset (tar shards), or the name of a data set of the hub."""
    root: str | None = None
    """Folder that holds the data; for folder, parquet and webdataset."""
    revision: str | None = None
    """hub: branch, tag or commit of the data set; null: its main branch. A commit makes a run repeatable."""
    image_size: int | None = None
    """Pixels of the side that the model sees; null: what the model's row says."""
    crop_pct: float | None = None
    """Evaluation: share of the resized image that the central crop keeps; null: what the model's row says."""
    validation_fraction: float = 0.1
    """Share kept for validation where the data has no such part; chosen by file name, so always the same."""
    held_out: float | None = None
    """Measure on this share of the training images, as the part held_out, and train on the others; the validation part
    plays no role. For choosing settings. null: measure on the validation part."""
    max_train_samples: int | None = None
    """Train on a fixed random subset of this many images; null: all."""
    max_eval_samples: int | None = None
    """Evaluate on a fixed random subset of this many images; null: all."""
    image_column: str | None = None
    """parquet and hub: column of the images; null: found by its type or name."""
    label_column: str | None = None
    """parquet and hub: column of the classes; null: found by its type or name."""
    class_file: str | None = None
    """Text file with one class (folder name) a line; the number of the line, from 0, is the label. imagenet: the 1000
    synsets of ImageNet-1K. null: the folders that there are, sorted, or the class names of the table."""
    apply_exif: bool = False
    """Turn images as their EXIF entry says. ImageNet's published accuracies are measured without."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    canvas: CanvasConfig = field(default_factory=CanvasConfig)

    def model_fields(self) -> dict[str, Any]:
        """What the data says of the model, where it is given: ``image_size`` and ``crop_pct``."""
        fields = {"image_size": self.image_size, "crop_pct": self.crop_pct}
        return {key: value for key, value in fields.items() if value is not None}


class ImageSource(Protocol):
    """One part (training or validation) of a data set."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, as folders are called; a label is an index into it. A source whose classes have other
        names for people gives those as ``class_names``: :func:`tasks.images.readers.classes.readable_names`."""

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What an error calls the sample."""

    def paths(self, indices: Sequence[int]) -> list[Path]:
        """The files that these pictures come from; none for pictures that are made by a program."""

    def load(self, index: int, rng: np.random.Generator | None = None, *, lazy: bool = False) -> Picture:
        """The picture, RGB in 8 bits; with ``lazy`` a JPEG may come undecoded, for `vision.images.decoded`."""


def limited(source: ImageSource, count: int | None, setting: str) -> ImageSource:
    """A fixed random subset of ``count`` images, which ``setting`` asks for; ``None``: all.

    Raises:
        ValueError: ``count`` outside 1..len(source).
    """
    return source if count is None else Subset(source, check_count(count, len(source), setting))


def check_count(count: int, total: int, setting: str) -> int:
    """``count``, of ``total`` images; ValueError in the name of ``setting`` if there are not so many."""
    if not 1 <= count <= total:
        raise ValueError(f"{setting} {count}: must lie in 1..{total}, the number of images")
    return count


def fixed_choice(total: int, count: int) -> np.ndarray:
    """(count,): the numbers of a fixed random choice among ``total`` samples, rising."""
    return np.sort(np.random.default_rng(total).permutation(total)[:count])


def load_sources(config: DataConfig, image_size: int) -> tuple[ImageSource, ImageSource]:
    """The training part of the data that ``config`` names, and the part to measure on.

    Raises:
        ValueError: missing folder, part or column, empty class, classes that differ between the parts, wrong label.
    """
    training: ImageSource
    measured: ImageSource
    columns = Columns(config.image_column, config.label_column)
    class_list = None if config.class_file is None else read_class_file(config.class_file)
    if config.revision is not None and config.name in LOCAL:
        raise ValueError(f"data.revision {config.revision}: only data sets of the hub have one, not {config.name}")
    if config.name == "digits":
        if class_list is not None:
            raise ValueError("data.class_file: digits has its own ten classes; set it to null")
        training = DigitsOnCanvas("train", image_size, config.canvas)
        measured = DigitsOnCanvas("validation", image_size, config.canvas)
    elif config.name in LOCAL:
        if config.root is None:
            raise ValueError(f"data.name {config.name} needs --data.root, the folder that holds the images")
        root = Path(config.root).expanduser()
        if not root.is_dir():
            raise ValueError(f"data.root {root}: no such folder (looked in {Path.cwd()})")
        if config.name == "folder":
            training, measured = read_folder(root, config.validation_fraction, config.apply_exif, class_list)
        elif config.name == "webdataset":
            training, measured = read_shards(root, config.apply_exif, class_list)
        else:
            training, measured = read_parquet(root, columns, config.apply_exif, class_list)
    else:
        meant = None if "/" in config.name else closest(config.name, LOCAL)
        if meant or config.root is not None:  # a slip, not a data set of the hub, which is asked for long
            hint = f" Did you mean {meant!r}?" if meant else ""
            raise ValueError(
                f"data.name {config.name!r} is none of {', '.join(LOCAL)}.{hint} A data set of the Hugging Face hub "
                "has no data.root"
            )
        training, measured = read_hub(config.name, config.revision, columns, config.apply_exif, class_list)
    if config.held_out is not None:
        training, measured = hold_out(training, config.held_out)
    return (
        limited(training, config.max_train_samples, "data.max_train_samples"),
        limited(measured, config.max_eval_samples, "data.max_eval_samples"),
    )


def fingerprint(source: ImageSource) -> dict[str, Any]:
    """What tells one state of a data set from another: ``size``, ``classes``, and two hashes.

    ``sha256`` is over classes, labels, names and, of images in folders and shards, the sizes of their files;
    ``content`` over the bytes of all files. Of more than ``CONTENT_LIMIT`` bytes there is no ``content``, which a line
    says, but their number, ``bytes``.

    Raises:
        ValueError: a file that is not there or cannot be read.
    """
    digest = hashlib.sha256(json.dumps(list(source.classes)).encode())
    digest.update(np.ascontiguousarray(source.labels, dtype="<i8").tobytes())
    for index in range(len(source)):
        digest.update(source.name(index).encode(errors="surrogateescape") + b"\0")
        digest.update(_file_size(source, index))
    identity = {"size": len(source), "classes": len(source.classes), "sha256": digest.hexdigest()}
    return identity | known_content(source.paths(range(len(source))))


def known_content(files: list[Path]) -> dict[str, Any]:
    """``content``, the hash over the bytes of ``files``; ``bytes`` of more than ``CONTENT_LIMIT``, which a line says.

    Raises:
        ValueError: a file that is not there or cannot be read.
    """
    if not files:
        return {}
    try:
        content = content_hash(files, CONTENT_LIMIT)
        if content is not None:
            return {"content": content}
        total = sum(os.stat(file).st_size for file in files)
    except OSError as error:
        raise BadImage(str(error.filename), f"cannot be read: {error.strerror}") from error
    say(
        f"data: {len(files)} files ({files[0]} ...) of {total / 2**30:.1f} GiB are known by names and sizes only, "
        f"not by their content: they have more than {CONTENT_LIMIT / 2**30:g} GiB. Do not change them during a run."
    )
    return {"bytes": total}


def _file_size(source: ImageSource, index: int) -> bytes:
    if isinstance(source, Subset):
        return _file_size(source.source, int(source.indices[index]))
    if not isinstance(source, (FolderImages, ShardImages)):
        return b""
    try:
        return b"%d\0" % source.file_size(index)
    except OSError:  # a broken link: named when the image is read
        return b"missing\0"


def hold_out(source: ImageSource, share: float) -> tuple[Subset, Subset]:
    """``source`` without a fixed random ``share`` of it, and that share."""
    size = round(share * len(source))
    if not 0 < size < len(source):
        raise ValueError(f"data.held_out {share}: must leave some of the {len(source)} images on both sides")
    order = np.random.default_rng([len(source), 1]).permutation(len(source))  # not that of max_train_samples
    return Subset(source, len(source) - size, order[size:]), Subset(source, size, order[:size])


class Subset:
    """``size`` samples of ``source``, a fixed random choice, in the source's order; or those of ``indices``."""

    def __init__(self, source: ImageSource, size: int, indices: np.ndarray | None = None) -> None:
        self.source, self.classes, self.class_names = source, source.classes, readable_names(source)
        self.indices = fixed_choice(len(source), size) if indices is None else np.sort(indices)
        self.labels = source.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.source.name(int(self.indices[index]))

    def paths(self, indices: Sequence[int]) -> list[Path]:
        return self.source.paths(self.indices[np.asarray(indices)])

    def load(self, index: int, rng: np.random.Generator | None = None, *, lazy: bool = False) -> Picture:
        return self.source.load(int(self.indices[index]), rng, lazy=lazy)
