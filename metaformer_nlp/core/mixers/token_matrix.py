"""What mixers have in common that are one matrix over the tokens: drawn at random and frozen, or learned.

Shapes: B batch, N tokens in all, C channels. They hold a weight for each pair of positions, so they see no more tokens
than they were built for.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape
from metaformer_nlp.core.segments import positions_in_segment, same_segment


class TokenMatrix(TokenMixer):
    """Token i of the result is a fixed combination of all tokens, the same for every channel.

    A document shorter than the matrix uses its first rows and columns, wherever it lies in a packed row.
    """

    fixed_length = True

    def matrix(self) -> Tensor:
        """(N, N): row i holds the weights that make up token i."""
        raise NotImplementedError

    def normalise(self, weights: Tensor) -> Tensor:
        """(..., N, N) -> the same: what a part of the matrix needs to be a whole one."""
        return weights

    def prepare_key(self) -> str:
        return "token_matrix"

    def prepare(self, segment_ids: Tensor) -> tuple[Tensor, Tensor]:
        return positions_in_segment(segment_ids), same_segment(segment_ids)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        return self.combine(x, self.prepared(segment_ids))

    def combine(self, x: Tensor, segments: tuple[Tensor, Tensor] | None) -> Tensor:
        """(B, *S, C) -> (B, *S, C): the matrix times the tokens; C need not be the mixer's own ``dim``."""
        self.check_length(tuple(x.shape[1:-1]))
        tokens = x.flatten(1, -2)
        if segments is None:
            weights = self.matrix()[: tokens.shape[1], : tokens.shape[1]]
        else:
            positions, same = segments
            weights = self.matrix()[positions[:, :, None], positions[:, None, :]] * same
        return self.normalise(weights).to(x.dtype).matmul(tokens).view_as(x)

    def check_length(self, shape: TokenShape) -> None:
        """A ``ValueError`` for more tokens (for images: for another grid) than the matrix was made for."""
        # Compared for equality only where it must be: an exporter would make another program for this one length.
        if not (shape[0] <= self.token_shape[0] if len(shape) == 1 else shape == self.token_shape):
            raise ValueError(
                f"{type(self).__name__} was built for {self.token_shape} tokens and got {shape}: it holds a weight for "
                "each position; build the model for this size, or choose a mixer of any length"
            )

    def macs(self, token_shape: TokenShape) -> int:
        return math.prod(token_shape) ** 2 * self.dim
