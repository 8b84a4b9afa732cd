"""Probes on the text encoder: the abilities of :mod:`tasks.probes.abilities`, asked of rows of symbols.

Order, agreement, matching and counting are read from the mean over the tokens, copying at the query itself. Symbols are
tokens of a vocabulary of their own; no text and no tokenizer is involved.

Shapes: B rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from metaformer_nlp.config.plugins import import_plugins
from tasks.probes.abilities import Copying, Ints
from tasks.probes.task import ProbeConfig, ProbeTask, planned_cost
from tasks.text.checkpoints import save_text_model
from tasks.text.model import TextModelConfig, encoder_macs
from tasks.training import TrainingConfig, train

__all__ = ["DISTANCES", "Config", "TextProbe", "cost", "run"]

DISTANCES = {
    "order": [1, 2, 4, 6],
    "agreement": [1, 2, 4, 8, 16],
    "matching": [2, 4, 8, 16],
    "copying": [1, 2, 4, 8],
    "counting": [2, 4, 8],
}
"""Where each probe is asked if data.distances does not say it."""


@dataclass(frozen=True)
class DataConfig(ProbeConfig):
    """The probe, and the rows it is asked on."""

    length: int = 32
    """Tokens of a row."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Train and evaluate a text encoder on a probe."""

    model: TextModelConfig = field(default_factory=TextModelConfig)
    data: DataConfig = field(default_factory=DataConfig)


class TextProbe(ProbeTask):
    """The engine's Task for one :class:`Config`."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.data, (1, config.data.length), DISTANCES)
        self.config = config
        self.tokenizer = symbol_tokenizer(self.symbols)
        names = {number: str(number) for number in range(self.probe.num_labels)}
        self.model_config = config.model.build_config(
            self.tokenizer, config.data.length, id2label=names, label2id={name: key for key, name in names.items()}
        )

    def build_model(self) -> nn.Module:
        """The classifier of rows, or of tokens; its weights drawn from torch's generator."""
        by_token = isinstance(self.probe, Copying)
        auto_class = AutoModelForTokenClassification if by_token else AutoModelForSequenceClassification
        model = self.config.model.build_model(auto_class, self.model_config)
        length = self.config.data.length
        self._macs = encoder_macs(model, length, length if by_token else 1) or 0
        return model

    def inputs(self, symbols: Ints, segments: Ints) -> dict[str, Tensor]:
        """``input_ids`` and ``token_type_ids`` (B, L)."""
        return {
            "input_ids": torch.from_numpy(symbols).flatten(1),
            "token_type_ids": torch.from_numpy(segments).flatten(1),
        }

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(B, K), or (B, L, K) where tokens are asked."""
        logits: Tensor = model(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"]).logits
        return logits

    def tokens_per_sample(self) -> float:
        """Tokens of a group."""
        group, _ = self.train_data.sample(0, None)
        return float(group.symbols.size)

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """The model, and a tokenizer that reads the symbols' names."""
        assert isinstance(model, PreTrainedModel)
        save_text_model(model, self.tokenizer, folder)


def symbol_tokenizer(symbols: list[str]) -> PreTrainedTokenizerFast:
    """Reads names of symbols with blanks between; symbol k is token k, and [PAD] comes last."""
    vocabulary = {name: number for number, name in enumerate([*symbols, "[PAD]"])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]")


def cost(config: Config) -> dict[str, Any]:
    """What ``run`` will take, without training, under the names of the result."""
    import_plugins(config.plugins)
    return planned_cost(TextProbe(config), config.run, config.optim, config.schedule)


def run(config: Config) -> dict[str, Any]:
    """Train, evaluate and save; returns what the run folder's result.json holds."""
    return train(TextProbe, config)
