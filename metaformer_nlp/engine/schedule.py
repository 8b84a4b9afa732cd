"""The length of a run and its learning rate, both pure functions: nothing to save, nothing that counts processes."""

import math

from metaformer_nlp.engine.config import ScheduleConfig


def total_steps(schedule: ScheduleConfig, num_samples: int, batch_size: int) -> int:
    """Optimizer steps of a run over `num_samples` training samples in global batches of `batch_size`."""
    if schedule.steps is not None:
        return schedule.steps
    assert schedule.epochs is not None
    return _steps(schedule.epochs + schedule.cooldown_epochs, num_samples, batch_size)


def _steps(epochs: float, num_samples: int, batch_size: int) -> int:
    return math.ceil(epochs * num_samples / batch_size)


def learning_rate(step: int, peak: float, schedule: ScheduleConfig, num_samples: int, batch_size: int) -> float:
    """The learning rate of optimizer step `step` (the first is 0) in a run as in `total_steps`.

    With `decay_from` "start" and a `warmup_start_lr` it is timm's CosineLRScheduler as its training script builds it,
    for an epoch of num_samples / batch_size steps.
    """
    epoch = num_samples / batch_size  # in steps
    now, length, warmup = step, float(schedule.steps or 0), 0.0
    if schedule.update_every == "step":  # time is counted in steps
        length = length if schedule.epochs is None else _steps(schedule.epochs, num_samples, batch_size)
        warmup = schedule.warmup_steps or round(schedule.warmup_fraction * length + schedule.warmup_epochs * epoch)
    else:  # in epochs; a step belongs to the one that its first sample lies in
        now, length = step * batch_size // num_samples, schedule.epochs or length / epoch
        warmup = schedule.warmup_steps / epoch + schedule.warmup_fraction * length + schedule.warmup_epochs
    if now < warmup:
        if schedule.warmup_start_lr is None:
            return peak * (now + 1) / max(warmup, now + 1)
        return schedule.warmup_start_lr + (peak - schedule.warmup_start_lr) * now / warmup
    if schedule.kind == "constant":
        return peak
    if now >= length:
        return schedule.min_lr
    start = warmup if schedule.decay_from == "warmup_end" else 0
    progress = (now - start) / max(1, length - start)
    share = 1 - progress if schedule.kind == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return schedule.min_lr + (peak - schedule.min_lr) * share
