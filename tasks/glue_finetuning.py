"""Sequence classification and regression on GLUE's tasks, and on the embedded suite in GLUE's layout.

One call may name several tasks. Each is a run of its own in ``<folder>/<task>/``; the folder itself gets a
``result.json`` with every task's metrics, what a constant answer scores, and the averages.

The short texts of a batch share rows of ``data.max_length`` slots (:mod:`metaformer_nlp.text.packing`), so that padding
costs nothing. Other encoders than ours cannot tell texts in a row apart: they get a row a text, padded to the longest.

Shapes: D examples of a batch in B rows of L slots, K classes (1 for a score).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from metaformer_nlp.engine import Dataset, OptimConfig, RunConfig, ScheduleConfig, run_training
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextForSequenceClassification
from metaformer_nlp.text.packing import PackedClassifier
from tasks.cache import fingerprint_texts
from tasks.cli import to_dict
from tasks.encoding import EncodedTexts, encode_texts, pack_rows, pad_rows, tokenizer_key, trained_tokenizer
from tasks.english import english_documents
from tasks.glue import GLUE, SUITE, GlueTask, task_named
from tasks.glue_files import Example, available_tasks, read_split
from tasks.metrics import compute, constant_scores
from tasks.plugins import import_plugins
from tasks.text_model import TextModelConfig, encoder_macs, load_tokenizer, save_text_model

__all__ = ["Config", "DataConfig", "GlueFinetuning", "run"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataConfig:
    """Which tasks, where their rows come from, and how they become tokens."""

    tasks: str | list[str] = "suite"
    """suite (embedded: topic, order, pairs), all (every task that is whole under root; without root, GLUE from the
    hub), a task's name (CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI, RTE, WNLI, topic, order, pairs), or a list."""
    root: str | None = None
    """Folder in GLUE's layout, with SST-2/train.tsv and so on. null: GLUE's tasks are read from the hub."""
    max_length: int = 128
    """Longest row in tokens, special tokens included; longer ones are cut and counted."""
    tokenizer: str | None = None
    """Folder of a saved tokenizer. null: the checkpoint's; if there is none, one is trained on the training texts."""
    vocab_size: int = 8192
    """Size of a tokenizer that is trained here."""
    max_train_rows: int | None = None
    """Train on this many rows, the first of a fixed shuffle. null: all."""


@dataclass(frozen=True)
class Config:
    """Fine-tune (or train from nothing) a text encoder on one or several tasks."""

    run: RunConfig
    schedule: ScheduleConfig
    model: TextModelConfig = field(default_factory=TextModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    tracker: str | None = None
    """Experiment tracker beside metrics.jsonl: tensorboard, wandb, mlflow, ... (the library must be installed)."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""


@dataclass(frozen=True)
class Row:
    """One row of a task as the model sees it; ``number`` is its place in the file."""

    ids: NDArray[np.int32]
    second: int
    label: float
    number: int


class Rows:
    """A split as the engine's map-style data, from short to long if asked; a sample is rows that stand together."""

    def __init__(
        self, encoded: EncodedTexts, labels: NDArray[np.float64], rows_per_sample: int = 1, by_length: bool = False
    ) -> None:
        self.encoded, self.labels, self.rows_per_sample = encoded, labels, rows_per_sample
        self.order = np.argsort(encoded.lengths, kind="stable") if by_length else np.arange(len(encoded))

    def __len__(self) -> int:
        return len(self.order) // self.rows_per_sample

    def sample(self, index: int, rng: np.random.Generator | None = None) -> list[Row]:
        """The rows of sample ``index``; nothing about them is random."""
        places = self.order[index * self.rows_per_sample : (index + 1) * self.rows_per_sample]
        return [Row(*self.encoded.row(place), float(self.labels[place]), int(place)) for place in places]


class GlueFinetuning:
    """The engine's Task for one task of the table."""

    macs: Callable[[], int] | None = None

    def __init__(self, config: Config, task: GlueTask, tokenizer: PreTrainedTokenizerBase) -> None:
        self.config, self.task, self.tokenizer = config, task, tokenizer
        root, limit = config.data.root, config.data.max_train_rows
        examples = {"train": _subset(read_split(task, "train", root), limit, task.rows_per_sample)}
        examples |= {split: read_split(task, split, root) for split in task.evaluation}
        self._encoded, self._labels = {}, {}
        for split, rows in examples.items():
            self._encoded[split] = encode_texts([row.texts for row in rows], tokenizer, config.data.max_length)
            self._labels[split] = np.array([row.label for row in rows], np.float64)
            if self._encoded[split].truncated:
                logger.warning(
                    "%s %s: %d of %d rows are longer than data.max_length=%d and were cut",
                    task.name, split, self._encoded[split].truncated, len(rows), config.data.max_length,
                )  # fmt: skip
        self._texts = {
            split: fingerprint_texts("\0".join(row.texts) for row in rows) for split, rows in examples.items()
        }
        names = dict(enumerate(task.labels)) if task.labels else {0: "score"}
        self.model_config = config.model.build_config(
            tokenizer,
            config.data.max_length,
            id2label=names,
            label2id={name: number for number, name in names.items()},
            problem_type="regression" if task.is_regression else "single_label_classification",
            finetuning_task=task.name,
        )
        self.packs = isinstance(self.model_config, MetaFormerTextConfig)
        self.train_data: Dataset = Rows(self._encoded["train"], self._labels["train"], task.rows_per_sample)
        # Texts of unlike length fill a row best, texts of like length need the least padding.
        self.eval_data: Mapping[str, Dataset] = {
            split: Rows(self._encoded[split], self._labels[split], by_length=not self.packs)
            for split in task.evaluation
        }

    def collate(self, samples: list[list[Row]]) -> dict[str, Tensor]:
        """The model's inputs (B, L): packed, with ``segment_ids``, or padded; ``labels`` and ``rows`` (D,)."""
        rows = [row for sample in samples for row in sample]
        assert self.tokenizer.pad_token_id is not None
        lay_out = pack_rows if self.packs else pad_rows
        batch = lay_out(
            [(row.ids, row.second) for row in rows], self.tokenizer.pad_token_id, self.config.data.max_length
        )
        labels = torch.tensor([row.label for row in rows], dtype=torch.float32)
        batch["labels"] = labels if self.task.is_regression else labels.long()
        batch["rows"] = torch.tensor([row.number for row in rows])
        return batch

    def build_model(self) -> nn.Module:
        """The classifier; what is fresh in it is drawn from torch's generator."""
        model = self.config.model.build_classifier(self.model_config)
        macs = encoder_macs(model, self.config.data.max_length)
        if macs is not None:
            self.macs = functools.partial(int, macs)
        return PackedClassifier(model) if isinstance(model, MetaFormerTextForSequenceClassification) else model

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the rows' cross entropies, or of their squared errors, and the number of rows."""
        logits, labels = self._logits(model, batch), batch["labels"]
        return self._sum_of_losses(logits, labels), torch.tensor(len(labels), device=labels.device)

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``loss`` (a sum), and for each row ``predictions``, ``labels`` and ``rows``."""
        logits, labels = self._logits(model, batch), batch["labels"]
        predictions = logits[:, 0] if self.task.is_regression else logits.argmax(dim=1)
        loss = self._sum_of_losses(logits, labels).double()
        return {"loss": loss, "predictions": predictions, "labels": labels, "rows": batch["rows"]}

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """GLUE's metrics of the task, their mean ``score``, and the mean ``loss``."""
        rows = torch.cat([result["rows"] for result in results]).numpy()
        order = np.argsort(rows)
        predictions = torch.cat([result["predictions"] for result in results]).numpy()[order]
        labels = torch.cat([result["labels"] for result in results]).numpy()[order]
        loss = sum(float(result["loss"]) for result in results) / len(rows)
        return {"loss": loss, **compute(self.task.metrics, predictions, labels)}

    def constant(self) -> dict[str, dict[str, float]]:
        """Split -> the metrics of always giving training's most frequent answer."""
        train = self._labels["train"]
        return {split: constant_scores(self.task.metrics, train, self._labels[split]) for split in self.eval_data}

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """The model and its tokenizer, as the Auto classes and ``pipeline`` read them."""
        model = model.model if isinstance(model, PackedClassifier) else model
        assert isinstance(model, PreTrainedModel)
        save_text_model(model, self.tokenizer, folder)

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the data: for each split its rows, texts and labels; and the tokenizer."""
        splits = {
            split: {"rows": len(labels), "texts": self._texts[split], "labels": fingerprint_texts(map(str, labels))}
            for split, labels in self._labels.items()
        }
        return {"task": self.task.name, "tokenizer": tokenizer_key(self.tokenizer), **splits}

    def counts(self) -> dict[str, Any]:
        """Rows of each split, and how many of them were cut."""
        return {split: {"rows": len(part), "cut": part.truncated} for split, part in self._encoded.items()}

    def _logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(D, K) float32."""
        logits: Tensor
        if self.packs:
            logits = model(batch["input_ids"], batch["token_type_ids"], batch["segment_ids"], len(batch["labels"]))
        else:
            logits = model(**{key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}).logits
        return logits.float()

    def _sum_of_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.task.is_regression:
            return F.mse_loss(logits[:, 0], labels, reduction="sum")
        return F.cross_entropy(logits, labels, reduction="sum")


def run(config: Config) -> dict[str, Any]:
    """Train and evaluate every task of ``config``; returns what ``<folder>/result.json`` holds."""
    import_plugins(config.plugins)
    names = _task_names(config.data)
    tokenizer = _tokenizer(config, names)
    results, constants, counts = {}, {}, {}
    for name in names:
        single = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, tasks=[name]),
            run=dataclasses.replace(config.run, folder=str(Path(config.run.folder) / name)),
        )
        task = GlueFinetuning(single, task_named(name), tokenizer)
        results[name] = run_training(
            task,
            optim=single.optim,
            schedule=single.schedule,
            run=single.run,
            config=to_dict(single),
            tracker=single.tracker,
        )
        constants[name], counts[name] = task.constant(), task.counts()
    combined = combine(results, constants, counts)
    if os.environ.get("RANK", "0") == "0":  # set by every launcher that starts several processes
        path = Path(config.run.folder) / "result.json"
        temporary = path.with_name(".tmp-result.json")
        temporary.write_text(json.dumps(combined, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
        Console().print(_table(names, results, constants, combined["metrics"]))
    return combined


def combine(
    results: Mapping[str, Mapping[str, Any]],
    constants: Mapping[str, Mapping[str, Mapping[str, float]]],
    counts: Mapping[str, Any],
) -> dict[str, Any]:
    """The result of several tasks as one.

    ``metrics`` has ``<split>/<task>/<metric>`` for what was reached and ``constant/<task>/<metric>`` for the most
    frequent answer, and of both the ``average``: the mean of the tasks' scores (a task's score is the mean of its
    metrics; MNLI's is the mean over its two sets), and where WNLI is one of several tasks, ``average_without_wnli``.
    """
    metrics: dict[str, float] = {}
    for name, result in results.items():
        for key, value in result["metrics"].items():
            split, metric = key.split("/", 1)
            metrics[f"{split}/{name}/{metric}"] = value
        for metric, value in constants[name]["validation"].items():
            metrics[f"constant/{name}/{metric}"] = value
    for prefix in ("validation", "constant"):
        scores = {}
        for name, splits in constants.items():
            sets = [
                splits[split]["score"] if prefix == "constant" else metrics[f"{split}/{name}/score"] for split in splits
            ]
            scores[name] = float(np.mean(sets))
        metrics[f"{prefix}/average"] = float(np.mean(list(scores.values())))
        if "WNLI" in scores and len(scores) > 1:
            rest = [score for name, score in scores.items() if name != "WNLI"]
            metrics[f"{prefix}/average_without_wnli"] = float(np.mean(rest))
    first = next(iter(results.values()))
    return {
        "metrics": metrics,
        "tasks": {name: {**result, "data": counts[name]} for name, result in results.items()},
        # Of one task's model; the tasks differ in the size of the classifier only.
        "parameters": first["parameters"],
        **({"macs": first["macs"]} if "macs" in first else {}),
        "train": {"steps": sum(result["train"]["steps"] for result in results.values())},
        "seconds": sum(result["seconds"] for result in results.values()),
    }


def _task_names(data: DataConfig) -> list[str]:
    given = [data.tasks] if isinstance(data.tasks, str) else data.tasks
    names: list[str] = []
    for name in given:
        if name == "suite":
            names += SUITE
        elif name == "all" and data.root is not None:
            complete, partial = available_tasks(Path(data.root))
            if partial:
                logger.warning("%s: left out, since train.tsv or dev.tsv is missing: %s", data.root, ", ".join(partial))
            names += complete
        elif name == "all":
            names += [task.name for task in GLUE.values() if task.train]
        else:
            task = task_named(name)
            if task.train is None:
                raise ValueError(f"{task.name} has no training data: it is predicted with a model of MNLI")
            names.append(task.name)
    if not names:
        raise ValueError("data.tasks is empty; name tasks, suite or all")
    return list(dict.fromkeys(names))


def _tokenizer(config: Config, names: Sequence[str]) -> PreTrainedTokenizerBase:
    if config.data.tokenizer is not None:
        return load_tokenizer(config.data.tokenizer, "data.tokenizer")
    if config.model.checkpoint is not None:
        return load_tokenizer(config.model.checkpoint, "model.checkpoint")
    # Small tasks alone have too few different words for a vocabulary; the embedded English is always there.
    texts = [document.text for document in english_documents()]
    for name in names:
        task = task_named(name)
        if task.name not in SUITE:  # whose texts are the embedded English
            texts += ["\n".join(row.texts) for row in read_split(task, "train", config.data.root)]
    return trained_tokenizer(texts, config.data.vocab_size)


def _subset(rows: list[Example], limit: int | None, rows_per_sample: int) -> list[Example]:
    """``limit`` rows, in groups that stay together."""
    if limit is None or limit >= len(rows):
        return rows
    groups = np.random.default_rng(0).permutation(len(rows) // rows_per_sample)[: max(1, limit // rows_per_sample)]
    return [rows[group * rows_per_sample + k] for group in sorted(groups) for k in range(rows_per_sample)]


def _table(
    names: Sequence[str],
    results: Mapping[str, Mapping[str, Any]],
    constants: Mapping[str, Mapping[str, Mapping[str, float]]],
    metrics: Mapping[str, float],
) -> Table:
    # Names are never cut: where there is no terminal, rich takes 80 columns.
    names_first = [Column(title, no_wrap=True) for title in ("task", "set", "metric")]
    table = Table(*names_first, "value", "constant", "loss", caption="constant: always training's most frequent answer")
    for name in names:
        for split, scores in constants[name].items():
            for metric in task_named(name).metrics:
                reached = results[name]["metrics"]
                table.add_row(
                    name, split, metric,
                    f"{reached[f'{split}/{metric}']:.4f}", f"{scores[metric]:.4f}", f"{reached[f'{split}/loss']:.4f}",
                )  # fmt: skip
    for key in ("average", "average_without_wnli"):
        if f"validation/{key}" in metrics:
            table.add_row(
                key, "", "score", f"{metrics[f'validation/{key}']:.4f}", f"{metrics[f'constant/{key}']:.4f}", ""
            )
    return table
