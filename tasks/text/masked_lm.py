"""Masked-LM pre-training of the text encoder on packed rows of plain text (tasks/text/data.py).

Logits are computed for the masked tokens only.

Shapes: B rows, L slots of a row, M masked tokens of the batch, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PreTrainedConfig, PreTrainedTokenizerBase

from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.engine import Dataset, Task
from metaformer_nlp.text import MetaFormerTextForMaskedLM
from metaformer_nlp.text.masking import IGNORE
from tasks.planned_cost import counted_once, parameters_of, planned_training, without_memory
from tasks.text.checkpoints import save_text_model, tokenizer_hash
from tasks.text.data import (
    DataConfig,
    MaskedRow,
    MaskedRows,
    MaskingConfig,
    log_frequencies,
    make_tokenizer,
    most_frequent_token,
    sources_of,
    tokens_per_row,
)
from tasks.text.encoding import pad_rows, tokenizer_key
from tasks.text.model import encoder_macs
from tasks.text.options import MaskedLMConfig as Config
from tasks.text.packed import pack_text
from tasks.training import train

__all__ = ["Config", "DataConfig", "MaskedLM", "MaskingConfig", "run"]


class MaskedPositions(nn.Module):
    """A masked language model that is asked for the masked tokens only, since the vocabulary costs a lot."""

    def __init__(self, model: MetaFormerTextForMaskedLM) -> None:
        super().__init__()
        self.model = model
        self._no_split_modules = model._no_split_modules  # accelerate shards by these

    def forward(self, input_ids: Tensor, segment_ids: Tensor, positions: Tensor) -> Tensor:
        """(B, L), (B, L) and places (M,) in the flattened rows -> logits (M, V)."""
        hidden = self.model.encoder(input_ids, segment_ids=segment_ids).last_hidden_state
        logits: Tensor = self.model.lm_head(hidden.flatten(0, 1)[positions])
        return logits


class MaskedLM(Task):
    """The engine's Task for one :class:`Config`."""

    def __init__(self, config: Config) -> None:
        data = config.data
        train, held_out = sources_of(data)
        self.config, self.tokenizer = config, make_tokenizer(data, config.model.checkpoint, train)
        self._text = {
            "train": pack_text(train, self.tokenizer, data.max_length),
            "validation": pack_text(held_out, self.tokenizer, data.max_length),
        }
        self.model_config = config.model.build_config(self.tokenizer, data.max_length)
        self._most_frequent = most_frequent_token(self._text["train"], np.array(self.tokenizer.all_special_ids))
        self.train_data: Dataset = MaskedRows(self._text["train"], self.tokenizer, config.masking)
        self.eval_data: Mapping[str, Dataset] = {
            "validation": MaskedRows(self._text["validation"], self.tokenizer, config.masking)
        }

    def collate(self, samples: list[MaskedRow]) -> dict[str, Tensor]:
        """``input_ids`` and ``segment_ids`` (B, L), ``positions`` and ``targets`` (M,)."""
        assert self.tokenizer.pad_token_id is not None
        rows = [(sample.ids.astype(np.int32), len(sample.ids)) for sample in samples]
        input_ids = pad_rows(rows, self.tokenizer.pad_token_id, self.config.data.max_length)["input_ids"]
        segments, labels = np.zeros(input_ids.shape, np.int64), np.full(input_ids.shape, IGNORE, np.int64)
        for i, sample in enumerate(samples):
            segments[i, : len(sample.segments)] = sample.segments
            labels[i, : len(sample.labels)] = sample.labels
        positions = np.flatnonzero(labels != IGNORE)
        return {
            "input_ids": input_ids,
            "segment_ids": torch.from_numpy(segments),
            "positions": torch.from_numpy(positions),
            "targets": torch.from_numpy(labels.reshape(-1)[positions]),
        }

    def build_model(self) -> nn.Module:
        """The masked language model; what is fresh in it is drawn from torch's generator."""
        model = self.config.model.build_model(AutoModelForMaskedLM, self.model_config)
        if not isinstance(model, MetaFormerTextForMaskedLM):
            raise ValueError(
                f"model.checkpoint={self.config.model.checkpoint} is a {type(model).__name__}, which cannot tell the "
                "documents of a packed row apart; give the folder of a metaformer_text model"
            )
        if self.config.decoder_bias is not None:
            with torch.no_grad():
                model.lm_head.decoder.bias.copy_(torch.from_numpy(log_frequencies(self._text["train"])))
        length = self.config.data.max_length
        self._macs = encoder_macs(model, length, predictions=round(self.config.masking.rate * length)) or 0
        return MaskedPositions(model).train()

    def macs(self) -> int:
        """Multiply-accumulates of one row; known once the model was built."""
        return self._macs

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the masked tokens' cross entropies, and their number."""
        logits = self._logits(model, batch)
        return F.cross_entropy(logits, batch["targets"], reduction="sum"), _count(logits)

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the masked tokens: ``loss``, ``context_free_correct``, ``count``; ``mask_...`` are the same over
        those that show [MASK]. And of each masked token, (M,), whether it is ``correct`` and whether its place shows
        [MASK], ``hidden``.
        """
        logits, targets = self._logits(model, batch), batch["targets"]
        seen = batch["input_ids"].flatten()[batch["positions"]]  # [MASK], the token itself, or a random one
        hidden = seen == self.tokenizer.mask_token_id
        loss = F.cross_entropy(logits, targets, reduction="none").double()
        correct = logits.argmax(-1) == targets
        context_free_correct = targets == torch.where(hidden, self._most_frequent, seen)
        return {
            "loss": loss.sum(),
            "correct": correct,
            "hidden": hidden,
            "context_free_correct": context_free_correct.sum(),
            "count": _count(logits),
            "mask_loss": loss[hidden].sum(),
            "mask_correct": correct[hidden].sum(),
            "mask_context_free_correct": context_free_correct[hidden].sum(),
            "mask_count": hidden.sum(),
        }

    def metric_names(self) -> list[str]:
        """What ``summarize`` gives."""
        means = [f"{of}{name}" for of in ("", "mask_") for name in ("loss", "accuracy", "context_free_accuracy")]
        return [*means, "masked_perplexity"]

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """Per masked token: ``loss``, ``accuracy``, ``context_free_accuracy``, and ``masked_perplexity``, which is e to
        the loss: not the pseudo-perplexity of scripts/evaluate_text.py, in which each token is hidden by itself.

        ``context_free_accuracy`` is that of answering with the token that stands in the place or, where it is [MASK],
        with the training text's most frequent one: what can be had from the place alone, since a tenth of the masked
        tokens are left as they are. A score above it has used the neighbours.

        ``mask_loss``, ``mask_accuracy`` and ``mask_context_free_accuracy`` are the same of the places that show [MASK]
        alone, where nothing but the neighbours tells one from another.
        """
        sums = {key: sum(float(result[key].sum()) for result in results) for key in results[0]}
        means: dict[str, float] = {}
        for of in ("", "mask_"):
            count = max(sums[f"{of}count"], 1.0)
            means[f"{of}loss"] = sums[f"{of}loss"] / count
            means[f"{of}accuracy"] = sums[f"{of}correct"] / count
            means[f"{of}context_free_accuracy"] = sums[f"{of}context_free_correct"] / count
        # Above e^700 a float is infinite, which no JSON file can say.
        return {**means, "masked_perplexity": math.exp(min(means["loss"], 700.0))}

    def items(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, NDArray[np.bool_]]:
        """Whether each masked token is ``correct``, and whether its place shows [MASK], ``hidden``."""
        return {key: torch.cat([result[key] for result in results]).numpy() for key in ("correct", "hidden")}

    def tokens_per_sample(self) -> float:
        """Mean number of tokens in a row of the training text, [CLS] and [SEP] counted and padding not."""
        return tokens_per_row(self._text["train"])

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """The model and its tokenizer, as the Auto classes and ``pipeline("fill-mask")`` read them."""
        assert isinstance(model, MaskedPositions)
        save_text_model(model.model, self.tokenizer, folder)

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the data: documents, tokens and rows of both parts, a hash of the tokens, the tokenizer; and of
        the checkpoint that training begins with.
        """
        parts = {
            name: {key: text.info[key] for key in ("content", "documents", "tokens", "rows")}
            for name, text in self._text.items()
        }
        return {"tokenizer": tokenizer_key(self.tokenizer), **self.config.model.fingerprint(), **parts}

    def _logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(M, V) float32."""
        logits: Tensor = model(batch["input_ids"], batch["segment_ids"], batch["positions"])
        return logits.float()


def _count(logits: Tensor) -> Tensor:
    return torch.tensor(len(logits), device=logits.device)


def tokenizer_of(config: Config) -> PreTrainedTokenizerBase:
    """The tokenizer that a run of ``config`` has; one that is trained on the text is kept in the cache."""
    data, checkpoint = config.data, config.model.checkpoint
    return counted_once(lambda: make_tokenizer(data, checkpoint, sources_of(data)[0]), data, checkpoint)


def saved_config(config: Config) -> PreTrainedConfig:
    """The configuration of the model that a run of ``config`` saves, known before it."""
    tokenizer = tokenizer_of(config)
    saved = config.model.build_config(tokenizer, config.data.max_length)
    saved.tokenizer_hash = tokenizer_hash(tokenizer)
    return saved


def cost(config: Config, start: Any = None) -> dict[str, Any]:
    """What ``run`` will take, without training: ``steps``, ``samples`` (rows), ``tokens``, ``parameters``, ``macs`` of
    one row and ``training_macs`` of all forward passes, under the names of the result.

    The text is tokenised into the cache, where ``run`` finds it. Steps, samples and tokens are left out where
    ``schedule.minutes`` limits the run. ``start`` is the configuration of the run that will make ``model.checkpoint``,
    where that is not there yet.

    Raises:
        ValueError: as ``run`` does, for options that do not fit (the checkpoint's, too) and data that is not there.
    """
    import_plugins(config.plugins)
    start = start if config.model.checkpoint is not None else None
    length = config.data.max_length
    tokenizer = tokenizer_of(config if start is None or config.data.tokenizer is not None else start)

    def count() -> tuple[int, float]:
        text = pack_text(sources_of(config.data)[0], tokenizer, length)
        return len(text), tokens_per_row(text)

    num_rows, mean_tokens = counted_once(count, config.data, tokenizer_key(tokenizer))
    saved = None if start is None else saved_config(start)
    description = config.model.build_config(tokenizer, length, saved=saved)
    model = without_memory(lambda: AutoModelForMaskedLM.from_config(description))
    training = planned_training(config.run, config.optim, config.schedule, num_rows, mean_tokens)
    macs = encoder_macs(model, length, predictions=round(config.masking.rate * length)) or 0
    total = {"training_macs": macs * training["samples"]} if training else {}
    return {**training, "parameters": parameters_of(model), "macs": macs, **total}


def run(config: Config) -> dict[str, Any]:
    """Train, evaluate and save; returns what the run folder's result.json holds."""
    return train(MaskedLM, config)
