"""Images in an Arrow table: parquet files in the layout of the Hugging Face hub, and the hub itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vision.images import BadImage, load_rgb
from vision.transforms import Picture

if TYPE_CHECKING:
    import pyarrow as pa

IN_MEMORY_BYTES = 1 << 30
"""Parquet files up to this size together are held in memory; larger ones are mapped from an uncompressed copy that the
``datasets`` library keeps in its cache."""


@dataclass(frozen=True)
class Columns:
    """Which columns to read; None: found by their types or names."""

    image: str | None = None
    label: str | None = None


class TableImages:
    """An Arrow table with a column of images, ``{bytes, path}``, and one of class numbers; names are rows."""

    def __init__(
        self, images: pa.ChunkedArray, labels: np.ndarray, classes: Sequence[str], origin: str, apply_exif: bool
    ) -> None:
        self.classes, self.origin, self.apply_exif = classes, origin, apply_exif
        self.labels = labels
        self._chunks = images.chunks
        self._starts = np.cumsum([0, *(len(chunk) for chunk in images.chunks)])
        _check_labels(labels, len(classes), self.name)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"{self.origin} row {index}"

    def load(self, index: int, rng: np.random.Generator | None = None) -> Picture:
        chunk = int(np.searchsorted(self._starts, index, side="right")) - 1
        value = self._chunks[chunk][index - int(self._starts[chunk])].as_py()
        if isinstance(value, dict):
            data, path = value.get("bytes"), value.get("path")
        else:
            data, path = value, None
        source = path if data is None else data
        if source is None:
            raise BadImage(self.name(index), "the row holds neither bytes nor a path")
        return load_rgb(source, self.name(index), apply_exif=self.apply_exif)


def read_parquet(root: Path, columns: Columns, apply_exif: bool) -> tuple[TableImages, TableImages]:
    parts = {}
    for part, prefixes in {"train": ("train",), "validation": ("validation", "val", "test")}.items():
        matches = (sorted(root.glob(f"{prefix}*.parquet")) for prefix in prefixes)
        parts[part] = next((files for files in matches if files), [])
        if not parts[part]:
            wanted = " or ".join(f"{prefix}*.parquet" for prefix in prefixes)
            raise ValueError(f"data.root {root}: no file {wanted} for the {part} part")
    tables = {part: _read_table(files) for part, files in parts.items()}
    return _table_sources(tables, str(root), columns, apply_exif)


def _read_table(files: list[Path]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if sum(file.stat().st_size for file in files) <= IN_MEMORY_BYTES:
            return pa.concat_tables([pq.read_table(file) for file in files])
    except pa.ArrowException as error:
        raise ValueError(f"{', '.join(map(str, files))}: cannot be read as one parquet table: {error}") from error
    from datasets import Dataset

    return Dataset.from_parquet([str(file) for file in files]).data.table


def read_hub(name: str, columns: Columns, apply_exif: bool) -> tuple[TableImages, TableImages]:
    from datasets import load_dataset

    try:
        splits = load_dataset(name)
    except Exception as error:  # no network, no such data set, no access: one message for a dozen types
        raise ValueError(
            f"data.name {name!r} is none of digits, folder, parquet, and it could not be loaded from the "
            f"Hugging Face hub either: {type(error).__name__}: {error}"
        ) from error
    held_out = next((name for name in ("validation", "val", "test") if name in splits), None)
    if "train" not in splits or held_out is None:
        raise ValueError(f"{name}: needs the splits train and validation or test; it has {sorted(splits)}")
    tables = {"train": splits["train"].data.table, "validation": splits[held_out].data.table}
    return _table_sources(tables, name, columns, apply_exif)


def _table_sources(
    tables: dict[str, pa.Table], origin: str, columns: Columns, apply_exif: bool
) -> tuple[TableImages, TableImages]:
    features = _features(tables["train"])
    image = _find_column(tables["train"], features, "image", columns.image, ("image", "img"))
    label = _find_column(tables["train"], features, "label", columns.label, ("label", "labels"))
    classes = features.get(label, {}).get("names")
    sources = []
    for part, table in tables.items():
        missing = {image, label} - set(table.column_names)
        if missing:
            raise ValueError(f"{origin} {part}: no column {sorted(missing)}; it has {table.column_names}")
        labels = table[label].to_numpy()
        if labels.dtype.kind not in "iu":
            raise ValueError(f"{origin} {part}: column {label} must hold class numbers, not {table[label].type}")
        if classes is None:  # a plain integer column: as many classes as the training part has
            classes = [str(number) for number in range(int(labels.max()) + 1)]
        sources.append(TableImages(table[image], labels.astype(np.int64), classes, f"{origin} {part}", apply_exif))
    return sources[0], sources[1]


def _features(table: pa.Table) -> dict[str, Any]:
    """Types of the columns as the ``datasets`` library wrote them into the schema; empty if it did not."""
    metadata = (table.schema.metadata or {}).get(b"huggingface")
    if metadata is None:
        return {}
    features: dict[str, Any] = json.loads(metadata).get("info", {}).get("features", {})
    return features


def _find_column(
    table: pa.Table, features: dict[str, Any], kind: str, wanted: str | None, usual: tuple[str, ...]
) -> str:
    kinds = {"image": "Image", "label": "ClassLabel"}
    if wanted is not None:
        candidates = [wanted]
    else:
        typed = [name for name, feature in features.items() if feature.get("_type") == kinds[kind]]
        named = [name for name in usual if name in table.column_names]
        candidates = typed if len(typed) == 1 else named[:1]
    found = [name for name in candidates if name in table.column_names]
    if not found:
        raise ValueError(
            f"which column holds the {kind}s? Name it by --data.{kind}_column; there are {table.column_names}"
        )
    return found[0]


def _check_labels(labels: np.ndarray, num_classes: int, name: Any) -> None:
    """``name(index)`` says what to call a wrong sample."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise ValueError(
            f"{name(int(wrong[0]))}: label {labels[wrong[0]]} is out of range, allowed are 0..{num_classes - 1} "
            f"({len(wrong)} such samples). Correct the labels, or leave out a split without labels."
        )
