"""Small models with random weights, whose receptive fields show mixers alone."""

from __future__ import annotations

from typing import Any

import torch

from metaformer_nlp.core import MIXERS
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextModel
from vision import MetaFormerVisionConfig, MetaFormerVisionModel

__all__ = ["IMAGE_SIZE", "PATCH_SIZE", "image_model", "mixers_of", "text_model", "word_ids"]

PATCH_SIZE = 4
IMAGE_SIZE = 16 * PATCH_SIZE
WIDTH = 16  # channels
# About 1 / sqrt(WIDTH): layers then keep the scale of what they get, and attention does not look at all tokens alike.
INITIALIZER_RANGE = 0.25


def mixers_of(rank: int) -> list[str]:
    """The registered mixers for texts (``rank`` 1) or images (2)."""
    return [name for name in MIXERS if rank in MIXERS[name].ranks]


def image_model(mixer: Any, layers: int) -> MetaFormerVisionModel:
    """One stage on the 16 x 16 patches of an image of ``IMAGE_SIZE`` pixels, with layer norm.

    ``mixer`` is what the configuration takes as a token mixer. The weights are the same each time.
    """
    config = MetaFormerVisionConfig(
        image_size=IMAGE_SIZE,
        depths=[layers],
        hidden_sizes=[WIDTH],
        patch_sizes=[PATCH_SIZE],
        strides=[PATCH_SIZE],
        padding=[0],
        token_mixer=mixer,
        norm="layer_norm",
        layer_scale_init_value=None,
        initializer_range=INITIALIZER_RANGE,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MetaFormerVisionModel(config).eval()


def text_model(mixer: Any, layers: int, length: int) -> MetaFormerTextModel:
    """An encoder of texts of ``length`` words, with layer norm; the same weights each time."""
    config = MetaFormerTextConfig(
        vocab_size=length + 1,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=1,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=length,
        token_mixer=mixer,
        norm="layer_norm",
        initializer_range=INITIALIZER_RANGE,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MetaFormerTextModel(config).eval()


def word_ids(words: list[str]) -> torch.Tensor:
    """(1, L) ids from 1 on: equal words have equal ids, for a :func:`text_model` of as many words."""
    known: dict[str, int] = {}
    return torch.tensor([[known.setdefault(word, len(known) + 1) for word in words]])
