"""GLUE's tasks and the embedded suite's as a table: columns, labels, metrics, files, published numbers of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.glue.suite import FAMILIES, SUITE_TASKS

__all__ = ["FROM_MNLI", "GLUE", "MNLI_STARTS", "SUITE", "TASKS", "GlueTask", "task_named", "task_of"]


@dataclass(frozen=True)
class GlueTask:
    """A row of the table: where texts and label stand in a task's files, what the labels are, how it is measured."""

    name: str
    texts: tuple[str, ...]  # header names of the one or two texts
    label: str  # header name of the label
    labels: tuple[str, ...] | None  # in the order of their class numbers; None: a number, `label_range`
    metrics: tuple[str, ...]  # names of tasks.glue.metrics, as GLUE publishes them
    evaluation: Mapping[str, str]  # split of a result -> file without ".tsv"
    test: Mapping[str, str]
    train: str | None = "train"
    hub_name: str | None = None
    hub_texts: tuple[str, ...] = ()
    # Files without a header (CoLA's labelled ones): the names of their columns.
    headerless: tuple[str, ...] | None = None
    # Rows that stand together and are drawn together in training (the suite's twins).
    rows_per_sample: int = 1
    label_range: tuple[float, float] | None = None
    # Published numbers of rows of "train" and each other split; two where the TSV file and the hub differ.
    rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    # The official training file has lines that a line break inside a text has broken in two; as many may be left out.
    broken_lines: int = 0
    # Another place of the test file under the root, as GLUE's download script leaves it.
    other_test: str | None = None

    @property
    def is_regression(self) -> bool:
        return self.labels is None

    def hub_split(self, part: str) -> str:
        """The hub's name of ``part``: MNLI's first sets are called matched there."""
        return f"{part}_matched" if f"{part}_mismatched" in {**self.evaluation, **self.test} else part


_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
_MNLI = ("entailment", "neutral", "contradiction")
_DEV = {"validation": "dev"}
_TEST = {"test": "test"}
_ONE = ("sentence",)
_TWO = ("sentence1", "sentence2")


def _rows(train: int, validation: int, test: int) -> dict[str, tuple[int, ...]]:
    return {"train": (train,), "validation": (validation,), "test": (test,)}


_GLUE_ROWS = [
    GlueTask("CoLA", _ONE, "label", _BINARY, ("matthews_correlation",), _DEV, _TEST, hub_name="cola",
             headerless=("source", "label", "mark", "sentence"), rows=_rows(8551, 1043, 1063)),
    GlueTask("SST-2", _ONE, "label", _BINARY, ("accuracy",), _DEV, _TEST, hub_name="sst2",
             rows=_rows(67349, 872, 1821)),
    GlueTask("MRPC", ("#1 String", "#2 String"), "Quality", _BINARY, ("accuracy", "f1"), _DEV, _TEST, hub_name="mrpc",
             hub_texts=_TWO, rows=_rows(3668, 408, 1725)),
    GlueTask("STS-B", _TWO, "score", None, ("pearson", "spearmanr"), _DEV, _TEST, hub_name="stsb",
             label_range=(0.0, 5.0), rows=_rows(5749, 1500, 1379)),
    GlueTask("QQP", ("question1", "question2"), "is_duplicate", _BINARY, ("accuracy", "f1"), _DEV, _TEST,
             hub_name="qqp", rows={**_rows(363846, 40430, 390965), "train": (363846, 363849)}, broken_lines=100),
    GlueTask("MNLI", _TWO, "gold_label", _MNLI, ("accuracy",),
             {"validation": "dev_matched", "validation_mismatched": "dev_mismatched"},
             {"test": "test_matched", "test_mismatched": "test_mismatched"}, hub_name="mnli",
             hub_texts=("premise", "hypothesis"),
             rows={**_rows(392702, 9815, 9796), "validation_mismatched": (9832,), "test_mismatched": (9847,)}),
    GlueTask("QNLI", ("question", "sentence"), "label", _ENTAILMENT, ("accuracy",), _DEV, _TEST, hub_name="qnli",
             rows=_rows(104743, 5463, 5463)),
    GlueTask("RTE", _TWO, "label", _ENTAILMENT, ("accuracy",), _DEV, _TEST, hub_name="rte",
             rows=_rows(2490, 277, 3000)),
    GlueTask("WNLI", _TWO, "label", _BINARY, ("accuracy",), _DEV, _TEST, hub_name="wnli", rows=_rows(635, 71, 146)),
    # The diagnostic set has no training data and no public labels: it is predicted with a model of MNLI.
    GlueTask("AX", _TWO, "label", _MNLI, ("matthews_correlation",), {}, _TEST, train=None, hub_name="ax",
             hub_texts=("premise", "hypothesis"), rows={"test": (1104,)}, other_test="diagnostic/diagnostic.tsv"),
]  # fmt: skip
GLUE: dict[str, GlueTask] = {task.name: task for task in _GLUE_ROWS}

_SUITE_ROWS = [
    GlueTask("topic", _ONE, "label", tuple(FAMILIES), ("accuracy",), _DEV, {}),
    GlueTask("order", _ONE, "label", ("kept", "swapped"), ("accuracy",), _DEV, {}, rows_per_sample=2),
    GlueTask("pairs", _TWO, "label", ("other", "follows"), ("accuracy",), _DEV, {}, rows_per_sample=2),
]
SUITE: dict[str, GlueTask] = {task.name: task for task in _SUITE_ROWS}
assert tuple(SUITE) == SUITE_TASKS
TASKS: dict[str, GlueTask] = {**GLUE, **SUITE}

# What many papers train from the model fine-tuned on MNLI. Here these are columns of their own, of this name's ending.
MNLI_STARTS = ("MRPC", "STS-B", "RTE")
FROM_MNLI = "-from-MNLI"


def task_of(column: str) -> GlueTask:
    """The task of a column of results: of its own name, or one of `MNLI_STARTS` with the ending."""
    return task_named(column.removesuffix(FROM_MNLI))


def task_named(name: str) -> GlueTask:
    """The row of the table, whatever the case of ``name``; a ``ValueError`` lists the names."""
    for known, task in TASKS.items():
        if known.lower() == name.lower():
            return task
    raise ValueError(
        f"unknown task {name!r}; known are {', '.join(GLUE)} (GLUE) and {', '.join(SUITE)} (embedded suite)"
    )
