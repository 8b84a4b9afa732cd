"""Images in an Arrow table: parquet files in the layout of the Hugging Face hub, and the hub itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from metaformer_nlp.errors import reading
from tasks.images.readers.classes import ClassList, count_classes, is_number, label_numbers, say_left_out
from tasks.images.readers.folder import entries_below
from vision.images import BadImage, Picture, decoded, load_rgb

if TYPE_CHECKING:
    import pyarrow as pa

IN_MEMORY_BYTES = 1 << 30
"""Parquet files up to this size together are held in memory; larger ones are mapped from an uncompressed copy that the
``datasets`` library keeps in its cache."""

KEPT_BYTES = 256 << 20
"""Small pictures (up to 48 x 48) stay decoded, as far as they fit in so much memory of each reading process: to decode
them anew in every epoch takes a fifth of the time of a small model's training. 60,000 of 32 x 32 fit."""
_SMALL = 48 * 48

Origins = list[tuple[str, int]]


@dataclass(frozen=True)
class Part:
    """One part of a data set."""

    table: pa.Table
    origins: Origins
    """The files, or the one split of the hub, in order, with their numbers of rows."""
    files: list[Path]
    """What holds the rows on this machine."""
    folder: Path
    """Where pictures lie that a row names by a relative path."""


@dataclass(frozen=True)
class Columns:
    """Which columns to read; None: found by their types or names."""

    image: str | None = None
    label: str | None = None


class TableImages:
    """Columns of images, ``{bytes, path}``, and of class numbers; a sample is named by its file and row there."""

    def __init__(self, part: Part, column: str, labels: np.ndarray, classes: ClassList, apply_exif: bool) -> None:
        images, origins = part.table[column], part.origins
        self._files, self._folder = part.files, part.folder
        self.classes, self.class_names = classes.ids, classes.names
        self.labels, self.apply_exif = labels, apply_exif
        self._origins = [name for name, _ in origins]
        self._origin_starts = np.cumsum([0, *(rows for _, rows in origins)])
        self._chunks = images.chunks
        self._starts = np.cumsum([0, *(len(chunk) for chunk in images.chunks)])
        self._decoded: dict[int, Image.Image] = {}
        self._kept = 0  # bytes
        check_labels(labels, len(classes.ids), self.name)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        origin = int(np.searchsorted(self._origin_starts, index, side="right")) - 1
        return f"{self._origins[origin]} row {index - int(self._origin_starts[origin])}"

    def paths(self, indices: Sequence[int]) -> list[Path]:
        """The files of the whole part, and the pictures that its rows only name."""
        return [*self._files, *self._named_pictures()]

    def _named_pictures(self) -> Iterator[Path]:
        import pyarrow as pa

        for chunk in self._chunks:
            if pa.types.is_struct(chunk.type):
                fields = {field.name for field in chunk.type}
                if "path" not in fields:
                    continue
                paths = chunk.field("path")
                chunk = paths.filter(chunk.field("bytes").is_null()) if "bytes" in fields else paths
            if pa.types.is_dictionary(chunk.type):
                chunk = chunk.dictionary_decode()
            if (pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type)
                    or pa.types.is_string_view(chunk.type)):  # fmt: skip
                yield from (self._folder / path for path in chunk.drop_null().to_pylist())

    def load(self, index: int, rng: np.random.Generator | None = None, *, lazy: bool = False) -> Picture:
        picture = self._decoded.get(index)
        if picture is None:
            picture = self._read(index, lazy)
            size = 4 * picture.width * picture.height  # Pillow pads RGB to four bytes
            if size > 4 * _SMALL or self._kept + size > KEPT_BYTES:
                return picture
            self._decoded[index], self._kept = decoded(picture), self._kept + size
        return picture.copy()  # a transform may change its picture

    def _read(self, index: int, lazy: bool) -> Image.Image:
        chunk = int(np.searchsorted(self._starts, index, side="right")) - 1
        value = self._chunks[chunk][index - int(self._starts[chunk])].as_py()
        if isinstance(value, dict):
            data, path = value.get("bytes"), value.get("path")
        else:
            data, path = value, None
        if isinstance(data, str):
            data, path = None, data
        source = self._folder / path if data is None and isinstance(path, str) else data
        if not isinstance(source, (bytes, Path)):
            raise BadImage(self.name(index), "the row holds neither the bytes of an image nor its path")
        name = self.name(index) if isinstance(source, bytes) else f"{self.name(index)}: {source}"
        return load_rgb(source, name, apply_exif=self.apply_exif, lazy=lazy)


def read_parquet(
    root: Path, columns: Columns, apply_exif: bool, class_list: ClassList | None = None
) -> tuple[TableImages, TableImages]:
    """``root/train*.parquet`` and ``root/validation*``, ``val*`` or ``test*.parquet``, the first that is there.

    Raises:
        ValueError: a part without files, damaged files, files of a part that differ in their columns or classes,
            columns that cannot be found, labels out of range.
    """
    names = {path: path.relative_to(root).as_posix() for path in entries_below(root)}
    unnamed = [name for path, name in names.items() if "/" not in name and _is_unnamed_parquet(path)]
    names = {path: name for path, name in names.items() if name.lower().endswith(".parquet")}
    chosen, parts = [], []
    for part, prefixes in {"train": ("train",), "validation": ("validation", "val", "test")}.items():
        matches = ([path for path, name in names.items() if _is_of(name, prefix)] for prefix in prefixes)
        files = next((files for files in matches if files), [])
        if not files:
            wanted = " or ".join(f"{prefix}*.parquet" for prefix in prefixes)
            raise ValueError(f"data.root {root}: no file {wanted} for the {part} part")
        chosen += files
        parts.append(_read_files(files, root))
    unread = [name for path, name in names.items() if path not in chosen]
    kinds = {"parquet files that are of neither part": unread, "parquet files not named *.parquet": unnamed}
    say_left_out(root, kinds)
    return _table_sources(parts, columns, apply_exif, class_list)


def _is_unnamed_parquet(path: Path) -> bool:
    """Whether a file is a parquet file by its first bytes, but not by its name."""
    if path.name.lower().endswith(".parquet") or not path.is_file():
        return False
    with reading(path, "a parquet file"), path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _is_of(name: str, prefix: str) -> bool:
    return "/" not in name and name.lower().startswith(prefix)


def _read_files(files: list[Path], root: Path) -> Part:
    import pyarrow as pa
    import pyarrow.parquet as pq

    origins, described = [], []
    for file in files:
        with reading(file, "a parquet file", pa.ArrowException), pq.ParquetFile(file) as opened:
            origins.append((str(file), opened.metadata.num_rows))
            schema = opened.schema_arrow
        columns: dict[str, Any] = {field.name: str(field.type) for field in schema}
        described.append({**columns, "the classes": _class_names(_features(schema, str(file)))})
        _check_alike(described[0], described[-1], files[0], file)
    if sum(file.stat().st_size for file in files) > IN_MEMORY_BYTES:
        from datasets import Dataset

        try:
            table = Dataset.from_parquet([str(file) for file in files]).data.table
        except Exception as error:  # of several types, for a damaged file as for a full disk
            raise ValueError(f"{', '.join(map(str, files))}: cannot be read as one table: {error}") from error
        return Part(table, origins, files, root)
    tables = []
    for file in files:
        with reading(file, "a parquet file", pa.ArrowException):
            tables.append(pq.read_table(file, partitioning=None))
    with reading(files[-1], f"a file of one table with {files[0]}", pa.ArrowException):
        return Part(pa.concat_tables(tables), origins, files, root)


def _class_names(features: dict[str, Any]) -> dict[str, Any]:
    """Column -> the names of its classes, in their order."""
    return {name: feature["names"] for name, feature in features.items() if "names" in feature}


def _check_alike(first: dict[str, Any], found: dict[str, Any], first_file: Path, file: Path) -> None:
    if list(first.items()) == list(found.items()):
        return
    unlike = [key for key in {**first, **found} if first.get(key) != found.get(key)]
    key = unlike[0] if unlike else "the order of the columns"
    ours, theirs = (part.get(key, "missing") if unlike else list(part)[:-1] for part in (found, first))
    raise ValueError(
        f"{file}: {key}: {ours}, but in {first_file}: {theirs}. The files of a part need the same columns, types and "
        "class names, in the same order; write this one again, or leave it out."
    )


def read_hub(
    name: str, revision: str | None, columns: Columns, apply_exif: bool, class_list: ClassList | None = None
) -> tuple[TableImages, TableImages]:
    """The splits train and validation (or test) of a data set of the Hugging Face hub.

    Raises:
        ValueError: it cannot be loaded (no network, no such name), or lacks a split or column.
    """
    from datasets import load_dataset

    try:
        splits = load_dataset(name, revision=revision)
    except Exception as error:  # no network, no such data set, no access: one message for a dozen types
        raise ValueError(
            f"data.name {name!r} is none of digits, folder, parquet, webdataset, and it could not be loaded from the "
            f"Hugging Face hub either (revision {revision or 'main'}): {type(error).__name__}: {error}"
        ) from error
    held_out = next((split for split in ("validation", "val", "test") if split in splits), None)
    if "train" not in splits or held_out is None:
        raise ValueError(f"{name}: needs the splits train and validation or test; it has {sorted(splits)}")
    say_left_out(name, {"splits": sorted(set(splits) - {"train", held_out})})
    parts = []
    for split in ("train", held_out):
        data = splits[split]
        files = [Path(file["filename"]) for file in data.cache_files]
        parts.append(Part(data.data.table, [(f"{name} {split}", len(data))], files, Path()))
    return _table_sources(parts, columns, apply_exif, class_list)


def _table_sources(
    parts: list[Part], columns: Columns, apply_exif: bool, class_list: ClassList | None
) -> tuple[TableImages, TableImages]:
    train = parts[0].table
    first_file = parts[0].origins[0][0]
    features = _features(train.schema, first_file)
    image = _find_column(train, features, "image", columns.image, ("image", "img"))
    label = _find_column(train, features, "label", columns.label, ("label", "labels"))
    classes = features.get(label, {}).get("names")
    sources = []
    for part in parts:
        table, where = part.table, part.origins[0][0]
        missing = sorted({image, label} - set(table.column_names))
        if missing:
            raise ValueError(f"{where}: no column {missing}; it has {table.column_names}")
        names = _features(table.schema, where).get(label, {}).get("names")
        if class_list is None and None not in (classes, names) and names != classes:
            raise ValueError(
                f"{where}: column {label} numbers the classes {names}, but {first_file} numbers them {classes}; "
                "both parts need the same names in the same order"
            )
        labels = table[label].to_numpy()
        if labels.dtype.kind not in "iu":
            raise ValueError(f"{where}: column {label} must hold whole class numbers, not {table[label].type} or gaps")
        if len(labels) == 0:
            raise ValueError(f"{where}: no rows; a part needs at least one image")
        if class_list is not None:
            labels = _renumber(labels, names, class_list, where)
        elif classes is None:  # a plain integer column: as many classes as the training part has
            classes = list(count_classes(np.unique(labels).tolist(), f"{where}: column {label}").ids)
        shown = class_list or ClassList(tuple(classes), tuple(classes), where)
        sources.append(TableImages(part, image, labels.astype(np.int64), shown, apply_exif))
    return sources[0], sources[1]


def _renumber(labels: np.ndarray, names: list[str] | None, class_list: ClassList, where: str) -> np.ndarray:
    """The labels of the class file for those of a table that numbers its classes by ``names``; numbers without names
    are taken to be the class file's already, or its names where these are numbers."""
    if names is None:
        different, rows = np.unique(labels, return_inverse=True)
        texts = [str(label) for label in different.tolist()]
        found = label_numbers(texts, class_list.labels)
        if None in found and any(map(is_number, class_list.ids)):
            class_list.check_known(texts, where)
        return labels if None in found else np.array(found)[rows]
    class_list.check_known(names, where)
    numbers = np.array([class_list.labels[name] for name in names])
    known = (labels >= 0) & (labels < len(names))
    return np.where(known, numbers[labels.clip(0, len(names) - 1)], -1)


def _features(schema: pa.Schema, where: str) -> dict[str, Any]:
    """Types of the columns as the ``datasets`` library wrote them into the schema; empty if it did not."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    if metadata is None:
        return {}
    try:
        features = json.loads(metadata).get("info", {}).get("features", {})
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{where}: its metadata 'huggingface', which names the classes, is damaged ({error}). Write the file "
            "again, or remove that entry and name the classes by --data.class_file."
        ) from error


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


def check_labels(labels: np.ndarray, num_classes: int, name: Any) -> None:
    """``name(index)`` says what to call a wrong sample."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise ValueError(
            f"{name(int(wrong[0]))}: label {labels[wrong[0]]} is out of range, allowed are 0..{num_classes - 1} "
            f"({len(wrong)} such samples). Correct the labels, or leave out a split without labels."
        )
