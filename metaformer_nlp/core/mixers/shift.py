"""Shifted channels: every token takes a part of each neighbour's channels, without any parameter.

Such shifts stand in for convolutions in Shift (Wu et al., arXiv 1711.08141) and mix the tokens of S2-MLP (Yu et al.,
arXiv 2106.07477) and AS-MLP (Lian et al., arXiv 2107.08391). Unlike an average they tell directions apart.

Shapes: B batch, S token axes ((L,) for text, (H, W) for images), C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, register_mixer
from metaformer_nlp.core.mixers.pooling import parse_side
from metaformer_nlp.core.segments import neighbour, neighbour_masks


class ShiftSegments(NamedTuple):
    """What a shift needs to know of a batch's segments."""

    masks: dict[int, Tensor]  # offset -> (B, L, 1) bool: has the token a source there, inside its document?


@register_mixer("shift")
class Shift(TokenMixer):
    """Each of several equal groups of channels comes from the neighbour at a fixed offset; 0 outside map or document.

    ``offsets`` names one neighbour a group: ``"left:2"`` is the second token to the left; also right and, for images,
    up and down. Without them text has left:1 and right:1, images up:1 and down:1 as well. The token's own channels are
    what the block's residual adds.

    With ``gate`` the token decides how much of it comes in: channel c is multiplied by ``2 sigmoid(x[c + C / 2])``, the
    token's own channel half of them further on (from the last on with the first). It is 1 where that channel is 0.
    """

    excludes_sources = True

    def __init__(
        self, dim: int, token_shape: TokenShape, *, offsets: Sequence[str] | None = None, gate: bool = False
    ) -> None:
        super().__init__(dim, token_shape)
        rank = len(self.token_shape)
        usual = ["left:1", "right:1", "up:1", "down:1"][: 2 * rank]
        if offsets is not None and not (isinstance(offsets, list | tuple) and 0 < len(offsets) <= dim):
            raise ValueError(
                f"offsets must be a list of 1 to {dim} neighbours for {dim} channels, such as {usual}, not {offsets!r}"
            )
        named = usual if offsets is None else list(offsets)
        self.offsets, self.gate = named, gate
        self.sides = tuple(parse_side(offset, rank, "offsets") for offset in named)
        # As tensor_split would cut, whose gradient is put together from whole copies of the tokens.
        self.group_sizes = [dim // len(named) + (group < dim % len(named)) for group in range(len(named))]

    def prepare_key(self) -> tuple[Any, ...]:
        return "shift", frozenset(self.sides)

    def prepare(self, segment_ids: Tensor, sources: Tensor | None = None) -> ShiftSegments:
        masks = neighbour_masks(segment_ids, (side.offset for side in self.sides))
        if sources is not None:
            masks = {offset: mask & sources.roll(-offset, 1)[:, :, None] for offset, mask in masks.items()}
        return ShiftSegments(masks)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        segments = self.prepared(segment_ids)
        groups = zip(x.split(self.group_sizes, dim=-1), self.sides, strict=True)
        if segments is None:
            taken = torch.cat([shifted(group, side.axis, side.offset) for group, side in groups], dim=-1)
        else:
            taken = torch.cat([neighbour(group, side.offset, segments.masks) for group, side in groups], dim=-1)
        return taken * (2 * x.roll(-(self.dim // 2), -1).sigmoid()) if self.gate else taken

    def macs(self, token_shape: TokenShape) -> int:
        return 0

    def extra_repr(self) -> str:
        return f"{self.dim}, offsets={self.offsets}, gate={self.gate}"


def shifted(x: Tensor, axis: int, offset: int) -> Tensor:
    """(B, *S, C) -> (B, *S, C): the token ``offset`` places on along ``axis`` of S, counted from its end; 0 outside."""
    reach: Any = torch.sym_min(abs(offset), x.shape[axis - 1])  # a map may be narrower
    margins = (reach, -reach) if offset < 0 else (-reach, reach)
    return F.pad(x, (0, 0) * -axis + margins)
