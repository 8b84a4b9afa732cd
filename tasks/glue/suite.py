"""The embedded suite: three tasks in GLUE's layout, made of the English in :mod:`tasks.text.english`.

=======  ==============================================================  ============================================
task     question                                                        what it takes
=======  ==============================================================  ============================================
topic    which family of modules does the passage come from? (8 ways)    which words occur: no mixing at all
order    were two neighbouring words swapped?                            order: the words alone say nothing, exactly
pairs    does the second sentence follow the first?                      relating two sentences to each other
=======  ==============================================================  ============================================

How the shortcuts are closed. *order*: every sentence is there twice, whole and with a swap, in the same split, so that
a bag of words carries no information at all. *pairs*: in each document the second sentences are dealt round among the
same first sentences, so that every sentence is there once as a true and once as a false partner, and the document's
vocabulary is the same in both: neither sentence alone and no topic tells the label. Both are balanced to the row.

Two rows that differ in one thing only (twins: whole and swapped, true and false partner) stand on neighbouring lines.
Training draws both at once: what they share then cancels in the gradient, and what is asked for remains.

Train and dev are split by document, the same for all three tasks; a sentence occurs in one document only.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tasks.cache import build_once, cache_folder, short_hash
from tasks.text.english import Document, english_documents, english_key

__all__ = ["FAMILIES", "SUITE_TASKS", "build_suite", "common_words", "order_twins", "sentence_key", "suite_rows"]

SUITE_TASKS = ("topic", "order", "pairs")

# The topics, and the top-level modules whose documentation belongs to them; `topic` leaves out what belongs to none.
FAMILIES: dict[str, str] = {
    "concurrency": "asyncio _asyncio concurrent threading _threading_local _thread multiprocessing queue _queue sched"
    " selectors select signal subprocess contextvars _contextvars",
    "data": "collections _collections heapq _heapq bisect _bisect array pickle _pickle pickletools copyreg copy"
    " shelve dbm sqlite3 _sqlite3 json _json csv _csv plistlib struct _struct dataclasses enum weakref _weakref"
    " graphlib marshal configparser tomllib",
    "files": "io _io _pyio os pathlib posixpath ntpath genericpath shutil tarfile zipfile gzip bz2 _bz2 lzma _lzma zlib"
    " tempfile fileinput glob fnmatch filecmp stat _compression zipapp",
    "interface": "tkinter turtle turtledemo idlelib curses _pyrepl rlcompleter cmd code codeop pydoc",
    "language": "topics builtins ast _ast inspect typing importlib tokenize symtable dis types abc _collections_abc"
    " keyword opcode runpy zipimport pkgutil lib2to3 modulefinder",
    "network": "http urllib smtplib ftplib imaplib poplib nntplib socket _socket socketserver ssl _ssl xmlrpc wsgiref"
    " telnetlib cgi cgitb email mailbox mimetypes ipaddress webbrowser smtpd asyncore asynchat",
    "numbers": "decimal _decimal _pydecimal fractions statistics _statistics random _random numbers datetime _datetime"
    " _pydatetime calendar math cmath operator _operator colorsys zoneinfo time",
    "testing": "unittest doctest pdb bdb trace traceback profile cProfile pstats timeit logging warnings _warnings"
    " faulthandler tracemalloc",
}
_FAMILY_OF = {module: family for family, modules in FAMILIES.items() for module in modules.split()}

_DEV_SHARE = 0.15
_MAX_DEV_ROWS = 2000
_TOPIC_WORDS = (8, 40)
_ORDER_WORDS = (5, 10)
_PAIR_WORDS = (4, 24)
# `order` swaps common words only ("of the" -> "the of"), which a small model can learn from the rows there are.
_COMMON_WORDS = 100


def build_suite() -> Path:
    """The folder with ``<task>/{train,dev}.tsv`` of the three tasks; made in the cache on first use."""
    return build_once(cache_folder() / f"suite-{short_hash(Path(__file__).read_bytes(), english_key())}", _write)


def _write(folder: Path) -> None:
    documents = english_documents()
    for task in SUITE_TASKS:
        (folder / task).mkdir(parents=True)
        for split in ("train", "dev"):
            header = "sentence1\tsentence2\tlabel" if task == "pairs" else "sentence\tlabel"
            lines = [header, *("\t".join(row) for row in suite_rows(documents, task, split))]
            (folder / task / f"{split}.tsv").write_text("\n".join(lines) + "\n", "utf-8")


def suite_rows(documents: list[Document], task: str, split: str) -> list[tuple[str, ...]]:
    """The rows (texts, then the label) of one split, shuffled, twins side by side; a pure function of ``documents``."""
    unique = _unique(documents)
    in_dev = _dev_sources(unique)
    chosen = [document for document in unique if (document.source in in_dev) == (split == "dev")]
    if task == "topic":
        groups = [[row] for row in _without_giants([row for document in chosen for row in _topic_rows(document)])]
    elif task == "order":
        common = common_words(document.text for document in unique)
        sentences = (sentence for document in chosen for paragraph in document.paragraphs for sentence in paragraph)
        groups = [twins for sentence in sentences if (twins := order_twins(sentence, common, _ORDER_WORDS))]
    else:
        groups = [twins for document in chosen for twins in _pair_twins(document)]
    order = np.random.default_rng(_number(task, split)).permutation(len(groups))
    rows = [row for i in order for row in groups[i]]
    return rows[:_MAX_DEV_ROWS] if split == "dev" else rows


def _dev_sources(documents: list[Document]) -> set[str]:
    """Documents held out: of each family about `_DEV_SHARE` of its sentences, in documents that are not too large."""
    dev = set()
    for family in (*FAMILIES, None):
        members = [document for document in documents if _family(document) == family]
        sizes = {document.source: sum(map(len, document.paragraphs)) for document in members}
        room = _DEV_SHARE * sum(sizes.values())
        for source in sorted(sizes, key=lambda source: _number("split", source)):
            if sizes[source] <= room:
                room -= sizes[source]
                dev.add(source)
    return dev


def _family(document: Document) -> str | None:
    return _FAMILY_OF.get(re.split(r"[.:]", document.source)[0])


def common_words(texts: Iterable[str]) -> frozenset[str]:
    """The most frequent words that `order` may swap: all small letters, nothing attached to them."""
    words = (word for text in texts for word in text.split())
    return frozenset(word for word, _ in Counter(filter(_movable, words)).most_common(_COMMON_WORDS))


def _number(*parts: object) -> int:
    """A number in 0 .. 2^32 that depends on the words alone (``hash`` differs between processes)."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()[:4], "little")


def sentence_key(sentence: str) -> str:
    """What sentences share that count as the same: the words, whatever their case and what stands between them."""
    return re.sub(r"\W+", " ", sentence.lower()).strip()


def _unique(documents: list[Document]) -> list[Document]:
    """Every sentence once, in the first document that has it; a paragraph is cut where a repeated sentence stood."""
    seen: set[str] = set()
    result = []
    for document in documents:
        paragraphs: list[tuple[str, ...]] = []
        for paragraph in document.paragraphs:
            run: list[str] = []
            for sentence in paragraph:
                key = sentence_key(sentence)
                if key in seen:
                    paragraphs.append(tuple(run))
                    run = []
                else:
                    seen.add(key)
                    run.append(sentence)
            paragraphs.append(tuple(run))
        result.append(Document(document.source, tuple(filter(None, paragraphs))))
    return result


def _topic_rows(document: Document) -> Iterator[tuple[str, ...]]:
    family = _family(document)
    if family is None:
        return
    low, high = _TOPIC_WORDS
    for paragraph in document.paragraphs:
        passage: list[str] = []
        for sentence in paragraph:
            if passage and len(" ".join([*passage, sentence]).split()) > high:
                break
            passage.append(sentence)
        if low <= len(" ".join(passage).split()) <= high:
            yield " ".join(passage), family


def _without_giants(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Cut every family to at most 1.5 times the mean, so that no single answer is worth much."""
    limit = int(1.5 * len(rows) / len(FAMILIES))
    order = sorted(range(len(rows)), key=lambda i: _number("giant", rows[i][0]))
    taken: Counter[str] = Counter()
    kept = set()
    for i in order:
        taken[rows[i][1]] += 1
        if taken[rows[i][1]] <= limit:
            kept.add(i)
    return [row for i, row in enumerate(rows) if i in kept]


def order_twins(sentence: str, common: frozenset[str], lengths: tuple[int, int]) -> list[tuple[str, ...]]:
    """The two rows of `order` that a sentence gives: as it is, and with two common neighbours swapped.

    None for a sentence without such neighbours, or whose number of words does not lie in ``lengths``.
    """
    words = sentence.split()
    if not lengths[0] <= len(words) <= lengths[1]:
        return []
    # Not the first word, whose capital would betray it, nor (not being `common`) one with a comma or a stop.
    places = [
        i
        for i in range(1, len(words) - 1)
        if words[i] in common and words[i + 1] in common and words[i] != words[i + 1]
    ]
    if not places:
        return []
    place = places[_number("swap", sentence) % len(places)]
    swapped = [*words[:place], words[place + 1], words[place], *words[place + 2 :]]
    return [(sentence, "kept"), (" ".join(swapped), "swapped")]


def _movable(word: str) -> bool:
    return word.isalpha() and word.islower()


def _pair_twins(document: Document) -> Iterator[list[tuple[str, ...]]]:
    low, high = _PAIR_WORDS
    pairs = [
        (first, second)
        for paragraph in document.paragraphs
        for first, second in itertools.pairwise(paragraph)
        if low <= len(first.split()) <= high and low <= len(second.split()) <= high
    ]
    # Dealt half the document further, a false partner comes from another passage. One pair alone has no false partner,
    # and of two that share a sentence (a b, b c) one would get itself (b b): such a document is left out.
    shift = len(pairs) // 2
    partners = [pairs[(i + shift) % len(pairs)][1] for i in range(len(pairs))]
    if not shift or any(first == partner for (first, _), partner in zip(pairs, partners, strict=True)):
        return
    for (first, second), partner in zip(pairs, partners, strict=True):
        yield [(first, second, "follows"), (first, partner, "other")]
