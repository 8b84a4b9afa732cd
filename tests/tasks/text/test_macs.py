"""Counted costs of text models: what the formulas say is what torch counts while the model runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from metaformer_nlp.core import MIXERS
from metaformer_nlp.text import (
    MetaFormerTextConfig,
    MetaFormerTextForMaskedLM,
    MetaFormerTextForSequenceClassification,
    MetaFormerTextModel,
)
from tasks.text.masked_lm import MaskedPositions
from tasks.text.model import encoder_macs

LENGTH = 16


def config(mixer: str, **fields: object) -> MetaFormerTextConfig:
    sizes = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}
    return MetaFormerTextConfig(
        **sizes, num_attention_heads=2, max_position_embeddings=LENGTH, token_mixer=mixer, **fields
    )


def counted(model: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-accumulates that torch sees while ``model`` runs."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("mixer", [name for name in MIXERS.names() if 1 in MIXERS[name].ranks])
def test_macs_are_those_that_torch_counts(mixer: str) -> None:
    ids = torch.arange(LENGTH)[None]
    uncounted = 0
    if mixer == "fourier":  # torch counts no fast Fourier transform
        uncounted = 2 * MIXERS[mixer](32, (LENGTH,)).macs((LENGTH,))
        assert uncounted > 0
    classifier = MetaFormerTextForSequenceClassification(config(mixer, num_labels=3))
    assert encoder_macs(classifier, LENGTH) == counted(classifier, ids) + uncounted
    encoder = MetaFormerTextModel(config(mixer))
    assert encoder_macs(encoder, LENGTH) == counted(encoder, ids) + uncounted


@pytest.mark.parametrize("masked", [0, 5])
def test_a_masked_language_model_is_asked_for_its_masked_tokens(masked: int) -> None:
    model = MetaFormerTextForMaskedLM(config("attention"))
    ids, segments = torch.arange(LENGTH)[None], torch.ones(1, LENGTH, dtype=torch.long)
    ran = counted(MaskedPositions(model), ids, segments, torch.arange(masked))
    assert encoder_macs(model, LENGTH, predictions=masked) == ran


def test_other_encoders_are_not_guessed() -> None:
    other = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    assert encoder_macs(BertModel(other), LENGTH) is None
