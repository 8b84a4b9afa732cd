"""One task of GLUE, or of the embedded suite, as the engine sees it: rows, batches, loss, metrics.

The short texts of a batch share rows of ``data.max_length`` slots (:mod:`metaformer_nlp.text.packing`), so that padding
costs nothing. Other encoders than ours cannot tell texts in a row apart: they get a row a text, padded to the longest.

Shapes: D examples of a batch in B rows of L slots, K classes (1 for a score).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from metaformer_nlp.engine import Dataset, Task
from metaformer_nlp.engine.files import replace_text
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextForSequenceClassification
from metaformer_nlp.text.packing import PackedClassifier
from tasks.cache import fingerprint_texts
from tasks.glue.files import Example, read_split
from tasks.glue.metrics import constant_scores, with_score
from tasks.glue.options import DataConfig
from tasks.glue.tasks import GlueTask
from tasks.text.checkpoints import save_text_model
from tasks.text.encoding import EncodedTexts, encode_texts, inputs_of, pack_rows, pad_rows, tokenizer_key
from tasks.text.model import TextModelConfig, encoder_macs
from tasks.text.sources import warn_once

__all__ = ["DataConfig", "GlueFinetuning", "Row", "split_rows", "write_predictions"]


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


class GlueFinetuning(Task):
    """The engine's Task for one task of the table.

    With ``held_out``, a share, that much of the training rows is measured on, as the split "held_out", and the
    published dev set plays no part. With ``predictions``, a folder, every evaluation leaves its answers there in
    ``predictions-<split>.tsv``: ``index<TAB>prediction<TAB>label``, a line for every row of the file, in its order.
    """

    def __init__(
        self,
        data: DataConfig,
        model: TextModelConfig,
        task: GlueTask,
        tokenizer: PreTrainedTokenizerBase,
        *,
        held_out: float | None = None,
        predictions: Path | None = None,
    ) -> None:
        self.data, self.model, self.task, self.tokenizer, self.predictions = data, model, task, tokenizer, predictions
        train = _subset(read_split(task, "train", data.root), data.max_train_rows, task)
        if held_out is None:
            examples = {"train": train, **{split: read_split(task, split, data.root) for split in task.evaluation}}
        else:
            examples = dict(zip(("train", "held_out"), split_rows(train, held_out, task.rows_per_sample), strict=True))
            held = examples["held_out"]
            first = next(number for number, row in enumerate(train) if row is held[0])
            warn_once(
                f"{task.name}: {len(held)} of {len(train)} training rows are held out and measured on, instead of "
                f"{', '.join(task.evaluation)}; the first is row {first}"
            )
        self._encoded, self._labels = {}, {}
        for split, rows in examples.items():
            self._encoded[split] = encode_texts([row.texts for row in rows], tokenizer, data.max_length)
            self._labels[split] = np.array([row.label for row in rows], np.float64)
            if len(cut := self._encoded[split].cut):
                warn_once(
                    f"{task.name} {split}: {len(cut)} of {len(rows)} rows are longer than data.max_length="
                    f"{data.max_length} and were cut; the first is row {cut[0]}"
                )
        self._texts = {
            split: fingerprint_texts("\0".join(row.texts) for row in rows) for split, rows in examples.items()
        }
        names = dict(enumerate(task.labels)) if task.labels else {0: "score"}
        self.model_config = model.build_config(
            tokenizer,
            data.max_length,
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
            for split in examples
            if split != "train"
        }

    def collate(self, samples: list[list[Row]]) -> dict[str, Tensor]:
        """The model's inputs (B, L): packed, with ``segment_ids``, or padded; ``labels`` and ``rows`` (D,)."""
        rows = [row for sample in samples for row in sample]
        assert self.tokenizer.pad_token_id is not None
        lay_out = pack_rows if self.packs else pad_rows
        batch = lay_out([(row.ids, row.second) for row in rows], self.tokenizer.pad_token_id, self.data.max_length)
        labels = torch.tensor([row.label for row in rows], dtype=torch.float32)
        batch["labels"] = labels if self.task.is_regression else labels.long()
        batch["rows"] = torch.tensor([row.number for row in rows])
        return batch

    def build_model(self) -> nn.Module:
        """The classifier; what is fresh in it is drawn from torch's generator."""
        model = self.model.build_classifier(self.model_config)
        self._macs = encoder_macs(model, self.data.max_length)
        self._inputs = inputs_of(model)
        return PackedClassifier(model) if isinstance(model, MetaFormerTextForSequenceClassification) else model

    def macs(self) -> int | None:
        """Multiply-accumulates of one row, of models that tell them; known once the model was built."""
        return self._macs

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

    def metric_names(self) -> list[str]:
        """What ``summarize`` gives."""
        return ["loss", *dict.fromkeys((*self.task.metrics, "score"))]

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """GLUE's metrics of the task, their mean ``score``, and the mean ``loss``."""
        predictions, labels = _in_order(results)
        loss = sum(float(result["loss"]) for result in results) / len(labels)
        from tasks.glue.metric import evaluate_task  # here, since its library takes most of a second

        metrics = with_score(evaluate_task(self.task, predictions, labels))
        if self.predictions is not None:
            write_predictions(self.predictions / f"predictions-{split}.tsv", self.task, predictions, labels)
        return {"loss": loss, **metrics}

    def items(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, NDArray[np.bool_]]:
        """Whether each row is ``correct``; nothing where the answer is a score."""
        predictions, labels = _in_order(results)
        return {} if self.task.is_regression else {"correct": predictions == labels}

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
        """Identity of the data, for each split its rows, texts and labels; of the tokenizer and of the checkpoint."""
        splits = {
            split: {"rows": len(labels), "texts": self._texts[split], "labels": fingerprint_texts(map(str, labels))}
            for split, labels in self._labels.items()
        }
        known = {"task": self.task.name, "tokenizer": tokenizer_key(self.tokenizer)}
        return {**known, **self.model.fingerprint(), **splits}

    def tokens_per_sample(self) -> float:
        """Mean number of tokens of a training sample."""
        return float(self._encoded["train"].lengths.sum() / len(self.train_data))

    def counts(self) -> dict[str, Any]:
        """Rows of each split, and how many of them were cut."""
        return {split: {"rows": len(part), "cut": len(part.cut)} for split, part in self._encoded.items()}

    def _logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(D, K) float32."""
        logits: Tensor
        if self.packs:
            logits = model(batch["input_ids"], batch["token_type_ids"], batch["segment_ids"], len(batch["labels"]))
        else:
            logits = model(**{key: batch[key] for key in self._inputs}).logits
        return logits.float()

    def _sum_of_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.task.is_regression:
            return F.mse_loss(logits[:, 0], labels, reduction="sum")
        return F.cross_entropy(logits, labels, reduction="sum")


def _in_order(results: list[dict[str, Tensor]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The predictions and the labels of all batches, in the order of the rows."""
    rows, predictions, labels = (
        torch.cat([result[key] for result in results]).numpy() for key in ("rows", "predictions", "labels")
    )
    order = np.argsort(rows)
    return predictions[order], labels[order]


def _subset(rows: list[Example], limit: int | None, task: GlueTask) -> list[Example]:
    """``limit`` rows, in groups that stay together."""
    if limit is None or limit >= len(rows):
        return rows
    size = task.rows_per_sample
    groups = np.random.default_rng(0).permutation(len(rows) // size)[: max(1, limit // size)]
    kept = sorted(int(group) * size + k for group in groups for k in range(size))
    first = next((number for number, row in enumerate(kept) if number != row), len(kept))
    warn_once(
        f"{task.name} train: {len(rows) - len(kept)} of {len(rows)} rows are left out (data.max_train_rows {limit}); "
        f"the first is row {first}"
    )
    return [rows[number] for number in kept]


def split_rows(rows: list[Example], share: float, rows_per_sample: int) -> tuple[list[Example], list[Example]]:
    """All but about ``share`` of the rows, and that share; what becomes of a row depends on its number alone.

    Raises:
        ValueError: so few rows that one of both would be empty.
    """
    groups = len(rows) // rows_per_sample
    held = np.repeat(np.random.default_rng(0).random(groups) < share, rows_per_sample)
    parts = tuple([row for row, out in zip(rows, held, strict=True) if out == wanted] for wanted in (False, True))
    if not all(parts):
        raise ValueError(f"holding out {share} of {len(rows)} training rows leaves nothing on one side; take another")
    return parts[0], parts[1]


def write_predictions(path: Path, task: GlueTask, predictions: NDArray[Any], labels: NDArray[Any]) -> None:
    """The answers in words, or as numbers with all their digits, beside the labels; appears whole or not at all."""

    def word(value: Any) -> str:
        return repr(float(value)) if task.labels is None else task.labels[int(value)]

    pairs = enumerate(zip(predictions, labels, strict=True))
    lines = [f"{index}\t{word(prediction)}\t{word(label)}\n" for index, (prediction, label) in pairs]
    replace_text(path, "index\tprediction\tlabel\n" + "".join(lines))
