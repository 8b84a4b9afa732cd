"""Average pooling: the PoolFormer mixer (Yu et al., arXiv 2111.11418, Eq. 4), for images and for text.

Shapes: B batch, S token axes ((L,) for text, (H, W) for images), C channels.

A symmetric window of 3 is the paper's. In text it cannot relate two sentences, so the channels may be split into groups
with windows of their own: wider, one-sided or global. All of it is parameter-free averaging, but for ``gate``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from metaformer_nlp.core.bands import Band, Window, banded_product, window_band
from metaformer_nlp.core.linear import Linear
from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, register_mixer
from metaformer_nlp.core.segments import SegmentMeans, mean_over_segment, segment_means


class Side(NamedTuple):
    """The token ``offset`` places on along ``axis`` of S, which is counted from its end."""

    axis: int
    offset: int


SIDES = {"left": Side(-1, -1), "right": Side(-1, 1), "up": Side(-2, -1), "down": Side(-2, 1)}


def parse_side(text: object, rank: int, option: str, others: str = "") -> Side:
    """``"left:4"`` or ``"right:4"``; for images (``rank`` 2) also up and down.

    Anything else is a ``ValueError`` in the name of ``option`` that says what is allowed, beside ``others``.
    """
    name, _, count = str(text).partition(":")
    if name in SIDES and -SIDES[name].axis <= rank and count.isdecimal() and int(count) > 0:
        return Side(SIDES[name].axis, SIDES[name].offset * int(count))
    allowed = f"{others}'left:n' or 'right:n'" + (", 'up:n' or 'down:n'" if rank == 2 else "")
    raise ValueError(f"{option} {text!r} is not {allowed}")


def parse_window(window: int | str, rank: int) -> Window | None:
    """``3`` (odd, symmetric), ``"left:4"`` (itself and 4 before; also right, up, down) or ``"global"``, which is None.

    Up and down are for images only. Anything else is a ``ValueError`` that says what is allowed.
    """
    if window == "global":
        return None
    if isinstance(window, int) and not isinstance(window, bool) and window > 0 and window % 2:
        return Window(window // 2, window // 2)
    axis, offset = parse_side(window, rank, "pool_size", "an odd number, 'global', ")
    return Window(max(-offset, 0), max(offset, 0), axis)


def average_pool(x: Tensor, window: Window) -> Tensor:
    """(B, *S, C) -> (B, *S, C): the average over each token's window, counting only what lies inside the map."""
    rank = x.ndim - 2
    pool = F.avg_pool1d if rank == 1 else F.avg_pool2d
    if window.axis is None:
        size, padding = 2 * window.before + 1, window.before
        return pool(x.movedim(-1, 1), size, stride=1, padding=padding, count_include_pad=False).movedim(1, -1)
    size = window.before + window.after + 1
    sizes = tuple(size if axis - rank == window.axis else 1 for axis in range(rank))
    margins = (0, 0) * -window.axis + (window.before, window.after)

    def averages(tokens: Tensor) -> Tensor:
        padded = F.pad(tokens, margins)
        return pool(padded.movedim(-1, 1), sizes, stride=1).movedim(1, -1)

    return averages(x) / averages(x.new_ones((1, *x.shape[1:-1], 1)))


class PoolingSegments(NamedTuple):
    """What pooling needs to know of a batch's segments."""

    bands: tuple[Band | None, ...]  # one a window; None for a global one
    means: SegmentMeans | None  # for a global window, or a gate


@register_mixer("pooling")
class Pooling(TokenMixer):
    """Every token becomes the average of its neighbourhood, minus itself (the block's residual adds it back).

    ``pool_size`` is one window (see :func:`parse_window`) or a list of them, each for an equal share of the channels.

    ``gate`` adds the mean of all tokens, made specific to each by an element-wise product with a projection of it:
    ``mean(x) * (W x + b)``. It is the product by which PoNet (arXiv 2110.02442, Eq. 9) fuses its global vector, which
    without it would be the same for every token. With fresh weights it is near 0.
    """

    excludes_sources = True

    def __init__(
        self,
        dim: int,
        token_shape: TokenShape,
        *,
        pool_size: int | str | Sequence[int | str] = 3,
        subtract_input: bool = True,
        gate: bool = False,
    ) -> None:
        super().__init__(dim, token_shape)
        windows = [pool_size] if isinstance(pool_size, int | str) else list(pool_size)
        if not 0 < len(windows) <= dim:
            raise ValueError(f"pool_size must name between 1 and {dim} windows for {dim} channels, got {windows!r}")
        self.pool_size, self.subtract_input = windows, subtract_input
        self.windows = tuple(parse_window(window, len(self.token_shape)) for window in windows)
        self.gate = Linear(dim, dim) if gate else None

    def prepare_key(self) -> tuple[Any, ...]:
        return ("pooling", self.windows, self.subtract_input, self.gate is None)

    def prepare(self, segment_ids: Tensor, sources: Tensor | None = None) -> PoolingSegments:
        bands = tuple(
            None if w is None else window_band(segment_ids, w, subtract_input=self.subtract_input, sources=sources)
            for w in self.windows
        )
        needs_means = self.gate is not None or None in bands
        return PoolingSegments(bands, segment_means(segment_ids, sources) if needs_means else None)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        segments = self.prepared(segment_ids)
        groups = x.tensor_split(len(self.windows), dim=-1) if len(self.windows) > 1 else (x,)
        pooled = [self._pool(group, index, segments) for index, group in enumerate(groups)]
        mixed = torch.cat(pooled, dim=-1) if len(pooled) > 1 else pooled[0]
        return mixed if self.gate is None else mixed + self._mean(x, segments) * self.gate(x)

    def _pool(self, x: Tensor, index: int, segments: PoolingSegments | None) -> Tensor:
        """The average over one window, for its group of channels."""
        window, band = self.windows[index], None if segments is None else segments.bands[index]
        if band is not None:
            return banded_product(x, band)  # which has subtracted the token
        mixed = self._mean(x, segments) if window is None else average_pool(x, window)
        return mixed - x if self.subtract_input else mixed.expand_as(x)

    def _mean(self, x: Tensor, segments: PoolingSegments | None) -> Tensor:
        """(B, *S, C) -> that of the map or of each token's document, or what broadcasts to it."""
        if segments is None:
            return x.mean(tuple(range(1, x.ndim - 1)), keepdim=True)
        assert segments.means is not None
        return mean_over_segment(x, segments.means)

    def macs(self, token_shape: TokenShape) -> int:
        # Averaging is additions only, whatever computes it; counted as the paper and public counters do.
        return 0 if self.gate is None else math.prod(token_shape) * self.dim**2

    def extra_repr(self) -> str:
        return f"{self.dim}, pool_size={self.pool_size}, subtract_input={self.subtract_input}"
