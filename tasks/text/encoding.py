"""Rows of text as token ids: encoded once, cut to length, kept as flat arrays, padded or packed a batch at a time.

Shapes: B rows of a batch, L tokens of its longest row, rounded up to a multiple of 8.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from metaformer_nlp.text.packing import pack
from metaformer_nlp.text.tokenizer import train_tokenizer
from tasks.cache import build_once, cache_folder, fingerprint_texts, short_hash
from tasks.text.checkpoints import load_tokenizer

__all__ = ["EncodedTexts", "encode_texts", "inputs_of", "pack_rows", "pad_rows", "tokenizer_key", "trained_tokenizer"]

_PAD_MULTIPLE = 8  # what tensor cores like; and fewer different shapes


@dataclass(frozen=True)
class EncodedTexts:
    """n rows ``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``, one after the other in one array."""

    ids: NDArray[np.int32]  # all tokens of all rows
    offsets: NDArray[np.int64]  # (n + 1,) row i is ids[offsets[i] : offsets[i + 1]]
    second: NDArray[np.int32]  # (n,) where in its row the second text begins (its length, if there is none)
    cut: NDArray[np.int64]  # the numbers of the rows that were cut

    def __len__(self) -> int:
        return len(self.second)

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def row(self, index: int) -> tuple[NDArray[np.int32], int]:
        """Token ids of a row, and where its second text begins."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]], int(self.second[index])


def encode_texts(texts: Sequence[tuple[str, ...]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedTexts:
    """Encode rows of one or two texts, kept in the cache for the next run with the same texts and tokenizer.

    A row longer than ``max_length`` is cut at the ends of its texts: one text to what there is room for; of two the
    longer one, until both are equally long, then both, so that both remain.
    """
    parts = len(texts[0]) if texts else 1
    if max_length < 4 * parts:
        raise ValueError(f"data.max_length={max_length} leaves no room for {parts} texts; use at least {4 * parts}")
    key = short_hash(
        Path(__file__).read_bytes(),
        tokenizer_key(tokenizer),
        max_length,
        parts,
        fingerprint_texts(itertools.chain.from_iterable(texts)),
    )

    def write(path: Path) -> None:
        fresh = _encode(texts, tokenizer, max_length)
        with path.open("wb") as file:
            np.savez(file, ids=fresh.ids, offsets=fresh.offsets, second=fresh.second, cut=fresh.cut)

    with np.load(build_once(cache_folder() / "encoded" / f"{key}.npz", write)) as stored:
        return EncodedTexts(stored["ids"], stored["offsets"], stored["second"], stored["cut"])


def _encode(texts: Sequence[tuple[str, ...]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedTexts:
    columns = [_tokens([row[part] for row in texts], tokenizer) for part in range(len(texts[0]))] if texts else []
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    room = max_length - 1 - len(columns)
    ids: list[int] = []
    offsets, second, cut = [0], [], []
    for number, row in enumerate(zip(*columns, strict=True)):
        kept = _fit([len(tokens) for tokens in row], room)
        if any(keep < len(tokens) for keep, tokens in zip(kept, row, strict=True)):
            cut.append(number)
        ids.append(cls)
        for part, (keep, tokens) in enumerate(zip(kept, row, strict=True)):
            ids.extend(tokens[:keep])
            ids.append(sep)
            if part == 0:
                second.append(len(ids) - offsets[-1])
        offsets.append(len(ids))
    return EncodedTexts(
        np.array(ids, np.int32), np.array(offsets, np.int64), np.array(second, np.int32), np.array(cut, np.int64)
    )


def _tokens(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    # verbose=False: a text longer than the model is no surprise here, it is cut below.
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return encoded


def _fit(lengths: list[int], room: int) -> list[int]:
    """How many tokens of each of one or two texts are kept where ``room`` is all there is."""
    if sum(lengths) <= room:
        return lengths
    if len(lengths) == 1:
        return [room]
    shorter = min(min(lengths), room // 2)
    return [shorter, room - shorter] if lengths[0] <= lengths[1] else [room - shorter, shorter]


def pad_rows(rows: Sequence[tuple[NDArray[np.int32], int]], pad_token_id: int, max_length: int) -> dict[str, Tensor]:
    """``input_ids``, ``attention_mask`` and ``token_type_ids`` (B, L), one row each, padded on the right."""
    batch = _lay_out(rows, [[number] for number in range(len(rows))], pad_token_id, max_length)
    return {
        "input_ids": batch["input_ids"],
        "attention_mask": (batch["segment_ids"] > 0).long(),
        "token_type_ids": batch["token_type_ids"],
    }


def pack_rows(rows: Sequence[tuple[NDArray[np.int32], int]], pad_token_id: int, max_length: int) -> dict[str, Tensor]:
    """``input_ids``, ``segment_ids`` and ``token_type_ids`` (B, L), ``rows`` sharing those of ``max_length`` slots.

    Row d of ``rows`` is segment d + 1 of the batch; see :mod:`metaformer_nlp.text.packing`.
    """
    return _lay_out(rows, pack([len(ids) for ids, _ in rows], max_length), pad_token_id, max_length)


def _lay_out(
    rows: Sequence[tuple[NDArray[np.int32], int]], packed: Sequence[Sequence[int]], pad_token_id: int, max_length: int
) -> dict[str, Tensor]:
    longest = max(sum(len(rows[number][0]) for number in numbers) for numbers in packed)
    length = min(-(-longest // _PAD_MULTIPLE) * _PAD_MULTIPLE, max_length)
    input_ids = np.full((len(packed), length), pad_token_id, np.int64)
    segments, types = np.zeros_like(input_ids), np.zeros_like(input_ids)
    for i, numbers in enumerate(packed):
        start = 0
        for number in numbers:
            ids, second = rows[number]
            end = start + len(ids)
            input_ids[i, start:end] = ids
            segments[i, start:end] = number + 1
            types[i, start + second : end] = 1
            start = end
    return {
        "input_ids": torch.from_numpy(input_ids),
        "segment_ids": torch.from_numpy(segments),
        "token_type_ids": torch.from_numpy(types),
    }


def inputs_of(model: PreTrainedModel) -> list[str]:
    """What of a padded batch an encoder takes: not all know token types, or more than one of them."""
    known = inspect.signature(model.forward).parameters
    types = getattr(model.config, "type_vocab_size", 2)
    return ["input_ids", "attention_mask", *(["token_type_ids"] if "token_type_ids" in known and types > 1 else [])]


def tokenizer_key(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 hexadecimal digits that name what a tokenizer does; not how it was last asked to cut and pad."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return short_hash(sorted(tokenizer.get_vocab().items()))
    plain = Tokenizer.from_str(backend.to_str())
    plain.no_truncation()
    plain.no_padding()
    return short_hash(plain.to_str())


def trained_tokenizer(texts: Sequence[str], vocab_size: int, lowercase: bool = False) -> PreTrainedTokenizerBase:
    """A tokenizer trained on ``texts``, or the one that was trained on them before."""
    code = Path(inspect.getfile(train_tokenizer)).read_bytes()
    key = short_hash(code, fingerprint_texts(texts), vocab_size, *(["lowercase"] if lowercase else []))

    def write(path: Path) -> None:
        train_tokenizer(texts, vocab_size, lowercase=lowercase).save_pretrained(path)

    return load_tokenizer(str(build_once(cache_folder() / "tokenizers" / key, write)), "the cached tokenizer")
