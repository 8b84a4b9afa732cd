"""The device that is examined, and the time that is left to examine it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tasks.device.page import Result

__all__ = ["LATE", "Machine", "OutOfTimeError"]


LATE = "out of time"


class OutOfTimeError(RuntimeError):
    """The time of a section is over."""


@dataclass
class Machine:
    """Where a section runs, and until when."""

    device: torch.device
    section: str = ""
    deadline: float = 0.0
    """Of the section, by `time.monotonic`."""

    @property
    def toy(self) -> bool:
        """Small shapes: to know that the command works, not how fast the machine is."""
        return self.device.type == "cpu"

    def left(self) -> float:
        """Seconds of the section that are left."""
        return self.deadline - time.monotonic()

    @contextlib.contextmanager
    def limited(self) -> Iterator[None]:
        """Interrupt what takes longer than the section has, such as a compilation, by an `OutOfTimeError`."""

        def stop(*_: Any) -> None:
            raise OutOfTimeError(LATE)

        if self.left() <= 0:
            stop()
        gradients = torch.is_grad_enabled()
        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, self.left())
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            torch.set_grad_enabled(gradients)  # the signal may have hit the end of a no_grad, which then never ends

    def attempt(self, subject: str, setting: str, examine: Callable[[], Iterable[Result]]) -> Iterator[Result]:
        """The results of ``examine``, or the name of what went wrong: one failure does not end the others."""
        try:
            with self.limited():
                yield from list(examine())
        except Exception as error:
            late = LATE in str(error)  # a compiler makes an error of its own of what interrupts it
            yield self.late(subject, setting) if late else self.failed(subject, setting, named(error))

    def failed(self, subject: str, setting: str, reason: str) -> Result:
        return Result.missing(self.section, subject, setting, reason)

    def late(self, subject: str, setting: str) -> Result:
        return Result.missing(self.section, subject, setting, LATE, late=True)

    def check(self, subject: str, setting: str, quantity: str, value: float, limit: float) -> Result:
        return Result.check(self.section, subject, setting, quantity, value, limit)

    def measured(self, subject: str, setting: str, quantity: str, value: float, note: str = "") -> Result:
        return Result(self.section, subject, setting, quantity, value, note=note)


def named(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
