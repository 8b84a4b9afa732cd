"""The masking rule, by counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from transformers import BertTokenizer, PreTrainedTokenizerBase

from metaformer_nlp.text.masking import IGNORE, WordPieces, mask_tokens, replacement_ids
from metaformer_nlp.text.tokenizer import SPECIAL_TOKENS, train_tokenizer
from tasks.text.english import english_documents

MASK_ID, VOCAB = 4, 5000
REPLACEMENTS = np.arange(5, VOCAB)


def mask(ids: np.ndarray, special: np.ndarray, seed: int = 0, **options: Any) -> tuple[np.ndarray, np.ndarray]:
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


# --------------------------------------------------------------------------------------------------- whole words


def wordpiece() -> PreTrainedTokenizerBase:
    pieces = [*SPECIAL_TOKENS, "un", "##believ", "##able", "it", "is", ",", ".", "don", "'", "t", "##s"]
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)})


@pytest.fixture(scope="module")
def sentencepiece() -> PreTrainedTokenizerBase:
    return train_tokenizer((document.text for document in english_documents()[:8]), 500)


def words_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    """The text's words, as masking sees them, without [CLS] and [SEP]."""
    ids = np.array(tokenizer(text)["input_ids"])
    special = np.isin(ids, tokenizer.all_special_ids)
    numbers = WordPieces.of(tokenizer).words(ids, special)
    pieces = tokenizer.convert_ids_to_tokens(ids.tolist())
    words = dict.fromkeys(numbers.tolist(), "")
    for piece, number in zip(pieces, numbers.tolist(), strict=True):
        words[number] += piece.removeprefix("##")
    first, *inner, last = words.values()
    assert (first, last) == ("[CLS]", "[SEP]")
    return inner


def test_words_of_wordpiece() -> None:
    found = words_of(wordpiece(), "unbelievable, it is. don't")
    assert found == ["unbelievable", ",", "it", "is", ".", "don", "'", "t"]


def test_words_of_sentencepiece(sentencepiece: PreTrainedTokenizerBase) -> None:
    text = "the unbelievable fox, over (the) dog's end. well-known"
    expected = "▁the ▁unbelievable ▁fox , ▁over ▁( the ) ▁dog ' s ▁end . ▁well - known"
    assert " ".join(words_of(sentencepiece, text)) == expected
    # Characters without a piece are bytes, and part of their word.
    assert len(words_of(sentencepiece, "dög")) == 1
    # An unknown word is a special token; what stands behind it is a word of its own.
    assert words_of(sentencepiece, "the[MASK]dog") == ["▁the", "[MASK]", "dog"]


def test_a_border_between_documents_is_a_border_between_words(sentencepiece: PreTrainedTokenizerBase) -> None:
    """Also where the second one begins inside a word, as the rest of a long document may."""
    inside = sentencepiece.convert_tokens_to_ids("o")
    ids = np.array([2, inside, inside, 3, 2, inside, inside, 3])
    numbers = WordPieces.of(sentencepiece).words(ids, np.isin(ids, [2, 3]))
    assert numbers.tolist() == [1, 2, 2, 3, 4, 5, 5, 6]


def test_whole_words_are_hidden_at_the_rate() -> None:
    rng = np.random.default_rng(0)
    chosen = hidden = tokens = rows = 0
    by_size = {size: [0, 0] for size in (1, 2, 6)}
    for seed in range(1500):
        sizes = rng.choice([1, 2, 6], size=40, p=[0.6, 0.3, 0.1])
        words = np.repeat(np.arange(40), sizes)
        ids, special = rng.integers(5, VOCAB, len(words)), np.zeros(len(words), bool)
        special[[0, -1]] = True
        masked, labels = mask(ids, special, seed, rate=0.3, words=words)
        asked = labels != IGNORE
        for word, size in enumerate(sizes):
            part = asked[(words == word) & ~special]
            assert part.all() or not part.any()
            hides = (masked == MASK_ID)[(words == word) & asked]
            assert hides.all() or not hides.any()
            if 0 < word < 39:
                by_size[int(size)][0] += int(part.any())
                by_size[int(size)][1] += 1
        chosen, tokens, rows = chosen + asked.sum(), tokens + (~special).sum(), rows + 1
        hidden += (masked == MASK_ID).sum()
    assert chosen / tokens == pytest.approx(0.3, abs=0.005)
    assert hidden / chosen == pytest.approx(0.8, abs=0.02)
    for taken, number in by_size.values():  # neither long words nor short ones are left out
        assert taken / number == pytest.approx(0.3, abs=0.02)


def test_words_that_are_tokens_are_chosen_at_the_rate() -> None:
    ids, special = np.arange(10, 110), np.zeros(100, bool)
    counts = [(mask(ids, special, seed, words=np.arange(100))[1] != IGNORE).sum() for seed in range(300)]
    assert set(counts) <= {14, 15, 16}
    assert np.mean(counts) == pytest.approx(15, abs=0.1)
    one_word = [(mask(ids, special, seed, words=np.zeros(100, int))[1] != IGNORE).sum() for seed in range(50)]
    assert set(one_word) == {100}  # a sample has a label at least


def test_a_tokenizer_without_marks_is_refused() -> None:
    tokenizer = BertTokenizer(vocab={piece: number for number, piece in enumerate([*SPECIAL_TOKENS, "a", "b"])})
    with pytest.raises(ValueError, match="mask tokens instead"):
        WordPieces.of(tokenizer)
