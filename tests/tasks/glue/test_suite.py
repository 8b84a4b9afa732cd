"""The embedded English is prose and always the same; the suite made of it is balanced and leaks nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from tasks.glue.files import read_split
from tasks.glue.suite import FAMILIES, SUITE_TASKS, build_suite, suite_rows
from tasks.glue.tasks import SUITE
from tasks.text.english import Document, clean_paragraphs, english_documents, split_sentences


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return english_documents()


def test_there_is_enough_of_it_and_it_is_prose(documents: list[Document]) -> None:
    sentences = [sentence for document in documents for paragraph in document.paragraphs for sentence in paragraph]
    words = [word for sentence in sentences for word in sentence.split()]
    assert len(words) > 150_000
    assert sum(bool(re.fullmatch(r"[A-Za-z'’,.;:()\"-]+", word)) for word in words) > 0.9 * len(words)
    assert {"the", "of", "is", "to", "a"} <= {word for word, _ in Counter(words).most_common(8)}
    assert all(sentence[0].isupper() and sentence[-1] in ".!?" for sentence in sentences)
    assert not any(re.search(r"[\t\n\r]|>>>|  ", sentence) for sentence in sentences)


def test_another_process_reads_the_same(documents: list[Document]) -> None:
    code = (
        "from tasks.glue.suite import *; from tasks.text.english import *; from tasks.cache import *;"
        "d = english_documents();"
        "rows = ['|'.join(row) for task in SUITE_TASKS for row in suite_rows(d, task, 'dev')];"
        "print(fingerprint_texts([x.text for x in d] + rows))"
    )
    prints = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_env(seed)).stdout
        for seed in ("1", "2")
    }
    assert len(prints) == 1


def _env(hash_seed: str) -> dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": hash_seed}


def test_code_tables_and_markup_are_left_out() -> None:
    text = """Return the *first* item of the :class:`list` given.  It must not
    be empty, e.g. an empty ``list`` is refused.

    >>> first([1])
    1

    - Bullets are paragraphs of their own here.
    - This one is another of them, too.

    +------+------+
    | some | text |
    """
    assert list(clean_paragraphs(text)) == [
        (
            "Return the first item of the list given.",
            "It must not be empty, e.g. an empty list is refused.",
        ),
        ("Bullets are paragraphs of their own here.",),
        ("This one is another of them, too.",),
    ]


def test_a_refused_sentence_separates_its_neighbours() -> None:
    text = "This is the first sentence here. X=1. This is the last sentence here."
    assert list(clean_paragraphs(text)) == [
        ("This is the first sentence here.",),
        ("This is the last sentence here.",),
    ]


def test_sentences_end_at_stops_but_not_at_abbreviations() -> None:
    text = 'Say "yes." Then go, i.e. Do it now. See J. Doe, etc. Done?'
    assert split_sentences(text) == ['Say "yes."', "Then go, i.e. Do it now.", "See J. Doe, etc. Done?"]


@pytest.mark.parametrize("task", SUITE_TASKS)
def test_rows_labels_and_balance(task: str) -> None:
    for split, least in (("train", 3000), ("validation", 500)):
        rows = read_split(SUITE[task], split, None)
        shares = Counter(row.label for row in rows)
        labels = SUITE[task].labels
        assert labels is not None
        assert len(rows) > least
        assert set(shares) == set(range(len(labels)))
        if task == "topic":
            assert max(shares.values()) <= 0.25 * len(rows)
        else:
            assert shares[0] == shares[1]


def test_no_text_is_in_both_splits_of_any_task(documents: list[Document]) -> None:
    texts: dict[str, set[str]] = {"train": set(), "dev": set()}
    for split, found in texts.items():
        for task in SUITE_TASKS:
            for row in suite_rows(documents, task, split):
                found.update(_normal(sentence) for text in row[:-1] for sentence in split_sentences(text))
    assert not texts["train"] & texts["dev"]


def _normal(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


@pytest.mark.parametrize("split", ["train", "dev"])
def test_in_order_twins_differ_by_one_swap_of_neighbours(documents: list[Document], split: str) -> None:
    rows = suite_rows(documents, "order", split)
    for (whole, kept), (other, swapped) in zip(rows[::2], rows[1::2], strict=True):
        assert (kept, swapped) == ("kept", "swapped")
        first, second = whole.split(), other.split()
        different = [i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
        assert len(different) == 2
        assert different[1] == different[0] + 1 > 1
        assert sorted(first) == sorted(second)


@pytest.mark.parametrize("split", ["train", "dev"])
def test_in_pairs_no_sentence_alone_tells_the_label(documents: list[Document], split: str) -> None:
    rows = suite_rows(documents, "pairs", split)
    place = {}
    for document in documents:
        for p, paragraph in enumerate(document.paragraphs):
            for s, sentence in enumerate(paragraph):
                place.setdefault(sentence, (document.source, p, s))
    for side in (0, 1):
        counts = Counter((row[side], row[2]) for row in rows)
        sentences = {row[side] for row in rows}
        unbalanced = [text for text in sentences if counts[text, "follows"] != counts[text, "other"]]
        assert not unbalanced
    for first, second, label in rows:
        assert first != second
        a, b = place[first], place[second]
        assert a[0] == b[0]
        assert (a[1] == b[1] and a[2] + 1 == b[2]) == (label == "follows")


def test_topic_labels_are_the_families_and_files_are_there() -> None:
    assert SUITE["topic"].labels == tuple(FAMILIES)
    assert sorted(path.name for path in build_suite().iterdir()) == sorted(SUITE_TASKS)
