"""A depthwise convolution over the tokens (Yu et al., arXiv 2111.11418, Table 5)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, register_mixer
from metaformer_nlp.core.segments import neighbour, neighbour_masks


class ConvSegments(NamedTuple):
    """What a convolution needs to know of a batch's segments."""

    masks: dict[int, Tensor]  # offset -> (B, L, 1) bool
    sources: Tensor | None  # (B, L, 1) bool


@register_mixer("depthwise_conv")
class DepthwiseConv(TokenMixer):
    """Each channel is convolved along the tokens with a learned kernel of its own; zeros outside map or document."""

    excludes_sources = True

    def __init__(self, dim: int, token_shape: TokenShape, *, kernel_size: int = 3, bias: bool = True) -> None:
        super().__init__(dim, token_shape)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        self.reach = kernel_size // 2
        conv = nn.Conv1d if len(self.token_shape) == 1 else nn.Conv2d
        self.conv = conv(dim, dim, kernel_size, padding=self.reach, groups=dim, bias=bias)

    def prepare_key(self) -> tuple[str, int]:
        return "depthwise_conv", self.reach

    def prepare(self, segment_ids: Tensor, sources: Tensor | None = None) -> ConvSegments:
        masks = neighbour_masks(segment_ids, (k for k in range(-self.reach, self.reach + 1) if k))
        return ConvSegments(masks, None if sources is None else sources[:, :, None])

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        segments = self.prepared(segment_ids)
        if segments is None:
            return self.conv(x.movedim(-1, 1)).movedim(1, -1)
        masks, sources = segments
        x = x if sources is None else torch.where(sources, x, 0.0)
        taps = self.conv.weight[:, 0].to(x.dtype)  # (C, K); a loop over the K taps, not over tokens
        mixed = x * taps[:, self.reach]
        for offset in masks:
            mixed = torch.addcmul(mixed, neighbour(x, offset, masks), taps[:, self.reach + offset])
        return mixed if self.conv.bias is None else mixed + self.conv.bias.to(x.dtype)

    def macs(self, token_shape: TokenShape) -> int:
        return math.prod(token_shape) * self.dim * (2 * self.reach + 1) ** len(token_shape)
