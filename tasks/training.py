"""From an experiment's configuration to the engine: what every ``run`` does that trains one model. Imports no torch."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.engine import OptimConfig, RunConfig, ScheduleConfig

# Annotations are not postponed here: where they are, jsonargparse runs the imports under TYPE_CHECKING to read them.
if TYPE_CHECKING:
    from metaformer_nlp.engine import Task

__all__ = ["TrainingConfig", "train"]


@dataclass(frozen=True)
class TrainingConfig:
    """The options of every experiment that trains; its own come between those by place and those by keyword."""

    run: RunConfig
    schedule: ScheduleConfig
    _: KW_ONLY
    optim: OptimConfig = field(default_factory=OptimConfig)
    tracker: str | None = None
    """Experiment tracker beside metrics.jsonl: tensorboard, wandb, mlflow, ... (the library must be installed)."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""


C = TypeVar("C", bound=TrainingConfig)


def train(make_task: "Callable[[C], Task]", config: C) -> dict[str, Any]:
    """Train, evaluate and save the task of ``config``; returns what the run folder's result.json holds.

    Plugins are imported first: they may register what the task is made of.
    """
    from metaformer_nlp.config.command_line import to_dict
    from metaformer_nlp.engine import run_training

    import_plugins(config.plugins)
    return run_training(
        make_task(config),
        optim=config.optim,
        schedule=config.schedule,
        run=config.run,
        config=to_dict(config),
        tracker=config.tracker,
    )
