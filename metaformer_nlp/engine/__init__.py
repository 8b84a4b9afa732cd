"""The training engine: one loop for every task. It knows no model and no data set.

`run_training` is the whole life of a run folder; `Task` and `Dataset` are what it asks of an experiment. `read_items`
reads what a run folder knows of single test items.
"""

from typing import TYPE_CHECKING

from metaformer_nlp.startup import lazy_names

if TYPE_CHECKING:
    from metaformer_nlp.engine.checkpoint import CheckpointError
    from metaformer_nlp.engine.config import OptimConfig, RunConfig, ScheduleConfig
    from metaformer_nlp.engine.items import read_items
    from metaformer_nlp.engine.loop import run_training
    from metaformer_nlp.engine.signals import EXIT_CODE
    from metaformer_nlp.engine.task import Batch, Dataset, EvaluationTask, Task
    from metaformer_nlp.errors import NonFiniteLossError, RunFolderBusyError
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "EXIT_CODE",
    "Batch",
    "CheckpointError",
    "Dataset",
    "EvaluationTask",
    "NonFiniteLossError",
    "OptimConfig",
    "RunConfig",
    "RunFolderBusyError",
    "ScheduleConfig",
    "Task",
    "read_items",
    "run_training",
]
