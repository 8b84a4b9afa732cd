"""ADE20K's layout: ``root/images/<split>/*.jpg`` and ``root/annotations/<split>/*.png`` of the same stems.

In ADE20K's own label maps (ADEChallengeData2016) 0 means "other" and 1 ... 150 are the classes of
``objectInfo150.txt``; here, as in every published segmenter, the classes are 0 ... 149 and 255 is ignored. Label maps
of other data sets in this layout hold 0 ... K - 1 and 255 as they are. Every file's size and every label is checked at
the start, once for as long as no file changes; pictures are decoded when they are asked for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from metaformer_nlp.errors import read_lines, reading
from tasks.cache import build_once, cache_folder, short_hash
from tasks.content import content_hash
from tasks.images.data import known_content
from tasks.images.readers.classes import say, say_left_out
from vision.images import Picture, load_rgb

IGNORE = 255
"""Label of pixels that are nothing."""
INFO = "objectInfo150.txt"
SHOWN = 5  # of what is wrong alike
_SUFFIXES = (".jpg", ".jpeg", ".png")
_LONG = 1000  # label maps whose check is announced


class LabelledPicture(NamedTuple):
    """A picture of H x W pixels and the class of each."""

    picture: Picture
    """RGB in 8 bits."""
    labels: np.ndarray
    """(H, W) uint8: 0 ... K - 1, or 255 where nothing counts."""


class LabelMaps:
    """One split, images in the order of their names."""

    def __init__(self, root: str | Path, split: str, classes: Sequence[str], *, first_is_other: bool) -> None:
        """``first_is_other``: label maps are ADE20K's, where 0 is ignored and the classes count from 1.

        Raises:
            ValueError: missing files or folders, another layout, and every label map that is none; the first five are
                named.
        """
        self.root, self.split, self.classes = Path(root).expanduser(), split, tuple(classes)
        self.first_is_other = first_is_other
        images, maps = self.root / "images" / split, self.root / "annotations" / split
        _check_layout(self.root, images, maps)
        pictures = _by_stem(images, _SUFFIXES)
        labels = _by_stem(maps, (".png",))
        for folder, lacking in ((maps, pictures.keys() - labels.keys()), (images, labels.keys() - pictures.keys())):
            _stop(
                folder, sorted(lacking), "are missing here, the others of their pairs are there; fetch or remove them"
            )
        self._pairs = [(pictures[stem], labels[stem]) for stem in sorted(pictures)]
        if not self._pairs:
            raise ValueError(f"{images}: holds no image ({', '.join(_SUFFIXES)})")
        self._check_maps()

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        """Path of the image below the root."""
        return str(self._pairs[index][0].relative_to(self.root))

    def load(self, index: int, rng: np.random.Generator | None = None) -> LabelledPicture:
        """The picture and its labels; a function of the index.

        Raises:
            BadImage: a picture that cannot be read.
        """
        picture, labels = self._pairs[index]
        with Image.open(labels) as image:
            values = np.array(image)
        if self.first_is_other:
            values -= np.uint8(1)  # 0 becomes 255
        return LabelledPicture(load_rgb(picture), values)

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the data: what the label maps and the image files hold, and the latter's names and sizes."""
        digest = hashlib.sha256()
        for picture, _ in self._pairs:
            digest.update(f"{picture.name}\0{os.stat(picture).st_size}\0".encode())
        return {
            "labels": content_hash(labels for _, labels in self._pairs),
            "first_is_other": self.first_is_other,
            "classes": len(self.classes),
            "size": len(self),
            "sha256": digest.hexdigest(),
        } | known_content([picture for picture, _ in self._pairs])

    def _check_maps(self) -> None:
        stamps = []
        for pair in self._pairs:
            for path in pair:
                with reading(path, "an image"):
                    status = os.stat(path)
                stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))

        def write(entry: Path) -> None:
            if len(self._pairs) > _LONG:
                say(f"{self.root}: reading {len(self._pairs)} label maps of {self.split} once, to check them")
            with ThreadPoolExecutor(16) as pool:
                faults = list(pool.map(self._fault, self._pairs))
            wrong = [f"{labels.name} ({why})" for (_, labels), why in zip(self._pairs, faults, strict=True) if why]
            _stop(
                self.root / "annotations" / self.split, wrong, "cannot be used; mend or remove them with their images"
            )
            entry.write_text(str(self.root))

        key = short_hash(str(self.root.resolve()), self.split, len(self.classes), self.first_is_other, *stamps)
        build_once(cache_folder() / f"label-maps-{key}", write)

    def _fault(self, pair: tuple[Path, Path]) -> str:
        """Why a label map cannot be used; empty if it can."""
        picture, labels = pair
        try:
            with Image.open(labels) as image:
                mode, size = image.mode, image.size
                counts = image.histogram() if mode in ("L", "P") else []
        except (OSError, SyntaxError) as error:
            return f"cannot be read: {error}"
        if not counts:
            return (
                f"pixels of mode {mode}; a label map is 8-bit grey or has a palette, so that a pixel is a class number"
            )
        first = int(self.first_is_other)
        allowed = {*range(first + len(self.classes))} | (set() if first else {IGNORE})
        values = [value for value, count in enumerate(counts) if count and value not in allowed]
        if values:
            shown = ", ".join(map(str, values[:SHOWN]))
            if first:
                shifted = "; maps with 0 ... K - 1 and 255 are read by data.name folder" if IGNORE in values else ""
                return f"value {shown}; ADE20K has 0 for other and 1 ... {len(self.classes)} for its classes{shifted}"
            return (
                f"value {shown}; with data.num_classes {len(self.classes)} they are 0 ... {len(self.classes) - 1}, 255"
            )
        try:
            with Image.open(picture) as image:
                other = image.size
        except OSError:
            return ""  # broken: named when it is read
        if other != size:
            return (
                f"{size[0]} x {size[1]} pixels, {picture.name} {other[0]} x {other[1]}; pictures are not turned by "
                "their EXIF entry: store them turned"
            )
        return ""


def read_classes(root: str | Path) -> list[str]:
    """The names of ADE20K's classes, in order, from ``objectInfo150.txt``: the first synonym where it is the only such.

    Raises:
        ValueError: no such file, or another format.
    """
    file = Path(root).expanduser() / INFO
    if not file.is_file():
        _check_layout(file.parent, file.parent / "images", file.parent / "annotations")
        raise ValueError(f"{file}: not there; it names the classes and lies beside images/ in ADEChallengeData2016.zip")
    rows = [line.split("\t") for line in read_lines(file) if line.strip()][1:]
    if [row[0].strip() for row in rows] != [str(number) for number in range(1, len(rows) + 1)] or any(
        len(row) != 5 for row in rows
    ):
        raise ValueError(
            f"{file}: must have a head line and rows of Idx, Ratio, Train, Val, Name with tabs, Idx from 1"
        )
    names = [row[4].strip() for row in rows]
    short = [name.split(",")[0] for name in names]
    return [one if short.count(one) == 1 else name for one, name in zip(short, names, strict=True)]


def _check_layout(root: Path, images: Path, maps: Path) -> None:
    if images.is_dir() and maps.is_dir() and not any(images.glob("*_seg.png")):
        return
    if (root / "ADEChallengeData2016").is_dir():
        raise ValueError(f"{root}: the data is one folder below; give --data.root {root / 'ADEChallengeData2016'}")
    full = [*root.glob("index_ade20k.*"), root / "images" / "ADE", *images.glob("*_seg.png"), *images.glob("?")]
    if any(path.exists() for path in full):
        raise ValueError(
            f"{root}: this is the full ADE20K release, with thousands of classes coded as colours in *_seg.png. Its "
            "benchmark of 150 classes is another download: ADEChallengeData2016.zip"
        )
    there = sorted(path.name for path in root.glob("*")) if root.is_dir() else []
    raise ValueError(
        f"{images if not images.is_dir() else maps}: not there. The layout is <data.root>/images/<split>/*.jpg and "
        f"<data.root>/annotations/<split>/*.png; found {', '.join(there[:10]) or 'nothing'} in {root}. "
        "--data.train_split and --data.eval_split name the splits"
    )


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    twice, others = [], []
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            twice += [f"{path.name} and {found[path.stem].name}"] if path.stem in found else []
            found[path.stem] = path
        else:
            others.append(path.name)
    say_left_out(folder, {f"files and folders that are hidden or not {', '.join(suffixes)}": others})
    _stop(folder, sorted(twice), "have the same stem, by which images and label maps are paired; remove one")
    return found


def _stop(folder: Path, rows: Sequence[str], why: str) -> None:
    """ValueError that lists the first five of ``rows``, if there are any."""
    if rows:
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        raise ValueError(f"{folder}: {'; '.join(rows[:SHOWN])}{more} {why}")
