"""The masking rule, by counting."""

from __future__ import annotations

import numpy as np
import pytest

from metaformer_nlp.text.masking import IGNORE, mask_tokens, replacement_ids
from metaformer_nlp.text.tokenizer import train_tokenizer

MASK_ID, VOCAB = 4, 5000
REPLACEMENTS = np.arange(5, VOCAB)


def mask(ids: np.ndarray, special: np.ndarray, seed: int = 0, **options: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return mask_tokens(ids, special, rng, mask_token_id=MASK_ID, replacement_ids=REPLACEMENTS, **options)


def test_eighty_ten_ten() -> None:
    ids = np.random.default_rng(1).integers(5, VOCAB, 200_000)
    special = np.arange(len(ids)) % 10 == 0
    before = ids.copy()
    masked, labels = mask(ids, special)
    assert np.array_equal(ids, before)
    chosen = labels != IGNORE
    assert chosen.sum() == pytest.approx(0.15 * 180_000, abs=1)
    assert not chosen[special].any()
    assert np.array_equal(labels[chosen], ids[chosen])
    assert np.array_equal(masked[~chosen], ids[~chosen])
    hidden, kept = masked[chosen] == MASK_ID, masked[chosen] == ids[chosen]
    assert hidden.mean() == pytest.approx(0.8, abs=0.01)
    assert kept.mean() == pytest.approx(0.1, abs=0.01)
    replaced = masked[chosen][~hidden & ~kept]
    assert len(replaced) / chosen.sum() == pytest.approx(0.1, abs=0.01)
    assert replaced.min() >= 5
    assert len(np.unique(replaced)) > 1000
    # Chosen tokens lie anywhere in the text.
    assert np.flatnonzero(chosen).mean() == pytest.approx(len(ids) / 2, rel=0.02)


def test_rate_holds_on_average_in_short_samples() -> None:
    ids, special = np.arange(10, 21), np.array([1] + [0] * 9 + [1])
    counts = [(mask(ids, special, seed)[1] != IGNORE).sum() for seed in range(2000)]
    assert set(counts) == {1, 2}
    assert np.mean(counts) == pytest.approx(9 * 0.15, abs=0.05)


def test_edges() -> None:
    ids = np.arange(10, 15)
    assert (mask(ids, np.ones(5, dtype=bool))[1] == IGNORE).all()
    assert (mask(ids, np.zeros(5), rate=0)[1] == IGNORE).all()
    assert len(mask(np.array([], dtype=int), np.array([], dtype=bool))[0]) == 0
    masked, labels = mask(ids, np.zeros(5), rate=1, mask_share=1, random_share=0)
    assert (masked == MASK_ID).all()
    assert np.array_equal(labels, ids)
    _, labels = mask(ids, np.array([1, 1, 0, 1, 1]), rate=0.01)
    assert np.flatnonzero(labels != IGNORE).tolist() == [2]


def test_equal_generators_give_equal_masks() -> None:
    ids, special = np.arange(10, 200), np.zeros(190)
    assert all(np.array_equal(a, b) for a, b in zip(mask(ids, special, 3), mask(ids, special, 3), strict=True))
    assert not np.array_equal(mask(ids, special, 3)[1], mask(ids, special, 4)[1])
    # How chosen tokens are hidden does not change which ones are chosen.
    assert np.array_equal(mask(ids, special, 3)[1], mask(ids, special, 3, mask_share=1.0, random_share=0.0)[1])


@pytest.mark.parametrize(
    ("special", "options", "message"),
    [
        (np.zeros(4), {}, "equally long"),
        (np.zeros(5), {"rate": 1.5}, "rate=1.5"),
        (np.zeros(5), {"mask_share": 0.9, "random_share": 0.2}, "at most 1"),
    ],
)
def test_wrong_arguments(special: np.ndarray, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask(np.arange(10, 15), special, **options)


def test_replacements_are_all_but_the_special_tokens() -> None:
    tokenizer = train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 3, 289)
    assert np.array_equal(replacement_ids(tokenizer), np.arange(5, 289))
