"""Plain text for masked-LM training: documents from files, parquet or the embedded English, packed into rows.

A document is one row of a parquet table, one module or chapter of the embedded English, and in ``.txt`` files a
paragraph, a line or the whole file. Documents are tokenised once, cut into pieces of at most a row, and the pieces
packed into rows without crossing; each piece has a segment number of its own in its row, so that no model sees two
documents as one. The packed corpus lies in the cache as plain arrays that are mapped into memory, not read.
"""

from __future__ import annotations

import bisect
import glob
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from tasks.cache import build_once, cache_folder, short_hash
from tasks.encoding import tokenizer_key
from tasks.english import english_documents, english_key

__all__ = ["PackedText", "TextSource", "pack_text", "text_source"]

DocumentUnit = Literal["paragraph", "line", "file"]
_SUFFIXES = (".txt", ".parquet")
_HELD_OUT = 7  # sets this choice apart from other random choices
_CHUNK = 512  # documents tokenised at once


@dataclass(frozen=True)
class TextSource:
    """Documents that can be read again and again, always in the same order; ``identity`` changes with the files."""

    name: str
    identity: str
    read: Callable[[], Iterator[str]]

    def part(self, held_out: float, inside: bool) -> TextSource:
        """The documents that are held out (``inside``), or the others: a function of a document's number alone."""

        def read() -> Iterator[str]:
            for number, text in enumerate(self.read()):
                if (np.random.default_rng([_HELD_OUT, number]).random() < held_out) == inside:
                    yield text

        return TextSource(self.name, short_hash(self.identity, held_out, inside), read)


def text_source(where: str, *, column: str = "text", unit: DocumentUnit = "paragraph") -> TextSource:
    """The documents at ``where``: ``english`` (embedded), a ``.txt`` or ``.parquet`` file, a folder, or a pattern.

    Raises:
        ValueError: where nothing is found, a file is of neither kind, or a parquet file lacks ``column``.
    """
    if where == "english":
        return TextSource("english", english_key(), lambda: (document.text for document in english_documents()))
    files = _files(where)
    stamps = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]

    def read() -> Iterator[str]:
        for path in files:
            yield from _parquet_documents(path, column) if path.suffix == ".parquet" else _text_documents(path, unit)

    return TextSource(where, short_hash(stamps, column, unit), read)


def _files(where: str) -> list[Path]:
    path = Path(where).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    elif path.is_file():
        files = [path]
    else:
        files = sorted(Path(file) for file in glob.glob(str(path), recursive=True) if Path(file).is_file())
    wrong = [file for file in files if file.suffix not in _SUFFIXES]
    if wrong or not files:
        problem = f"{wrong[0]} is neither" if wrong else f"there are no such files (looked in {Path.cwd()})"
        raise ValueError(
            f"text {where!r}: {problem}; give 'english', a .txt or .parquet file, a folder with some, or a pattern "
            "such as 'corpus/train-*.parquet'"
        )
    return files


def _parquet_documents(path: Path, column: str) -> Iterator[str]:
    import pyarrow.parquet  # here: readers of other files need not wait for it

    table = pyarrow.parquet.ParquetFile(path)
    if column not in table.schema_arrow.names:
        raise ValueError(f"{path} has no column {column!r}; it has {', '.join(table.schema_arrow.names)}")
    for batch in table.iter_batches(columns=[column]):
        for value in batch.column(0):
            text = value.as_py()
            if text is not None and not isinstance(text, str):
                raise ValueError(f"{path}: column {column!r} holds {type(text).__name__}, not text")
            if text:
                yield text


def _text_documents(path: Path, unit: DocumentUnit) -> Iterator[str]:
    paragraph: list[str] = []
    with path.open("rb") as file:  # bytes: a line ends at \n, not at every character that str.splitlines knows
        for number, line in enumerate(file, 1):
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


class PackedText:
    """N rows of at most L tokens: pieces ``[CLS] ... [SEP]`` of documents, side by side, each a segment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info: dict[str, Any] = json.loads((folder / "info.json").read_text("utf-8"))
        self._tokens = np.load(folder / "tokens.npy", mmap_mode="r")
        self._pieces = np.load(folder / "pieces.npy", mmap_mode="r")  # (P, 2): begin and end in tokens
        self._rows = np.load(folder / "rows.npy", mmap_mode="r")  # (N + 1,): row i has pieces rows[i] to rows[i + 1]

    def __len__(self) -> int:
        return len(self._rows) - 1

    def row(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and segment numbers (from 1) of a row, without padding: both (l,), l at most L."""
        pieces = self._pieces[self._rows[index] : self._rows[index + 1]]
        cls, sep = self.info["cls"], self.info["sep"]
        ids = [part for begin, end in pieces for part in ([cls], self._tokens[begin:end], [sep])]
        lengths = [end - begin + 2 for begin, end in pieces]
        return np.concatenate(ids).astype(np.int64), np.repeat(np.arange(1, len(pieces) + 1), lengths)


def pack_text(source: TextSource, tokenizer: PreTrainedTokenizerBase, max_length: int) -> PackedText:
    """The documents of ``source``, tokenised and packed into rows of ``max_length``; made once, then cached.

    Raises:
        ValueError: where the source has no text at all.
    """
    if max_length < 8:
        raise ValueError(f"data.max_length={max_length} is too short for text; use at least 8")
    key = short_hash(Path(__file__).read_bytes(), source.identity, tokenizer_key(tokenizer), max_length)
    return PackedText(
        build_once(cache_folder() / "packed" / key, lambda path: _write(path, source, tokenizer, max_length))
    )


def _write(folder: Path, source: TextSource, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    folder.mkdir(parents=True)
    kind = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    lengths: list[int] = []
    digest = hashlib.sha256()
    # Token by token to the disk: a corpus need not fit into memory.
    with (folder / "tokens.raw").open("wb") as raw:
        for documents in _chunks(source.read(), _CHUNK):
            encoded = tokenizer(documents, add_special_tokens=False, verbose=False)["input_ids"]
            for ids in encoded:
                if ids:
                    data = np.array(ids, kind).tobytes()
                    raw.write(data)
                    digest.update(len(ids).to_bytes(8, "little") + data)
                    lengths.append(len(ids))
    if not lengths:
        raise ValueError(f"{source.name}: no document with text in it (the held-out part needs some as well)")
    pieces, rows = _pack(lengths, max_length - 2)
    raw_path = folder / "tokens.raw"
    tokens = np.memmap(raw_path, kind, "r")
    np.save(folder / "tokens.npy", tokens)
    del tokens
    raw_path.unlink()
    np.save(folder / "pieces.npy", pieces)
    np.save(folder / "rows.npy", rows)
    info = {
        "source": source.name,
        "content": digest.hexdigest()[:16],
        "documents": len(lengths),
        "tokens": sum(lengths),
        "rows": len(rows) - 1,
        "max_length": max_length,
        "cls": tokenizer.cls_token_id,
        "sep": tokenizer.sep_token_id,
    }
    (folder / "info.json").write_text(json.dumps(info, indent=1) + "\n", "utf-8")


def _chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    texts = iter(texts)
    while chunk := list(itertools.islice(texts, size)):
        yield chunk


def _pack(lengths: list[int], room: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pieces (P, 2) of at most ``room`` tokens, row by row, and the rows' first pieces (N + 1,).

    A piece takes its tokens and two more, [CLS] and [SEP]; a row has place for ``room + 2``. Each piece goes into the
    fullest of the open rows that still has place for it (best fit), which leaves a few slots in a hundred empty.
    """
    places: list[list[tuple[int, int]]] = []
    open_rows: list[tuple[int, int]] = []  # (free slots, row), ascending
    begin = 0
    for length in lengths:
        for start in range(begin, begin + length, room):
            piece = (start, min(start + room, begin + length))
            size = piece[1] - piece[0] + 2
            at = bisect.bisect_left(open_rows, (size, -1))
            if at < len(open_rows):
                free, row = open_rows.pop(at)
            else:
                free, row = room + 2, len(places)
                places.append([])
            places[row].append(piece)
            if free - size > 2:  # three slots hold one token
                bisect.insort(open_rows, (free - size, row))
        begin += length
    pieces = np.array([piece for row in places for piece in row], np.int64).reshape(-1, 2)
    return pieces, np.cumsum([0, *map(len, places)], dtype=np.int64)
