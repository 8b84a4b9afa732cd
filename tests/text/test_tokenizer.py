"""The fast tokenizer gives sentencepiece's pieces, wrapped as users of BERT expect."""

from __future__ import annotations

import argparse
import datetime
import decimal
import inspect
import json
import logging
import re
import unittest
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from metaformer_nlp.text import tokenizer as tokenizer_module
from metaformer_nlp.text.tokenizer import (
    SPECIAL_TOKENS,
    read_wordpiece,
    to_fast_tokenizer,
    train_sentencepiece,
    train_tokenizer,
)

ODD_LINES = [
    "",
    "   ",
    "  two  spaces\tand a tab ",
    "naïve café, ﬁne Ⅷ ①, İstanbul, Straße",
    "日本語 テスト 한국어 עברית",
    "emoji 😀 👩‍👩‍👧",
    "no\u00a0break, zero\u200bwidth, \ufeffmark, ideographic\u3000space",
    "e\u0301 combining",
    "<0x41> is text here",
    "word" * 200,
]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """English that ships with Python: the docstrings of some modules and their classes."""
    docs = []
    for module in (argparse, datetime, decimal, json, logging, re, unittest):
        for _, thing in inspect.getmembers(module, lambda member: bool(getattr(member, "__doc__", None))):
            docs += [thing.__doc__]
            docs += [vars(thing)[name].__doc__ for name in vars(thing)] if inspect.isclass(thing) else []
    unique = dict.fromkeys(line for doc in docs if isinstance(doc, str) for line in doc.splitlines())
    return [line for line in unique if line.strip()]


@pytest.fixture(scope="module")
def tokenizer(lines: list[str]) -> PreTrainedTokenizerFast:
    return train_tokenizer(lines, 1000)


@pytest.mark.parametrize("lowercase", [False, True])
def test_parity_with_sentencepiece(lowercase: bool, lines: list[str]) -> None:
    model = train_sentencepiece(lines, 1000, lowercase=lowercase)
    reference, fast = model.processor(), to_fast_tokenizer(model)
    scores = [reference.get_score(index) for index in range(len(fast))]
    assert len(lines) > 1000
    ties = 0
    for line in lines + ODD_LINES:
        expected, ids = reference.encode(line), fast(line, add_special_tokens=False)["input_ids"]
        if ids != expected:
            # Lines such as "------" can be cut in several ways that are equally good.
            assert reference.decode(ids) == reference.decode(expected)
            assert sum(scores[i] for i in ids) == pytest.approx(sum(scores[i] for i in expected), rel=1e-5)
            ties += 1
    assert ties < len(lines) / 500


def test_training_is_deterministic(lines: list[str], tokenizer: PreTrainedTokenizerFast) -> None:
    again = train_tokenizer(iter(lines), 1000)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_special_tokens_and_templates(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer) == 1000
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4]
    assert (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id) == (0, 2, 3)
    one, two = tokenizer.tokenize("the first"), tokenizer.tokenize("a second")
    pair = tokenizer("the first", "a second")
    assert tokenizer.convert_ids_to_tokens(pair["input_ids"]) == ["[CLS]", *one, "[SEP]", *two, "[SEP]"]
    assert pair["token_type_ids"] == [0] * (len(one) + 2) + [1] * (len(two) + 1)
    batch = tokenizer(["the", "the first of all"], padding=True, return_special_tokens_mask=True)
    assert batch["input_ids"][0][-1] == 0
    assert batch["attention_mask"][0][-1] == 0
    assert batch["special_tokens_mask"][1] == [1] + [0] * (len(batch["input_ids"][1]) - 2) + [1]


def test_a_masked_word_stands_where_the_word_stood(tokenizer: PreTrainedTokenizerFast) -> None:
    """The text around [MASK] is cut as it would be around a word."""
    with_word, with_mask = tokenizer.tokenize("return the value."), tokenizer.tokenize("return the [MASK].")
    assert "".join(with_word) == "▁return▁the▁value."
    assert with_mask[-2:] == ["[MASK]", with_word[-1]]
    assert "".join(with_mask) == "▁return▁the[MASK]."
    assert tokenizer.tokenize("[MASK] value")[1:] == tokenizer.tokenize("value")
    assert tokenizer(["a", "value"], is_split_into_words=True)["input_ids"] == tokenizer("a value")["input_ids"]


def test_round_trip(tokenizer: PreTrainedTokenizerFast, lines: list[str]) -> None:
    for line in [*lines[:200], "unseen: 日本語 😀 ß"]:
        normal = re.sub(" +", " ", line.replace("\t", " ")).strip()
        assert tokenizer.decode(tokenizer(line)["input_ids"], skip_special_tokens=True) == normal
        assert tokenizer.unk_token_id not in tokenizer(line)["input_ids"]


def test_lowercase(lines: list[str]) -> None:
    folded = train_tokenizer(lines, 800, lowercase=True)
    assert folded("Return THE Value")["input_ids"] == folded("return the value")["input_ids"]


def test_auto_tokenizer_opens_the_folder(tokenizer: PreTrainedTokenizerFast, lines: list[str], tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.model_max_length == 512
    assert again.special_tokens_map == tokenizer.special_tokens_map
    for line in lines[:200] + ODD_LINES:
        assert dict(again(line, line)) == dict(tokenizer(line, line))
    cut = again(" ".join(lines[:300]), truncation=True)["input_ids"]
    assert len(cut) == 512
    assert cut[-1] == again.sep_token_id


@pytest.mark.parametrize(
    ("texts", "vocab_size", "message"),
    [
        ([], 1000, "no text"),
        (["", " \n "], 1000, "no text"),
        (["some words"], 100, "vocab_size=100"),
        (["the quick brown fox"] * 5, 5000, r"vocab_size=5000.*value <= \d+"),
    ],
)
def test_wrong_arguments(texts: list[str], vocab_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        train_tokenizer(texts, vocab_size)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_piece_of_wordpiece_has_the_number_of_its_line(tmp_path: Path, end: str, mark: str) -> None:
    odd = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]  # ends of lines for str.splitlines
    pieces = [*SPECIAL_TOKENS, *odd, "the", "cat", "##s", "sat"]
    (tmp_path / "vocab.txt").write_bytes((mark + end.join(pieces) + end).encode())
    tokenizer = read_wordpiece(tmp_path / "vocab.txt")
    assert tokenizer.convert_ids_to_tokens(list(range(len(pieces)))) == pieces
    assert len(tokenizer) == len(pieces)
    assert tokenizer("the cats sat", add_special_tokens=False)["input_ids"] == [13, 14, 15, 16]


def test_a_repeated_piece_is_named_by_its_two_lines(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, "the", "cat", "the"]))
    with pytest.raises(ValueError, match=r"vocab.txt:8: the piece 'the' is that of line 6 again"):
        read_wordpiece(tmp_path / "vocab.txt")


def test_training_leaves_out_no_line(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """sentencepiece passes over lines with its mark of unknown characters, and over long ones, without a word."""
    monkeypatch.setattr(tokenizer_module, "_LONGEST", 1000)
    long = " ".join(f"ωμ{number}" for number in range(2000))
    pieces = train_tokenizer([*lines[:300], *["zyzzyva \u2585 qoph"] * 50, *["\0ßß\0"] * 50, long], 500).get_vocab()
    for character in "zqßω":
        assert any(character in piece for piece in pieces), character


def test_half_of_a_surrogate_pair_is_no_text(lines: list[str]) -> None:
    with pytest.raises(ValueError, match=r"text 1 to train a tokenizer on holds '.ud800' at character 2: half of"):
        train_tokenizer([lines[0], "a \ud800", *lines], 300)
