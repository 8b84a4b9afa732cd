"""What a run measures of time: none of it is bitwise repeatable, and only `schedule.minutes` goes by it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from metaformer_nlp.engine.record import Progress

UNTIMED_STEPS = 3
"""How many steps of each start are not timed: the model is compiled in them, some parts of it twice."""


class Clock:
    """The times of this start of a run on one process, added to those of the starts before."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._untimed = UNTIMED_STEPS
        self._before = self._training = self._window = 0.0
        self._window_start = 0

    def resume(self, progress: Progress) -> None:
        """Add what the starts before took."""
        self._before, self._training, self._window_start = progress.seconds, progress.train_seconds, progress.step

    def seconds(self) -> float:
        """Working time over all starts of the run."""
        return self._before + time.monotonic() - self._started

    @contextmanager
    def step(self, progress: Progress) -> Iterator[Callable[[], float]]:
        """Time an optimizer step. Gives a function that says, during the step, how many seconds this process has spent
        in timed steps until now.
        """
        began, timed = time.monotonic(), self._untimed == 0
        yield lambda: self._training + (time.monotonic() - began if timed else 0.0)
        spent = time.monotonic() - began
        self._window += spent
        if timed:
            self._training += spent
            progress.timed_steps += 1
        else:
            self._untimed -= 1

    def end_window(self, step: int) -> tuple[float, float]:
        """Seconds spent in optimizer steps since the last call, and steps per second; `step` have been done in all."""
        seconds, steps = self._window, step - self._window_start
        self._window, self._window_start = 0.0, step
        return seconds, steps / max(seconds, 1e-9)
