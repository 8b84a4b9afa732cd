"""gMLP's spatial gating unit (Liu et al., arXiv 2105.08050): one half of the channels gates the other.

Shapes: B batch, S token axes, N tokens in all, C channels, E hidden channels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer_nlp.core.linear import Linear
from metaformer_nlp.core.mixers.base import TokenShape, register_mixer
from metaformer_nlp.core.mixers.token_matrix import TokenMatrix
from metaformer_nlp.core.norms import build_norm


@register_mixer("spatial_gating")
class SpatialGating(TokenMatrix):
    """Expand to E channels, GELU, split; one half is normalised, mixed over all tokens and gates the other; project.

    The learned matrix (N, N) starts near 0 and its bias (N,) at 1, so that a fresh gate lets everything through. gMLP
    itself has ``expansion`` 6 and no channel MLP beside it (``use_channel_mlp: false``). Like every matrix over tokens
    it sees no more of them than it was built for; a document uses its first rows, columns and biases.
    """

    def __init__(self, dim: int, token_shape: TokenShape, *, expansion: int = 2, bias: bool = True) -> None:
        super().__init__(dim, token_shape)
        if expansion < 1 or expansion * dim % 2:
            raise ValueError(f"spatial_gating splits expansion * dim channels in two, got {expansion} * {dim}")
        half = expansion * dim // 2
        self.expand = Linear(dim, 2 * half, bias=bias)
        self.norm = build_norm("layer_norm", half)
        num_tokens = math.prod(self.token_shape)
        self.token_weight = nn.Parameter(torch.empty(num_tokens, num_tokens))
        self.token_bias = nn.Parameter(torch.empty(num_tokens))
        self.project = Linear(half, dim, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.token_weight, std=1e-6)
        nn.init.ones_(self.token_bias)

    def matrix(self) -> Tensor:
        return self.token_weight

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        segments = self.prepared(segment_ids)
        passed, gate = F.gelu(self.expand(x)).chunk(2, dim=-1)
        mixed = self.combine(self.norm(gate), segments)
        if segments is None:
            bias = self.token_bias[: math.prod(x.shape[1:-1])].view(*x.shape[1:-1], 1)
        else:
            bias = self.token_bias[segments[0]][..., None]  # (B, L, 1), by the position in the own document
        return self.project(passed * (mixed + bias.to(x.dtype)))

    def macs(self, token_shape: TokenShape) -> int:
        tokens, half = math.prod(token_shape), self.project.in_features
        return tokens * 3 * self.dim * half + tokens**2 * half
