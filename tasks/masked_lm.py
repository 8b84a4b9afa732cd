"""Masked-LM pre-training of the text encoder on packed rows of plain text.

What is masked in a row is a function of (seed, epoch, row); in evaluation of the row alone, at a rate of 15 % whatever
the training rate is, so that losses can be compared. Logits are computed for the masked tokens only.

Shapes: B rows, L slots of a row, M masked tokens of the batch, V vocabulary.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerBase

from metaformer_nlp.engine import Dataset, OptimConfig, RunConfig, ScheduleConfig
from metaformer_nlp.text import MetaFormerTextForMaskedLM
from metaformer_nlp.text.masking import IGNORE, WordPieces, mask_tokens, replacement_ids
from tasks.corpus import PackedText, pack_text
from tasks.encoding import pad_rows, tokenizer_key, trained_tokenizer
from tasks.planned_cost import counted_once, parameters_of, planned_training, without_memory
from tasks.plugins import import_plugins
from tasks.text_data import DocumentUnit, TextSource, text_source
from tasks.text_model import TextModelConfig, encoder_macs, load_tokenizer, save_text_model
from tasks.training import train

__all__ = ["Config", "DataConfig", "MaskedLM", "MaskingConfig", "run"]

EVAL_RATE = 0.15
_EVAL_MASKS = 11  # sets these random choices apart from others
_TOKENIZER_CHARACTERS = 10_000_000  # enough for 32k pieces; a whole corpus would take hours


@dataclass(frozen=True)
class DataConfig:
    """The text, and how it becomes rows of tokens."""

    text: str | list[str] = "english"
    """english (embedded: the documentation of Python), a .txt, .jsonl (also .gz, .zst) or .parquet file, a folder with
    some, a pattern such as 'corpus/train-*.parquet', a data set of the hub as hub:NAME[:CONFIG][@SPLIT], such as
    hub:allenai/c4:en, or a list of these. It is tokenised once, into the cache ($METAFORMER_CACHE)."""
    max_documents: int | None = None
    """The first so many documents of `text` are used; what is taken of a stream. null: all."""
    validation: str | list[str] | None = None
    """Held-out text of its own, named in the same way. null: a part of `text` is held out."""
    held_out: float = 0.05
    """Share of the documents of `text` that is held out if `validation` is null; by a document's number."""
    column: str = "text"
    """Parquet, JSON and hub: the column with the text."""
    unit: DocumentUnit = "paragraph"
    """.txt files: what a document is: paragraph (blank lines between), line, or file."""
    max_length: int = 128
    """Slots of a row; longer documents are cut into pieces, short ones share a row."""
    tokenizer: str | None = None
    """Folder of a saved tokenizer. null: the checkpoint's; if there is none, one is trained on the text."""
    vocab_size: int = 8192
    """Size of a tokenizer that is trained here."""


@dataclass(frozen=True)
class MaskingConfig:
    """What is hidden in training. Evaluation hides 15 % of the tokens, of which 80 % become [MASK] and 10 % another
    token."""

    rate: float = 0.3
    """Share of the tokens to be predicted."""
    mask_share: float = 0.8
    """Share of these that are replaced by [MASK]; 1, with a random_share of 0, makes all of them [MASK]."""
    random_share: float = 0.1
    """Share of these that are replaced by another token; the others stay as they are."""
    whole_words: bool = False
    """Hide words and not pieces of them: all tokens of a word, in the same way. The rate stays that of the tokens."""

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(f"masking.rate is {self.rate}; it must be above 0 and at most 1")
        if min(self.mask_share, self.random_share) < 0 or self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(
                f"masking.mask_share {self.mask_share} and masking.random_share {self.random_share} are shares of the "
                "same tokens: both at least 0, together at most 1"
            )


@dataclass(frozen=True)
class Config:
    """Pre-train a text encoder as a masked language model."""

    run: RunConfig
    schedule: ScheduleConfig
    model: TextModelConfig = field(default_factory=TextModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    tracker: str | None = None
    """Experiment tracker beside metrics.jsonl: tensorboard, wandb, mlflow, ... (the library must be installed)."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""


@dataclass(frozen=True)
class MaskedRow:
    """A packed row with some tokens hidden: ids, segments and labels (l,); a label is IGNORE where nothing is asked."""

    ids: NDArray[np.int64]
    segments: NDArray[np.int64]
    labels: NDArray[np.int64]


class MaskedRows:
    """Packed text as the engine's map-style data."""

    def __init__(self, text: PackedText, tokenizer: PreTrainedTokenizerBase, masking: MaskingConfig) -> None:
        if tokenizer.mask_token_id is None:
            raise ValueError("the tokenizer has no [MASK] token; masked-LM training needs one")
        self.text, self.masking = text, masking
        self.mask_token_id = int(tokenizer.mask_token_id)
        self.special = np.array(sorted(tokenizer.all_special_ids))
        self.replacements = replacement_ids(tokenizer)
        self.pieces = WordPieces.of(tokenizer) if masking.whole_words else None

    def __len__(self) -> int:
        return len(self.text)

    def sample(self, index: int, rng: np.random.Generator | None) -> MaskedRow:
        """Row ``index``, masked by ``rng``; in evaluation always in the same way, at `EVAL_RATE`."""
        ids, segments = self.text.row(index)
        masking = self.masking
        if rng is None:
            rng, masking = np.random.default_rng([_EVAL_MASKS, index]), MaskingConfig(EVAL_RATE)
        special = np.isin(ids, self.special)
        hidden, labels = mask_tokens(
            ids,
            special,
            rng,
            mask_token_id=self.mask_token_id,
            replacement_ids=self.replacements,
            rate=masking.rate,
            mask_share=masking.mask_share,
            random_share=masking.random_share,
            words=self.pieces.words(ids, special) if self.pieces is not None and masking.whole_words else None,
        )
        return MaskedRow(hidden, segments, labels)


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


class MaskedLM:
    """The engine's Task for one :class:`Config`."""

    macs: Callable[[], int] | None = None

    def __init__(self, config: Config) -> None:
        data = config.data
        train, held_out = _sources(data)
        self.config, self.tokenizer = config, _tokenizer(config, train)
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
        length = self.config.data.max_length
        macs = encoder_macs(model, length, predictions=round(self.config.masking.rate * length))
        self.macs = functools.partial(int, macs or 0)
        return MaskedPositions(model).train()

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the masked tokens' cross entropies, and their number."""
        logits = self._logits(model, batch)
        return F.cross_entropy(logits, batch["targets"], reduction="sum"), _count(logits)

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the masked tokens: ``loss``, ``correct``, ``context_free_correct``, ``count``."""
        logits, targets = self._logits(model, batch), batch["targets"]
        seen = batch["input_ids"].flatten()[batch["positions"]]  # [MASK], the token itself, or a random one
        context_free = torch.where(seen == self.tokenizer.mask_token_id, self._most_frequent, seen)
        loss = F.cross_entropy(logits, targets, reduction="sum").double()
        return {
            "loss": loss,
            "correct": (logits.argmax(-1) == targets).sum(),
            "context_free_correct": (targets == context_free).sum(),
            "count": _count(logits),
        }

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """Per masked token: ``loss``, ``accuracy``, ``context_free_accuracy``, and ``masked_perplexity``, which is e to
        the loss: not the pseudo-perplexity of scripts/evaluate_text.py, in which each token is hidden by itself.

        ``context_free_accuracy`` is that of answering with the token that stands in the place or, where it is [MASK],
        with the training text's most frequent one: what can be had from the place alone, since a tenth of the masked
        tokens are left as they are. A score above it has used the neighbours.
        """
        sums = {key: sum(float(result[key]) for result in results) for key in results[0]}
        count = max(sums["count"], 1.0)
        loss = sums["loss"] / count
        # Above e^700 a float is infinite, which no JSON file can say.
        shares = {"accuracy": sums["correct"] / count, "context_free_accuracy": sums["context_free_correct"] / count}
        return {"loss": loss, **shares, "masked_perplexity": math.exp(min(loss, 700.0))}

    def tokens_per_sample(self) -> float:
        """Mean number of tokens in a row of the training text, [CLS] and [SEP] counted and padding not."""
        return _tokens_per_row(self._text["train"])

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


def most_frequent_token(text: PackedText, special: NDArray[np.int64], rows: int = 2000) -> int:
    """The most frequent token of the first `rows` rows, special ones aside; the lowest number of equals."""
    counts = np.bincount(np.concatenate([text.row(index)[0] for index in range(min(rows, len(text)))]))
    counts[special[special < len(counts)]] = 0
    return int(counts.argmax())


def _sources(data: DataConfig) -> tuple[TextSource, TextSource]:
    """The documents to train on, and those to measure on."""
    if data.validation is None and not 0 < data.held_out < 1:
        raise ValueError(f"data.held_out={data.held_out}; it must be between 0 and 1, or name data.validation")
    source = text_source(data.text, column=data.column, unit=data.unit, max_documents=data.max_documents)
    if data.validation is None:
        return source.part(data.held_out, inside=False), source.part(data.held_out, inside=True)
    return source, text_source(data.validation, column=data.column, unit=data.unit)


def _tokens_per_row(text: PackedText) -> float:
    return float((text.info["tokens"] + 2 * text.info["pieces"]) / text.info["rows"])


def _count(logits: Tensor) -> Tensor:
    return torch.tensor(len(logits), device=logits.device)


def _tokenizer(config: Config, train: TextSource) -> PreTrainedTokenizerBase:
    if config.data.tokenizer is not None:
        return load_tokenizer(config.data.tokenizer, "data.tokenizer")
    if config.model.checkpoint is not None:
        return load_tokenizer(config.model.checkpoint, "model.checkpoint")
    texts: list[str] = []
    characters = 0
    for text in train.read():
        characters += len(text)
        if texts and characters > _TOKENIZER_CHARACTERS:
            break
        texts.append(text)
    return trained_tokenizer(texts, config.data.vocab_size)


def tokenizer_of(config: Config) -> PreTrainedTokenizerBase:
    """The tokenizer that a run of ``config`` has; one that is trained on the text is kept in the cache."""
    return _tokenizer(config, _sources(config.data)[0])


def cost(config: Config, start: Any = None) -> dict[str, Any]:
    """What ``run`` will take, without training: ``steps``, ``samples`` (rows), ``tokens``, ``parameters``, ``macs`` of
    one row and ``training_macs`` of all forward passes, under the names of the result.

    The text is tokenised into the cache, where ``run`` finds it. Steps, samples and tokens are left out where
    ``schedule.minutes`` limits the run. ``start`` is the configuration of the run that will make ``model.checkpoint``,
    where that is not there yet.

    Raises:
        ValueError: as ``run`` does, for options that do not fit and data that is not there.
    """
    import_plugins(config.plugins)
    before = config if start is None else start

    def count() -> tuple[int, float, PreTrainedTokenizerBase]:
        train, _ = _sources(config.data)
        its_own = start is None or config.data.tokenizer is not None
        tokenizer = _tokenizer(config, train) if its_own else tokenizer_of(start)
        text = pack_text(train, tokenizer, config.data.max_length)
        return len(text), _tokens_per_row(text), tokenizer

    data = config.data, config.model.checkpoint, start and start.data
    num_rows, tokens_per_row, tokenizer = counted_once(count, *data)
    description = before.model.build_config(tokenizer, before.data.max_length)
    model = without_memory(lambda: AutoModelForMaskedLM.from_config(description))
    training = planned_training(config.run, config.optim, config.schedule, num_rows, tokens_per_row)
    length = config.data.max_length
    macs = encoder_macs(model, length, predictions=round(config.masking.rate * length)) or 0
    total = {"training_macs": macs * training["samples"]} if training else {}
    return {**training, "parameters": parameters_of(model), "macs": macs, **total}


def run(config: Config) -> dict[str, Any]:
    """Train, evaluate and save; returns what the run folder's result.json holds."""
    return train(MaskedLM, config)
