"""Replacing a folder as a whole: a killed process or a full disk leaves the old one or the new one, never a mixture."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A copy of `folder` to be changed, which takes its place when the context ends well; only one process at a time.

    The copy is ``.NAME.new`` beside it. Between two renames at the end there is no `folder`, but ``.NAME.old`` has its
    content; who comes next puts that back.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = folder.with_name(f".{folder.name}.new"), _old(folder)
    with _locked(folder):
        _restore(folder)
        shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
        if folder.exists():
            shutil.copytree(folder, new, symlinks=True)
        else:
            new.mkdir()
        try:
            yield new
            _flush(new)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def restore(folder: Path) -> None:
    """Puts `folder` back where a process was killed between the two renames."""
    if _old(folder).exists():
        with _locked(folder):
            _restore(folder)


def _restore(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(_old(folder), ignore_errors=True)
    elif _old(folder).exists():
        _old(folder).rename(folder)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process; the kernel lets go of it however the process ends.

    The lock is on the folder around it. filelock would leave a file there, beside reports under version control.
    """
    handle = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _flush(folder: Path) -> None:
    """What was written is on the disk before the renames are."""
    for path in (folder, *folder.rglob("*")):
        with suppress(PermissionError):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
