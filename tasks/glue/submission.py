"""Predictions for GLUE's unlabelled test sets, as the zip file that gluebenchmark.com takes.

The rules (the server's FAQ; how others write the files: jiant, transformers #2198): one zip with the eleven files of
:data:`FILES` at its top level, each with the header ``index<TAB>prediction`` and one line for every test row, numbered
from 0; words for the entailment tasks, 0 and 1 for the others, for STS-B a number from 0 to 5. The server refuses an
incomplete set, so what was not trained, or has no test file here, gets training's most frequent answer and is reported.
"""

from __future__ import annotations

import io
import logging
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from metaformer_nlp.errors import reading
from tasks.glue.files import find_files, read_split
from tasks.glue.tasks import GLUE, GlueTask
from tasks.text.checkpoints import load_text_model, load_tokenizer
from tasks.text.encoding import encode_texts, inputs_of, pad_rows

__all__ = ["FILES", "SubmissionFile", "check_submission", "predict", "write_submission"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SubmissionFile:
    """One file of the zip: which task and split it predicts, how many rows that has, and the answer to fall back on."""

    task: str
    split: str
    rows: int
    constant: str
    """Training's most frequent answer; for STS-B the middle of the scale; for WNLI what its test set has most."""
    model_of: str | None = None
    """The task whose model predicts it, if it has no training data of its own."""


FILES: dict[str, SubmissionFile] = {
    "CoLA": SubmissionFile("CoLA", "test", 1063, "1"),
    "SST-2": SubmissionFile("SST-2", "test", 1821, "1"),
    "MRPC": SubmissionFile("MRPC", "test", 1725, "1"),
    "STS-B": SubmissionFile("STS-B", "test", 1379, "2.500"),
    "QQP": SubmissionFile("QQP", "test", 390965, "0"),
    "MNLI-m": SubmissionFile("MNLI", "test", 9796, "contradiction"),
    "MNLI-mm": SubmissionFile("MNLI", "test_mismatched", 9847, "contradiction"),
    "QNLI": SubmissionFile("QNLI", "test", 5463, "entailment"),
    "RTE": SubmissionFile("RTE", "test", 3000, "entailment"),
    "WNLI": SubmissionFile("WNLI", "test", 146, "0"),
    "AX": SubmissionFile("AX", "test", 1104, "entailment", model_of="MNLI"),
}
"""File name without ``.tsv`` -> what is in it. Row counts are the published ones."""


def predict(
    folder: str | Path, texts: list[tuple[str, ...]], max_length: int, batch_size: int = 64
) -> NDArray[np.float64]:
    """(N, K) logits of the classifier saved in ``folder`` for N rows of one or two texts, in the rows' order.

    Batches are made of rows of like length, so that padding costs little. Runs on an accelerator where there is one.
    """
    tokenizer = load_tokenizer(str(folder), "the model of a run")
    model: Any = load_text_model(folder, "the model of a run", "SequenceClassification")  # mypy: wrapped methods
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    model.to(device)
    encoded = encode_texts(texts, tokenizer, max_length)
    order, inputs = np.argsort(encoded.lengths, kind="stable"), inputs_of(model)
    logits = np.empty((len(texts), model.config.num_labels))
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = pad_rows([encoded.row(row) for row in rows], tokenizer.pad_token_id, max_length)
            output = model(**{key: batch[key].to(device) for key in inputs}).logits
            logits[rows] = output.float().cpu().numpy()
    return logits


def answers(task: GlueTask, logits: NDArray[np.float64]) -> list[str]:
    """(N, K) logits as the words that the server expects."""
    if task.labels is None:
        assert task.label_range is not None
        return [f"{value:.3f}" for value in np.clip(logits[:, 0], *task.label_range) + 0.0]  # no "-0.000"
    return [task.labels[number] for number in logits.argmax(axis=1)]


def write_submission(
    models: Mapping[str, str | Path], root: str | None, path: Path, max_length: int = 128
) -> dict[str, str]:
    """Predict every test set and write the zip at ``path``; returns what each file was made from.

    Args:
        models: task -> folder of its fine-tuned classifier. WNLI is answered by the constant whatever is given: its
            test set is made so that a model which learned from its training set does worse than that.
        root: folder in GLUE's layout with the test files, or None for the hub.
        path: the zip file; written under another name first.
        max_length: tokens of the longest row, as in fine-tuning.

    Raises:
        ValueError: a task that GLUE has not, or a test file that cannot be read.
    """
    if unknown := sorted(models.keys() - GLUE.keys()):
        raise ValueError(f"no task of GLUE: {', '.join(unknown)}; GLUE has {', '.join(GLUE)}")
    contents, made = {}, {}
    for name, file in FILES.items():
        folder = models.get(file.model_of or file.task)
        reason = "WNLI's training set misleads" if file.task == "WNLI" else "no model" if folder is None else None
        texts = None if reason else _test_texts(file, root)
        if texts is None:
            lines = [file.constant] * file.rows
            made[name] = f"constant answer {file.constant} ({reason or 'no test file'})"
        else:
            assert folder is not None
            lines = answers(GLUE[file.task], predict(folder, texts, max_length))
            made[name] = f"{folder}, {len(lines)} rows"
            if len(lines) != file.rows:
                made[name] += f" (the published test set has {file.rows}: the server would refuse this file)"
        contents[name] = "index\tprediction\n" + "".join(f"{row}\t{line}\n" for row, line in enumerate(lines))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in contents.items():
            archive.writestr(
                zipfile.ZipInfo(f"{name}.tsv"), text, zipfile.ZIP_DEFLATED
            )  # no clock: the same bytes again
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_bytes(buffer.getvalue())
    temporary.replace(path)
    return made


def _test_texts(file: SubmissionFile, root: str | None) -> list[tuple[str, ...]] | None:
    """The rows of the test set, or None where the folder has no such file."""
    task = GLUE[file.task]
    if root is not None and not find_files(task, file.split, Path(root)):
        logger.warning("%s has no %s.tsv of %s", root, task.test[file.split], task.name)
        return None
    return [row.texts for row in read_split(task, file.split, root)]


def check_submission(path: Path) -> list[str]:
    """What the server would refuse in the zip at ``path``, a sentence each; nothing if it keeps the rules."""
    problems = []
    with reading(path, "a zip file", zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        found = Counter(archive.namelist())
        wanted = {f"{name}.tsv" for name in FILES}
        problems += [f"{name} is missing" for name in sorted(wanted - found.keys())]
        problems += [f"{name} does not belong there" for name in sorted(found.keys() - wanted)]
        problems += [f"{name} is there {count} times" for name, count in found.items() if count > 1]
        for name in sorted(wanted & found.keys()):
            problems += [f"{name}: {problem}" for problem in _check_file(name[:-4], archive.read(name).decode("utf-8"))]
    return problems


def _check_file(name: str, text: str) -> list[str]:
    file, lines = FILES[name], text.split("\n")
    if lines[0] != "index\tprediction":
        return [f"the header is {lines[0]!r}, not 'index<TAB>prediction'"]
    if lines.pop() != "":
        return ["the last line does not end"]
    if len(lines) - 1 != file.rows:
        return [f"{len(lines) - 1} rows instead of {file.rows}"]
    task = GLUE[file.task]
    for number, line in enumerate(lines[1:]):
        index, _, answer = line.partition("\t")
        if index != str(number):
            return [f"row {number} has the index {index!r}"]
        if task.labels is not None and answer not in task.labels:
            return [f"row {number}: {answer!r} is not one of {', '.join(task.labels)}"]
        if task.labels is None and not _is_score(answer, task):
            return [f"row {number}: {answer!r} is no number from 0 to 5 with three decimals"]
    return []


def _is_score(answer: str, task: GlueTask) -> bool:
    assert task.label_range is not None
    low, high = task.label_range
    whole, point, decimals = answer.partition(".")
    return (
        whole.isdecimal()
        and point == "."
        and len(decimals) == 3
        and decimals.isdecimal()
        and low <= float(answer) <= high
    )
