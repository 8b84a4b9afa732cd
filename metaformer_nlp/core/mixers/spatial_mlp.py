"""A learned matrix over the tokens (Yu et al., arXiv 2111.11418, Table 5)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from metaformer_nlp.core.mixers.base import TokenShape, register_mixer
from metaformer_nlp.core.mixers.token_matrix import TokenMatrix


@register_mixer("spatial_mlp")
class SpatialMLP(TokenMatrix):
    """A learned linear layer over the token axis, without bias (the paper's SpatialFC)."""

    def __init__(self, dim: int, token_shape: TokenShape) -> None:
        super().__init__(dim, token_shape)
        num_tokens = math.prod(self.token_shape)
        self.fc = nn.Linear(num_tokens, num_tokens, bias=False)

    def matrix(self) -> Tensor:
        return self.fc.weight
