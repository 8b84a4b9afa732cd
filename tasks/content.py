"""What files hold, as a hash: the identity of data, whatever the files' names, sizes and times are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from tasks.cache import build_once, cache_folder, short_hash

__all__ = ["CONTENT_LIMIT", "content_hash"]

CONTENT_LIMIT = 8 << 30
"""Bytes of images that are hashed before a run, about ten seconds. What is larger is known by names and sizes."""
_BLOCK = 1 << 20


def content_hash(files: Iterable[Path], limit: int | None = None) -> str | None:
    """sha256 over the bytes of ``files`` in their order, in hexadecimal digits; None if they have more than ``limit``.

    It is computed once and kept in the cache. An entry holds for as long as all files keep their path, size, inode and
    times in nanoseconds; among these is the time of the last change of the inode, which no program can set back.

    Raises:
        OSError: a file is not there or cannot be read.
    """
    stamps, total = [], 0
    for file in files:
        status = os.stat(file)
        total += status.st_size
        times = status.st_mtime_ns, status.st_ctime_ns
        stamps.append((os.path.abspath(file), status.st_size, status.st_dev, status.st_ino, *times))
    if limit is not None and total > limit:
        return None

    def write(entry: Path) -> None:
        entry.write_text(_hash([Path(path) for path, *_ in stamps]), encoding="utf-8")

    return build_once(cache_folder() / f"content-{short_hash(*stamps)}", write).read_text(encoding="utf-8")


def _hash(files: list[Path]) -> str:
    whole = hashlib.sha256()
    for file in files:
        one = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                one.update(block)
        whole.update(one.digest())  # of fixed length, so that bytes cannot move from one file to the next
    return whole.hexdigest()
