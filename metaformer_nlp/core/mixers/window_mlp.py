"""Swin-Mixer's mixer: a learned matrix over the tokens of each window (Liu et al., arXiv 2103.14030, and its code).

Shapes: B batch, H x W map, C channels, n heads, w window's side.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, register_mixer


@register_mixer("window_mlp")
class WindowMLP(TokenMixer):
    """Inside windows of w x w tokens each head of channels has one matrix (w^2, w^2) and bias, the same in all windows.

    With ``shift`` the windows start half a window further up and left; the image model shifts every second block of a
    stage. A map that windows do not divide is filled up with zeros, which are cut off again. A map of one window is
    never shifted. Heads are as many as heads of ``head_dim`` channels make up ``dim`` (Swin-Mixer-T/D24
    has 24, T/D6 has 6), or ``num_heads``.
    """

    ranks: ClassVar[tuple[int, ...]] = (2,)

    def __init__(
        self,
        dim: int,
        token_shape: TokenShape,
        *,
        window_size: int = 7,
        head_dim: int = 32,
        num_heads: int | None = None,
        shift: bool = False,
    ) -> None:
        super().__init__(dim, token_shape)
        self.num_heads = num_heads if num_heads is not None else max(dim // head_dim, 1)
        if window_size < 1 or self.num_heads < 1 or dim % self.num_heads:
            raise ValueError(
                f"window_mlp cannot divide {dim} channels into {self.num_heads} equal heads in windows of "
                f"{window_size}: choose another num_heads or head_dim, and a window_size of at least 1"
            )
        self.window_size, self.shift = window_size, shift
        self.weight = nn.Parameter(torch.empty(self.num_heads, window_size**2, window_size**2))
        self.bias = nn.Parameter(torch.empty(self.num_heads, window_size**2, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)

    def margins(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Tokens of zeros to add to a map's (left, right, top, bottom), so that whole windows cover it."""
        side = self.window_size
        before = side // 2 if self.shift and max(height, width) > side else 0
        return before, -(before + width) % side, before, -(before + height) % side

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        height, width = x.shape[1:3]
        side, margins = self.window_size, self.margins(height, width)
        padded = F.pad(x, (0, 0, *margins))
        rows, columns = padded.shape[1] // side, padded.shape[2] // side
        windows = padded.view(-1, rows, side, columns, side, self.num_heads, self.dim // self.num_heads)
        windows = windows.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5)  # (B, rows, columns, n, w^2, C / n)
        mixed = self.weight.matmul(windows) + self.bias
        mixed = mixed.unflatten(4, (side, side)).permute(0, 1, 4, 2, 5, 3, 6).reshape(padded.shape)
        left, _, top, _ = margins
        return mixed[:, top : top + height, left : left + width]

    def macs(self, token_shape: TokenShape) -> int:
        height, width = token_shape
        left, right, top, bottom = self.margins(height, width)
        return math.prod((height + top + bottom, width + left + right)) * self.window_size**2 * self.dim
