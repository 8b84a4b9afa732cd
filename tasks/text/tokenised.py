"""Documents of a source as numbers in the cache: each part tokenised once, as far as it was ever asked for.

    cache/tokens/<key>/    a part of a source (a large file, some small ones, a stream), tokenised
        tokens.bin         all token ids, one after the other
        lengths.bin        tokens of each document
        state.json         how much of both counts

Nothing here holds more than a batch of documents in memory: tokens are appended to files, which are mapped to be read.
``state.json`` is replaced every few million tokens: what was interrupted goes on from there. Tokenising uses all cores
(RAYON_NUM_THREADS limits them); a second process that asks for the same waits.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from metaformer_nlp.engine.files import replace_text, sync
from metaformer_nlp.errors import writing
from tasks.cache import NO_ROOM, cache_folder, short_hash
from tasks.text.sources import Omitted, TextPart

__all__ = ["TokenisedPart", "map_file", "tokenise"]

_FORMAT = 1  # to be raised when other tokens, or other files, are written
_BATCH_CHARACTERS = 1_000_000  # tokenised at once, the cores sharing them
_COMMIT_TOKENS = 4_000_000  # what a kill costs at most
_OPEN_FILES = 256  # mapped at a time: systems allow about a thousand


@functools.lru_cache(maxsize=_OPEN_FILES)
def map_file(path: str, kind: str, count: int) -> NDArray[Any]:
    """The first ``count`` numbers of a file as an array, (count,), that is read where it is looked at."""
    return np.memmap(path, kind, "r", shape=(count,)) if count else np.empty(0, kind)


@dataclass(frozen=True)
class TokenisedPart:
    """The first ``documents`` of a part, as ``tokens`` ids of a ``kind``."""

    folder: Path
    documents: int
    tokens: int
    kind: str
    omitted: Omitted
    """What was passed over among all that was ever read of the part."""

    def lengths(self) -> NDArray[np.uint32]:
        return map_file(str(self.folder / "lengths.bin"), "uint32", self.documents)


@dataclass
class _State:
    """What of the files counts. The rest was written by a process that was killed."""

    documents: int = 0
    tokens: int = 0
    ended: bool = False
    """Whether this is all that the part has."""
    omitted: int = 0
    first_omitted: str = ""


def tokenise(
    part: TextPart, tokenizer: PreTrainedTokenizerBase, key: str, limit: int | None, description: str
) -> TokenisedPart:
    """The part's first ``limit`` documents (None: all), of which those are tokenised that have not been before.

    ``key`` is the tokenizer's (`tokenizer_key`); ``description`` stands at the bar of progress.
    """
    folder = cache_folder() / "tokens" / short_hash(_FORMAT, part.identity, key)
    folder.mkdir(parents=True, exist_ok=True)
    kind = "uint16" if len(tokenizer) <= 2**16 else "uint32"
    with FileLock(folder / ".lock"):
        file = folder / "state.json"
        state = _State(**json.loads(file.read_text("utf-8"))) if file.exists() else _State()
        if not state.ended and (limit is None or state.documents < limit):
            with writing(folder, NO_ROOM):
                _append(folder, part, tokenizer, kind, limit, state, description)
    omitted = Omitted(state.omitted, state.first_omitted)
    if limit is None or state.documents <= limit:
        return TokenisedPart(folder, state.documents, state.tokens, kind, omitted)
    tokens = int(TokenisedPart(folder, limit, 0, kind, omitted).lengths().sum(dtype=np.int64))
    return TokenisedPart(folder, limit, tokens, kind, omitted)


def _append(
    folder: Path,
    part: TextPart,
    tokenizer: PreTrainedTokenizerBase,
    kind: str,
    limit: int | None,
    state: _State,
    description: str,
) -> None:
    wanted = None if limit is None else limit - state.documents
    read, omitted = 0, Omitted()
    with (
        _opened(folder / "tokens.bin", state.tokens * np.dtype(kind).itemsize) as tokens,
        _opened(folder / "lengths.bin", state.documents * 4) as lengths,
        tqdm(desc=description, initial=state.tokens, unit="token", unit_scale=True, disable=None) as bar,
    ):

        def commit() -> None:
            for file in (tokens, lengths):
                file.flush()
                sync(Path(file.name))
            state.omitted, state.first_omitted = omitted.rows, omitted.first
            replace_text(folder / "state.json", json.dumps(asdict(state)) + "\n")

        committed = state.tokens
        for documents in _batches(itertools.islice(part.read(state.documents, omitted), wanted)):
            encoded = tokenizer(documents, add_special_tokens=False, verbose=False)["input_ids"]
            sizes = np.array([len(ids) for ids in encoded], np.uint32)
            tokens.write(np.fromiter(itertools.chain.from_iterable(encoded), kind, int(sizes.sum())).tobytes())
            lengths.write(sizes.tobytes())
            read += len(documents)
            state.documents += len(documents)
            state.tokens += int(sizes.sum())
            bar.update(int(sizes.sum()))
            if state.tokens - committed >= _COMMIT_TOKENS:
                commit()
                committed = state.tokens
        state.ended = wanted is None or read < wanted
        commit()


def _opened(path: Path, size: int) -> BinaryIO:
    """The file, cut to what counts of it, open to write on."""
    path.touch()
    os.truncate(path, size)
    return path.open("ab")


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
