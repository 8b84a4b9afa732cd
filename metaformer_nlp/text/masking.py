"""Masked-LM masking of one sample, a pure function of a random generator."""

from __future__ import annotations

from collections.abc import Sequence

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
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(L,), (L,) -> (L,), (L,): the ids with some tokens hidden, and the labels, `IGNORE` where nothing was chosen.

    Of the n tokens that are not special, `rate * n` are chosen without repetition; the fraction left over is one more
    token with that probability, so that the rate holds on average, and a sample with any such token has at least one
    label. A chosen token becomes [MASK] with probability `mask_share`, a token of `replacement_ids` with
    probability `random_share`, and else stays as it is. `input_ids` itself is not changed.

    Args:
        input_ids: Token ids of one sample or one packed row.
        special_mask: True (1) where a token must not be chosen: [CLS], [SEP], padding.
        rng: Generator; equal states give equal masks.
        mask_token_id: Id of [MASK].
        replacement_ids: Ids that random replacements are drawn from; see `replacement_ids`.
        rate: Share of the tokens that are chosen, in [0, 1].
        mask_share: Share of the chosen tokens that become [MASK].
        random_share: Share of the chosen tokens that become another token.

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

    count = max(1, min(len(candidates), int(rate * len(candidates) + rng.random())))
    chosen = rng.permutation(candidates)[:count]
    labels[chosen] = tokens[chosen]
    # Every choice is drawn for every chosen token, so that changing a share changes nothing else.
    draw = rng.random(count)
    replacements = rng.choice(replacement_ids, size=count)
    masked = draw < mask_share
    replaced = (draw >= mask_share) & (draw < mask_share + random_share)
    tokens[chosen[masked]] = mask_token_id
    tokens[chosen[replaced]] = replacements[replaced]
    return tokens, labels


def replacement_ids(tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int64]:
    """All ids of a tokenizer that are no special tokens, ascending: what random replacements are drawn from."""
    return np.setdiff1d(np.arange(len(tokenizer), dtype=np.int64), np.array(tokenizer.all_special_ids, dtype=np.int64))
