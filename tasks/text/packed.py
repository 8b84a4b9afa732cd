"""A corpus in the cache: documents that are tokenised (tasks/text/tokenised.py), packed into rows that do not mix them.

    cache/packed/<key>/    a choice of the documents for one length of a row
        pieces.bin         (P, 2) begin and end of each piece among the tokens of all parts
        rows.bin           (N + 1,) row i has the pieces rows[i] to rows[i + 1]
        counts.bin         (V,) how often each token of the vocabulary comes, [CLS] and [SEP] aside
        info.json

A document longer than a row is cut into pieces. Each piece has a segment number of its own in its row, so that no
model sees two documents as one. Nothing here holds more than a block of the corpus in memory.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from metaformer_nlp.engine.files import sync
from tasks.cache import build_once, cache_folder, short_hash
from tasks.text.encoding import tokenizer_key
from tasks.text.sources import Omitted, TextSource, warn_once
from tasks.text.tokenised import TokenisedPart, map_file, tokenise

__all__ = ["PackedText", "pack_text"]

_FORMAT = 4  # to be raised when other documents are chosen, or other files are made of them
_BLOCK_DOCUMENTS, _BLOCK_TOKENS = 2**17, 2**25  # packed at once


class PackedText:
    """N rows of at most L tokens: pieces ``[CLS] ... [SEP]`` of documents, side by side, each a segment of its own."""

    def __init__(self, folder: Path, parts: list[Path]) -> None:
        self.folder = folder
        self.info: dict[str, Any] = json.loads((folder / "info.json").read_text("utf-8"))
        self._parts = [str(part / "tokens.bin") for part in parts]
        self._starts: list[int] = self.info["starts"]  # of the parts, in tokens, and the end

    def __len__(self) -> int:
        return int(self.info["rows"])

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapped files, which would be copied into every reader process."""
        return {key: value for key, value in vars(self).items() if key not in ("_pieces", "_rows")}

    @functools.cached_property
    def _pieces(self) -> NDArray[np.int64]:
        return map_file(str(self.folder / "pieces.bin"), "int64", 2 * self.info["pieces"]).reshape(-1, 2)

    @functools.cached_property
    def _rows(self) -> NDArray[np.int64]:
        return map_file(str(self.folder / "rows.bin"), "int64", len(self) + 1)

    def row(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and segment numbers (from 1) of a row, without padding: both (l,), l at most L."""
        pieces = self._pieces[self._rows[index] : self._rows[index + 1]].tolist()
        cls, sep = self.info["cls"], self.info["sep"]
        ids = [part for begin, end in pieces for part in ([cls], self._tokens(begin, end), [sep])]
        lengths = [end - begin + 2 for begin, end in pieces]
        return np.concatenate(ids).astype(np.int64), np.repeat(np.arange(1, len(pieces) + 1), lengths)

    def token_counts(self) -> NDArray[np.int64]:
        """How often each token comes in the documents of all rows, (V,); [CLS] and [SEP] around them do not count."""
        return np.fromfile(self.folder / "counts.bin", np.int64)

    def _tokens(self, begin: int, end: int) -> NDArray[Any]:
        part = bisect.bisect_right(self._starts, begin) - 1
        first, last = self._starts[part : part + 2]
        return map_file(self._parts[part], self.info["kind"], last - first)[begin - first : end - first]


def pack_text(source: TextSource, tokenizer: PreTrainedTokenizerBase, max_length: int) -> PackedText:
    """The documents of ``source``, tokenised and packed into rows of ``max_length``; made once, then cached.

    Raises:
        ValueError: where the source has no text at all.
    """
    if max_length < 8:
        raise ValueError(f"data.max_length={max_length} is too short for text; use at least 8")
    key = tokenizer_key(tokenizer)
    parts: list[TokenisedPart] = []
    left = source.max_documents
    for number, part in enumerate(source.parts, 1):
        if left == 0:
            break
        parts.append(tokenise(part, tokenizer, key, left, f"tokenising {part.name} ({number}/{len(source.parts)})"))
        left = None if left is None else left - parts[-1].documents
    identity = [(part.folder.name, part.documents) for part in parts]
    name = short_hash(_FORMAT, identity, source.held_out, source.inside, max_length)
    packed = cache_folder() / "packed" / name
    build_once(packed, lambda path: _write_packed(path, source, parts, tokenizer, max_length))
    text = PackedText(packed, [part.folder for part in parts])
    _say_left_out(source, parts, text.info)
    return text


def _say_left_out(source: TextSource, parts: list[TokenisedPart], info: dict[str, Any]) -> None:
    omitted = sum((part.omitted for part in parts), Omitted())
    source.say_left_out(sum(part.documents for part in parts), info["chosen"], info["first_other"], omitted)
    if empty := info["chosen"] - info["documents"]:
        warn_once(
            f"{source.name}: {empty:,} documents give no token and are in no row (blank, or nothing that the tokenizer "
            f"keeps); the first is number {info['first_empty']}"
        )


def _write_packed(
    folder: Path, source: TextSource, parts: list[TokenisedPart], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> None:
    folder.mkdir(parents=True)
    digest = hashlib.sha256()
    starts = [0, *itertools.accumulate(part.tokens for part in parts)]
    num_chosen = documents = tokens = num_pieces = num_rows = first = 0
    first_other = first_empty = None
    token_counts = np.zeros(len(tokenizer), np.int64)
    with (folder / "pieces.bin").open("wb") as pieces_file, (folder / "rows.bin").open("wb") as rows_file:
        rows_file.write(np.zeros(1, np.int64).tobytes())
        for part, start in zip(parts, starts, strict=False):
            everything = map_file(str(part.folder / "tokens.bin"), part.kind, part.tokens)
            for begin, offset, lengths in _blocks(part.lengths()):
                chosen = source.chosen(range(first + begin, first + begin + len(lengths)))
                first_other = _first(first_other, first + begin, ~chosen)
                first_empty = _first(first_empty, first + begin, chosen & (lengths == 0))
                num_chosen += int(np.count_nonzero(chosen))
                ends = offset + np.cumsum(lengths)
                pieces, counts = pack_pieces((ends - lengths)[chosen] + start, lengths[chosen], max_length - 2)
                pieces_file.write(pieces.tobytes())
                rows_file.write((num_pieces + np.cumsum(counts)).tobytes())
                digest.update(lengths[chosen].tobytes())
                ids = everything[offset : ends[-1]][np.repeat(chosen, lengths)]
                digest.update(ids.tobytes())
                token_counts += np.bincount(ids, minlength=len(tokenizer))
                documents += int(np.count_nonzero(lengths[chosen]))
                tokens += int(lengths[chosen].sum())
                num_pieces, num_rows = num_pieces + len(pieces), num_rows + len(counts)
            first += part.documents
        for file in (pieces_file, rows_file):
            file.flush()
            os.fsync(file.fileno())
    if not num_rows:
        raise ValueError(f"{source.name}: no document with text in it (the held-out part needs some as well)")
    (folder / "counts.bin").write_bytes(token_counts.tobytes())
    sync(folder / "counts.bin")
    info = {
        "source": source.name,
        "content": digest.hexdigest()[:16],
        "documents": documents,
        "chosen": num_chosen,
        "first_other": first_other,
        "first_empty": first_empty,
        "tokens": tokens,
        "pieces": num_pieces,
        "rows": num_rows,
        "max_length": max_length,
        "cls": tokenizer.cls_token_id,
        "sep": tokenizer.sep_token_id,
        "kind": parts[0].kind,
        "starts": starts,
    }
    (folder / "info.json").write_text(json.dumps(info, indent=1) + "\n", "utf-8")
    sync(folder / "info.json")


def _first(found: int | None, start: int, wanted: NDArray[np.bool_]) -> int | None:
    """``found``, or else the number of the first document, from ``start`` on, that is ``wanted``."""
    return found if found is not None or not wanted.any() else start + int(wanted.argmax())


def _blocks(lengths: NDArray[np.uint32]) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Number of the first document of a block, its first token, and the lengths of the block's documents."""
    begin = offset = 0
    while begin < len(lengths):
        block = lengths[begin : begin + _BLOCK_DOCUMENTS].astype(np.int64)
        block = block[: max(1, int(np.searchsorted(np.cumsum(block), _BLOCK_TOKENS)))]
        yield begin, offset, block
        begin, offset = begin + len(block), offset + int(block.sum())


def pack_pieces(
    starts: NDArray[np.int64], lengths: NDArray[np.int64], room: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pieces (P, 2) of at most ``room`` tokens, row by row, and the number of pieces in each row (N,).

    A piece takes its tokens and two more, [CLS] and [SEP]; a row has place for ``room + 2``. A full piece is a row.
    Each rest of a document goes into the fullest of the open rows that still has place for it (best fit), which leaves
    a few slots in a hundred empty.
    """
    full, rest = np.divmod(lengths, room)
    first = np.repeat(starts, full)
    first += (np.arange(full.sum()) - np.repeat(np.cumsum(full) - full, full)) * room
    has_rest = np.flatnonzero(rest)
    begins, sizes = (starts + full * room)[has_rest], rest[has_rest]
    open_rows: list[list[int]] = [[] for _ in range(room + 3)]  # by the number of free slots
    some = 0  # bit f is set where a row with f free slots is open
    rows = np.empty(len(sizes), np.int64)
    num_rows = 0
    for i, size in enumerate((sizes + 2).tolist()):
        if fitting := some >> size:
            free = size + (fitting & -fitting).bit_length() - 1
            row = open_rows[free].pop()
            if not open_rows[free]:
                some ^= 1 << free
        else:
            free, row = room + 2, num_rows
            num_rows += 1
        rows[i] = row
        if (free := free - size) > 2:  # three slots hold one token
            open_rows[free].append(row)
            some |= 1 << free
    order = np.argsort(rows, kind="stable")
    rests = np.stack([begins, begins + sizes], 1)[order]
    pieces = np.concatenate([np.stack([first, first + room], 1), rests])
    return pieces, np.concatenate([np.ones(len(first), np.int64), np.bincount(rows, minlength=num_rows)])
