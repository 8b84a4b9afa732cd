"""Masked-LM masking of one sample, a pure function of a random generator: by tokens or by whole words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

#: Label of a token that the loss does not count.
IGNORE = -100


def mask_tokens(
    input_ids: Sequence[int] | NDArray[np.integer],
    special_mask: Sequence[int] | NDArray[np.integer] | NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    mask_token_id: int,
    replacement_ids: NDArray[np.integer],
    rate: float = 0.15,
    mask_share: float = 0.8,
    random_share: float = 0.1,
    words: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(L,), (L,) -> (L,), (L,): the ids with some tokens hidden, and the labels, `IGNORE` where nothing was chosen.

    Of the n tokens that are not special, `rate * n` are chosen without repetition; the fraction left over is one more
    token with that probability, so that the rate holds on average, and a sample with any such token has at least one
    label. A chosen token becomes [MASK] with probability `mask_share`, a token of `replacement_ids` with
    probability `random_share`, and else stays as it is. `input_ids` itself is not changed.

    With `words` whole words are chosen, in random order until `rate * n` tokens are; the word that would go beyond is
    chosen with the probability that makes it `rate * n` on average, whatever the words' lengths. All tokens of a word
    are hidden in the same way: one that stays would give the others away.

    Args:
        input_ids: Token ids of one sample or one packed row.
        special_mask: True (1) where a token must not be chosen: [CLS], [SEP], padding.
        rng: Generator; equal states give equal masks.
        mask_token_id: Id of [MASK].
        replacement_ids: Ids that random replacements are drawn from; see `replacement_ids`.
        rate: Share of the tokens that are chosen, in [0, 1].
        mask_share: Share of the chosen tokens that become [MASK].
        random_share: Share of the chosen tokens that become another token.
        words: Number of the word that each token belongs to (`WordPieces.words`); None: tokens are chosen singly.

    Raises:
        ValueError: When lengths differ or a share is out of range.
    """
    tokens = np.array(input_ids, dtype=np.int64)
    special = np.asarray(special_mask, dtype=bool)
    if tokens.ndim != 1 or tokens.shape != special.shape:
        raise ValueError(f"input_ids {tokens.shape} and special_mask {special.shape} must be equally long and 1-D")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate={rate}; the share of masked tokens must be in [0, 1]")
    if mask_share < 0 or random_share < 0 or mask_share + random_share > 1 + 1e-9:
        raise ValueError(f"mask_share={mask_share} and random_share={random_share} must be >= 0 and sum to at most 1")
    labels = np.full(tokens.shape, IGNORE, dtype=np.int64)
    candidates = np.flatnonzero(~special)
    if rate == 0 or len(candidates) == 0:
        return tokens, labels

    # Every choice is drawn for every chosen token, so that changing a share changes nothing else.
    if words is None:
        count = max(1, min(len(candidates), int(rate * len(candidates) + rng.random())))
        chosen = rng.permutation(candidates)[:count]
        draw = rng.random(count)
    else:
        chosen, number = _choose_words(candidates, np.asarray(words)[candidates], rate, rng)
        draw = rng.random(len(candidates))[number]
    labels[chosen] = tokens[chosen]
    replacements = rng.choice(replacement_ids, size=len(chosen))
    masked = draw < mask_share
    replaced = (draw >= mask_share) & (draw < mask_share + random_share)
    tokens[chosen[masked]] = mask_token_id
    tokens[chosen[replaced]] = replacements[replaced]
    return tokens, labels


def _choose_words(
    candidates: NDArray[np.int64], words: NDArray[np.integer], rate: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The candidates (N,) whose words (N,) are chosen, and which of the words each belongs to, counted from 0."""
    names, number, sizes = np.unique(words, return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    before = np.cumsum(sizes[order]) - sizes[order]
    taken = before + rng.random() * sizes[order] < rate * len(candidates)
    if not taken.any():  # all words are long, and the sample is to have a label
        taken[np.argmin(sizes[order])] = True
    inside = np.zeros(len(names), bool)
    inside[order[taken]] = True
    return candidates[inside[number]], number[inside[number]]


@dataclass(frozen=True)
class WordPieces:
    """Which pieces of a vocabulary begin a word, and which are signs, words of their own; (V,) each."""

    begins: NDArray[np.bool_]
    signs: NDArray[np.bool_]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> WordPieces:
        """What the pieces of a tokenizer tell: "##" goes on with a word (WordPiece), "▁" (sentencepiece) or "Ġ"
        (bytes) begins one. Bytes of a character without a piece go on, so that it is part of a word.

        Raises:
            ValueError: When its pieces have none of these marks.
        """
        pieces = [piece or "" for piece in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
        marked = {mark: sum(piece.startswith(mark) for piece in pieces) for mark in ("##", "▁", "Ġ")}
        mark = max(marked, key=marked.__getitem__)
        if not marked[mark]:
            raise ValueError(
                "whole words cannot be told from this tokenizer's pieces: none has the mark of WordPiece (##), "
                "sentencepiece (▁) or byte-level pieces (Ġ); mask tokens instead"
            )
        begins = [piece.startswith(mark) != (mark == "##") for piece in pieces]
        bare = [piece.removeprefix(mark) for piece in pieces]
        signs = [bool(re.fullmatch(r"[^\w\s]+|_+", piece)) for piece in bare]
        return cls(np.array(begins), np.array(signs))

    def words(self, input_ids: NDArray[np.integer], special_mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(L,), (L,) -> (L,): the number of each token's word. A special token is a border: [SEP] and [CLS] between
        the documents of a packed row keep their words apart.
        """
        alone = self.signs[input_ids] | special_mask
        border = self.begins[input_ids] | alone
        border[1:] |= alone[:-1]
        return np.cumsum(border)


def replacement_ids(tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int64]:
    """All ids of a tokenizer that are no special tokens, ascending: what random replacements are drawn from."""
    return np.setdiff1d(np.arange(len(tokenizer), dtype=np.int64), np.array(tokenizer.all_special_ids, dtype=np.int64))
