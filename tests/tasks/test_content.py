"""Files are known by what they hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.content import content_hash


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_names_and_times_play_no_role(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", b"one"), write(tmp_path / "b", b"one")
    os.utime(b, (0, 0))
    assert content_hash([a]) == content_hash([b])


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    file = write(tmp_path / "a", b"one")
    status, before = file.stat(), content_hash([file])
    write(file, b"two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_ino == status.st_ino
    assert content_hash([file]) != before


def test_order_and_borders_count(tmp_path: Path) -> None:
    parts = {name: write(tmp_path / name, name.encode()) for name in ("ab", "c", "a", "bc")}
    hashes = [content_hash([parts[x], parts[y]]) for x, y in (("ab", "c"), ("c", "ab"), ("a", "bc"))]
    assert len(set(hashes)) == 3


def test_it_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a", b"one")
    found = content_hash([file])
    monkeypatch.setattr("tasks.content._hash", lambda files: pytest.fail("read again"))
    assert content_hash([file]) == found


def test_too_much_has_no_hash(tmp_path: Path) -> None:
    file = write(tmp_path / "a", b"four")
    assert content_hash([file], limit=3) is None
    assert content_hash([file], limit=4) is not None
