"""What masked-LM pre-training sees: documents, a tokenizer, packed rows of their tokens, and what is hidden in a row.

What is hidden is a function of (seed, epoch, row); in evaluation of the row alone, at a rate of 15 % whatever the
training rate is, so that losses can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from metaformer_nlp.text.masking import WordPieces, mask_tokens, replacement_ids
from tasks.text.checkpoints import given_tokenizer
from tasks.text.encoding import trained_tokenizer
from tasks.text.options import DataConfig, MaskingConfig
from tasks.text.packed import PackedText
from tasks.text.sources import TextSource, text_source, warn_once

__all__ = [
    "EVAL_RATE",
    "DataConfig",
    "MaskedRow",
    "MaskedRows",
    "MaskingConfig",
    "log_frequencies",
    "make_tokenizer",
    "most_frequent_token",
    "sources_of",
    "tokens_per_row",
]

EVAL_RATE = 0.15
_EVAL_MASKS = 11  # sets these random choices apart from others
_TOKENIZER_CHARACTERS = 10_000_000  # enough for 32k pieces; a whole corpus would take hours


@dataclass(frozen=True)
class MaskedRow:
    """A packed row with some tokens hidden: ids, segments and labels (l,); a label is IGNORE where nothing is asked."""

    ids: NDArray[np.int64]
    segments: NDArray[np.int64]
    labels: NDArray[np.int64]


class MaskedRows:
    """Packed text as the engine's map-style data."""

    def __init__(self, text: PackedText, tokenizer: PreTrainedTokenizerBase, masking: MaskingConfig) -> None:
        if tokenizer.mask_token_id is None:
            raise ValueError("the tokenizer has no [MASK] token; masked-LM training needs one")
        self.text, self.masking = text, masking
        self.mask_token_id = int(tokenizer.mask_token_id)
        self.special = np.array(sorted(tokenizer.all_special_ids))
        self.replacements = replacement_ids(tokenizer)
        self.pieces = WordPieces.of(tokenizer) if masking.whole_words else None

    def __len__(self) -> int:
        return len(self.text)

    def sample(self, index: int, rng: np.random.Generator | None) -> MaskedRow:
        """Row ``index``, masked by ``rng``; in evaluation always in the same way, at `EVAL_RATE`."""
        ids, segments = self.text.row(index)
        masking = self.masking
        if rng is None:
            rng, masking = np.random.default_rng([_EVAL_MASKS, index]), MaskingConfig(EVAL_RATE)
        special = np.isin(ids, self.special)
        hidden, labels = mask_tokens(
            ids,
            special,
            rng,
            mask_token_id=self.mask_token_id,
            replacement_ids=self.replacements,
            rate=masking.rate,
            mask_share=masking.mask_share,
            random_share=masking.random_share,
            words=self.pieces.words(ids, special) if self.pieces is not None and masking.whole_words else None,
        )
        return MaskedRow(hidden, segments, labels)


def sources_of(data: DataConfig) -> tuple[TextSource, TextSource]:
    """The documents to train on, and those to measure on; ValueError where ``held_out`` is no share."""
    if data.validation is None and not 0 < data.held_out < 1:
        raise ValueError(f"data.held_out={data.held_out}; it must be between 0 and 1, or name data.validation")
    source = text_source(data.text, column=data.column, unit=data.unit, max_documents=data.max_documents)
    if data.validation is None:
        return source.part(data.held_out, inside=False), source.part(data.held_out, inside=True)
    return source, text_source(data.validation, column=data.column, unit=data.unit)


def make_tokenizer(data: DataConfig, checkpoint: str | None, train: TextSource) -> PreTrainedTokenizerBase:
    """``data.tokenizer``, or else the checkpoint's; without both, one that is trained on the first of the text."""
    given = given_tokenizer(data.tokenizer, checkpoint)
    if given is not None:
        return given
    texts: list[str] = []
    characters = 0
    for text in train.read():
        characters += len(text)
        if texts and characters > _TOKENIZER_CHARACTERS:
            warn_once(
                f"{train.name}: the tokenizer is trained on the first {len(texts):,} of these documents, about "
                f"{_TOKENIZER_CHARACTERS:,} characters; the others are left out. scripts/train_tokenizer.py reads more"
            )
            break
        texts.append(text)
    return trained_tokenizer(texts, data.vocab_size, bool(data.lowercase))


def tokens_per_row(text: PackedText) -> float:
    """Mean number of tokens in a row, [CLS] and [SEP] counted and padding not."""
    return float((text.info["tokens"] + 2 * text.info["pieces"]) / text.info["rows"])


def log_frequencies(text: PackedText) -> NDArray[np.float64]:
    """(V,) log of each token's share of the text, one being added to every count: finite for those that never come."""
    counts = text.token_counts() + 1.0
    return np.log(counts / counts.sum())


def most_frequent_token(text: PackedText, special: NDArray[np.int64], rows: int = 2000) -> int:
    """The most frequent token of the first `rows` rows, special ones aside; the lowest number of equals."""
    counts = np.bincount(np.concatenate([text.row(index)[0] for index in range(min(rows, len(text)))]))
    counts[special[special < len(counts)]] = 0
    return int(counts.argmax())
