"""Images in folders, one folder a class."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vision.images import load_rgb
from vision.transforms import Picture

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


class FolderImages:
    """Files below ``root``, one folder a class; names are paths relative to ``root``."""

    def __init__(
        self, root: Path, files: list[str], labels: Sequence[int], classes: Sequence[str], apply_exif: bool
    ) -> None:
        self.root, self.files, self.classes, self.apply_exif = root, files, classes, apply_exif
        self.labels = np.asarray(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return self.files[index]

    def load(self, index: int, rng: np.random.Generator | None = None) -> Picture:
        return load_rgb(self.root / self.files[index], apply_exif=self.apply_exif)


def read_folder(root: Path, validation_fraction: float, apply_exif: bool) -> tuple[FolderImages, FolderImages]:
    """The training and the validation part of ``root``; see :mod:`tasks.image_data` for the layouts.

    Raises:
        ValueError: an empty class folder, class folders that differ between the parts, too few images to divide.
    """

    def part(files: list[str], labels: list[int]) -> FolderImages:
        return FolderImages(root, files, labels, classes, apply_exif)

    train = "train" if (root / "train").is_dir() else ""
    classes = _class_folders(root / train)
    files, labels = _list_images(root, train, classes)
    held_out = next((name for name in ("val", "validation", "test") if train and (root / name).is_dir()), None)
    if held_out is not None:
        found = _class_folders(root / held_out)
        if found != classes:
            raise ValueError(
                f"{root / held_out} does not have the classes of {root / train}: "
                f"missing {sorted(set(classes) - set(found)) or 'none'}, "
                f"unknown {sorted(set(found) - set(classes)) or 'none'}. Both need the same class folders."
            )
        return part(files, labels), part(*_list_images(root, held_out, classes))
    # By a hash of the name, not by position: a file that is added later moves hardly any other to the other part.
    count = round(len(files) * validation_fraction)
    if not 0 < count < len(files):
        raise ValueError(
            f"{root} has no validation part (val/), and data.validation_fraction {validation_fraction} of its "
            f"{len(files)} images leaves {count} for validation and {len(files) - count} for training"
        )
    order = sorted(range(len(files)), key=lambda index: hashlib.sha256(os.fsencode(files[index])).digest())
    chosen = [sorted(order[count:]), sorted(order[:count])]
    first, second = (part([files[i] for i in rows], [labels[i] for i in rows]) for rows in chosen)
    return first, second


def _class_folders(folder: Path) -> list[str]:
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise ValueError(f"{folder}: needs one folder for each class, at least two; found {classes or 'none'}")
    return classes


def _list_images(root: Path, part: str, classes: Sequence[str]) -> tuple[list[str], list[int]]:
    """Paths relative to ``root``, sorted within each class, and their labels. Hidden files are no images."""
    files: list[str] = []
    labels: list[int] = []
    for label, class_name in enumerate(classes):
        found = []
        for directory, folders, names in os.walk(root / part / class_name, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            relative = os.path.relpath(directory, root)
            found += [
                f"{relative}/{name}"
                for name in names
                if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
            ]
        if not found:
            raise ValueError(
                f"class folder {root / part / class_name} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}). "
                f"Put images into it or remove it; leaving it out silently would shift the labels of other classes."
            )
        files += sorted(found)
        labels += [label] * len(found)
    return files, labels
