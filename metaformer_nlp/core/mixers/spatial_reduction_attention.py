"""PVT's spatial-reduction attention (Wang et al., arXiv 2102.12122): every token looks at a smaller map.

Shapes: B batch, H x W map, N tokens, M tokens of the smaller map, C channels.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from metaformer_nlp.core.linear import Linear
from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, number_of_heads, register_mixer
from metaformer_nlp.core.norms import build_norm


@register_mixer("spatial_reduction_attention")
class SpatialReductionAttention(TokenMixer):
    """Attention whose keys and values come from a map that a convolution of ``reduction`` x ``reduction`` has shrunk.

    ``reduction`` 1 is plain attention. A map that the convolution does not divide is filled up with zeros on the right
    and below. Heads are as many as heads of ``head_dim`` channels make up ``dim``, or ``num_heads``.
    """

    ranks: ClassVar[tuple[int, ...]] = (2,)

    def __init__(
        self,
        dim: int,
        token_shape: TokenShape,
        *,
        reduction: int = 2,
        num_heads: int | None = None,
        head_dim: int = 64,
        qkv_bias: bool = True,
        proj_bias: bool = True,
    ) -> None:
        super().__init__(dim, token_shape)
        if reduction < 1:
            raise ValueError(f"spatial_reduction_attention: reduction must be at least 1, not {reduction}")
        self.num_heads = number_of_heads("spatial_reduction_attention", dim, num_heads, head_dim)
        self.reduction = reduction
        self.query = Linear(dim, dim, bias=qkv_bias)
        if reduction > 1:
            self.reduce = nn.Conv2d(dim, dim, kernel_size=reduction, stride=reduction)
            self.norm = build_norm("layer_norm", dim)
        self.key_value = Linear(dim, 2 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim, bias=proj_bias)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        query = self.query(x.flatten(1, 2)).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        seen = self.norm(self.shrunk(x)) if self.reduction > 1 else x
        key, value = self.key_value(seen.flatten(1, 2)).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2)).view_as(x)

    def shrunk(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H / r), ceil(W / r), C)."""
        height, width = x.shape[1:3]
        filled = F.pad(x, (0, 0, 0, -width % self.reduction, 0, -height % self.reduction))
        return self.reduce(filled.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def macs(self, token_shape: TokenShape) -> int:
        tokens = math.prod(token_shape)
        seen = math.prod(math.ceil(side / self.reduction) for side in token_shape)
        reducing = seen * (self.reduction * self.dim) ** 2 if self.reduction > 1 else 0
        return 2 * (tokens + seen) * self.dim**2 + 2 * tokens * seen * self.dim + reducing
