"""The task `order` (were two neighbouring words swapped?) from any text, such as held-out text of a pre-training.

What it shares with the suite's (suite.py): both rows of a sentence, whole and swapped, stand side by side in the
same file, so that a bag of words is at chance exactly (one that knows where a word stood is not quite); the swapped
words are common, small letters alone, never the first of the sentence and without punctuation, so that neither a
capital nor a comma betrays them, whatever the tokenizer. A sentence comes once.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaformer_nlp.config.command_line import to_dict
from metaformer_nlp.errors import writing
from tasks.glue.suite import common_words, order_twins, sentence_key
from tasks.text.english import clean_paragraphs
from tasks.text.sources import DocumentUnit, text_source

__all__ = ["Config", "DataConfig", "run"]

_WORDS, _CHARACTERS = (5, 16), 150  # of a sentence: it fits rows of 64 tokens of 2.7 characters
_COUNTED = 2000  # documents whose words are counted to know which are common


@dataclass(frozen=True)
class DataConfig:
    """The text. Give some that no model was pre-trained on."""

    text: str | list[str] = "english"
    """english (embedded: the documentation of Python), a .txt, .jsonl (also .gz, .zst) or .parquet file, a folder with
    some, a pattern such as 'corpus/valid-*.parquet', a data set of the hub as hub:NAME[:CONFIG][@SPLIT], or a list of
    these. Its sentences begin with a capital and end with a stop; others are passed over."""
    max_documents: int | None = None
    """The first so many documents are used. null: all."""
    held_out: float = 0.1
    """Share of the documents whose sentences become dev.tsv; by a document's number."""
    column: str = "text"
    """Parquet, JSON and hub: the column with the text."""
    unit: DocumentUnit = "paragraph"
    """.txt files: what a document is: paragraph (blank lines between), line, or file."""


@dataclass(frozen=True)
class Config:
    """Make the task `order`."""

    folder: str
    """Where the task is written, as order/train.tsv and order/dev.tsv; a new or empty folder."""
    data: DataConfig = field(default_factory=DataConfig)
    train_rows: int = 20_000
    """Rows of train.tsv at most, two a sentence; from the first documents."""
    dev_rows: int = 2_000
    """Rows of dev.tsv at most, two a sentence."""

    def __post_init__(self) -> None:
        if min(self.train_rows, self.dev_rows) < 2 or not 0 < self.data.held_out < 1:
            raise ValueError(
                f"train_rows {self.train_rows} and dev_rows {self.dev_rows} must be at least 2, data.held_out "
                f"{self.data.held_out} above 0 and below 1"
            )


def run(config: Config) -> dict[str, Any]:
    """Write both files and made.json; returns the numbers of rows, and the seconds it took.

    Raises:
        ValueError: a folder that holds something, text that is not there, or none with sentences to use.
    """
    folder, data, began = Path(config.folder), config.data, time.monotonic()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder {folder} is there and not empty; give a new one, or remove it")
    source = text_source(data.text, column=data.column, unit=data.unit, max_documents=data.max_documents)
    common = common_words(itertools.islice(source.read(), _COUNTED))
    seen: set[str] = set()
    rows: dict[str, list[tuple[str, ...]]] = {}
    for part, limit in (("dev", config.dev_rows), ("train", config.train_rows)):
        twins = _twins(source.part(data.held_out, inside=part == "dev").read(), common, seen)
        rows[part] = list(itertools.chain.from_iterable(itertools.islice(twins, limit // 2)))
        if not rows[part]:
            raise ValueError(
                f"{source.name}: no sentence for {part}.tsv; needed are sentences of {_WORDS[0]} to {_WORDS[1]} words "
                "that begin with a capital, end with a stop and have two common words side by side. Give more text, or "
                "another data.held_out"
            )
    report = {f"{part}_rows": len(found) for part, found in rows.items()}
    with writing(folder):
        (folder / "order").mkdir(parents=True)
        for part, found in rows.items():
            lines = ["sentence\tlabel", *("\t".join(row) for row in found)]
            (folder / "order" / f"{part}.tsv").write_text("\n".join(lines) + "\n", "utf-8")
        (folder / "made.json").write_text(json.dumps({"config": to_dict(config), **report}, indent=1) + "\n", "utf-8")
    seconds = round(time.monotonic() - began, 1)
    print(f"made: {folder / 'order'} ({report['train_rows']} rows to train, {report['dev_rows']} dev, {seconds} s)")
    return {**report, "seconds": seconds}


def _twins(documents: Iterable[str], common: frozenset[str], seen: set[str]) -> Iterator[list[tuple[str, ...]]]:
    """Both rows of each usable sentence, in the order of the text; a sentence that was ``seen`` is left out."""
    for document in documents:
        for sentence in itertools.chain.from_iterable(clean_paragraphs(document)):
            twins = order_twins(sentence, common, _WORDS) if len(sentence) <= _CHARACTERS else []
            keys = {sentence_key(text) for text, _ in twins}
            if keys and not keys & seen:
                seen |= keys
                yield twins
