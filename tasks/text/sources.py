"""Plain text: documents from files, from streams of the hub, or the embedded English, always in the same order.

A document is one row of a parquet table or of a hub data set, one line of a ``.jsonl`` file, one module or chapter of
the embedded English, and in ``.txt`` files a paragraph, a line or the whole file. tasks/text/tokenised.py makes them
numbers.
"""

from __future__ import annotations

import dataclasses
import glob
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.cache import short_hash
from tasks.text.english import english_documents, english_key
from tasks.text.hub import PREFIX, hub_commit, hub_documents

__all__ = ["DocumentUnit", "TextPart", "TextSource", "text_source"]

DocumentUnit = Literal["paragraph", "line", "file"]
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_KINDS = "a .txt, .jsonl (also .gz, .zst) or .parquet file"
_AT_ONCE = 1024  # numbers that are decided together while documents are read
_SMALL = 64 * 2**20  # bytes: smaller files are taken together


@dataclass(frozen=True)
class TextPart:
    """Documents that belong together: a large file, some small ones, a stream. ``identity`` changes with the files."""

    name: str
    identity: str
    read: Callable[[int], Iterator[str]]
    """The documents from a number on."""


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
        """The chosen documents."""
        documents = itertools.chain.from_iterable(part.read(0) for part in self.parts)
        blocks = (self.chosen(range(first, first + _AT_ONCE)).tolist() for first in itertools.count(0, _AT_ONCE))
        limited = itertools.islice(documents, self.max_documents)
        yield from itertools.compress(limited, itertools.chain.from_iterable(blocks))

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
        yield _listed("english", english_key(), lambda: (document.text for document in english_documents()))
    elif place.startswith(PREFIX):
        commit = hub_commit(place)
        name = f"{place} at commit {commit[:12]}"
        yield TextPart(name, short_hash(place, column, commit), partial(hub_documents, place, column, commit))
    else:
        for files in _together(_files(place)):
            stamps = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
            name = files[0].name if len(files) == 1 else f"{files[0].name} ... {files[-1].name}"
            yield _listed(name, short_hash(stamps, column, unit), partial(_documents, files, column, unit))


def _listed(name: str, identity: str, read: Callable[[], Iterator[str]]) -> TextPart:
    """A part whose documents are read from the first on, whatever number is asked for: reading costs little."""
    return TextPart(name, identity, lambda start: itertools.islice(read(), start, None))


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
    """``.txt``, ``.jsonl`` or ``.parquet``; None for other files."""
    compressed = path.suffix in _COMPRESSED
    suffix = Path(path.stem).suffix if compressed else path.suffix
    if suffix == ".json" and compressed:  # as C4 names its lines of JSON
        suffix = ".jsonl"
    return suffix if suffix in (".txt", ".jsonl") or (suffix == ".parquet" and not compressed) else None


def _files(where: str) -> list[Path]:
    path = Path(where).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if _kind(file) and file.is_file())
    elif path.is_file():
        files = [path]
    else:
        files = sorted(Path(file) for file in glob.glob(str(path), recursive=True) if Path(file).is_file())
    wrong = [file for file in files if not _kind(file)]
    if wrong or not files:
        problem = f"{wrong[0]} is none of these" if wrong else f"there are no such files (looked in {Path.cwd()})"
        raise ValueError(
            f"text {where!r}: {problem}; give 'english', {_KINDS}, a folder with some, a pattern such as "
            f"'corpus/train-*.parquet', or {PREFIX}NAME for a data set of the hub"
        )
    return files


def _documents(files: Sequence[Path], column: str, unit: DocumentUnit) -> Iterator[str]:
    for path in files:
        kind = _kind(path)
        if kind == ".parquet":
            yield from _parquet_documents(path, column)
        elif kind == ".jsonl":
            yield from _json_documents(path, column)
        else:
            yield from _text_documents(path, unit)


def _parquet_documents(path: Path, column: str) -> Iterator[str]:
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(path)
    if column not in table.schema_arrow.names:
        raise ValueError(f"{path} has no column {column!r}; it has {', '.join(table.schema_arrow.names)}")
    for batch in table.iter_batches(columns=[column]):
        for value in batch.column(0):
            if text := _text(value.as_py(), f"{path}: column {column!r}"):
                yield text


def _json_documents(path: Path, column: str) -> Iterator[str]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: not JSON ({error}); each line must be one object") from error
        if not isinstance(row, dict) or column not in row:
            has = (
                f"an object with {', '.join(row) or 'nothing'}" if isinstance(row, dict) else f"a {type(row).__name__}"
            )
            raise ValueError(f"{path}:{number}: no {column!r} (data.column), but {has}")
        if text := _text(row[column], f"{path}:{number}: {column!r}"):
            yield text


def _text(value: Any, where: str) -> str:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{where} holds {type(value).__name__}, not text")
    return value or ""


def _text_documents(path: Path, unit: DocumentUnit) -> Iterator[str]:
    paragraph: list[str] = []
    for number, line in enumerate(_lines(path), 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}:{number}: not UTF-8; convert the file to UTF-8") from error
        if unit == "line":
            if text.strip():
                yield text
        elif text.strip() or unit == "file":
            paragraph.append(text)
        elif paragraph:
            yield "\n".join(paragraph)
            paragraph = []
    if any(line.strip() for line in paragraph):
        yield "\n".join(paragraph)


def _lines(path: Path) -> Iterator[bytes]:
    """Lines as bytes: a line ends at \\n, not at every character that str.splitlines knows."""
    if path.suffix not in _COMPRESSED:
        with path.open("rb") as file:
            yield from file
        return
    import pyarrow

    with pyarrow.input_stream(str(path), compression=_COMPRESSED[path.suffix]) as stream:
        lines = iter(io.BufferedReader(stream))
        while True:
            try:
                line = next(lines)
            except StopIteration:
                return
            except OSError as error:
                raise ValueError(f"{path} is damaged or no {path.suffix} file: {error}") from error
            yield line
