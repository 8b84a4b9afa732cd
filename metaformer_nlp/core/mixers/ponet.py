"""PoNet's mixer: pooling at three granularities, fused (Tan et al., arXiv 2110.02442, Section 3).

Shapes: B batch, L tokens, C channels, H heads, D = C / H.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from metaformer_nlp.core.linear import Linear
from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, number_of_heads, register_mixer
from metaformer_nlp.core.segments import (
    SegmentMeans,
    documents,
    mean_over_segment,
    neighbour,
    neighbour_masks,
    segment_means,
)


class PoNetSegments(NamedTuple):
    """What the three poolings need to know of a batch's segments."""

    means: SegmentMeans  # of the documents
    document: Tensor  # (B, L, 1) int64: which document of its row, below L; padding is one more
    chunk: Tensor  # (B, L, 1) int64: which chunk of its row, below L
    masks: dict[int, Tensor]  # offset -> (B, L, 1) bool
    sources: Tensor | None  # (B, L, 1) bool


@register_mixer("ponet")
class PoNet(TokenMixer):
    """``W ((g + s) * o + l)``: a global, a segment and a local pooling, each of a projection of its own.

    - g: one vector a document, by attention with one query: the mean of the projected tokens. Keys are the values.
    - s: the maximum over the token's chunk of ``chunk_size`` tokens of its document. (PoNet's segments are sentences in
      pre-training and such chunks in its long-range benchmark.)
    - l: the maximum over the token and its two neighbours.
    - o: a projection of the token itself; without the product g would be the same for every token.

    It holds an attention step and six dense layers, two more than attention: a mixer to compare pooling with, not a
    pooling mixer. Unlike the published code it does not keep [CLS] and [SEP] out of s and l, since a mixer knows no
    tokens.
    """

    ranks: ClassVar[tuple[int, ...]] = (1,)
    excludes_sources = True

    def __init__(
        self,
        dim: int,
        token_shape: TokenShape,
        *,
        num_heads: int | None = None,
        head_dim: int = 64,
        chunk_size: int = 32,
        bias: bool = True,
    ) -> None:
        super().__init__(dim, token_shape)
        if chunk_size < 1:
            raise ValueError(f"ponet: chunk_size must be at least 1, not {chunk_size}")
        self.num_heads, self.chunk_size = number_of_heads("ponet", dim, num_heads, head_dim), chunk_size
        self.projections = Linear(dim, 5 * dim, bias=bias)
        self.output = Linear(dim, dim, bias=bias)

    def prepare_key(self) -> tuple[str, int]:
        return "ponet", self.chunk_size

    def prepare(self, segment_ids: Tensor, sources: Tensor | None = None) -> PoNetSegments:
        place = documents(segment_ids)
        return PoNetSegments(
            segment_means(segment_ids, sources),
            place.number[:, :, None],
            (place.rank - place.position % self.chunk_size)[:, :, None],  # the rank of the chunk's first token
            neighbour_masks(segment_ids, (-1, 1)),
            None if sources is None else sources[:, :, None],
        )

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        segments = self.prepared(segment_ids)
        if segments is None:
            segments = self.prepare(torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))
        query, key, own, in_chunk, near = self.projections(x).chunk(5, dim=-1)
        pooled = self._global(query, key, segments) + self._chunk_maximum(in_chunk, segments)
        return self.output(pooled * own + self._local_maximum(near, segments))

    def _global(self, query: Tensor, key: Tensor, segments: PoNetSegments) -> Tensor:
        """(B, L, C), twice -> (B, L, C): to every token the vector of its document."""
        queries = mean_over_segment(query, segments.means).unflatten(-1, (self.num_heads, -1))
        keys = key.unflatten(-1, (self.num_heads, -1))
        scores = (queries * keys).sum(-1).float() * (self.dim // self.num_heads) ** -0.5  # (B, L, H)
        scores = _hidden(scores, segments.sources)
        weights = (scores - _or_zero(_maximum_over(scores.detach(), segments.document))).exp()
        # Both means have the same count, which cancels out.
        total = mean_over_segment(weights, segments.means)
        total = torch.where(total > 0, total, 1.0)  # a document without a source
        weighted = mean_over_segment((keys.float() * weights[..., None]).flatten(2), segments.means)
        return (weighted.unflatten(-1, (self.num_heads, -1)) / total[..., None]).flatten(2).to(key.dtype)

    def _chunk_maximum(self, x: Tensor, segments: PoNetSegments) -> Tensor:
        return _or_zero(_maximum_over(_hidden(x, segments.sources), segments.chunk))

    def _local_maximum(self, x: Tensor, segments: PoNetSegments) -> Tensor:
        seen = _hidden(x, segments.sources)
        before, after = (neighbour(seen, offset, segments.masks, -math.inf) for offset in (-1, 1))
        return _or_zero(torch.maximum(torch.maximum(before, after), seen))

    def macs(self, token_shape: TokenShape) -> int:
        # The products of its one-query attention, 2 C a token, are element-wise and not counted.
        return math.prod(token_shape) * 6 * self.dim**2


def _hidden(x: Tensor, sources: Tensor | None) -> Tensor:
    """(B, L, C) -> the same, minus infinity for what may not be seen."""
    return x if sources is None else torch.where(sources, x, -math.inf)


def _or_zero(x: Tensor) -> Tensor:
    """Where there was nothing to take the maximum of, 0."""
    return torch.where(x == -math.inf, 0.0, x)


def _maximum_over(x: Tensor, number: Tensor) -> Tensor:
    """(B, L, C), (B, L, 1) int64 -> (B, L, C): to each token the maximum over all tokens of its number in its row."""
    index = number.expand_as(x)
    return torch.full_like(x, -math.inf).scatter_reduce(1, index, x, "amax").gather(1, index)
