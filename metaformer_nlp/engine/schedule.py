"""The length of a run and its learning rate, both pure functions: nothing to save, nothing that counts processes."""

import math
from collections.abc import Sequence
from dataclasses import replace

from metaformer_nlp.engine.config import ScheduleConfig


def in_steps(schedule: ScheduleConfig, tokens_per_step: float | None) -> ScheduleConfig:
    """The schedule with `tokens`, if it has any, turned into steps.

    ValueError if it has and the task does not know what a step holds.
    """
    if schedule.tokens is None:
        return schedule
    if not tokens_per_step:
        raise ValueError(
            f"schedule.tokens is {schedule.tokens:g}, but the samples of this task are not counted in tokens; give "
            "schedule.epochs, schedule.steps or schedule.minutes"
        )
    return replace(schedule, tokens=None, steps=math.ceil(schedule.tokens / tokens_per_step))


def total_steps(schedule: ScheduleConfig, num_samples: int, batch_size: int) -> int:
    """Optimizer steps of a run over `num_samples` training samples in global batches of `batch_size`."""
    if schedule.steps is not None:
        return schedule.steps
    assert schedule.epochs is not None
    return _steps(schedule.epochs + schedule.cooldown_epochs, num_samples, batch_size)


def steps_at(tokens: Sequence[float] | None, tokens_per_step: float | None, total: int | None) -> frozenset[int]:
    """The steps of run.eval_at: after how many of the run's `total` (None: nobody knows) so many tokens were seen.

    What comes after the run's end is left out. ValueError if the task does not know what a step holds.
    """
    if not tokens:
        return frozenset()
    if not tokens_per_step:
        raise ValueError(
            f"run.eval_at is {list(tokens)}, but the samples of this task are not counted in tokens; give "
            "run.eval_every, in optimizer steps"
        )
    steps = [math.ceil(count / tokens_per_step) for count in tokens]
    return frozenset(step for step in steps if total is None or step <= total)


def _steps(epochs: float, num_samples: int, batch_size: int) -> int:
    return math.ceil(epochs * num_samples / batch_size)


def learning_rate(step: int, peak: float, schedule: ScheduleConfig, num_samples: int, batch_size: int) -> float:
    """The learning rate of optimizer step `step` (the first is 0) in a run as in `total_steps`.

    With `decay_from` "start" and a `warmup_start_lr` it is timm's CosineLRScheduler as its training script builds it,
    for an epoch of num_samples / batch_size steps.
    """
    epoch = num_samples / batch_size  # in steps
    if schedule.milestones and schedule.factor:
        passed = sum(step * batch_size >= milestone * num_samples for milestone in schedule.milestones)
        peak *= schedule.factor**passed
    now, length = float(step), float(schedule.steps or 0)
    warmup: float
    if schedule.update_every == "step":  # time is counted in steps
        length = length if schedule.epochs is None else _steps(schedule.epochs, num_samples, batch_size)
        warmup = schedule.warmup_steps or round(schedule.warmup_fraction * length + schedule.warmup_epochs * epoch)
    else:  # in epochs; a step belongs to the one that its first sample lies in
        now, length = step * batch_size // num_samples, schedule.epochs or length / epoch
        warmup = schedule.warmup_steps / epoch + schedule.warmup_fraction * length + schedule.warmup_epochs
    return _rate(now, length, warmup, 1, peak, schedule)


def learning_rate_by_time(share: float, peak: float, schedule: ScheduleConfig) -> float:
    """The learning rate where the `share` (0 to 1) of a run's `minutes` is used.

    The first steps of a run take none of its minutes: a thousandth of the warmup counts as used, so that they learn.
    """
    warmup = schedule.warmup_fraction
    return _rate(max(share, warmup / 1000), 1.0, warmup, 0, peak, schedule)


def _rate(now: float, length: float, warmup: float, unit: int, peak: float, schedule: ScheduleConfig) -> float:
    """`now` lies in 0 ... `length`; `unit` is the length of what is counted, 0 for time."""
    if now < warmup:
        if schedule.warmup_start_lr is None:
            return peak * (now + unit) / max(warmup, now + unit)
        return schedule.warmup_start_lr + (peak - schedule.warmup_start_lr) * now / warmup
    if schedule.kind in ("step", "constant"):  # the peak of step has fallen already
        return peak
    if now >= length:
        return schedule.min_lr
    start = warmup if schedule.decay_from == "warmup_end" else 0
    progress = (now - start) / max(unit, length - start)
    share = 0.5 * (1 + math.cos(math.pi * progress)) if schedule.kind == "cosine" else (1 - progress)
    if schedule.power is not None:
        share **= schedule.power
    return schedule.min_lr + (peak - schedule.min_lr) * share
