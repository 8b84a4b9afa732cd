"""What a recipe and a study file may look like: the same text is read, or refused with file and line, in both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.protocol.file import load_study


@dataclass(frozen=True)
class Config:
    name: str = "s"
    options: dict[str, Any] = field(default_factory=dict)


READERS: dict[str, Callable[[Path], Any]] = {
    "a recipe": lambda path: from_dict(Config, {}, [path]),
    "a study file": load_study,
    "a study's recipe": lambda path: load_study(study_with(path)),
}
BOMB = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdef", "bcdefg", strict=True)
)
REFUSED = {
    "a list as a key": (b"name: s\n? [x, y]\n: 2\n", r"line 2: a key must be a word or a number, not \['x', 'y'\]"),
    "a mapping as a key": (b"name: s\n? {x: y}\n: 2\n", "line 2: a key must be a word or a number"),
    "a date as a key": (b"!!timestamp 2020-01-01: 2\n", "line 1: a key must be a word or a number"),
    "a key twice": (b"name: s\nname: t\n", "line 2: the key 'name' is there twice"),
    "a key twice, deeper": (b"options:\n  a: {b: 1,\n  b: 2}\n", "line 3: the key 'b' is there twice"),
    "a key twice, in other words": (b"options: {0x10: 1,\n  16: 2}\n", "line 2: the key 16 is there twice"),
    "two merge keys": (b"a: &a {x: 1}\noptions:\n  <<: *a\n  <<: *a\n", "line 4: the key '<<' is there twice"),
    "a merge of no mapping": (b"options:\n  <<: 5\n", "line 2"),
    "an anchor within itself": (b"options: &a\n  b: *a\n", "line 1: the anchor is part of what it names"),
    "an unknown anchor": (b"name: s\noptions: *b\n", "line 2"),
    "anchors without end": (BOMB.encode(), "more than 100,000 values"),
    "several documents": (b"name: s\n---\nname: t\n", "line 2"),
    "a tab": (b"options:\n\tname: s\n", "line 2"),
    "no colon": (b"name: s\noptions\n", "line 3|line 2"),
    "an open bracket": (b"name: [s\noptions: 1\n", "line 2"),
    "a control character": (b"name: s\noptions: \x00\n", "line 2: not valid YAML"),
    "not UTF-8": (b"name: s\noptions: caf\xe9\n", r"byte 20 \(e9\) in line 2 is no text"),
    "UTF-16": ("name: s\n".encode("utf-16"), "not UTF-8"),
    "half a character": (b'name: s\noptions: "\\ud800"\n', "line 2: .* lone surrogate"),
    "an object of Python": (b"name: s\noptions: !!python/object:os.system {}\n", "line 2"),
    "a number of 5000 digits": (b"name: s\noptions: " + b"1" * 5000, "line 2: .* cannot be read"),
    "what is said to be a number": (b"name: s\noptions: !!int ''\n", "line 2: '' cannot be read"),
    "a truth that is none": (b"name: s\noptions: !!bool maybe\n", "line 2: 'maybe' cannot be read"),
    "too deep": (b"[" * 5000, "nested too deeply"),
    "a list": (b"- 1\n", "mapping|key: value"),
    "a word": (b"word\n", "mapping|key: value"),
}


def study_with(recipe: Path) -> Path:
    path = recipe.with_name("study-of-it.yaml")
    (recipe.parent / "e.py").write_text("")
    path.write_text(
        f"name: s\nquestion: q\nbaseline: a\nseeds: [0]\ndomains: {{d: {{experiment: e.py, config: {recipe.name}, "
        "metric: m, chance: 0}}\narms: {a: {kind: mixer, set: {}}}\n"
    )
    return path


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("reader", READERS)
def test_refused_with_file_and_line(reader: str, name: str, tmp_path: Path) -> None:
    data, message = REFUSED[name]
    path = tmp_path / "mine.yaml"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"(?s)mine.yaml.*({message})"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_named(reader: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").mkdir()
    with pytest.raises(ValueError, match=r"mine\.yaml"):
        READERS[reader](tmp_path / "mine.yaml")
    for name in ("absent.yaml", "x" * 300):
        with pytest.raises(ValueError, match=name):
            READERS[reader](tmp_path / name)


def test_what_means_the_same_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    for data in (
        b"\xef\xbb\xbfname: b\noptions: {d: 2020-01-01}\n",
        b"name: b\r\noptions:\r\n  d: 2020-01-01\r\n",
        b"---\nname: b\noptions: {d: '2020-01-01'}\n...\n",
    ):
        path.write_bytes(data)
        assert from_dict(Config, {}, [path]) == Config("b", {"d": "2020-01-01"}), "a date is text"
    path.write_bytes(b"")
    assert from_dict(Config, {}, [path]) == Config(), "an empty recipe says nothing"
    assert load_study(study_with(path)).domain("d").config == {}, "to a study, too"


def test_what_merges_a_merge_is_no_repetition(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "options:\n  deep: {base: &base {x: 1}, child: &child {<<: *base, x: 2}}\n  grand: {<<: *child, y: 3}\n"
    )
    options = from_dict(Config, {}, [path]).options
    assert options["grand"] == {"x": 2, "y": 3}
    assert options["deep"]["child"] == {"x": 2}
