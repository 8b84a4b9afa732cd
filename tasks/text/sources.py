"""Plain text: documents from files, from streams of the hub, or the embedded English, always in the same order.

A document is one row of a parquet table or of a hub data set, one line of a ``.jsonl`` file, one module or chapter of
the embedded English, and in ``.txt`` files a paragraph, a line or the whole file. tasks/text/tokenised.py makes them
numbers.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from metaformer_nlp.errors import checked_text, read_lines, reading
from tasks.cache import short_hash
from tasks.content import content_hash
from tasks.text.english import english_documents, english_key
from tasks.text.hub import PREFIX, hub_commit, hub_documents

__all__ = ["DocumentUnit", "Omitted", "TextPart", "TextSource", "arrow_values", "text_source", "warn_once"]

logger = logging.getLogger(__name__)

DocumentUnit = Literal["paragraph", "line", "file"]
_COMPRESSED = (".gz", ".zst")
_KINDS = "a .txt, .jsonl (also .gz, .zst) or .parquet file"
_AT_ONCE = 1024  # numbers that are decided together while documents are read
_SMALL = 64 * 2**20  # bytes: smaller files are taken together


@functools.cache
def warn_once(message: str) -> None:
    """Say it in the log, once in this process, however often the data is read."""
    logger.warning(message)


@dataclass
class Omitted:
    """Rows and files without text: they are no documents and have no number."""

    rows: int = 0
    first: str = ""

    def add(self, where: str) -> None:
        self.first = self.first or where
        self.rows += 1

    def __add__(self, other: Omitted) -> Omitted:
        return Omitted(self.rows + other.rows, self.first or other.first)


@dataclass(frozen=True)
class TextPart:
    """Documents that belong together: a large file, some small ones, a stream. ``identity`` changes with the text."""

    name: str
    identity: str
    read: Callable[[int, Omitted], Iterator[str]]
    """The documents from a number on; what is passed over is added to the second argument."""


@dataclass(frozen=True)
class TextSource:
    """Documents that can be read again and again, always in the same order: all of ``parts``, or a choice of them."""

    name: str
    parts: tuple[TextPart, ...]
    max_documents: int | None = None
    """The first so many alone."""
    held_out: float = 0.0
    """Share of the documents that is held out."""
    inside: bool = False
    """Whether these are the ones that are held out, or the others."""

    def part(self, held_out: float, inside: bool) -> TextSource:
        """The documents that are held out (``inside``), or the others: a function of a document's number alone."""
        return dataclasses.replace(self, held_out=held_out, inside=inside)

    def read(self) -> Iterator[str]:
        """The chosen documents; at the end, or where reading stops, the log says what was left out."""
        omitted, read, kept, other = Omitted(), 0, 0, None
        documents = itertools.chain.from_iterable(part.read(0, omitted) for part in self.parts)
        blocks = (self.chosen(range(first, first + _AT_ONCE)).tolist() for first in itertools.count(0, _AT_ONCE))
        limited = itertools.islice(documents, self.max_documents)
        try:
            for text, chosen in zip(limited, itertools.chain.from_iterable(blocks), strict=False):
                if chosen:
                    kept += 1
                    yield text
                elif other is None:
                    other = read
                read += 1
        finally:
            self.say_left_out(read, kept, other, omitted)

    def say_left_out(self, read: int, kept: int, other: int | None, omitted: Omitted) -> None:
        """In the log, once: of ``read`` documents ``kept`` were chosen; ``other`` is the first of the others."""
        if omitted.rows:
            warn_once(f"{self.name}: left out {omitted.rows:,} rows or files without text; the first: {omitted.first}")
        if other is not None:
            what = f"measured on, {read - kept:,} are not" if self.inside else f"used, {read - kept:,} are held out"
            warn_once(
                f"{self.name}: of {read:,} documents {kept:,} are {what} (data.held_out {self.held_out:g}), the first "
                f"of these is number {other}"
            )
        if read == self.max_documents:
            warn_once(f"{self.name}: left out all documents from number {read:,} on (data.max_documents)")

    def chosen(self, numbers: range) -> NDArray[np.bool_]:
        """(len(numbers),) Which of the documents with these numbers are read."""
        return (_uniform(numbers) < self.held_out) == self.inside


def _uniform(numbers: range) -> NDArray[np.float64]:
    """A number in [0, 1) for each of ``numbers``, a function of that alone.

    It is the hash of SplitMix64 (Steele, Lea and Flood 2014): numpy computes a million in less than a second.
    """
    mixed = np.arange(numbers.start + 1, numbers.stop + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)
    return mixed.astype(np.float64) * np.float64(2.0**-53)


def text_source(
    where: str | Sequence[str],
    *,
    column: str = "text",
    unit: DocumentUnit = "paragraph",
    max_documents: int | None = None,
) -> TextSource:
    """The documents at ``where``, or at several places one after the other.

    A place is ``english`` (embedded), a ``.txt``, ``.jsonl`` (both also ``.gz`` or ``.zst``) or ``.parquet`` file, a
    folder, a pattern, or ``hub:NAME[:CONFIG][@SPLIT]``, which is streamed.

    Raises:
        ValueError: where nothing is found or a file is of no such kind; in reading, what is wrong with a file.
    """
    if max_documents is not None and max_documents < 1:
        raise ValueError(f"data.max_documents={max_documents}; it must be at least 1, or null for all")
    places = [where] if isinstance(where, str) else list(where)
    if not places:
        raise ValueError(f"data.text is empty; name 'english', {_KINDS}, a folder, a pattern, or hub:NAME")
    parts = tuple(part for place in places for part in _parts(place, column, unit))
    return TextSource(", ".join(places), parts, max_documents)


def _parts(place: str, column: str, unit: DocumentUnit) -> Iterator[TextPart]:
    if place == "english":
        yield _listed("english", english_key(), lambda _: (document.text for document in english_documents()))
    elif place.startswith(PREFIX):
        commit = hub_commit(place)

        def read(start: int, _: Omitted) -> Iterator[str]:
            return hub_documents(place, column, commit, start)

        yield TextPart(f"{place} at commit {commit[:12]}", short_hash(place, column, commit), read)
    else:
        files = _files(place)
        _check_columns([file for file in files if _kind(file) == ".parquet"], column)
        for group in _together(files):
            name = group[0].name if len(group) == 1 else f"{group[0].name} ... {group[-1].name}"
            kinds = [(_kind(file), file.suffix.lower() in _COMPRESSED) for file in group]
            content = _content(group)
            yield _listed(
                name, short_hash(content, kinds, column, unit), partial(_unchanged, content, group, column, unit)
            )


def _listed(name: str, identity: str, read: Callable[[Omitted], Iterator[str]]) -> TextPart:
    """A part whose documents are read from the first on, whatever number is asked for: reading costs little."""
    return TextPart(name, identity, lambda start, omitted: itertools.islice(read(omitted), start, None))


def _content(files: Sequence[Path]) -> str | None:
    """What the files hold, whatever their names and times are. There is no limit: tokenising costs far more."""
    try:
        return content_hash(files)
    except OSError as error:
        with reading(error.filename or files[0], _KINDS):
            raise


def _unchanged(
    content: str | None, files: Sequence[Path], column: str, unit: DocumentUnit, omitted: Omitted
) -> Iterator[str]:
    """The documents; an error where the files hold something else than when they were named, before or after."""
    for documents in (_documents(files, column, unit, omitted), ()):
        if _content(files) != content:
            raise ValueError(f"{files[0]} or a file behind it was changed since this began; start again")
        yield from documents


def _check_columns(files: Sequence[Path], column: str) -> None:
    """Every parquet file must have the column once, and text in it; that is known before the first is read."""
    import pyarrow.parquet
    from pyarrow import types

    for path in files:
        with reading(path, "a parquet file", pyarrow.ArrowException):
            schema = pyarrow.parquet.read_schema(path)
        first = "" if path == files[0] else f". The first file, {files[0]}, is as it should be"
        if (times := schema.names.count(column)) != 1:
            has = f"has no column {column!r}" if times == 0 else f"has {times} columns {column!r}"
            raise ValueError(f"{path} {has}; it has {', '.join(schema.names)} (data.column){first}")
        kind = schema.field(column).type
        value = kind.value_type if types.is_dictionary(kind) else kind
        if not (types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)
                or types.is_null(value)):  # fmt: skip
            raise ValueError(f"{path}: column {column!r} holds {kind}, not text (data.column){first}")


def _together(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Files in lists of one large one, or of small ones that are as much."""
    group: list[Path] = []
    for file in files:
        group.append(file)
        if sum(path.stat().st_size for path in group) >= _SMALL:
            yield group
            group = []
    if group:
        yield group


def _kind(path: Path) -> str | None:
    """``.txt``, ``.jsonl`` or ``.parquet``, whatever the case; None for other files."""
    name = Path(path.name.lower())
    compressed = name.suffix in _COMPRESSED
    suffix = Path(name.stem).suffix if compressed else name.suffix
    if suffix == ".json" and compressed:  # as C4 names its lines of JSON
        suffix = ".jsonl"
    return suffix if suffix in (".txt", ".jsonl") or (suffix == ".parquet" and not compressed) else None


def _files(where: str) -> list[Path]:
    path = Path(where).expanduser()
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_symlink() or not file.is_dir())
        files = [file for file in found if _kind(file) and file.is_file() and not _hidden(file.relative_to(path))]
        why = f"hidden, or not {_KINDS}"
    else:
        found = [path] if path.exists() else sorted(map(Path, glob.glob(str(path), recursive=True)))
        files = [file for file in found if not file.is_dir()]
        why = "folders"
    wrong = [file for file in files if not _kind(file)]
    if wrong or not files:
        problem = f"{wrong[0]} is none of these" if wrong else f"there are no such files (looked in {Path.cwd()})"
        raise ValueError(
            f"text {where!r}: {problem}; give 'english', {_KINDS}, a folder with some, a pattern such as "
            f"'corpus/train-*.parquet', or {PREFIX}NAME for a data set of the hub"
        )
    chosen = set(files)
    if others := [file for file in found if file not in chosen]:
        warn_once(f"text {where!r}: left out {len(others):,} of {len(found):,} entries ({why}); the first: {others[0]}")
    return files


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _documents(files: Sequence[Path], column: str, unit: DocumentUnit, omitted: Omitted) -> Iterator[str]:
    for path in files:
        kind, before, some = _kind(path), omitted.rows, False
        if kind == ".parquet":
            documents = _parquet_documents(path, column, omitted)
        elif kind == ".jsonl":
            documents = _json_documents(path, column, omitted)
        else:
            documents = _text_documents(path, unit)
        for document in documents:
            some = True
            yield document
        if not some and omitted.rows == before:
            omitted.add(str(path))


def _parquet_documents(path: Path, column: str, omitted: Omitted) -> Iterator[str]:
    import pyarrow.parquet

    first = 0
    with reading(path, "a parquet file", pyarrow.ArrowException):
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(columns=[column]):
            for number, text in enumerate(arrow_values(batch.column(0), path, first), first):
                if text:
                    yield text
                else:
                    omitted.add(f"{path}, row {number}")
            first += len(batch)


def arrow_values(column: Iterable[Any], path: Path, first: int = 0) -> Iterator[Any]:
    """The values of a column of a parquet file; an error names the row (from ``first`` on) whose text is not UTF-8."""
    for number, value in enumerate(column, first):
        try:
            yield value.as_py()
        except UnicodeDecodeError:
            with reading(f"{path}, row {number}", "text"):
                raise


def _json_documents(path: Path, column: str, omitted: Omitted) -> Iterator[str]:
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: not JSON ({error}); each line must be one object") from error
        if not isinstance(row, dict) or column not in row:
            has = (
                f"an object with {', '.join(row) or 'nothing'}" if isinstance(row, dict) else f"a {type(row).__name__}"
            )
            raise ValueError(f"{path}:{number}: no {column!r} (data.column), but {has}")
        if text := checked_text("" if row[column] is None else row[column], f"{path}:{number}: {column!r}"):
            yield text
        else:
            omitted.add(f"{path}:{number}")


def _text_documents(path: Path, unit: DocumentUnit) -> Iterator[str]:
    paragraph: list[str] = []
    for text in read_lines(path):
        line = text.rstrip("\r")
        if unit == "line":
            if line.strip():
                yield line
        elif line.strip() or unit == "file":
            paragraph.append(line)
        elif paragraph:
            yield "\n".join(paragraph)
            paragraph = []
    if any(line.strip() for line in paragraph):
        yield "\n".join(paragraph)
