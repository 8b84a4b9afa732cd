"""Real English that every Python brings along: the documentation and docstrings of Python and its standard library.

No download, no licence question, and prose that people wrote. Three sources, all of the running interpreter:

- the language reference that ``help()`` shows (``pydoc_data.topics``): chapters of connected prose;
- docstrings and comment paragraphs of the standard library's modules, found by parsing the files (nothing is imported);
- the docstrings of the built-in types, functions and compiled modules, such as ``dict`` or ``itertools``.

:func:`english_documents` gives one :class:`Document` for a module or chapter: paragraphs of whole sentences, without
code, tables and markup. The texts depend on the Python version, since they are that version's documentation; with one
interpreter they are always the same, in the same order.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import io
import json
import platform
import re
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tasks.cache import build_once, cache_folder, short_hash

__all__ = ["Document", "clean_paragraphs", "english_documents", "english_key", "split_sentences"]

_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "_bundled", "pydoc_data"}
# Compiled modules that are there on every system and safe to import (the parsed modules are never imported).
_COMPILED = """
    array atexit binascii cmath errno faulthandler gc itertools marshal math operator select signal sys time unicodedata
    zlib _bisect _bz2 _collections _contextvars _csv _ctypes _datetime _decimal _elementtree _functools _hashlib _heapq
    _io _json _lzma _operator _pickle _queue _random _socket _sqlite3 _sre _ssl _statistics _struct _thread _warnings
    _weakref
"""


@dataclass(frozen=True)
class Document:
    """One module or chapter, ``asyncio.events`` or ``topics:assert``: its paragraphs, each of whole sentences."""

    source: str
    paragraphs: tuple[tuple[str, ...], ...]

    @property
    def text(self) -> str:
        """The whole document, a paragraph a line."""
        return "\n".join(" ".join(sentences) for sentences in self.paragraphs)


def english_key() -> str:
    """Names the texts of this interpreter: another Python, or another version of this file, has another key."""
    return short_hash(
        Path(__file__).read_bytes(), platform.python_implementation(), platform.python_version(), _library()
    )


def english_documents() -> list[Document]:
    """All documents, sorted by source; parsed once (some seconds), then read from the cache."""
    path = build_once(cache_folder() / f"english-{platform.python_version()}-{english_key()}.json", _write)
    rows = json.loads(path.read_text("utf-8"))
    return [Document(source, tuple(tuple(sentences) for sentences in paragraphs)) for source, paragraphs in rows]


def _write(path: Path) -> None:
    documents: dict[str, list[tuple[str, ...]]] = {}
    seen: set[str] = set()
    for source, text in _raw_texts():
        for paragraph in clean_paragraphs(text):
            # Methods of related classes share their docstrings: a paragraph counts once, where it comes first.
            key = " ".join(paragraph).lower()
            if key not in seen:
                seen.add(key)
                documents.setdefault(source, []).append(paragraph)
    path.write_text(json.dumps(sorted(documents.items()), ensure_ascii=False), "utf-8")


def _library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def _raw_texts() -> Iterator[tuple[str, str]]:
    """(source, uncleaned text) in an order that depends on names only."""
    yield from _topics()
    yield from _compiled_docstrings()
    root = _library()
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).parts):
        parts = path.relative_to(root).with_suffix("").parts
        if _SKIPPED_FOLDERS & set(parts) or parts[0].startswith(("config-", "_sysconfigdata")):
            continue
        source = ".".join(parts).removesuffix(".__init__")
        for text in _docstrings_and_comments(path):
            yield source, text


def _topics() -> Iterator[tuple[str, str]]:
    # A stripped installation may lack the reference; the later its version, the more files it may be spread over.
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except (ImportError, AttributeError):
        return
    for name in sorted(topics):
        yield f"topics:{name}", topics[name]


def _compiled_docstrings() -> Iterator[tuple[str, str]]:
    modules: list[ModuleType] = [builtins]
    for name in _COMPILED.split():
        try:
            modules.append(importlib.import_module(name))
        except ImportError:
            continue
    for module in modules:
        yield module.__name__, inspect.getdoc(module) or ""
        for name in sorted(vars(module)):
            member = vars(module)[name]
            if not callable(member) or getattr(member, "__module__", None) not in (module.__name__, None):
                continue
            yield module.__name__, _own_doc(member)
            if isinstance(member, type):
                for attribute in sorted(vars(member)):
                    yield module.__name__, _own_doc(vars(member)[attribute])


def _own_doc(member: object) -> str:
    # Plain values such as vars(int)["__doc__"] would give the docstring of `str`.
    doc = None if isinstance(member, str | int | float | tuple | dict | None) else getattr(member, "__doc__", None)
    return inspect.cleandoc(doc) if isinstance(doc, str) else ""


def _docstrings_and_comments(path: Path) -> Iterator[str]:
    try:
        with tokenize.open(path) as handle:
            source = handle.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old modules hold escapes that newer parsers warn of
            tree = ast.parse(source)
    except (SyntaxError, UnicodeDecodeError, ValueError):  # templates and deliberately broken files
        return
    nodes = [node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)]
    for node in sorted(nodes, key=lambda node: getattr(node, "lineno", 0)):
        yield ast.get_docstring(node) or ""
    yield from _comment_blocks(source)


_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _comment_blocks(source: str) -> Iterator[str]:
    """Runs of at least two whole-line comments: single ones are mostly notes to the next line of code."""
    block: list[str] = []
    for line in io.StringIO(source):
        stripped = line.strip()
        if stripped.startswith("# ") or stripped == "#":
            block.append(stripped[2:])
            continue
        if len(block) > 1:
            yield "\n".join(block)
        block = []
    if len(block) > 1:
        yield "\n".join(block)


_CODE = re.compile(
    r">>>|\.\.\. |[{}]|==|!=|->|\\"
    r"|^\s*(\.\. |def |class |import |from \w+ import|return\b|@\w|\$ |%|\||\+[-=]|[-=~^*]{4,})"
)
_BULLET = re.compile(r"^\s*([-*+o•]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s+")
_ROLE = re.compile(r":[a-zA-Z:]+:`~?([^`<]+)(?: <[^`>]*>)?`")
_MARKS = re.compile(r"``?([^`]+)``?|(?<![\w*])\*{1,2}(\w[^*\n]*?)\*{1,2}(?![\w*])|(?<!\w)_([^\W_][^\W_ ]*)_(?!\w)")
_WORD = re.compile(r"[\"'(\[]*[A-Za-z]+(?:['’-][A-Za-z]+)*[\"')\],.;:!?]*$")


def clean_paragraphs(text: str) -> Iterator[tuple[str, ...]]:
    """The paragraphs of prose in a docstring or chapter, each as its whole sentences; code, tables and markup go.

    A sentence is kept if it begins with a capital letter, ends with a stop, has 4 to 60 words and is mostly words. A
    paragraph is cut where a sentence was refused, so that neighbours in it were neighbours in the source.
    """
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").expandtabs()):
        lines = [line for line in block.split("\n") if line.strip()]
        if not lines or any(_CODE.search(line) for line in lines):
            continue
        run: list[str] = []
        for line in lines:
            if _BULLET.match(line) and run:
                yield from _prose(run)
                run = []
            run.append(_BULLET.sub("", line).strip())
        yield from _prose(run)


def _prose(lines: list[str]) -> Iterator[tuple[str, ...]]:
    joined = re.sub(r"\s+", " ", " ".join(lines)).strip()
    joined = _ROLE.sub(r"\1", joined)
    joined = _MARKS.sub(lambda match: next(group for group in match.groups() if group), joined)
    run: list[str] = []
    for sentence in split_sentences(joined):
        if _is_prose(sentence):
            run.append(sentence)
        elif run:
            yield tuple(run)
            run = []
    if run:
        yield tuple(run)


def _is_prose(sentence: str) -> bool:
    words = sentence.split(" ")
    if not 4 <= len(words) <= 60 or not sentence[0].isupper() or sentence[-1] not in ".!?":
        return False
    plain = sum(bool(_WORD.match(word)) for word in words)
    return plain >= 0.8 * len(words) and sum(word[:1].islower() for word in words) >= 0.5 * len(words)


_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|al|resp|approx|Mr|Ms|Mrs|Dr|St|No|Fig|Sect?|pp?|vol|[A-Z])\.$")
_BREAK = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z])")


def split_sentences(text: str) -> list[str]:
    """Cut ``text`` after ``. ! ?`` where a capital letter follows, but not after an abbreviation or an initial."""
    sentences: list[str] = []
    start = 0
    for match in _BREAK.finditer(text):
        piece = text[start : match.end()].strip()
        if _ABBREVIATION.search(piece):
            continue
        sentences.append(piece)
        start = match.end()
    rest = text[start:].strip()
    return [*sentences, rest] if rest else sentences
