"""Images in folders, one folder a class.

A file is an image if its suffix is one of the decoder's, or, with another suffix or none, if the decoder knows its
first bytes. What is left out is counted and named in a line at the start: files that are no images, hidden images,
files beside the class folders, and what lies beside the parts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from metaformer_nlp.errors import reading
from tasks.images.readers.classes import ClassList, say, say_left_out
from vision.images import Picture, image_suffixes, is_image, load_rgb

HELD_OUT = ("val", "validation", "test")
"""Folders that may hold the validation part; the first that is there."""

_PARTS = {"train", "training", "val", "valid", "validation", "eval", "test", "testing"}
"""What nobody calls a class."""


class FolderImages:
    """Files below ``root``, one folder a class; names are paths relative to ``root``."""

    def __init__(
        self, root: Path, files: list[str], labels: Sequence[int], classes: ClassList, apply_exif: bool
    ) -> None:
        self.root, self.files, self.apply_exif = root, files, apply_exif
        self.classes, self.class_names = classes.ids, classes.names
        self.labels = np.asarray(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return self.files[index]

    def file_size(self, index: int) -> int:
        """Bytes of the file; OSError if it is not there."""
        return os.stat(self.root / self.files[index]).st_size

    def paths(self, indices: Sequence[int]) -> list[Path]:
        """The files of these images."""
        return [self.root / self.files[index] for index in indices]

    def load(self, index: int, rng: np.random.Generator | None = None, *, lazy: bool = False) -> Picture:
        return load_rgb(self.root / self.files[index], apply_exif=self.apply_exif, lazy=lazy)


def read_folder(
    root: Path, validation_fraction: float, apply_exif: bool, class_list: ClassList | None = None
) -> tuple[FolderImages, FolderImages]:
    """The training and the validation part of ``root``; see :mod:`tasks.images.data` for the layouts.

    ``class_list`` numbers the classes; a class of it may lack its folder. Without it the folders themselves are the
    classes, in the order of their names, and both parts need the same ones.

    Raises:
        ValueError: an empty class folder, one that is not in the list, class folders that differ between the parts,
            too few images to divide.
    """
    train = "train" if (root / "train").is_dir() else ""
    held_out = next((name for name in HELD_OUT if train and (root / name).is_dir()), None)
    folders = _class_folders(root / train, class_list)
    classes = class_list or ClassList(tuple(folders), tuple(folders), str(root / train))
    if train:
        others = sorted(entry.name for entry in os.scandir(root) if entry.name not in (train, held_out))
        say_left_out(root, {f"files and folders beside {train} and {held_out or 'val'}": others})
    if held_out is None:
        return _divide(root, *_list_images(root, train, folders, classes), classes, validation_fraction, apply_exif)
    found = _class_folders(root / held_out, class_list)
    if class_list is None and found != folders:
        raise ValueError(
            f"{root / held_out} does not have the classes of {root / train}: "
            f"missing {sorted(set(folders) - set(found)) or 'none'}, "
            f"unknown {sorted(set(found) - set(folders)) or 'none'}. Both need the same class folders; or number the "
            f"classes by a file (--data.class_file), then folders may be missing."
        )
    first, second = (
        FolderImages(root, *_list_images(root, part, names, classes), classes, apply_exif)
        for part, names in ((train, folders), (held_out, found))
    )
    return first, second


def _divide(
    root: Path, files: list[str], labels: list[int], classes: ClassList, fraction: float, apply_exif: bool
) -> tuple[FolderImages, FolderImages]:
    """Cut one list of images in two, by a hash of the name and not by position: a file that is added later moves
    hardly any other to the other part."""
    count = round(len(files) * fraction)
    if not 0 < count < len(files):
        raise ValueError(
            f"{root} has no validation part (val/), and data.validation_fraction {fraction} of its "
            f"{len(files)} images leaves {count} for validation and {len(files) - count} for training"
        )
    order = sorted(range(len(files)), key=lambda index: hashlib.sha256(os.fsencode(files[index])).digest())
    first, second = (
        FolderImages(root, [files[i] for i in rows], [labels[i] for i in rows], classes, apply_exif)
        for rows in (sorted(order[count:]), sorted(order[:count]))
    )
    return first, second


def _class_folders(folder: Path, class_list: ClassList | None) -> list[str]:
    """Names of the class folders, sorted; of those in ``class_list`` at least one, otherwise at least two."""
    try:
        entries = sorted((entry for entry in os.scandir(folder) if entry.name[0] != "."), key=lambda entry: entry.name)
        broken = [entry.path for entry in entries if entry.is_symlink() and not os.path.exists(entry.path)]
        found = [entry.name for entry in entries if entry.is_dir()]
    except OSError as error:
        raise _unreadable(error) from error
    if broken:
        raise ValueError(f"{broken[0]}: a link to {os.readlink(broken[0])}, which is not there; mend or remove it")
    parts = [name for name in found if name.lower() in _PARTS]
    if parts:
        raise ValueError(
            f"{folder}: holds the folders {parts}, which are no classes. A data set in parts needs the folders train/ "
            f"and {', '.join(f'{name}/' for name in HELD_OUT)} (one of these), each with one folder a class."
        )
    if len(found) < (1 if class_list else 2):
        raise ValueError(
            f"{folder}: needs one folder for each class, at least two; found {found or 'none'}. Images that lie side "
            "by side have no class: sort them into folders, as ImageNet's validation images."
        )
    if class_list is not None:
        class_list.check_known(found, str(folder))
        if len(found) < len(class_list.ids):
            say(f"{folder}: {len(found)} of the {len(class_list.ids)} classes of {class_list.origin} have a folder")
    return found


def _list_images(root: Path, part: str, folders: Sequence[str], classes: ClassList) -> tuple[list[str], list[int]]:
    """Paths relative to ``root``, sorted within each class, and their labels. Says what is left out."""
    files: list[str] = []
    labels: list[int] = []
    numbers, suffixes = classes.labels, image_suffixes()
    others, again = list[str](), list[str]()
    beside, hidden = _beside(root, part)
    for class_name in folders:
        found = []
        for path in _files(root, str(root / part / class_name), again):
            if "/." in path:
                hidden += [path] if _is_hidden_image(root, path) else []
            elif os.path.splitext(path)[1].lower() in suffixes:
                found.append(path)
            else:
                with reading(root / path, "an image"):
                    (found if is_image(root / path) else others).append(path)
        if not found:
            raise ValueError(
                f"class folder {root / part / class_name} holds no image: no file of the suffixes "
                f"{', '.join(sorted(suffixes))}, and none that begins as such a file does. "
                f"Put images into it or remove it; leaving it out silently would shift the labels of other classes."
            )
        files += sorted(found)
        labels += [numbers[class_name]] * len(found)
    kinds = {"files that are no images": others, "hidden images": hidden, "files beside the class folders": beside}
    say_left_out(root / part, kinds | {"links to folders that are read already": again})
    return files, labels


def _beside(root: Path, part: str) -> tuple[list[str], list[str]]:
    """Paths relative to ``root`` of the files beside the class folders, and of the hidden images there and below."""
    beside, hidden = list[str](), list[str]()
    for entry in os.scandir(root / part):
        path = os.path.relpath(entry.path, root)
        if entry.name[0] != ".":
            beside += [] if entry.is_dir() else [path]
        else:
            paths = _files(root, entry.path, []) if entry.is_dir() else [path]
            hidden += [path for path in paths if _is_hidden_image(root, path)]
    return beside, hidden


def entries_below(root: Path) -> list[Path]:
    """All files and folders below ``root``, through links to folders too, sorted.

    Raises:
        ValueError: a folder that cannot be read.
    """
    return sorted(root / place / name for place, names, more in _walk(root, root, []) for name in (*names, *more))


def _files(root: Path, folder: str, again: list[str]) -> Iterator[str]:
    """Paths relative to ``root`` of all files below ``folder``, hidden ones too."""
    return (f"{place}/{name}" for place, _, names in _walk(root, folder, again) for name in names)


def _walk(root: Path, folder: str | Path, again: list[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each folder from ``folder`` on, relative to ``root``, with its folders and files. A folder that a link leads to
    once more goes to ``again``."""

    def stop(error: OSError) -> None:
        if "/." not in f"/{os.path.relpath(error.filename, root)}":
            _stop(error)

    seen = set()
    for directory, below, names in os.walk(folder, onerror=stop, followlinks=True):
        place = os.path.realpath(directory)
        relative = os.path.relpath(directory, root)
        if place in seen:  # perhaps a link to a folder above itself
            below.clear()
            again.append(relative)
            continue
        seen.add(place)
        yield relative, below, names


def _is_hidden_image(root: Path, path: str) -> bool:
    """Whether a hidden file is an image; in hidden folders, which may be those of a program, by its suffix alone."""
    if "/." in f"/{os.path.dirname(path)}":
        return os.path.splitext(path)[1].lower() in image_suffixes()
    return is_image(root / path)


def _stop(error: OSError) -> None:
    """A folder that cannot be read holds images that would be missing without a word."""
    raise _unreadable(error) from error


def _unreadable(error: OSError) -> ValueError:
    return ValueError(f"folder {error.filename} cannot be read: {error.strerror}. Mend its permissions or remove it.")
