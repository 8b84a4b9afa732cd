"""Tokenizers from text files: what is saved opens with AutoTokenizer and cuts as sentencepiece does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from metaformer_nlp.config.command_line import from_dict
from tasks.text.tokenizer import Config, run


def config(folder: Path, **values: object) -> Config:
    return from_dict(Config, {"folder": str(folder), "vocab_size": 320, **values})


@pytest.fixture
def text(tmp_path: Path) -> str:
    words = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("ll", "n", "r", "st")]
    lines = [" ".join(words[(7 * i + i * j) % 100] for j in range(9)) for i in range(300)]
    (tmp_path / "text.txt").write_text("\n\n".join(lines), encoding="utf-8")
    return str(tmp_path / "text.txt")


def test_a_trained_tokenizer_opens_and_agrees_with_sentencepiece(text: str, tmp_path: Path) -> None:
    report = run(config(tmp_path / "out", **{"data.text": text, "data.held_out": 0.2}))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer) == 320
    assert tokenizer("ball", "fen")["token_type_ids"][-1] == 1
    assert report["lines_equal_to_sentencepiece"] == report["lines_compared"] > 200
    assert json.loads((tmp_path / "out" / "training.json").read_text())["config"]["data"]["text"] == text


def test_no_more_is_read_than_asked_for(text: str, tmp_path: Path) -> None:
    report = run(config(tmp_path / "out", **{"data.text": text, "data.max_characters": 3000, "vocab_size": 300}))
    assert report["characters"] == 3000


def test_a_wordpiece_vocabulary_is_wrapped(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s"]))
    run(config(tmp_path / "out", wordpiece_vocab=str(tmp_path / "vocab.txt"), lowercase=True))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("The cats")["input_ids"] == [2, 5, 6, 7, 3]


def test_what_is_wrong_is_said_before_anything_is_written(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not empty"):
        run(config(tmp_path, **{"data.text": text}))
    (tmp_path / "vocab.txt").write_text("the\ncat\n")
    with pytest.raises(ValueError, match="lacks"):
        run(config(tmp_path / "out", wordpiece_vocab=str(tmp_path / "vocab.txt")))
    with pytest.raises(ValueError, match="vocab_size"):
        run(config(tmp_path / "out", **{"data.text": text, "vocab_size": 100}))
    assert not (tmp_path / "out").exists()
