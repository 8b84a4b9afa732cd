"""Average pooling: the PoolFormer mixer (Yu et al., arXiv 2111.11418, Eq. 4), for images and for text.

Shapes: B batch, S token axes ((L,) for text, (H, W) for images), C channels.

A symmetric window of 3 is the paper's. In text it cannot relate two sentences, so the channels may be split into groups
with windows of their own: wider, one-sided or global. All of it is parameter-free averaging.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, register_mixer
from metaformer_nlp.core.segments import (
    SegmentMeans,
    add_neighbour,
    mean_over_segment,
    neighbour_masks,
    segment_means,
)

SIDES = {"left": (-1, True), "right": (-1, False), "up": (-2, True), "down": (-2, False)}
"""One-sided windows: the token axis they run along, counted from the end of S, and whether they look back."""


class Window(NamedTuple):
    """How many neighbours before and after a token are averaged with it, along ``axis`` (None: along every axis)."""

    before: int
    after: int
    axis: int | None = None


def parse_window(window: int | str, rank: int) -> Window | None:
    """``3`` (odd, symmetric), ``"left:4"`` (itself and 4 before; also right, up, down) or ``"global"``, which is None.

    Up and down are for images only. Anything else is a ``ValueError`` that says what is allowed.
    """
    allowed = "an odd number, 'global', 'left:n' or 'right:n'" + (", 'up:n' or 'down:n'" if rank == 2 else "")
    if window == "global":
        return None
    if isinstance(window, int) and not isinstance(window, bool) and window > 0 and window % 2:
        return Window(window // 2, window // 2)
    side, _, count = str(window).partition(":")
    if side in SIDES and -SIDES[side][0] <= rank and count.isdecimal() and int(count) > 0:
        axis, looks_back = SIDES[side]
        return Window(int(count) if looks_back else 0, 0 if looks_back else int(count), axis)
    raise ValueError(f"pool_size {window!r} is not {allowed}")


def doubling_offsets(count: int) -> set[int]:
    """The shifts by which :func:`run_sum` builds a sum over ``count`` slots."""
    return {1 << bit for bit in range((count - 1).bit_length())}


def run_sum(x: Tensor, count: int, sign: int, masks: dict[int, Tensor]) -> Tensor:
    """(B, L, C) -> (B, L, C): sum of a token and the ``count - 1`` after it (sign 1) or before it (-1), inside its run.

    Sums over powers of two, put together along the binary digits of ``count``: log2(count) shifts, no loss of precision
    and nothing that could come from another document, as prefix sums would have.
    """
    total: Tensor | None = None
    covered, power, power_sum = 0, 1, x
    while True:
        if count & power:
            total = power_sum if total is None else add_neighbour(power_sum.clone(), total, sign * power, masks)
            covered += power
        if covered == count:
            assert total is not None
            return total
        power_sum = add_neighbour(power_sum.clone(), power_sum, sign * power, masks)
        power *= 2


class PoolingSegments(NamedTuple):
    """What pooling needs to know of a batch's segments."""

    masks: dict[int, Tensor]  # offset -> (B, L, 1) bool
    inverse_counts: tuple[Tensor | None, ...]  # of each window (B, L, 1); None for a global one
    means: SegmentMeans | None


def window_sum(x: Tensor, window: Window, masks: dict[int, Tensor]) -> Tensor:
    """(B, L, C) -> (B, L, C): the sum over each token's window, inside its document."""
    total = run_sum(x, window.after + 1, 1, masks)
    if not window.before:
        return total
    total = total if window.after else total.clone()  # a run of one token is x itself
    return add_neighbour(total, run_sum(x, window.before, -1, masks), -1, masks)


def average_pool(x: Tensor, window: Window) -> Tensor:
    """(B, C, *S) -> (B, C, *S): the average over each token's window, counting only what lies inside the map."""
    rank = x.ndim - 2
    pool = F.avg_pool1d if rank == 1 else F.avg_pool2d
    if window.axis is None:
        return pool(x, 2 * window.before + 1, stride=1, padding=window.before, count_include_pad=False)
    size = window.before + window.after + 1
    sizes = tuple(size if axis - rank == window.axis else 1 for axis in range(rank))
    padding = (0, 0) * (-1 - window.axis) + (window.before, window.after)
    inside = F.pad(x.new_ones((1, 1, *x.shape[2:])), padding)
    return pool(F.pad(x, padding), sizes, stride=1) / pool(inside, sizes, stride=1)


@register_mixer("pooling")
class Pooling(TokenMixer):
    """Every token becomes the average of its neighbourhood, minus itself (the block's residual adds it back).

    ``pool_size`` is one window (see :func:`parse_window`) or a list of them, each for an equal share of the channels.
    """

    def __init__(
        self,
        dim: int,
        token_shape: TokenShape,
        *,
        pool_size: int | str | Sequence[int | str] = 3,
        subtract_input: bool = True,
    ) -> None:
        super().__init__(dim, token_shape)
        windows = [pool_size] if isinstance(pool_size, int | str) else list(pool_size)
        if not 0 < len(windows) <= dim:
            raise ValueError(f"pool_size must name between 1 and {dim} windows for {dim} channels, got {windows!r}")
        self.pool_size, self.subtract_input = windows, subtract_input
        self.windows = tuple(parse_window(window, len(self.token_shape)) for window in windows)

    def prepare_key(self) -> tuple[Any, ...]:
        return ("pooling", self.windows)

    def prepare(self, segment_ids: Tensor) -> PoolingSegments:
        local = [window for window in self.windows if window is not None]
        offsets = {offset for window in local for offset in doubling_offsets(window.after + 1)}
        offsets |= {-offset for window in local if window.before for offset in {1, *doubling_offsets(window.before)}}
        masks = neighbour_masks(segment_ids, offsets)
        ones = torch.ones((*segment_ids.shape, 1), device=segment_ids.device)
        counts = (None if window is None else window_sum(ones, window, masks).reciprocal() for window in self.windows)
        return PoolingSegments(masks, tuple(counts), segment_means(segment_ids) if None in self.windows else None)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        segments = self.prepared(segment_ids)
        groups = x.tensor_split(len(self.windows), dim=-1) if len(self.windows) > 1 else (x,)
        pooled = [self._pool(group, index, segments) for index, group in enumerate(groups)]
        mixed = torch.cat(pooled, dim=-1) if len(pooled) > 1 else pooled[0]
        return mixed - x if self.subtract_input else mixed

    def _pool(self, x: Tensor, index: int, segments: PoolingSegments | None) -> Tensor:
        window = self.windows[index]
        if segments is not None:
            if window is None:
                assert segments.means is not None
                return mean_over_segment(x, segments.means)
            inverse_count = segments.inverse_counts[index]
            assert inverse_count is not None
            return window_sum(x, window, segments.masks) * inverse_count.to(x.dtype)
        if window is None:
            return x.mean(tuple(range(1, x.ndim - 1)), keepdim=True).expand_as(x)
        return average_pool(x.movedim(-1, 1), window).movedim(1, -1)

    def macs(self, token_shape: TokenShape) -> int:
        return 0  # additions only; counted as the paper and public counters do

    def extra_repr(self) -> str:
        return f"{self.dim}, pool_size={self.pool_size}, subtract_input={self.subtract_input}"
