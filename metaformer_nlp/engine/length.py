"""How far a run has to go, in steps or in time, and the learning rate on the way."""

import sys
from typing import Any

from tqdm import tqdm

from metaformer_nlp.engine.config import ScheduleConfig
from metaformer_nlp.engine.record import Progress
from metaformer_nlp.engine.schedule import in_steps, learning_rate, learning_rate_by_time, total_steps


class Length:
    """A number of optimizer steps or of minutes. All answers depend on the progress alone, on which processes agree."""

    def __init__(
        self, schedule: ScheduleConfig, peak: float, num_samples: int, batch_size: int, tokens_per_step: float | None
    ) -> None:
        self.schedule = in_steps(schedule, tokens_per_step)
        self.peak, self.num_samples, self.batch_size = peak, num_samples, batch_size
        timed = schedule.minutes is not None
        self.total = None if timed else total_steps(self.schedule, num_samples, batch_size)
        """Optimizer steps of the whole run; None if its time is what is limited."""

    def done(self, progress: Progress) -> bool:
        """Whether the last step is behind us."""
        return self._share(progress) >= 1 if self.total is None else progress.step == self.total

    def rate(self, progress: Progress) -> float:
        """The learning rate of the next step."""
        if self.total is None:
            return learning_rate_by_time(self._share(progress), self.peak, self.schedule)
        return learning_rate(progress.step, self.peak, self.schedule, self.num_samples, self.batch_size)

    def last_position(self) -> int:
        """Where the sample stream is to end."""
        return sys.maxsize if self.total is None else self.total * self.batch_size

    def describe(self, progress: Progress) -> str:
        """From where to where, in words."""
        if self.total is not None:
            return f"from step {progress.step} to {self.total}"
        minutes, used = self.schedule.minutes, progress.train_seconds / 60
        return f"from step {progress.step}, {used:.1f} of {minutes:g} minutes used (not bitwise repeatable)"

    def bar(self, progress: Progress, disable: bool | None) -> "tqdm[Any]":
        """A progress bar over steps or minutes."""
        if self.total is not None:
            return tqdm(total=self.total, initial=progress.step, unit="step", disable=disable, dynamic_ncols=True)
        form = "{l_bar}{bar}| {n:.1f}/{total:g} minutes{postfix}"
        bar = tqdm(total=self.schedule.minutes, bar_format=form, disable=disable, dynamic_ncols=True)
        self.advance(bar, progress)
        return bar

    def advance(self, bar: "tqdm[Any]", progress: Progress) -> None:
        """Move the bar to where the run stands."""
        minutes = self.schedule.minutes
        reached = progress.step if minutes is None else min(progress.train_seconds / 60, minutes)
        bar.update(reached - bar.n)

    def _share(self, progress: Progress) -> float:
        """Of the run's minutes, the part that is used."""
        assert self.schedule.minutes is not None
        return progress.train_seconds / (60 * self.schedule.minutes)
