"""How a runner is asked to stop, and what else handles signals in this process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a scheduler, a closed terminal


class Interrupts:
    """Counts the requests to stop; `count` is a signal's handler."""

    def __init__(self) -> None:
        self.requests = 0

    def count(self, number: int, frame: FrameType | None) -> None:
        self.requests += 1


@contextmanager
def handling(handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], Any]]) -> Iterator[None]:
    """Context in which signals have these handlers; outside the main thread, where Python allows none, the old ones."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
