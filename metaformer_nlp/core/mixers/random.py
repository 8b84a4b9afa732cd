"""A random matrix over the tokens, which stays as it was drawn (Yu et al., arXiv 2111.11418, Table 5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from metaformer_nlp.core.mixers.base import TokenShape, register_mixer
from metaformer_nlp.core.mixers.token_matrix import TokenMatrix


@register_mixer("random")
class RandomMixing(TokenMatrix):
    """Averages with random weights: the softmax over each row of a matrix drawn once, uniform in [0, 1), never trained.

    The matrix is a frozen parameter, saved with the model and counted as such (arXiv 2111.11418, Table 5; RandFormer of
    arXiv 2210.13452). A part of it is normalised again, which makes it the softmax over the remaining columns.
    """

    def __init__(self, dim: int, token_shape: TokenShape) -> None:
        super().__init__(dim, token_shape)
        num_tokens = math.prod(self.token_shape)
        self.random_matrix = nn.Parameter(torch.empty(num_tokens, num_tokens), requires_grad=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.random_matrix.copy_(torch.rand_like(self.random_matrix).softmax(-1))

    def matrix(self) -> Tensor:
        return self.random_matrix

    def normalise(self, weights: Tensor) -> Tensor:
        return weights / weights.sum(-1, keepdim=True)
