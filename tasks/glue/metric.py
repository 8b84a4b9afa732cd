"""GLUE's metrics as a module of the `evaluate` library's kind, for use beside other people's code; needs no network.

    metric = evaluate.load("tasks/glue/metric.py", "mrpc")
    metric.compute(predictions=[1, 0], references=[1, 1])  # {"accuracy": 0.5, "f1": 0.666...}

The functions are those of :mod:`tasks.glue.metrics`, so that a constant prediction scores 0 where a correlation is not
defined; the library's own module gives NaN. `pip install evaluate`; this project itself does without it.
"""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from tasks.glue.metrics import compute
from tasks.glue.tasks import GLUE, GlueTask

__all__ = ["GlueMetric"]

_DESCRIPTION = "The metrics of one task of GLUE: accuracy, F1, Matthews, Pearson or Spearman correlation."


class GlueMetric(evaluate.Metric):
    """Named by the task's name here (MRPC) or on the hub (mrpc; mnli_matched and mnli_mismatched are MNLI's)."""

    def _info(self) -> evaluate.MetricInfo:
        # float64: a score is compared as it is, not rounded to half its digits.
        value = datasets.Value("float64" if self._task().is_regression else "int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="Wang et al., GLUE: A Multi-Task Benchmark and Analysis Platform, ICLR 2019",
            inputs_description="predictions, references: class numbers in the task's order, or STS-B's scores",
            features=datasets.Features({"predictions": value, "references": value}),
            format="numpy",
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        """The task's metrics; `ValueError` for predictions that are no finite numbers."""
        names = self._task().metrics
        values = compute(names, predictions, references)
        return {name: values[name] for name in names}

    def _task(self) -> GlueTask:
        name = str(self.config_name).lower().removesuffix("_matched").removesuffix("_mismatched")
        for task in GLUE.values():
            if name in (task.name.lower(), task.hub_name):
                return task
        raise ValueError(
            f"{self.config_name!r} is no task of GLUE; use one of {', '.join(str(t.hub_name) for t in GLUE.values())}"
        )
