"""Learned mixing across tokens: one linear layer over the token axis (SpatialFC of arXiv 2111.11418, Table 5)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, register_mixer
from metaformer_nlp.core.segments import positions_in_segment, same_segment


@register_mixer("spatial_mlp")
class SpatialMLP(TokenMixer):
    """Token i of the result is a learned, fixed combination of all tokens, the same for every channel.

    A document shorter than the layer uses its first rows and columns, wherever it lies in a packed row.
    """

    fixed_length = True

    def __init__(self, dim: int, token_shape: TokenShape) -> None:
        super().__init__(dim, token_shape)
        num_tokens = math.prod(self.token_shape)
        self.fc = nn.Linear(num_tokens, num_tokens, bias=False)

    def prepare(self, segment_ids: Tensor) -> tuple[Tensor, Tensor]:
        return positions_in_segment(segment_ids), same_segment(segment_ids)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        self.check_length(x)
        segments, tokens = self.prepared(segment_ids), x.flatten(1, -2)
        if segments is None:
            weights = self.fc.weight[: tokens.shape[1], : tokens.shape[1]]
        else:
            positions, same = segments
            weights = self.fc.weight[positions[:, :, None], positions[:, None, :]] * same
        return weights.to(x.dtype).matmul(tokens).view_as(x)

    def macs(self, token_shape: TokenShape) -> int:
        return math.prod(token_shape) ** 2 * self.dim
