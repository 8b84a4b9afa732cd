"""ConvFormer's mixer: an inverted separable convolution over the tokens (Yu et al., arXiv 2210.13452)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from metaformer_nlp.core.channel_mlp import StarReLU
from metaformer_nlp.core.linear import Linear
from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, register_mixer
from metaformer_nlp.core.mixers.depthwise_conv import ConvSegments, DepthwiseConv


@register_mixer("separable_conv")
class SeparableConv(TokenMixer):
    """Expand, StarReLU, depthwise convolution, project."""

    excludes_sources = True

    def __init__(
        self, dim: int, token_shape: TokenShape, *, kernel_size: int = 7, expansion: int = 2, bias: bool = False
    ) -> None:
        super().__init__(dim, token_shape)
        hidden_dim = expansion * dim
        self.expand = Linear(dim, hidden_dim, bias=bias)
        self.act = StarReLU()
        self.depthwise = DepthwiseConv(hidden_dim, token_shape, kernel_size=kernel_size, bias=bias)
        self.project = Linear(hidden_dim, dim, bias=bias)

    def prepare_key(self) -> tuple[str, int]:
        return self.depthwise.prepare_key()

    def prepare(self, segment_ids: Tensor, sources: Tensor | None = None) -> ConvSegments:
        return self.depthwise.prepare(segment_ids, sources)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        return self.project(self.depthwise(self.act(self.expand(x)), segment_ids))

    def macs(self, token_shape: TokenShape) -> int:
        hidden_dim = self.expand.out_features
        return 2 * math.prod(token_shape) * self.dim * hidden_dim + self.depthwise.macs(token_shape)
