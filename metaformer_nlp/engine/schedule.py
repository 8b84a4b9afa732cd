"""The length of a run and its learning rate, both pure functions: nothing to save, nothing that counts processes."""

import math

from metaformer_nlp.engine.config import ScheduleConfig


def total_steps(schedule: ScheduleConfig, num_samples: int, batch_size: int) -> int:
    """Optimizer steps of a run over `num_samples` training samples in global batches of `batch_size`."""
    if schedule.steps is not None:
        return schedule.steps
    assert schedule.epochs is not None
    return math.ceil(schedule.epochs * num_samples / batch_size)


def learning_rate(step: int, total: int, peak: float, schedule: ScheduleConfig) -> float:
    """The learning rate of optimizer step `step` (the first is 0, the last `total - 1`)."""
    warmup = schedule.warmup_steps or round(schedule.warmup_fraction * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule.kind == "constant":
        return peak
    progress = (step - warmup) / max(1, total - warmup)
    share = 1 - progress if schedule.kind == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return schedule.min_lr + (peak - schedule.min_lr) * share
