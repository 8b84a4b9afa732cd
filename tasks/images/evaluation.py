"""Accuracy of any checkpoint on any labelled images: top-1, top-5 and ReaL, with timm's columns in a csv file.

The numbers are exact: every image counts once, for any number of processes (see ``metaformer_nlp.engine.evaluate``);
each image's five best classes are put in the data's order before they are compared with its labels.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from metaformer_nlp.config.names import split_names
from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.core.cost import count_parameters
from metaformer_nlp.engine import EvaluationTask, RunConfig
from metaformer_nlp.engine.evaluate import evaluate
from metaformer_nlp.engine.processes import on_first, start_processes
from metaformer_nlp.errors import reading
from tasks.images.checkpoints import check_classes, eval_transform, open_checkpoint, split_entry
from tasks.images.classification import TransformedImages
from tasks.images.data import ImageSource, load_sources
from tasks.images.options import EvaluationConfig as Config
from tasks.images.readers.classes import readable_names
from vision import Preprocessing, preprocessing
from vision.transforms import EvalTransform, Picture

TIMM_COLUMNS = (
    "model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation",
)  # fmt: skip
"""Of the results files of timm's validate.py: per cent, millions of parameters, pixels of the side."""

REAL_COLUMNS = ("real_top1", "real_top5")


class Joined:
    """The parts of a data set as one."""

    def __init__(self, parts: Sequence[ImageSource]) -> None:
        self.parts, self.classes = parts, parts[0].classes
        self.class_names = readable_names(parts[0])
        self.labels = np.concatenate([part.labels for part in parts])

    def __len__(self) -> int:
        return len(self.labels)

    def _at(self, index: int) -> tuple[ImageSource, int]:
        for part in self.parts:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(index)

    def name(self, index: int) -> str:
        part, index = self._at(index)
        return part.name(index)

    def paths(self, indices: Sequence[int]) -> list[Path]:
        return [path for part, row in map(self._at, indices) for path in part.paths([row])]

    def load(self, index: int, rng: np.random.Generator | None = None, *, lazy: bool = False) -> Picture:
        part, index = self._at(index)
        return part.load(index, rng, lazy=lazy)


class Evaluation(EvaluationTask):
    """What the engine's ``evaluate`` asks of a task, for one source seen as one model sees it."""

    def __init__(
        self,
        source: ImageSource,
        transform: EvalTransform,
        real: Sequence[frozenset[int]] | None,
        progress: Callable[[], object] = lambda: None,
    ) -> None:
        """``progress`` is called after each batch of this process."""
        self.source, self.transform, self.real, self.progress = source, transform, real, progress
        self.eval_data: Mapping[str, Any] = {"images": TransformedImages(source, transform)}

    def collate(self, samples: list[tuple[Any, ...]]) -> dict[str, Tensor]:
        """``{"pixel_values": (B, 3, S, S)}``"""
        return {"pixel_values": self.transform.batch([sample[0] for sample in samples])}

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``ranked`` (B, 5): the best classes of each image; ``finite`` (B,): whether its logits are numbers."""
        logits = model(pixel_values=batch["pixel_values"]).logits.float()
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices
        self.progress()
        return {"ranked": ranked, "finite": logits.isfinite().all(dim=1)}

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """``top1`` and ``top5``, and with ReaL labels ``real_top1`` and ``real_top5``, in per cent."""
        ranked, finite = (torch.cat([result[key] for result in results]).numpy() for key in ("ranked", "finite"))
        if not finite.all():
            first = self.source.name(int(np.flatnonzero(~finite)[0]))
            raise ValueError(
                f"the model gives NaN or infinity for {(~finite).sum()} of {len(finite)} images, the first of them "
                f"{first}: its weights are broken, or the precision is too low (--precision no)"
            )
        hits = ranked == self.source.labels[:, None]
        found = {"top1": _per_cent(hits[:, 0]), "top5": _per_cent(hits.any(axis=1))}
        if self.real is not None:
            known = [(row, right) for row, right in zip(ranked.tolist(), self.real, strict=True) if right]
            found["real_top1"] = _per_cent([row[0] in right for row, right in known])
            found["real_top5"] = _per_cent([not right.isdisjoint(row) for row, right in known])
        return found


def _per_cent(hits: Any) -> float:
    return 100.0 * float(np.mean(hits))


def read_real_labels(path: str, source: ImageSource) -> list[frozenset[int]]:
    """The right classes of each image of ``source``, found by the name of its file; empty where nobody could tell.

    Raises:
        ValueError: not such a file, images that are not of ImageNet's validation part, or not one with a class.
    """
    if path == "timm":
        import timm.data

        file = Path(timm.data.__file__).parent / "_info" / "imagenet_real_labels.json"
    else:
        file = Path(path).expanduser()
    with reading(file, "a json list of lists of class numbers", json.JSONDecodeError, RecursionError):
        lists = json.loads(file.read_text(encoding="utf-8"))
    if not (isinstance(lists, list) and all(isinstance(row, list) and all(map(_is_label, row)) for row in lists)):
        raise ValueError(f"real_labels {file}: not a json list of lists of class numbers")
    rows = {f"ILSVRC2012_val_{number:08d}": frozenset(row) for number, row in enumerate(lists, 1)}
    stems = [Path(source.name(index)).stem for index in range(len(source))]
    missing = [stem for stem in stems if stem not in rows]
    if missing:
        raise ValueError(
            f"real_labels: {len(missing)} of {len(stems)} images have no ReaL label, such as {missing[0]}; they are "
            "found by file name, ILSVRC2012_val_00000001 and so on, of ImageNet's validation part"
        )
    found = [rows[stem] for stem in stems]
    if not any(found):
        raise ValueError(
            f"real_labels {file}: has no class for any of the {len(found)} images; take more, or leave the option"
        )
    return found


def _is_label(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def choose_part(config: Config, size: int) -> ImageSource:
    """The images that are asked for."""
    train, validation = load_sources(config.data, size)
    parts: dict[str, ImageSource] = {"train": train, "validation": validation}
    return Joined([train, validation]) if config.part == "all" else parts[config.part]


def run(config: Config) -> list[dict[str, Any]]:
    """Evaluate each checkpoint; prints and returns the rows, and writes them to ``config.output``."""
    import_plugins(config.plugins)
    entries = split_names(config.checkpoint)
    for entry in entries:
        split_entry(entry)  # a wrong path is said before the first of several evaluations, not after it
    columns = (*TIMM_COLUMNS, *(REAL_COLUMNS if config.real_labels else ()))
    if config.output is not None:
        check_output(Path(config.output), columns)
    rows = []
    settings = RunConfig(folder=".", batch_size=1, mixed_precision=config.precision)
    with start_processes(settings, None) as accelerator:
        for entry in entries:
            model = open_checkpoint(entry, config.data.image_size, config.data.crop_pct)
            seen, parameters = preprocessing(model), count_parameters(model).total
            transform = eval_transform(seen, entry)
            source = choose_part(config, transform.size)
            check_classes(model, readable_names(source), entry)
            real = None if config.real_labels is None else read_real_labels(config.real_labels, source)
            batches = math.ceil(len(source) / config.batch_size / accelerator.num_processes)
            hidden = None if accelerator.is_main_process else True  # None: tqdm looks whether there is a terminal
            with tqdm(total=batches, unit="batch", disable=hidden, dynamic_ncols=True) as bar:
                found = evaluate(
                    Evaluation(source, transform, real, bar.update),
                    accelerator.prepare_model(model, evaluation_mode=True),
                    accelerator,
                    batch_size=config.batch_size,
                    num_workers=config.num_workers,
                )
            assert found is not None
            row = timm_row(entry, {key.split("/")[1]: value for key, value in found.items()}, seen, parameters)
            rows.append(row)
            accelerator.print(f"{len(source)} images: " + ", ".join(f"{key} {value}" for key, value in row.items()))
            if config.output is not None:
                on_first(accelerator, lambda row=row: append_row(Path(str(config.output)), row, columns))  # type: ignore[misc]
            del model  # accelerate keeps every model that it prepared; the next one needs the room
            accelerator.free_memory()
    return rows


def timm_row(entry: str, found: Mapping[str, float], seen: Preprocessing, parameters: int) -> dict[str, Any]:
    """A line of the results, as timm rounds it."""
    row: dict[str, Any] = {"model": entry}
    for key in ("top1", "top5"):
        row |= {key: round(found[key], 4), f"{key}_err": round(100 - found[key], 4)}
    row |= {"param_count": round(parameters / 1e6, 2), "img_size": seen.image_size[0], "crop_pct": seen.crop_pct}
    row["interpolation"] = seen.interpolation
    return row | {key: round(found[key], 4) for key in REAL_COLUMNS if key in found}


def check_output(path: Path, columns: Sequence[str]) -> None:
    """Raise ValueError if ``path`` is there and is not a results file of these columns."""
    if path.is_dir():
        raise ValueError(f"output {path}: is a folder; name a csv file")
    if not os.path.lexists(path):
        return
    with reading(path, "a csv file", csv.Error), path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file), None)
    if header is None:  # an empty file
        return
    if header != list(columns):
        raise ValueError(f"output {path}: has the columns {','.join(header)}, not {','.join(columns)}; name a new file")


def append_row(path: Path, row: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Add a line, and before the first one the header."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.is_file() or path.stat().st_size == 0
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            if new:
                writer.writeheader()
            writer.writerow(row)
    except OSError as error:
        raise ValueError(
            f"output {path}: cannot be written ({error.strerror}); the row is {','.join(map(str, row.values()))}"
        ) from error
    print(f"written: {path}", file=sys.stderr)
