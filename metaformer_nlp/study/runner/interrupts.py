"""How a runner is asked to stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Signals:
    """Counts the requests to stop (Ctrl-C, SIGTERM, a closed terminal) instead of dying of them."""

    def __init__(self) -> None:
        self.requests = 0

    def __enter__(self) -> Signals:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self._before[number] = signal.signal(number, self._count)
        return self

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.requests += 1

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
