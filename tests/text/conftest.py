"""Tiny text models whose mixing can be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from metaformer_nlp.text import MetaFormerTextConfig


@pytest.fixture
def text_config() -> Callable[..., MetaFormerTextConfig]:
    """A tiny configuration; keywords override its fields."""

    def make(**overrides: Any) -> MetaFormerTextConfig:
        fields: dict[str, Any] = {
            "vocab_size": 61,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 24,
        }
        return MetaFormerTextConfig(**{**fields, **overrides})

    return make


@pytest.fixture
def perturb() -> Callable[[nn.Module], nn.Module]:
    """Draw all weights anew, of order 1: fresh ones are so small that a leak between tokens would go unseen."""

    def redraw(model: nn.Module) -> nn.Module:
        with torch.no_grad():
            for parameter in model.parameters():
                if not parameter.requires_grad:
                    continue
                scale = max(parameter[0].numel(), 1) ** -0.5 if parameter.ndim > 1 else 0.3
                parameter.copy_(torch.randn_like(parameter) * scale + (1.0 if parameter.ndim == 1 else 0.0))
            for name, buffer in model.named_buffers():
                if name.endswith("running_var"):
                    buffer.uniform_(0.5, 1.5)
        return model.eval()

    return redraw
