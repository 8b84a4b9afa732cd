"""GLUE's metrics as a module of the `evaluate` library: this project computes with it, and so can others' code.

    metric = evaluate.load("tasks/glue/metric.py", "mrpc")
    metric.compute(predictions=[1, 0], references=[1, 1])  # {"accuracy": 0.5, "f1": 0.666...}

It needs no network. The functions are those of :mod:`tasks.glue.metrics`, so that a constant prediction scores 0 where
a correlation is not defined; the library's own module gives NaN.
"""

from __future__ import annotations

import tempfile
from typing import Any

import datasets
import evaluate

from tasks.glue.metrics import compute
from tasks.glue.tasks import GLUE, TASKS, GlueTask

__all__ = ["GlueMetric", "evaluate_task"]

_DESCRIPTION = "The metrics of one task of GLUE: accuracy, F1, Matthews, Pearson or Spearman correlation."


class GlueMetric(evaluate.Metric):
    """Named by the task's name here (MRPC; order, of the embedded suite) or on the hub (mrpc; mnli_matched and
    mnli_mismatched are MNLI's).
    """

    def _info(self) -> evaluate.MetricInfo:
        # A score is compared as it is: the format "numpy" would round it to float32.
        value = datasets.Value("float64" if self._task().is_regression else "int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="Wang et al., GLUE: A Multi-Task Benchmark and Analysis Platform, ICLR 2019",
            inputs_description="predictions, references: class numbers in the task's order, or STS-B's scores",
            features=datasets.Features({"predictions": value, "references": value}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        """The task's metrics; `ValueError` for predictions that are no finite numbers."""
        return compute(self._task().metrics, predictions, references)

    def _task(self) -> GlueTask:
        name = str(self.config_name).lower().removesuffix("_matched").removesuffix("_mismatched")
        for task in TASKS.values():
            if name in (task.name.lower(), task.hub_name):
                return task
        raise ValueError(
            f"{self.config_name!r} is no task of GLUE; use one of {', '.join(str(t.hub_name) for t in GLUE.values())}"
        )


def evaluate_task(task: GlueTask, predictions: Any, references: Any) -> dict[str, float]:
    """The metrics of ``task``, one of the table's, for class numbers or scores (D,), by name.

    The library leaves a lock file in its cache even where it computes in memory; here that cache goes at once. It costs
    8 ms for 408 rows and 80 ms for 40,430, of which 2 and 7 are ours, and 0.7 s for the first import.

    Raises:
        ValueError: for no samples, unequal numbers of predictions and references, or predictions that are NaN.
    """
    with tempfile.TemporaryDirectory() as cache:
        metric = GlueMetric(task.name, cache_dir=cache, keep_in_memory=True)
        return dict(metric.compute(predictions=predictions, references=references))
