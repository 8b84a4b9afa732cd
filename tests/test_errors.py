"""Errors of libraries that read files, in words that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaformer_nlp.errors import reading


def read(path: Path) -> None:
    with reading(path, "a list of words", KeyError):
        {"a": 1}[path.read_text(encoding="utf-8")]


def test_what_where_and_how_to_mend(tmp_path: Path) -> None:
    cases = {
        "absent": (None, "there is no such file; a list of words is needed"),
        "latin": (b"caf\xe9", r"not UTF-8: byte 3 \(e9\) in line 1 is no text. Save it as UTF-8"),
        "wrong": (b"b", "damaged, or not a list of words: 'b'"),
    }
    for name, (data, message) in cases.items():
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(ValueError, match=f"{path}: {message}"):
            read(path)
    with pytest.raises(ValueError, match="a folder, where a list of words is needed"):
        read(tmp_path)


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), reading(tmp_path, "anything"):
        _ = 1 / 0
