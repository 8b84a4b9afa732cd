"""Readers of GLUE's rows: TSV folders, parquet folders as on the hub, the hub itself, the embedded suite.

The official files are not CSV: quotes mean nothing, a line ends at ``\\n`` and nowhere else, "null" and "NA" are words.
Readers that think otherwise lose or merge rows without a sound, so every line is split here by hand, and one that does
not fit the table is a :class:`ValueError` with ``file:line``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet

from metaformer_nlp.errors import checked_text, read_lines, reading
from tasks.glue.suite import build_suite
from tasks.glue.tasks import GLUE, SUITE, TASKS, GlueTask
from tasks.text.sources import arrow_values, warn_once

__all__ = ["Example", "available_tasks", "find_files", "read_hub", "read_parquet", "read_split", "read_tsv"]

# The hub's files as they have been since 2024; their numbers of rows are those of the table.
HUB, REVISION = "nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


@dataclass(frozen=True)
class Example:
    """One row: its one or two texts as they stand in the file; its class number or score, None if it has no label."""

    texts: tuple[str, ...]
    label: int | float | None


def find_files(task: GlueTask, part: str, root: Path) -> list[Path]:
    """The files of a split under ``root``: one TSV file (RTE/dev.tsv), or the hub's parquet (rte/validation-*.parquet).

    Empty where there is neither.

    Raises:
        ValueError: a split that the task has not, or parquet files of which some are missing.
    """
    file = {"train": task.train, **task.evaluation, **task.test}.get(part)
    if file is None:
        allowed = [*(["train"] if task.train else []), *task.evaluation, *task.test]
        raise ValueError(f"{task.name} has no split {part!r}; it has {', '.join(allowed)}")
    tables = [root / task.name / f"{file}.tsv"]
    if task.other_test and part in task.test:
        tables.append(root / task.other_test)
    for path in tables:
        if path.is_file():
            return [path]
    return _shards(task, part, root)


def _shards(task: GlueTask, part: str, root: Path) -> list[Path]:
    """The hub's parquet files of a split; all of them, where their names say how many there are."""
    if task.hub_name is None:
        return []
    paths = sorted(
        path for path in (root / task.hub_name).glob(f"{task.hub_split(part)}-*") if path.suffix.lower() == ".parquet"
    )
    numbers = [re.fullmatch(r".*-(\d+)-of-(\d+)", path.stem) for path in paths]
    counted = [(int(number[1]), int(number[2])) for number in numbers if number]
    if counted and counted != [(number, len(paths)) for number in range(len(paths))]:
        raise ValueError(
            f"{paths[0].parent}: {', '.join(path.name for path in paths)} are not all {counted[0][1]} files of "
            f"{task.name} {part}, and these alone; download what is missing, take away what does not belong there"
        )
    return paths


def available_tasks(root: Path) -> tuple[list[str], list[str]]:
    """The tasks under ``root`` that can be trained and measured, and those that lie there without a part they need, as
    "QNLI (no train)".
    """
    if not root.is_dir():
        raise ValueError(f"data.root={root} is not a folder; give the one that holds {', '.join(list(GLUE)[:3])}, ...")
    complete, partial = [], []
    for name, task in TASKS.items():
        if task.train:
            parts = ("train", *task.evaluation)
            missing = [part for part in parts if not find_files(task, part, root)]
            if not missing:
                complete.append(name)
            elif len(missing) < len(parts):
                partial.append(f"{name} (no {', '.join(missing)})")
    if not complete:
        raise ValueError(
            f"no task under data.root={root} has both train.tsv and dev.tsv; expected folders such as "
            f"{root / 'SST-2'}, or sst2 with the hub's parquet files"
            f"{' (partly there: ' + ', '.join(partial) + ')' if partial else ''}"
        )
    return complete, partial


def read_split(task: GlueTask, part: str, root: str | None) -> list[Example]:
    """The rows of ``part`` ("train", or a key of ``task.evaluation`` or ``task.test``).

    ``root`` is a folder in GLUE's layout or the hub's, or None: the embedded suite for its tasks, the hub for GLUE's.
    The suite's tasks come from the suite whatever ``root``, unless the folder has them. Another number of rows than the
    published one is a warning.

    Raises:
        ValueError: for a missing file, and for rows that do not fit the table.
    """
    if task.name in SUITE and (root is None or not (Path(root) / task.name).is_dir()):
        root = str(build_suite())
    files = find_files(task, part, Path(root or "."))  # checks `part` too
    labelled = part not in task.test
    if root is None:
        examples, where = read_hub(task, part, labelled), f"{HUB} {task.hub_name} {part}"
    elif not files:
        raise ValueError(_missing(task, part, Path(root)))
    elif files[0].suffix.lower() == ".parquet":
        _check_class_names(task, Path(root))
        examples, where = read_parquet(files, task, labelled=labelled), str(files[0])
    else:
        examples, where = read_tsv(files[0], task, labelled=labelled), str(files[0])
        if also := _shards(task, part, Path(root)):
            warn_once(f"{files[0]} is read; left out {len(also)} parquet files of the same rows; the first: {also[0]}")
    published = task.rows.get(part)
    if published and len(examples) not in published:
        warn_once(
            f"{where}: {len(examples)} rows, but {task.name} {part} as published has "
            f"{' or '.join(map(str, published))}: the file is cut, extended or another version; "
            "scores on it cannot be compared with published ones"
        )
    return examples


def _check_class_names(task: GlueTask, root: Path) -> None:
    """A label is a number in parquet: what it means must be the same in all files of the task, and as in the table."""
    parts = [*(["train"] if task.train else []), *task.evaluation, *task.test]
    first: tuple[Path, list[str]] | None = None
    for path in (path for part in parts for path in find_files(task, part, root) if path.suffix.lower() == ".parquet"):
        with reading(path, f"{task.name} in the hub's form", pyarrow.ArrowException, ValueError, AttributeError):
            metadata = pyarrow.parquet.read_schema(path).metadata or {}
            known = json.loads(metadata.get(b"huggingface", b"{}"))
            names = known.get("info", {}).get("features", {}).get("label", {}).get("names")
        if names is None:
            continue
        first = first or (path, names)
        wanted = list(task.labels) if task.labels and set(names) == set(task.labels) else first[1]
        if names != wanted:
            where = "as the table of tasks has them" if wanted is not first[1] else f"as in {first[0]}"
            raise ValueError(
                f"{path}: its labels 0, 1, ... mean {', '.join(names)}, not {', '.join(wanted)} {where}; write the "
                f"file again with its classes in that order, or download {HUB} again"
            )


def _missing(task: GlueTask, part: str, root: Path) -> str:
    file = {"train": task.train, **task.evaluation, **task.test}[part]
    path = root / task.name / f"{file}.tsv"
    folders = [path.parent, *([root / task.hub_name] if task.hub_name else [])]
    there = sorted({f"{p.parent.name}/{p.name}" for folder in folders if folder.is_dir() for p in folder.iterdir()})
    hub = f" (or {root / task.hub_name / task.hub_split(part)}-*.parquet)" if task.hub_name else ""
    return (
        f"{path}{hub} is missing; {task.name} needs it for its split {part!r} "
        f"({'there are ' + ', '.join(there[:10]) if there else 'there is no such folder'})"
    )


def read_tsv(path: Path, task: GlueTask, *, labelled: bool = True) -> list[Example]:
    """The rows of a file in GLUE's layout, texts byte for byte as they stand there.

    A byte order mark, and ``\\r`` at the line ends of a file written on Windows, are no text. ``labelled=False`` is for
    test files: a label that is missing, empty, -1 or NaN is none there. Of QQP's official files some lines are broken
    in two (nyu-mll/GLUE-baselines#5); they are left out, as everywhere, with a warning that counts them.

    Raises:
        ValueError: with ``file:line``, for text that is not UTF-8, a row with another number of columns, a label that
            is not allowed; for missing columns and a file without rows.
    """
    rows = [line.split("\t") for line in read_lines(path)]
    if not rows:
        raise ValueError(f"{path} is empty; expected the rows of {task.name}")

    # CoLA's labelled files have no header; a copy that was given one is recognised by it.
    first = 0
    header: Sequence[str] = task.headerless or ()
    if not (task.headerless and labelled) or "sentence" in rows[0]:
        header, first = rows[0], 1
    columns = _columns(header, task, labelled, f"{path}:1")
    examples = []
    broken = [number for number, row in enumerate(rows[first:], first + 1) if len(row) != len(header)]
    if 0 < len(broken) <= task.broken_lines:
        warn_once(
            f"{path}: left out {len(broken)} lines that a line break inside a text has broken, so that they lack some "
            f"of their {len(header)} columns; the first is line {broken[0]}"
        )
    for number, row in enumerate(rows[first:], first + 1):
        where = f"{path}:{number}"
        if len(row) != len(header):
            if len(broken) <= task.broken_lines:
                continue
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


def _columns(header: Sequence[str], task: GlueTask, labelled: bool, where: str) -> dict[str, int]:
    needed = [*task.texts, *([task.label] if labelled else [])]
    missing = [name for name in needed if header.count(name) != 1]
    if missing:
        raise ValueError(
            f"{where}: no column {', '.join(map(repr, missing))} for {task.name}, or several; the header has "
            f"{', '.join(map(repr, header))}"
        )
    return {name: header.index(name) for name in (*task.texts, task.label) if name in header}


def parse_label(text: str, task: GlueTask, labelled: bool, where: str) -> int | float | None:
    """The class number or score that ``text`` stands for; None for no label, which only unlabelled splits may have."""
    if not labelled and _is_no_label(text):
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


def _is_no_label(text: str) -> bool:
    """Nothing, "nan", or -1 however it is written: scores that are kept back are -1.0 on the hub."""
    try:
        number = float(text or "nan")
    except ValueError:
        return not text.strip()
    return math.isnan(number) or number == -1


def read_hub(task: GlueTask, part: str, labelled: bool = True) -> list[Example]:
    """The rows of ``part`` from the hub's ``nyu-mll/glue``; where it cannot be reached, a ``ValueError`` says so."""
    import datasets  # here, since it costs a second that readers of local files need not wait

    if task.hub_name is None:
        raise ValueError(f"{task.name} is not on the hub")
    try:
        rows = datasets.load_dataset(HUB, task.hub_name, split=task.hub_split(part), revision=REVISION)
    except Exception as error:  # offline, unknown host, timeout: each has a class of its own
        raise ValueError(
            f"{task.name} ({part}) could not be read from the hub ({HUB}): {type(error).__name__}: {error}. "
            "Without a network, give the folder with GLUE's TSV files as data.root, or run the embedded tasks "
            f"({', '.join(SUITE)})"
        ) from error
    return examples_from_rows(rows, task, f"{HUB} {task.hub_name} {part}", labelled)


def read_parquet(paths: Sequence[Path], task: GlueTask, *, labelled: bool = True) -> list[Example]:
    """The rows of parquet files in the hub's form, one file after the other.

    Raises:
        ValueError: for files that are no parquet, missing columns, or labels that are not allowed.
    """
    examples = []
    names = [*(task.hub_texts or task.texts), "label"]
    for path in paths:
        with reading(path, f"{task.name} in the hub's form", pyarrow.ArrowException):
            table = pyarrow.parquet.ParquetFile(path).read(columns=names)
            if missing := [name for name in names if table.column_names.count(name) != 1]:
                raise ValueError(f"{path}: no column {', '.join(map(repr, missing))} for {task.name}, or several")
            columns = [list(arrow_values(table.column(name), path)) for name in names]
        rows = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
        examples += examples_from_rows(rows, task, str(path), labelled)
    if not examples:
        raise ValueError(f"{paths[0]} has no rows")
    return examples


def examples_from_rows(
    rows: Iterable[Mapping[str, Any]], task: GlueTask, source: str, labelled: bool = True
) -> list[Example]:
    """Examples from mappings in the hub's form, whose labels are class numbers; the same checks as for files."""
    names = task.hub_texts or task.texts
    examples = []
    for number, row in enumerate(rows):
        where = f"{source}, row {number}"
        label = row["label"]
        if task.labels is not None and isinstance(label, int) and 0 <= label < len(task.labels):
            label = task.labels[label]
        texts = tuple(row[name] for name in names)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{where}: {', '.join(map(repr, names))} must be texts, not {texts!r}")
        for name, text in zip(names, texts, strict=True):
            checked_text(text, f"{where}: {name!r}")
        examples.append(Example(texts, parse_label("" if label is None else str(label), task, labelled, where)))
    return examples
