"""Requests to stop: they set one flag, which the processes vote on at the border of a step.

No work is done inside a handler: it would happen in the middle of a backward pass or of a save, on one process only.
"""

import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

import psutil

EXIT_CODE = 75
"""Exit code of a run that was asked to stop and has saved (EX_TEMPFAIL: start it again)."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []))

# A launcher passes on what a terminal has already sent to the whole group; what comes within this time is one request.
_ECHO_SECONDS = 1.0


class StopRequest:
    """Context in which SIGTERM, SIGINT, SIGUSR1 and the death of accelerate's launcher ask the run to save and stop.

    A second signal ends the process at once. Outside the main thread, where Python allows no handlers, only the
    launcher is watched.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._previous: dict[int, Any] = {}
        self._launcher = _accelerate_launcher()

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
        elif now - self._first > _ECHO_SECONDS:
            os._exit(128 + number)

    def __call__(self) -> bool:
        """Whether this process was asked to stop."""
        # accelerate's launcher for one process does not pass signals on: it dies and leaves its child running.
        return self._first is not None or (self._launcher is not None and os.getppid() != self._launcher)


def _accelerate_launcher() -> int | None:
    try:
        parent = os.getppid()
        words = psutil.Process(parent).cmdline()
    except psutil.Error:
        return None
    return parent if _launches(words) else None


def _launches(words: Sequence[str]) -> bool:
    """Whether this is the command line of accelerate's launcher, as a command or as a module: no other program whose
    name holds that word, such as a script of the user's, from which a run goes on in the background."""
    command = {"accelerate", "accelerate-launch"} & {os.path.basename(word) for word in words[:2]}
    module = words[2] if len(words) > 2 and words[1] == "-m" else ""
    return bool(command) or module.partition(".")[0] == "accelerate"


@dataclass(frozen=True)
class ReaderStart:
    """Initialiser of reader processes: they leave stopping to the process that reads from them.

    A forked reader also lets go of the run folder's lock, which it would otherwise hold for a few seconds after its
    parent was killed, and so keep the next run out.
    """

    lock_path: str | None = None
    lock_file: int | None = None

    def __call__(self, worker: int) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if self.lock_path is None or self.lock_file is None:
            return
        with suppress(OSError):  # a reader that was not forked has not inherited the file
            if os.path.samestat(os.fstat(self.lock_file), os.stat(self.lock_path)):
                os.close(self.lock_file)
