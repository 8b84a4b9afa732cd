"""Multi-head self-attention (Vaswani et al., 2017), by torch's scaled_dot_product_attention."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, number_of_heads, register_mixer
from metaformer_nlp.core.segments import same_segment


class AttentionSegments(NamedTuple):
    """Who looks at whom, in a batch of segments."""

    seen: Tensor  # (B, 1, L, L) bool; (B, 1, 1, L) where all tokens of a row see the same ones
    any_seen: Tensor | None  # (B, L, 1) or (B, 1, 1) bool: does a token see any? None where all of them do


@register_mixer("attention")
class Attention(TokenMixer):
    """Every token looks at every token of its sample or document.

    ``num_heads`` heads, or as many as heads of ``head_dim`` channels make up ``dim`` (32 in both MetaFormer papers).
    """

    excludes_sources = True

    def __init__(
        self,
        dim: int,
        token_shape: TokenShape,
        *,
        num_heads: int | None = None,
        head_dim: int = 32,
        qkv_bias: bool = False,
        proj_bias: bool = True,
    ) -> None:
        super().__init__(dim, token_shape)
        self.num_heads = number_of_heads("attention", dim, num_heads, head_dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim, bias=proj_bias)

    def prepare_key(self) -> str:
        return "attention"

    def prepare(self, segment_ids: Tensor, sources: Tensor | None = None) -> AttentionSegments:
        if segment_ids.dtype == torch.bool:  # the same keys for all queries of a row: no matrix over its tokens
            seen = (segment_ids if sources is None else segment_ids & sources)[:, None, :]
        else:
            seen = same_segment(segment_ids)
            seen = seen if sources is None else seen & sources[:, None, :]
        # A softmax over nothing is not a number: such tokens look at everything, and what they see is thrown away.
        any_seen = seen.any(-1, keepdim=True)
        return AttentionSegments((seen | ~any_seen)[:, None], None if sources is None else any_seen)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        segments = self.prepared(segment_ids)
        query, key, value = self.qkv(x.flatten(1, -2)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        seen = None if segments is None else segments.seen
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen).transpose(1, 2).flatten(2)
        if segments is not None and segments.any_seen is not None:
            mixed = torch.where(segments.any_seen, mixed, 0.0)
        return self.proj(mixed).view_as(x)

    def macs(self, token_shape: TokenShape) -> int:
        tokens = math.prod(token_shape)
        return tokens * 4 * self.dim**2 + 2 * tokens**2 * self.dim
