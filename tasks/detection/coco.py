"""COCO's layout: ``root/<split>/*.jpg`` and ``root/annotations/instances_<split>.json``; faults are found at the start.

Of what is wrong, some is repaired and counted: boxes of less than a pixel and boxes outside their image are not trained
on, boxes that reach beyond it are clipped, and an annotation with the id 0, which pycocotools takes for "unmatched",
gets another one. Everything else is an error that names the file, the annotation and the mend. The scorer gets the
annotations as they are, crowds included.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.cache import build_once, cache_folder, short_hash
from tasks.content import content_hash
from tasks.detection.metric import rle
from tasks.images.data import known_content
from tasks.images.readers.classes import say
from tasks.images.readers.scenes import Scene
from vision.images import load_rgb

SHOWN = 5  # of what is wrong alike
LONGEST = 100
"""How many times as long as wide a picture may be."""
_KEYS: dict[str, dict[str, Any]] = {
    "images": {"id": int, "file_name": str, "width": int, "height": int},
    "annotations": {"id": int, "image_id": int, "category_id": int, "bbox": list, "area": (int, float), "iscrowd": int},
    "categories": {"id": int, "name": str},
}


class CocoImages:
    """One split, images in the order of their ids.

    ``classes`` are the categories' names and ``category_ids`` their ids, both in rising order of the ids: class k is
    the k-th, as in every published detector.
    """

    def __init__(
        self, root: str | Path, split: str, *, training: bool, masks: bool, empty_images: bool = False
    ) -> None:
        """``training``: leave out crowds and what cannot be learned from, and, unless ``empty_images``, images without
        boxes. ``masks``: check segmentations, and load them.

        Raises:
            ValueError: missing files, another format, and every fault that is not repaired.
        """
        self.root, self.split, self.masks = Path(root).expanduser(), split, masks
        self.file, self.folder = self.root / "annotations" / f"instances_{split}.json", self.root / split
        content = read_annotations(self.file, self.folder)
        images, annotations = sorted(content["images"], key=lambda image: image["id"]), content["annotations"]
        categories = sorted(content["categories"], key=lambda category: category["id"])
        self.classes = tuple(str(category["name"]) for category in categories)
        self.category_ids = [int(category["id"]) for category in categories]
        place = {image["id"]: index for index, image in enumerate(images)}
        self._check(place, images, annotations)
        owner = np.array([place[entry["image_id"]] for entry in annotations], dtype=np.int64)
        boxes, keep = self._corners(images, annotations, owner, training)
        check_files(self.file, self.folder, images)
        if masks:
            self._check_masks(images, annotations, owner)
        number = {category: label for label, category in enumerate(self.category_ids)}
        labels = np.array([number[entry["category_id"]] for entry in annotations], dtype=np.int64)
        order = np.flatnonzero(keep)
        order = order[np.argsort(owner[order], kind="stable")]
        self._boxes, self._labels = boxes[order].astype(np.float32), labels[order]
        self._segments = [_compact(annotations[row]["segmentation"]) for row in order] if masks and training else []
        counts = np.bincount(owner[order], minlength=len(images))
        ends = np.cumsum(counts)
        chosen = range(len(images))
        if training and not empty_images:
            chosen = [index for index in chosen if counts[index]]  # type: ignore[assignment]
            if not chosen:
                raise ValueError(f"{self.file}: no image has a box to train on")
            if len(chosen) < len(images):
                first = images[int(np.flatnonzero(counts == 0)[0])]["file_name"]
                say(
                    f"{self.file}: {len(images) - len(chosen)} of {len(images)} images have no box and are left out "
                    f"(the first: {first})"
                )
        self.image_ids = [int(images[index]["id"]) for index in chosen]
        self._images = [(images[i]["file_name"], int(images[i]["height"]), int(images[i]["width"])) for i in chosen]
        self._spans = [(int(ends[index] - counts[index]), int(ends[index])) for index in chosen]

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """Path of the image below the root."""
        return f"{self.split}/{self._images[index][0]}"

    def load(self, index: int, rng: np.random.Generator | None = None) -> Scene:
        """The picture and its objects; a function of the index.

        Raises:
            BadImage: a file that cannot be read.
        """
        file_name, height, width = self._images[index]
        first, last = self._spans[index]
        found = [decode_mask(segments, height, width) for segments in self._segments[first:last]]
        masks = np.stack(found) if found else np.zeros((0, height, width), dtype=np.uint8)
        return Scene(load_rgb(self.folder / file_name), self._boxes[first:last], self._labels[first:last], masks)

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the data: what the annotations and the image files that are used hold, their names and sizes."""
        digest, paths = hashlib.sha256(), [self.folder / file_name for file_name, *_ in self._images]
        for file_name, *_ in self._images:
            digest.update(f"{file_name}\0{os.stat(self.folder / file_name).st_size}\0".encode())
        identity = {"annotations": content_hash([self.file]), "size": len(self), "sha256": digest.hexdigest()}
        return identity | known_content(paths)

    @functools.cached_property
    def ground_truth(self) -> dict[str, Any]:
        """The file's content, for the scorer."""
        content = read_annotations(self.file, self.folder)
        highest = max((entry["id"] for entry in content["annotations"]), default=0)
        for entry in content["annotations"]:
            if entry["id"] == 0:
                entry["id"] = highest + 1
        return content

    def _check(self, place: dict[int, int], images: list[Any], annotations: list[Any]) -> None:
        """What makes the file as a whole unusable."""
        stop = functools.partial(_stop, self.file)
        stop("images", _twice(image["id"] for image in images), "have an id that another has", "number them anew")
        strips = [
            f"{image['file_name']} ({image['width']} x {image['height']})"
            for image in images
            if max(image["width"], image["height"]) > LONGEST * min(image["width"], image["height"])
        ]
        mend = "cut or remove them: the model makes a picture smaller until its long side fits, and nothing is left"
        stop("images", strips, f"are empty, or more than {LONGEST} times as long as wide", mend)
        stop("categories", _twice(self.category_ids), "have an id that another has", "number them anew")
        twice = _twice(entry["id"] for entry in annotations)
        stop("annotations", twice, "have an id that another has", "number them anew, from 1")
        if any(entry["id"] == 0 for entry in annotations):
            say(f"{self.file}: annotation 0 is scored under another id, since pycocotools takes 0 for 'unmatched'")
        zero = [entry["id"] for entry in annotations if entry["category_id"] == 0 and entry["bbox"] == [0] * 4]
        stop(
            "annotations", zero, "are a box 0, 0, 0, 0 of category 0, which stands for background",
            "remove them: an image without objects has no annotation",
        )  # fmt: skip
        known = set(self.category_ids)
        for key, allowed, listed in (("image_id", place.keys(), "images"), ("category_id", known, "categories")):
            wrong = [f"{entry['id']} ({entry[key]})" for entry in annotations if entry[key] not in allowed]
            stop("annotations", wrong, f"have a {key} that is not in {listed}", f"add it to {listed}, or remove them")

    def _corners(
        self, images: list[Any], annotations: list[Any], owner: np.ndarray, training: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) as corners within their images, and (N,) which of them are used."""
        stop = functools.partial(_stop, self.file, "annotations")
        odd = [_row(entry) for entry in annotations if not _is_box(entry["bbox"])]
        stop(odd, "have a bbox that is not four finite numbers", "write x, y, width, height in pixels")
        given = np.array([entry["bbox"] for entry in annotations], dtype=np.float64).reshape(-1, 4)
        areas = np.array([entry["area"] for entry in annotations], dtype=np.float64)
        crowds = np.array([bool(entry["iscrowd"]) for entry in annotations], dtype=bool)
        sizes = np.array([(image["width"], image["height"]) for image in images], dtype=np.float64).reshape(-1, 2)[
            owner
        ]
        start, size = given[:, :2], given[:, 2:]
        meant = "boxes are x, y, width, height; if these are x1, y1, x2, y2, write x1, y1, x2 - x1, y2 - y1"
        negative = (size < 0).any(1)
        stop([_row(annotations[row]) for row in np.flatnonzero(negative)], "have a negative width or height", meant)
        # Far beyond the image as width and height, but inside it as corners.
        beyond = (start + size > 1.1 * sizes).any(1) & (size > start).all(1) & (size <= sizes).all(1)
        stop([_row(annotations[row]) for row in np.flatnonzero(beyond)], "reach far beyond their images", meant)
        corners = np.concatenate([start, start + size], axis=1)
        clipped = corners.clip(0, np.tile(sizes, 2))
        tiny = (size < 1).any(1) | (areas <= 0)
        outside = ~tiny & ((clipped[:, 2:] - clipped[:, :2]) < 1).any(1)
        keep = ~(crowds | tiny | outside)
        moved = keep & (np.abs(clipped - corners) > 1).any(1)
        if training:
            what = [
                (crowds, "of crowds are left out"),
                (tiny & ~crowds, "of less than a pixel are left out"),
                (outside & ~crowds, "outside their images are left out"),
                (moved, "that reach beyond their images are clipped"),
            ]
            for rows, text in what:
                if rows.any():
                    ids = [annotations[row]["id"] for row in np.flatnonzero(rows)]
                    say(f"{self.file}: {len(ids)} boxes {text} (annotations {_listed(ids)})")
        return clipped, keep if training else np.zeros(len(keep), dtype=bool)

    def _check_masks(self, images: list[Any], annotations: list[Any], owner: np.ndarray) -> None:
        faults: dict[str, list[Any]] = {}
        for entry, index in zip(annotations, owner, strict=True):
            why = _mask_fault(entry.get("segmentation"), images[index]["height"], images[index]["width"])
            if why:
                faults.setdefault(why, []).append(entry["id"])
        for why, rows in faults.items():
            _stop(self.file, "annotations", rows, why, "mend or remove them, or train on boxes alone (retinanet)")


def read_annotations(file: Path, folder: Path) -> dict[str, Any]:
    """The lists ``images``, ``annotations`` and ``categories`` of a COCO file.

    Raises:
        ValueError: a missing file or folder, another format, or entries without what every entry has.
    """
    if not file.is_file() or not folder.is_dir():
        there = sorted(path.name for path in file.parent.glob("*.json"))
        raise ValueError(
            f"{file if not file.is_file() else folder}: not there. COCO's layout is <data.root>/<split>/ with images "
            f"and <data.root>/annotations/instances_<split>.json; found {', '.join(there) or 'no json file'}. "
            "--data.train_split and --data.eval_split name the splits"
        )
    try:
        content = json.loads(file.read_bytes(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{file}: no valid json ({error}); it is damaged or not complete, mend it or fetch it again"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in _KEYS):
        raise ValueError(f"{file}: must hold the lists {', '.join(_KEYS)}, as COCO's instances_*.json do")
    if any("segments_info" in entry for entry in content["annotations"][:1]):
        raise ValueError(f"{file}: a panoptic file, which is for another task; take instances_*.json")
    for kind, keys in _KEYS.items():
        for row, entry in enumerate(content[kind]):
            if not isinstance(entry, dict):
                raise ValueError(f"{file}: entry {row} of {kind} is a {type(entry).__name__}; it must be an object")
            if missing := [key for key in keys if key not in entry]:
                raise ValueError(
                    f"{file}: entry {row} of {kind} (id {entry.get('id')}) lacks {', '.join(missing)}; write iscrowd "
                    "0 where no crowd is marked, and the box's area where no mask is known"
                )
            if wrong := [f"{key} {entry[key]!r}" for key, type_ in keys.items() if not _is_a(entry[key], type_)]:
                raise ValueError(
                    f"{file}: entry {row} of {kind} (id {entry['id']}) has {', '.join(wrong)}; ids, width, height and "
                    "iscrowd are whole numbers, area is a finite number, names are texts, a bbox is a list"
                )
    return {key: content[key] for key in _KEYS}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key that is there twice, json would keep the last value and drop the other without a word."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError(f"the key {_twice(key for key, _ in pairs)[0]!r} is there twice in one object; keep one")
    return found


def check_files(file: Path, folder: Path, images: Sequence[Any]) -> None:
    """Every image is there and has the size that ``file`` says; remembered for as long as no file changes.

    Raises:
        ValueError: the first five that are missing or have another size.
    """
    stamps, missing = [], []
    for image in images:
        try:
            status = os.stat(folder / image["file_name"])
        except OSError:
            missing.append(image["file_name"])
            continue
        stamps.append((image["file_name"], image["width"], image["height"], status.st_size, status.st_mtime_ns))
    _stop(file, "images", missing, f"are not in {folder}", "fetch them, or remove them from the file")

    def differs(image: Any) -> str:
        try:
            with Image.open(folder / image["file_name"]) as picture:
                size = picture.size
        except OSError:
            return ""  # broken: named when it is read
        right = size == (image["width"], image["height"])
        return (
            "" if right else f"{image['file_name']} ({size[0]} x {size[1]}, not {image['width']} x {image['height']})"
        )

    def write(entry: Path) -> None:
        with ThreadPoolExecutor(16) as pool:
            wrong = [text for text in pool.map(differs, images) if text]
        mend = "correct the file; pictures are not turned by their EXIF entry: store them turned"
        _stop(file, "images", wrong, "have another size", mend)
        entry.write_text(str(file))

    build_once(cache_folder() / f"coco-sizes-{short_hash(str(folder.resolve()), *stamps)}", write)


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Polygons, or an RLE with counts or compressed -> (height, width) uint8 of 0 and 1."""
    if isinstance(segmentation, list):
        return rle.decode(rle.merge(rle.frPyObjects(segmentation, height, width)))
    if isinstance(segmentation["counts"], (list, np.ndarray)):
        segmentation = rle.frPyObjects({**segmentation, "counts": list(segmentation["counts"])}, height, width)
    return rle.decode(segmentation)


def _compact(segmentation: Any) -> Any:
    """Polygons as arrays: a tenth of the memory of lists."""
    return [np.asarray(x, dtype=np.float64) for x in segmentation] if isinstance(segmentation, list) else segmentation


def _mask_fault(segmentation: Any, height: int, width: int) -> str:
    """Why it cannot be made a mask; empty if it can."""
    if not segmentation:
        return "have no segmentation, but masks are asked for"
    if isinstance(segmentation, list):
        if not all(_is_polygon(polygon, 10 * max(height, width)) for polygon in segmentation):
            return "have polygons that are not lists of numbers, or that reach far beyond their images"
        if any(len(polygon) % 2 for polygon in segmentation):
            return "have a polygon with an odd number of coordinates"
        if any(len(polygon) < 6 for polygon in segmentation):
            return "have a polygon of fewer than three points, which would be taken for a box"
        return ""
    if not isinstance(segmentation, dict):
        return "have a segmentation that is neither polygons nor a run-length mask"
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if list(size or []) != [height, width]:
        return "have a run-length mask of another size than their image"
    if isinstance(counts, list):
        whole = all(_is_a(count, int) and count >= 0 for count in counts)
        return "" if whole and sum(counts) == height * width else "have run lengths that do not add up to their image"
    try:
        rle.area(segmentation)
    except Exception as error:  # whatever the C code makes of it
        return f"have a run-length mask that cannot be decoded ({error})"
    return ""


def _is_polygon(value: Any, most: int) -> bool:
    """Whether it is a list of numbers up to ``most``: the C code would follow NaN, or what is far away, without end."""
    try:
        return (
            isinstance(value, list)
            and -most <= min(value, default=0)
            and max(value, default=0) <= most
            and math.isfinite(sum(value))
        )
    except TypeError:
        return False


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(_is_a(x, (int, float)) for x in value)


def _is_a(value: Any, kind: Any) -> bool:
    """Whether it is of this type; numbers are finite and such that a float can hold them, 3.0 is a whole one."""
    if kind is int and isinstance(value, float) and value.is_integer():
        return True
    return isinstance(value, kind) and (not isinstance(value, (int, float)) or abs(value) <= sys.float_info.max)


def _row(entry: Any) -> str:
    return f"{entry['id']} (bbox {entry['bbox']})"


def _twice(ids: Iterable[Any]) -> list[Any]:
    return [value for value, count in Counter(ids).items() if count > 1]


def _listed(rows: Sequence[Any]) -> str:
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return ", ".join(map(str, rows[:SHOWN])) + more


def _stop(file: Path, kind: str, rows: Sequence[Any], why: str, mend: str) -> None:
    """ValueError that lists the first five of ``rows``, if there are any."""
    if rows:
        raise ValueError(f"{file}: {kind} {_listed(rows)} {why}; {mend}")
