"""The lock of a cell: one process runs it at a time, on one machine or on several that share the study's folder.

Two means that fail in different places are combined:

- A *flock* on ``locks/<cell>``. Between processes of one machine it is exact, and the kernel lets go of it however its
  holder ends. Between machines it is not to be relied on: some network file systems keep it to each machine (Lustre
  mounted with localflock, BeeGFS by default), others refuse it.
- A *claim*, a file ``locks/<cell>.claims/<number>`` which one process alone can create (O_EXCL is atomic on NFS since
  version 3, too) and which says who holds the cell. Its holder touches it every `BEAT` seconds. A claim of another
  machine that was not touched for `STALE` seconds is void: its holder was killed, or has lost its machine. The next
  holder creates the next number; so of two that take over at once one wins, and a holder that was only asleep sees that
  it has lost the cell. It then ends at once.

Ages are measured with the file system's clock alone, so that the machines' clocks need not agree. A network file system
that shows other machines' files late by more than `STALE` (the default of NFS is at most one minute) is not supported.
filelock has no such claims: its lock is one of the kernel or a file, and a holder does not learn that it lost it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

BEAT = 20.0  # seconds between two touches of a claim
STALE = 180.0  # seconds without a touch after which a claim of another machine is void
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # what file systems without flock answer


class Taken(Exception):  # noqa: N818 - it is no error, another process does the work
    """Another process holds the lock."""


@contextmanager
def held(path: Path) -> Iterator[Hold]:
    """Holds the lock `path` (a file) for this process; Taken if another process does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        claim = Hold(path, _next_number(path, flocked=_flock(file)))
        try:
            yield claim
        finally:
            claim.release()


def is_held(path: Path) -> bool:
    """Whether another process, or another part of this one, holds the lock now."""
    if not path.exists():
        return False
    with path.open("a") as file:
        try:
            _next_number(path, flocked=_flock(file))
        except Taken:
            return True
    return False


class Hold:
    """A numbered claim that is this process's, kept alive by a thread until it is released."""

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._file = _claims(path) / str(number)
        self._next = _claims(path) / str(number + 1)
        content = {"machine": machine(), "process": os.getpid(), "job": os.environ.get("SLURM_JOB_ID")}
        try:
            with self._file.open("x", encoding="utf-8") as file:
                file.write(json.dumps(content) + "\n")
        except FileExistsError:
            raise Taken(path.name) from None
        self._released = threading.Event()
        threading.Thread(target=self._beat, name="claim", daemon=True).start()

    def lost(self) -> bool:
        """Whether another machine has taken over, because this process showed no life for `STALE` seconds."""
        return self._next.exists()

    def release(self) -> None:
        """Lets go; a claim that cannot be marked as released becomes stale by itself."""
        self._released.set()
        with suppress(OSError):
            if not self.lost():
                self._file.with_name(f"{self._file.name}.released").touch()

    def _beat(self) -> None:
        while not self._released.wait(BEAT):
            with suppress(OSError):  # the file system is away for now
                os.utime(self._file)
                if self.lost():
                    print(f"{self._path}: another machine has taken over; this process ends.", file=sys.stderr)
                    os.kill(os.getpid(), signal.SIGKILL)  # nothing may be written any more, not even a last state


def machine() -> str:
    """This machine until it is started again: processes of it share a kernel, and with that flocks."""
    with suppress(OSError):
        return f"{platform.node()} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    return platform.node()


def _claims(path: Path) -> Path:
    return path.with_name(f"{path.name}.claims")


def _flock(file: IO[str]) -> bool:
    """Whether the file is now locked by this process; False if its file system has no locks. Taken if it is held."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Taken(file.name) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _next_number(path: Path, flocked: bool) -> int:
    """The number of the claim to create next; Taken if the newest is alive."""
    folder = _claims(path)
    folder.mkdir(exist_ok=True)
    names = {entry.name for entry in os.scandir(folder)}
    newest = max((int(name) for name in names if name.isdecimal()), default=0)
    if newest and f"{newest}.released" not in names and _is_alive(folder / str(newest), flocked):
        raise Taken(path.name)
    return newest + 1


def _is_alive(claim: Path, flocked: bool) -> bool:
    with claim.open(encoding="utf-8") as file:  # opening makes NFS ask for the file's real age
        touched = os.fstat(file.fileno()).st_mtime
        try:
            holder = json.loads(file.read())["machine"]
        except (ValueError, KeyError):  # killed while it was written, or not seen whole yet: its age decides
            holder = None
    if flocked and holder == machine():
        return False  # or the flock would be its
    return _now(claim.parent) - touched < STALE


def _now(folder: Path) -> float:
    """The time of the file system."""
    probe = folder / f"clock.{platform.node()}.{os.getpid()}.{threading.get_ident()}.{time.monotonic_ns()}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()
