"""From an experiment's configuration to the engine: what every ``run`` does that trains one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from metaformer_nlp.config.command_line import to_dict
from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.engine import OptimConfig, RunConfig, ScheduleConfig, Task, run_training

__all__ = ["TrainingConfig", "train"]


class TrainingConfig(Protocol):
    """What the configurations of all such experiments have."""

    @property
    def run(self) -> RunConfig: ...

    @property
    def schedule(self) -> ScheduleConfig: ...

    @property
    def optim(self) -> OptimConfig: ...

    @property
    def tracker(self) -> str | None: ...

    @property
    def plugins(self) -> Sequence[str]: ...


C = TypeVar("C", bound=TrainingConfig)


def train(make_task: Callable[[C], Task], config: C) -> dict[str, Any]:
    """Train, evaluate and save the task of ``config``; returns what the run folder's result.json holds.

    Plugins are imported first: they may register what the task is made of.
    """
    import_plugins(config.plugins)
    return run_training(
        make_task(config),
        optim=config.optim,
        schedule=config.schedule,
        run=config.run,
        config=to_dict(config),
        tracker=config.tracker,
    )
