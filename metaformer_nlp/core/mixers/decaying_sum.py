"""Sums over all tokens to one side, each of which weighs less the farther away it is, without any parameter.

They are the exponential moving averages of Mega (Ma et al., arXiv 2209.10655) and the retention of RetNet (Sun et al.,
arXiv 2307.08621) with nothing learned. A decay of 0 is the neighbour alone, a shift.

Shapes: B batch, S token axes ((L,) for text, (H, W) for images), C channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, register_mixer
from metaformer_nlp.core.mixers.pooling import SIDES, Side
from metaformer_nlp.core.mixers.shift import shifted
from metaformer_nlp.core.segments import neighbour, neighbour_masks

NEGLIGIBLE = 1e-8
"""Tokens whose weight is below this are left out: float32 would lose them beside the nearest."""


class DecaySegments(NamedTuple):
    """What the sums need to know of a batch's segments."""

    masks: dict[int, Tensor]  # offset -> (B, L, 1) bool: has the token a source there, inside its document?
    sources: Tensor | None  # (B, L, 1) bool


@register_mixer("decaying_sum")
class DecayingSum(TokenMixer):
    """``sqrt(1 - a^2) (x[1] + a x[2] + a^2 x[3] + ...)``, ``x[n]`` being the n-th token to one side.

    Every side (left and right; in images up and down, too) and every ``a`` of ``decays`` has an equal group of
    channels, side by side. Sums end where the map or the document ends. Squared weights sum to 1, so that unrelated
    tokens keep their variance. The token's own channels are what the block's residual adds.
    """

    excludes_sources = True

    def __init__(self, dim: int, token_shape: TokenShape, *, decays: Sequence[float] = (0.0, 0.5)) -> None:
        super().__init__(dim, token_shape)
        sides = list(SIDES.values())[: 2 * len(self.token_shape)]
        most = dim // len(sides)
        if not 0 < len(decays) <= most or not all(0 <= decay < 1 for decay in decays):
            raise ValueError(
                f"decays must be 1 to {most} numbers from 0 to below 1, for {dim} channels and {len(sides)} sides, "
                f"such as [0.0, 0.5], not {decays!r}"
            )
        self.decays = tuple(decays)
        self.groups = [(side, decay) for side in sides for decay in decays]

    def prepare_key(self) -> tuple[Any, ...]:
        return "decaying_sum", self.decays

    def prepare(self, segment_ids: Tensor, sources: Tensor | None = None) -> DecaySegments:
        offsets = {side.offset * length for side, decay in self.groups for length in doublings(decay)}
        return DecaySegments(
            neighbour_masks(segment_ids, {-1, 1} | offsets), None if sources is None else sources[:, :, None]
        )

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        segments = self.prepared(segment_ids)
        tokens = x if segments is None or segments.sources is None else torch.where(segments.sources, x, 0.0)
        channels = tokens.tensor_split(len(self.groups), dim=-1)
        sums = [self._sum(group, *which, segments) for group, which in zip(channels, self.groups, strict=True)]
        return torch.cat(sums, dim=-1)

    def _sum(self, x: Tensor, side: Side, decay: float, segments: DecaySegments | None) -> Tensor:
        """(B, *S, C) -> (B, *S, C): the sum over 2 n tokens is that over n and, n places on, that over the next n."""

        def further(tokens: Tensor, places: int) -> Tensor:
            offset = side.offset * places
            return shifted(tokens, side.axis, offset) if segments is None else neighbour(tokens, offset, segments.masks)

        total = further(x.float(), 1)
        for length in doublings(decay):
            total = total + decay**length * further(total, length)
        return (math.sqrt(1 - decay**2) * total).to(x.dtype)

    def macs(self, token_shape: TokenShape) -> int:
        return 0  # as for averages: products with constants

    def extra_repr(self) -> str:
        return f"{self.dim}, decays={self.decays}"


def doublings(decay: float) -> list[int]:
    """1, 2, 4, ...: the numbers of tokens that a sum is doubled from until what is left out is negligible."""
    reach = math.log(NEGLIGIBLE) / math.log(decay) if decay > 0 else 1.0
    return [2**power for power in range(math.ceil(math.log2(max(reach, 1.0))))]
