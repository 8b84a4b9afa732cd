"""What a training run will take, known before it starts: for an experiment's ``cost(config)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from metaformer_nlp.core.cost import count_parameters
from metaformer_nlp.engine import OptimConfig, RunConfig, ScheduleConfig
from metaformer_nlp.engine.scaling import scale
from metaformer_nlp.engine.schedule import in_steps, steps_at, total_steps

__all__ = ["counted_once", "parameters_of", "planned_training", "without_memory"]

T = TypeVar("T")
_COUNTED: dict[str, Any] = {}


def planned_training(
    run: RunConfig,
    optim: OptimConfig,
    schedule: ScheduleConfig,
    num_samples: int,
    tokens_per_sample: float | None = None,
) -> dict[str, int]:
    """``steps``, ``samples`` and, where samples have them, ``tokens`` of a whole run on one process.

    The same numbers as afterwards in the result's ``train``. Empty where ``schedule.minutes`` limits the run, since
    nobody knows them then.

    Raises:
        ValueError: for ``schedule.tokens`` or ``run.eval_at`` that the run would refuse.
    """
    if schedule.minutes is not None:
        return {}
    batch = scale(run, optim, num_samples, 1).layout.batch_size
    tokens_per_step = None if tokens_per_sample is None else batch * tokens_per_sample
    steps = total_steps(in_steps(schedule, tokens_per_step), num_samples, batch)
    steps_at(run.eval_at, tokens_per_step, steps)  # raises where the run would
    tokens = {} if tokens_per_step is None else {"tokens": round(steps * tokens_per_step)}
    return {"steps": steps, "samples": steps * batch, **tokens}


def without_memory(build: Callable[[], T]) -> T:
    """The model that ``build`` makes, on the meta device: shapes without numbers, in milliseconds."""
    with torch.device("meta"):
        return build()


def parameters_of(model: nn.Module) -> dict[str, int]:
    """``total`` and ``trainable``, as a run's result has them."""
    return count_parameters(model)._asdict()


def counted_once(count: Callable[[], T], *key: object) -> T:
    """``count()``, called once in this process for each ``key`` (told apart by its ``repr``).

    The arms of a study differ in the model and share their data, which takes seconds to read.
    """
    name = repr((count.__qualname__, *key))
    if name not in _COUNTED:
        _COUNTED[name] = count()
    return _COUNTED[name]
