"""Reads every image of a data set beforehand, so that a broken one is found before a run of days and not during it.

Nothing that an image does ends the scan: what a decoder raises is written down, and where a decoder kills its process
(a crash in native code, memory that runs out) the images that were being read are read again one by one, and the one
that does it is named.
"""

from __future__ import annotations

import csv
import importlib
import json
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metaformer_nlp.config.command_line import to_dict
from tasks.images.data import DataConfig, ImageSource, load_sources
from vision.images import Picture

_CHUNK = 32


@dataclass(frozen=True)
class CheckConfig:
    """Read every image of a data set and list those that are broken."""

    data: DataConfig = field(default_factory=DataConfig)
    processes: int | None = None
    """Processes that read images; null: one for each processor core."""
    report: str = "data_report.json"
    """File to write: .json has the broken images, the sizes and the images of each class; .csv the broken images."""


@dataclass(frozen=True)
class Checked:
    """One image: its size in pixels, or why it cannot be used."""

    index: int
    width: int = 0
    height: int = 0
    name: str = ""
    why: str = ""


class Pictures:
    """The pictures of a dense data set as a labelled source, all of one class, to be scanned.

    ``source`` has a length and names, and what its ``load(index)`` gives has a ``picture``.
    """

    classes: Sequence[str] = ("",)

    def __init__(self, source: Any) -> None:
        self.source, self.labels = source, np.zeros(len(source), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        name: str = self.source.name(index)
        return name

    def load(self, index: int, rng: np.random.Generator | None = None, *, lazy: bool = False) -> Picture:
        picture: Picture = self.source.load(index).picture
        return picture


DENSE_LAYOUTS = {"coco": "tasks.detection.verify", "ade20k": "tasks.segmentation.verify"}
"""Values of data.name beside those of image classification -> the module whose ``load_splits`` opens both parts."""


def run(config: CheckConfig) -> dict[str, Any]:
    """Scan both parts, write the report, print its summary; returns what the JSON report holds.

    Raises:
        ValueError: what is wrong with the data set as a whole (see :func:`tasks.images.data.load_sources`), or with the
            options.
    """
    path = Path(config.report)
    if path.suffix not in (".json", ".csv"):
        raise ValueError(f"report {path}: must end in .json or .csv")
    if path.is_dir():
        raise ValueError(f"report {path}: is a folder; name a file")
    processes = config.processes or len(os.sched_getaffinity(0))
    if processes < 1:
        raise ValueError(f"processes {processes}: must be at least 1")
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = DENSE_LAYOUTS.get(config.data.name)
    load = load_sources if layout is None else importlib.import_module(layout).load_splits
    sources = dict(zip(("train", "validation"), load(config.data, config.data.image_size or 224), strict=True))
    report: dict[str, Any] = {"data": to_dict(config.data), "parts": {}, "broken": []}
    for part, source in sources.items():
        checked = scan(source, processes, part)
        broken = [image for image in checked if image.why]
        report["parts"][part] = summarize(source, checked)
        report["broken"] += [
            {"part": part, "index": image.index, "class": source.classes[source.labels[image.index]]}
            | {"name": image.name, "why": image.why}
            for image in broken
        ]
        print(_describe(part, report["parts"][part]))
    _write(path, report)
    for row in report["broken"][:20]:
        # A name of a file may hold bytes that are no text.
        print(f"  {row['name']}: {row['why']}".encode(errors="backslashreplace").decode())
    more = f" (20 of {len(report['broken'])} are shown)" if len(report["broken"]) > 20 else ""
    print(f"{len(report['broken']) or 'no'} broken images{more}; report: {path}")
    return report


def scan(source: ImageSource, processes: int, description: str = "") -> list[Checked]:
    """Every image of ``source``, in order, read by ``processes`` processes; a progress bar is shown."""
    from tqdm import tqdm

    found: list[Checked] = []
    broken = 0
    with tqdm(total=len(source), unit="image", desc=description, dynamic_ncols=True) as bar:
        for checked in _scan(source, processes):
            found.append(checked)
            if checked.why:
                broken += 1
                bar.set_postfix(broken=broken)
            bar.update()
    return sorted(found, key=lambda checked: checked.index)


def _scan(source: ImageSource, processes: int) -> Iterator[Checked]:
    todo = [range(first, min(first + _CHUNK, len(source))) for first in range(0, len(source), _CHUNK)][::-1]
    while todo:
        running: dict[Future[list[Checked]], range] = {}
        pool = _pool(source, processes)
        try:
            # Only a few chunks at a time: when a process dies, one of these did it.
            while todo or running:
                while todo and len(running) < 2 * processes:
                    running[pool.submit(_check_all, todo[-1])] = todo[-1]
                    todo.pop()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield from future.result()
                    del running[future]
        except BrokenProcessPool:
            yield from _one_by_one(source, [index for chunk in running.values() for index in chunk])
        finally:
            pool.shutdown(cancel_futures=True)


def _one_by_one(source: ImageSource, indices: Sequence[int]) -> Iterator[Checked]:
    pool = _pool(source, 1)
    for index in indices:
        try:
            yield from pool.submit(_check_all, range(index, index + 1)).result()
        except BrokenProcessPool:
            yield Checked(
                index, name=source.name(index), why="reading it ends the process (a crash, or no memory left)"
            )
            pool = _pool(source, 1)
    pool.shutdown()


_source: ImageSource
"""What a reader process reads from."""


def _pool(source: ImageSource, processes: int) -> ProcessPoolExecutor:
    # fork: a table of many gigabytes is not sent to each process
    return ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _set_source, (source,))


def _set_source(source: ImageSource) -> None:
    global _source
    _source = source
    warnings.simplefilter("ignore")  # of odd metadata, a line for each image


def _check_all(indices: Sequence[int]) -> list[Checked]:
    return [_check(_source, index) for index in indices]


def _check(source: ImageSource, index: int) -> Checked:
    try:
        height, width = np.asarray(source.load(index, np.random.default_rng(index))).shape[:2]
    except Exception as error:
        name, why = getattr(error, "path", source.name(index)), getattr(error, "why", "")
        return Checked(index, name=name, why=why or f"{type(error).__name__}: {error}")
    return Checked(index, width, height)


def summarize(source: ImageSource, checked: Sequence[Checked]) -> dict[str, Any]:
    """Numbers of images, classes and pixels of one part."""
    sizes = np.array([(image.width, image.height) for image in checked if not image.why]).reshape(-1, 2)
    counts = np.bincount(source.labels, minlength=len(source.classes))
    filled = counts[counts > 0]
    return {
        "images": len(checked),
        "broken": sum(bool(image.why) for image in checked),
        "classes": len(source.classes),
        "classes_with_images": len(filled),
        "images_of_a_class": _spread(filled),
        "width": _spread(sizes[:, 0]),
        "height": _spread(sizes[:, 1]),
        "class_counts": {name: int(count) for name, count in zip(source.classes, counts, strict=True)},
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    return {"min": int(values.min()), "median": float(np.median(values)), "max": int(values.max())}


def _describe(part: str, numbers: dict[str, Any]) -> str:
    shown = {
        key: " / ".join(f"{value:g}" for value in numbers[key].values()) or "-"
        for key in ("images_of_a_class", "width", "height")
    }
    return (
        f"{part}: {numbers['images']} images, {numbers['broken']} broken, {numbers['classes_with_images']} of "
        f"{numbers['classes']} classes; least / median / most: images of a class {shown['images_of_a_class']}, "
        f"width {shown['width']}, height {shown['height']}"
    )


def _write(path: Path, report: dict[str, Any]) -> None:
    # Names of files may hold bytes that are no text: written escaped.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        if path.suffix == ".json":
            json.dump(report, file, indent=1)
        else:
            writer = csv.DictWriter(file, ["part", "index", "class", "name", "why"])
            writer.writeheader()
            writer.writerows(report["broken"])
