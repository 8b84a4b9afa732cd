"""GLUE's tasks as a table, and readers of their rows: from TSV folders, from the hub, from the embedded suite.

The official files are not CSV: quotes mean nothing, a line ends at ``\\n`` and nowhere else, "null" and "NA" are words.
Readers that think otherwise lose or merge rows without a sound, so every line is split here by hand, and one that does
not fit the table is a :class:`ValueError` with ``file:line``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.suite import FAMILIES, SUITE_TASKS, build_suite

__all__ = [
    "GLUE",
    "TASKS",
    "Example",
    "GlueTask",
    "available_tasks",
    "read_hub",
    "read_split",
    "read_tsv",
    "task_named",
]


@dataclass(frozen=True)
class GlueTask:
    """A row of the table: where texts and label stand in a task's files, what the labels are, how it is measured."""

    name: str
    texts: tuple[str, ...]  # header names of the one or two texts
    label: str  # header name of the label
    labels: tuple[str, ...] | None  # in the order of their class numbers; None: a number, `label_range`
    metrics: tuple[str, ...]  # names of tasks.metrics, as GLUE publishes them
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

    @property
    def is_regression(self) -> bool:
        return self.labels is None


_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
_MNLI = ("entailment", "neutral", "contradiction")
_DEV = {"validation": "dev"}
_TEST = {"test": "test"}
_ONE = ("sentence",)
_TWO = ("sentence1", "sentence2")

_GLUE_ROWS = [
    GlueTask("CoLA", _ONE, "label", _BINARY, ("matthews_correlation",), _DEV, _TEST, hub_name="cola",
             headerless=("source", "label", "mark", "sentence")),
    GlueTask("SST-2", _ONE, "label", _BINARY, ("accuracy",), _DEV, _TEST, hub_name="sst2"),
    GlueTask("MRPC", ("#1 String", "#2 String"), "Quality", _BINARY, ("accuracy", "f1"), _DEV, _TEST, hub_name="mrpc",
             hub_texts=_TWO),
    GlueTask("STS-B", _TWO, "score", None, ("pearson", "spearmanr"), _DEV, _TEST, hub_name="stsb",
             label_range=(0.0, 5.0)),
    GlueTask("QQP", ("question1", "question2"), "is_duplicate", _BINARY, ("accuracy", "f1"), _DEV, _TEST,
             hub_name="qqp"),
    GlueTask("MNLI", _TWO, "gold_label", _MNLI, ("accuracy",),
             {"validation": "dev_matched", "validation_mismatched": "dev_mismatched"},
             {"test": "test_matched", "test_mismatched": "test_mismatched"}, hub_name="mnli",
             hub_texts=("premise", "hypothesis")),
    GlueTask("QNLI", ("question", "sentence"), "label", _ENTAILMENT, ("accuracy",), _DEV, _TEST, hub_name="qnli"),
    GlueTask("RTE", _TWO, "label", _ENTAILMENT, ("accuracy",), _DEV, _TEST, hub_name="rte"),
    GlueTask("WNLI", _TWO, "label", _BINARY, ("accuracy",), _DEV, _TEST, hub_name="wnli"),
    # The diagnostic set has no training data and no public labels: it is predicted with a model of MNLI.
    GlueTask("AX", _TWO, "label", _MNLI, ("matthews_correlation",), {}, _TEST, train=None, hub_name="ax",
             hub_texts=("premise", "hypothesis")),
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


@dataclass(frozen=True)
class Example:
    """One row: its one or two texts as they stand in the file; its class number or score, None if it has no label."""

    texts: tuple[str, ...]
    label: int | float | None


def task_named(name: str) -> GlueTask:
    """The row of the table, whatever the case of ``name``; a ``ValueError`` lists the names."""
    for known, task in TASKS.items():
        if known.lower() == name.lower():
            return task
    raise ValueError(
        f"unknown task {name!r}; known are {', '.join(GLUE)} (GLUE) and {', '.join(SUITE)} (embedded suite)"
    )


def available_tasks(root: Path) -> tuple[list[str], list[str]]:
    """The tasks under ``root`` that can be trained and measured, and those that lie there without a part they need."""
    if not root.is_dir():
        raise ValueError(f"data.root={root} is not a folder; give the one that holds {', '.join(list(GLUE)[:3])}, ...")
    complete, partial = [], []
    for name, task in TASKS.items():
        files = [root / name / f"{part}.tsv" for part in (task.train, *task.evaluation.values()) if part]
        if all(file.is_file() for file in files) and task.train:
            complete.append(name)
        elif any(file.is_file() for file in files):
            partial.append(name)
    if not complete:
        raise ValueError(
            f"no task under data.root={root} has both train.tsv and dev.tsv; expected folders such as "
            f"{root / 'SST-2'}{' (partly there: ' + ', '.join(partial) + ')' if partial else ''}"
        )
    return complete, partial


def read_split(task: GlueTask, part: str, root: str | None) -> list[Example]:
    """The rows of ``part`` ("train", or a key of ``task.evaluation`` or ``task.test``).

    ``root`` is a folder in GLUE's layout, or None: the embedded suite for its tasks, the hub for GLUE's. The suite's
    tasks come from the suite whatever ``root``, unless the folder has them.
    """
    labelled = part not in task.test
    file = task.train if part == "train" else {**task.evaluation, **task.test}.get(part)
    if file is None:
        allowed = [*(["train"] if task.train else []), *task.evaluation, *task.test]
        raise ValueError(f"{task.name} has no split {part!r}; it has {', '.join(allowed)}")
    if task.name in SUITE and (root is None or not (Path(root) / task.name).is_dir()):
        root = str(build_suite())
    if root is None:
        return read_hub(task, part, labelled)
    path = Path(root) / task.name / f"{file}.tsv"
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*.tsv")) if path.parent.is_dir() else []
        raise ValueError(
            f"{path} is missing; {task.name} needs it for its split {part!r} "
            f"({'the folder has ' + ', '.join(there) if there else 'there is no such folder'})"
        )
    return read_tsv(path, task, labelled=labelled)


def read_tsv(path: Path, task: GlueTask, *, labelled: bool = True) -> list[Example]:
    """The rows of a file in GLUE's layout, texts byte for byte as they stand there.

    A byte order mark, and ``\\r`` at the line ends of a file written on Windows, are no text. ``labelled=False`` is for
    test files: a label column that is missing, empty or -1 is no label there.

    Raises:
        ValueError: with ``file:line``, for text that is not UTF-8, a row with another number of columns, a label that
            is not allowed; for missing columns and a file without rows.
    """
    lines = path.read_bytes().split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    if not lines:
        raise ValueError(f"{path} is empty; expected the rows of {task.name}")
    lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
    if lines[0].endswith(b"\r"):
        lines = [line.removesuffix(b"\r") for line in lines]
    rows = [_decode(line, f"{path}:{number}").split("\t") for number, line in enumerate(lines, 1)]

    # CoLA's labelled files have no header; a copy that was given one is recognised by it.
    first = 0
    header: Sequence[str] = task.headerless or ()
    if not (task.headerless and labelled) or "sentence" in rows[0]:
        header, first = rows[0], 1
    columns = _columns(header, task, labelled, f"{path}:1")
    examples = []
    for number, row in enumerate(rows[first:], first + 1):
        where = f"{path}:{number}"
        if len(row) != len(header):
            raise ValueError(
                f"{where}: {len(row)} columns instead of {len(header)} ({', '.join(header)}); columns are separated by "
                f"one tab each, quotes mean nothing. The line begins {rows[number - 1][0][:60]!r}"
            )
        texts = tuple(row[columns[name]] for name in task.texts)
        examples.append(Example(texts, parse_label(row[columns[task.label]], task, labelled, where)
                                if task.label in columns else None))  # fmt: skip
    if not examples:
        raise ValueError(f"{path} has a header but no rows")
    return examples


def _decode(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8 at byte {error.start} of the line; convert the file to UTF-8") from error


def _columns(header: Sequence[str], task: GlueTask, labelled: bool, where: str) -> dict[str, int]:
    needed = [*task.texts, *([task.label] if labelled else [])]
    missing = [name for name in needed if name not in header]
    if missing:
        raise ValueError(
            f"{where}: no column {', '.join(map(repr, missing))} for {task.name}; the header has "
            f"{', '.join(map(repr, header))}"
        )
    return {name: header.index(name) for name in (*task.texts, task.label) if name in header}


def parse_label(text: str, task: GlueTask, labelled: bool, where: str) -> int | float | None:
    """The class number or score that ``text`` stands for; None for no label, which only unlabelled splits may have."""
    if not labelled and text.strip() in ("", "-1"):
        return None
    if task.labels is not None:
        if text not in task.labels:
            raise ValueError(f"{where}: label {text!r} of {task.name} is not one of {', '.join(task.labels)}")
        return task.labels.index(text)
    low, high = task.label_range or (-math.inf, math.inf)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise ValueError(f"{where}: label {text!r} of {task.name} is not a number from {low:g} to {high:g}")
    return value


def read_hub(task: GlueTask, part: str, labelled: bool = True) -> list[Example]:
    """The rows of ``part`` from the hub's ``nyu-mll/glue``; where it cannot be reached, a ``ValueError`` says so."""
    import datasets  # here, since it costs a second that readers of local files need not wait

    if task.hub_name is None:
        raise ValueError(f"{task.name} is not on the hub")
    split = part
    if task.name == "MNLI" and part in ("validation", "test"):
        split = f"{part}_matched"
    try:
        rows = datasets.load_dataset("nyu-mll/glue", task.hub_name, split=split)
    except Exception as error:  # offline, unknown host, timeout: each has a class of its own
        raise ValueError(
            f"{task.name} ({part}) could not be read from the hub (nyu-mll/glue): {type(error).__name__}: {error}. "
            "Without a network, give the folder with GLUE's TSV files as data.root, or run the embedded tasks "
            f"({', '.join(SUITE)})"
        ) from error
    return examples_from_rows(rows, task, part, labelled)


def examples_from_rows(
    rows: Iterable[Mapping[str, Any]], task: GlueTask, part: str, labelled: bool = True
) -> list[Example]:
    """Examples from mappings in the hub's form, whose labels are class numbers; the same checks as for files."""
    names = task.hub_texts or task.texts
    examples = []
    for number, row in enumerate(rows):
        where = f"nyu-mll/glue {task.hub_name} {part}, row {number}"
        label = row["label"]
        if task.labels is not None and isinstance(label, int) and 0 <= label < len(task.labels):
            label = task.labels[label]
        examples.append(Example(tuple(row[name] for name in names), parse_label(str(label), task, labelled, where)))
    return examples
