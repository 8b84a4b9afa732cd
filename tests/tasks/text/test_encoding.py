"""From texts to rows of tokens as the tokenizer itself makes them, cut and padded."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from tasks.text.checkpoints import load_tokenizer
from tasks.text.encoding import encode_texts, pad_rows, tokenizer_key
from tests.tasks.text.test_sources import sentences


def test_rows_are_what_the_tokenizer_itself_makes(tokenizer: PreTrainedTokenizerBase) -> None:
    pairs = list(zip(sentences(20), sentences(20, seed=1), strict=True))
    encoded = encode_texts(pairs, tokenizer, 512)
    for i, pair in enumerate(pairs):
        expected = tokenizer(*pair)
        ids, second = encoded.row(i)
        assert ids.tolist() == expected["input_ids"]
        assert [0] * second + [1] * (len(ids) - second) == expected["token_type_ids"]
    assert len(encoded.cut) == 0


@pytest.mark.parametrize("max_length", [8, 13, 40])
def test_long_pairs_are_cut_where_they_are_longer_and_counted(
    tokenizer: PreTrainedTokenizerBase, max_length: int
) -> None:
    pairs = [(a, b) for a in ["", *sentences(6)] for b in ["", *sentences(6, seed=1)]]
    encoded = encode_texts(pairs, tokenizer, max_length)
    cut = 0
    for i, texts in enumerate(pairs):
        ids, second = encoded.row(i)
        whole = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        kept = [ids[1 : second - 1].tolist(), ids[second:-1].tolist()]
        assert ids[0] == tokenizer.cls_token_id
        assert ids[second - 1] == ids[-1] == tokenizer.sep_token_id
        assert [tokens[: len(part)] for tokens, part in zip(whole, kept, strict=True)] == kept
        if kept != whole:
            cut += 1
            assert len(ids) == max_length
            lost = [len(tokens) - len(part) for tokens, part in zip(whole, kept, strict=True)]
            if not all(lost):  # the shorter text is whole
                assert len(kept[lost.index(0)]) <= len(kept[1 - lost.index(0)])
            else:
                assert abs(len(kept[0]) - len(kept[1])) <= 1
    assert len(encoded.cut) == cut


def test_odd_texts_give_valid_rows(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [("",), ("   ",), ("\N{PILE OF POO}" * 3,), ("\0",), ("日本語",), ("a" * 5000,)]
    encoded = encode_texts(texts, tokenizer, 16)
    batch = pad_rows([encoded.row(i) for i in range(len(texts))], 0, 16)
    assert batch["input_ids"].shape == (len(texts), 16)
    assert batch["attention_mask"].sum(1).min() >= 2
    assert len(encoded.cut) >= 1
    with pytest.raises(ValueError, match=r"data.max_length=7 leaves no room for 2 texts"):
        encode_texts([("a", "b")], tokenizer, 7)


def test_padding_goes_to_a_multiple_of_eight_but_not_beyond_the_model() -> None:
    rows = [(np.arange(1, n + 1, dtype=np.int32), 2) for n in (3, 9)]
    batch = pad_rows(rows, 0, 128)
    assert batch["input_ids"].shape == (2, 16)
    assert batch["input_ids"][0].tolist() == [1, 2, 3] + [0] * 13
    assert batch["token_type_ids"][0].tolist() == [0, 0, 1] + [0] * 13
    assert batch["attention_mask"].sum(1).tolist() == [3, 9]
    assert pad_rows(rows, 0, 10)["input_ids"].shape == (2, 10)


def test_a_tokenizer_is_the_same_however_it_was_last_called(words: str) -> None:
    """Whether texts were tokenised or read from the cache must not look like another tokenizer to a run."""
    tokenizer = load_tokenizer(words, "words")
    fresh = tokenizer_key(tokenizer)
    tokenizer("read a file", truncation=True, max_length=4, padding="max_length")
    assert tokenizer_key(tokenizer) == fresh
