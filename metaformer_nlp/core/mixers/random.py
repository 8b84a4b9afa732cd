"""Mixing by a random matrix that is never trained (Yu et al., arXiv 2111.11418, Table 5; arXiv 2210.13452, RandFormer)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, register_mixer
from metaformer_nlp.core.segments import positions_in_segment, same_segment


@register_mixer("random")
class RandomMixing(TokenMixer):
    """Tokens are averaged with random weights: the softmax over each row of a matrix drawn once, uniform in [0, 1).

    The matrix is a frozen parameter, saved with the model and counted as such. A document shorter than the matrix uses
    its first rows and columns, normalised again, which is the softmax over these columns.
    """

    fixed_length = True

    def __init__(self, dim: int, token_shape: TokenShape) -> None:
        super().__init__(dim, token_shape)
        num_tokens = math.prod(self.token_shape)
        self.random_matrix = nn.Parameter(torch.empty(num_tokens, num_tokens), requires_grad=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.random_matrix.copy_(torch.rand_like(self.random_matrix).softmax(-1))

    def prepare(self, segment_ids: Tensor) -> tuple[Tensor, Tensor]:
        return positions_in_segment(segment_ids), same_segment(segment_ids)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        self.check_length(x)
        segments, tokens = self.prepared(segment_ids), x.flatten(1, -2)
        if segments is None:
            weights = self.random_matrix[: tokens.shape[1], : tokens.shape[1]]
        else:
            positions, same = segments
            weights = self.random_matrix[positions[:, :, None], positions[:, None, :]] * same
        return (weights / weights.sum(-1, keepdim=True)).to(x.dtype).matmul(tokens).view_as(x)

    def macs(self, token_shape: TokenShape) -> int:
        return math.prod(token_shape) ** 2 * self.dim
