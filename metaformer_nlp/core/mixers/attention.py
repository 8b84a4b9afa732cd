"""Multi-head self-attention (Vaswani et al., 2017), by torch's scaled_dot_product_attention.

Shapes: B batch, T tokens (L in a text), h heads, D channels of a head; Q queries and K keys of a mask. With a window a
long text is cut into blocks, each of which looks at itself and the slots in reach: B' is then B times their number.
Elsewhere it is B, or 1 where all rows have the same mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer_nlp.core.linear import Linear
from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, number_of_heads, register_mixer
from metaformer_nlp.core.positions import (
    ROPE_THETA,
    RelativeBias,
    alibi_slopes,
    distance_bias,
    grid_offsets,
    one_sided_slopes,
    rotary_table,
    rotate,
)
from metaformer_nlp.core.segments import same_segment
from metaformer_nlp.core.windows import blocks, surroundings

POSITIONS = ("none", "rotary", "alibi", "one_sided", "learned_relative")
BIASED = ("alibi", "one_sided")
SMALLEST_BLOCK = 32
BLOCKS_OF_A_LONG_ROW = 4
"""Rows of fewer blocks take a mask over all pairs of tokens, which is as fast there."""


class AttentionSegments(NamedTuple):
    """Who looks at whom, in a batch of segments."""

    mask: Tensor | None  # (B', 1 or h, Q or 1, K) bool, or float32 with -inf for what is not seen; None: all see all
    any_seen: Tensor | None  # (B', 1 or h, Q or 1, 1) bool: does a token see any? None where all of them do


@register_mixer("attention")
class Attention(TokenMixer):
    """Every token looks at every token of its sample or document, or at those in a window.

    ``num_heads`` heads, or as many as heads of ``head_dim`` channels make up ``dim`` (32 in both MetaFormer papers).

    ``positions`` says what a token knows of where another one is:

    - ``none``: nothing;
    - ``rotary``: queries and keys are turned by their place (arXiv 2104.09864), in images half of the channels by the
      row and half by the column; the longest wavelength is about 2 pi ``rope_theta`` (None: 10,000 in texts, 100 in
      images, as in arXiv 2403.13298);
    - ``alibi``: nearer tokens have more weight, on all sides alike (arXiv 2108.12409);
    - ``one_sided``: half of the heads look back and half ahead, and not at the token itself, with slopes from 1 (little
      but the neighbour) to 2^-8; a token with nothing in reach looks at itself. For texts only;
    - ``learned_relative``: a learned bias for each head and offset, as in T5 (texts) and Swin (images).

    ``window`` is how many tokens to each side are seen, in images rows and columns; None is all. Distances count the
    slots of a row. ``qk_norm``: an RMS norm with a learned scale over the channels of each head's queries and keys.

    Raises ``ValueError`` for options that do not fit each other, the heads or the grid.
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
        positions: str = "none",
        window: int | None = None,
        qk_norm: bool = False,
        rope_theta: float | None = None,
    ) -> None:
        super().__init__(dim, token_shape)
        self.num_heads = number_of_heads("attention", dim, num_heads, head_dim)
        self.head_dim, rank = dim // self.num_heads, len(self.token_shape)
        _check_options(positions, window, qk_norm, rope_theta, self.num_heads, self.head_dim, rank)
        self.positions, self.window = positions, window
        self.rope_theta = ROPE_THETA[rank] if rope_theta is None else rope_theta
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.query_norm = nn.RMSNorm(self.head_dim, eps=1e-6) if qk_norm else None
        self.key_norm = nn.RMSNorm(self.head_dim, eps=1e-6) if qk_norm else None
        self.relative_bias = RelativeBias(self.num_heads, self.token_shape) if positions == "learned_relative" else None
        self.proj = Linear(dim, dim, bias=proj_bias)

    def prepare_key(self) -> tuple[Any, ...]:
        biased = self.positions in BIASED  # the others do not touch the mask
        return "attention", self.window, (self.positions, self.num_heads) if biased else None

    def prepare(self, segment_ids: Tensor, sources: Tensor | None = None) -> AttentionSegments:
        length = segment_ids.shape[1]
        if self._in_blocks(length):
            size, reach, ids = self._block_size, self.window or 0, segment_ids.long()
            same = blocks(ids, size, -1)[:, :, None] == surroundings(ids, size, reach, -1)[:, None]
            keys = None if sources is None else surroundings(sources.long(), size, reach).bool()
        elif segment_ids.dtype == torch.bool and not self._masks_by_place:
            # The same keys for all queries of a row: no matrix over its tokens.
            same, keys = segment_ids[:, None], sources
        else:
            same, keys = same_segment(segment_ids), sources
        return self._seen((length,), segment_ids.device, same[:, None], keys)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        token_shape = x.shape[1:-1]
        segments = self.prepared(segment_ids)
        query, key, value = self.qkv(x.flatten(1, -2)).unflatten(-1, (3, self.num_heads, -1)).unbind(2)  # (B, T, h, D)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if self.positions == "rotary":
            table = rotary_table(token_shape, self.head_dim, self.rope_theta, x.device)
            query, key = rotate(query, table), rotate(key, table)
        in_blocks = self._in_blocks(*token_shape)
        if in_blocks:
            size, reach = self._block_size, self.window or 0
            query, key, value = blocks(query, size), surroundings(key, size, reach), surroundings(value, size, reach)
            if segments is None:  # the slots outside the rows are hidden
                segments = self.prepare(torch.ones(x.shape[:2], dtype=torch.long, device=x.device))
        elif segments is None:
            segments = self._seen(token_shape, x.device, None, None)
        mask, any_seen = segments
        if self.relative_bias is not None:
            mask = _added(self.relative_bias(self._offsets(token_shape, x.device)), mask)
        if mask is not None and mask.is_floating_point():
            mask = mask.to(query.dtype)
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        if any_seen is not None:
            mixed = torch.where(any_seen, mixed, 0.0)
        mixed = mixed.transpose(1, 2).flatten(2)
        if in_blocks:
            # Not a slice: that is contiguous for some lengths alone, and a compiled graph would be for these or others.
            filled = -x.shape[1] % self._block_size
            mixed = F.pad(mixed.reshape(len(x), x.shape[1] + filled, self.dim), (0, 0, 0, -filled))
        return self.proj(mixed).view_as(x)

    @property
    def _masks_by_place(self) -> bool:
        """Does who sees whom, or how well, depend on where tokens are?"""
        return self.window is not None or self.positions in BIASED

    @property
    def _block_size(self) -> int:
        return max(2 * (self.window or 0), SMALLEST_BLOCK)

    def _in_blocks(self, *token_shape: int) -> bool:
        """Whether a row is cut. An exported program must serve rows of every length, so it may not choose by length."""
        if self.window is None or len(token_shape) > 1 or torch.compiler.is_exporting():
            return False
        return token_shape[0] >= BLOCKS_OF_A_LONG_ROW * self._block_size

    def _offsets(self, token_shape: Sequence[int], device: torch.device) -> tuple[Tensor, ...]:
        """The place of each key minus that of each query, (Q, K) for each axis."""
        if not self._in_blocks(*token_shape):
            return grid_offsets(token_shape, device)
        slots, reach = torch.arange(self._block_size, device=device), self.window or 0
        return (torch.arange(-reach, self._block_size + reach, device=device) - slots[:, None],)

    def _seen(
        self, token_shape: Sequence[int], device: torch.device, same: Tensor | None, sources: Tensor | None
    ) -> AttentionSegments:
        """Who sees whom: tokens of the ``same`` document (B', 1, Q or 1, K), in the window and on the head's side, that
        are ``sources`` (B', K); None is all. With the bias of their distance.
        """
        seen = same if sources is None else _both(same, sources[:, None, None])
        offsets = self._offsets(token_shape, device) if self._masks_by_place else ()
        if self.window is not None:
            for offset in offsets:
                seen = _both(seen, offset.abs() <= self.window)
        if self.positions == "one_sided":
            itself = _both(seen, offsets[0] == 0)
            back, ahead = self._sides
            seen = _both(seen, torch.stack([offsets[0] < 0] * back + [offsets[0] > 0] * ahead))
            seen = seen | (itself & ~seen.any(-1, keepdim=True))
        any_seen = None
        if seen is not None and (sources is not None or not self._masks_by_place):
            # A softmax over nothing is not a number: such tokens look at everything, and what they see is thrown away.
            any_seen = seen.any(-1, keepdim=True)
            seen = seen | ~any_seen
        if self.positions in BIASED:
            seen = _added(distance_bias(offsets, self._slopes()), seen)
        return AttentionSegments(seen, None if sources is None else any_seen)

    @property
    def _sides(self) -> tuple[int, int]:
        """Of one-sided heads, how many look back and how many ahead."""
        return (self.num_heads + 1) // 2, self.num_heads // 2

    def _slopes(self) -> list[float]:
        if self.positions == "alibi":
            return alibi_slopes(self.num_heads)
        return [slope for heads in self._sides for slope in one_sided_slopes(heads)]

    def macs(self, token_shape: TokenShape) -> int:
        """Projections, and the products of the pairs of tokens that see each other."""
        if self.positions == "one_sided":
            length, reach = token_shape[0], self.window or token_shape[0]
            pairs = sum(max(min(place, reach), 1) for place in range(length))
        else:
            pairs = math.prod(pairs_within(size, self.window) for size in token_shape)
        return math.prod(token_shape) * 4 * self.dim**2 + 2 * pairs * self.dim

    def extra_repr(self) -> str:
        return f"{self.dim}, num_heads={self.num_heads}, positions={self.positions}, window={self.window}"


def pairs_within(size: int, window: int | None) -> int:
    """How many pairs (i, j) of ``size`` places are at most ``window`` apart; None: all."""
    reach = size - 1 if window is None else min(window, size - 1)
    return size + 2 * sum(size - distance for distance in range(1, reach + 1))


def _both(first: Tensor | None, second: Tensor) -> Tensor:
    return second if first is None else first & second


def _added(bias: Tensor, mask: Tensor | None) -> Tensor:
    """A mask's bias (h, Q, K), minus infinity where ``mask`` is not."""
    return bias[None] if mask is None else torch.where(mask, bias, -torch.inf)


def _check_options(
    positions: str,
    window: int | None,
    qk_norm: bool,
    rope_theta: float | None,
    num_heads: int,
    head_dim: int,
    rank: int,
) -> None:
    """ValueError for options that do not fit."""
    if positions not in POSITIONS:
        raise ValueError(f"attention has no positions {positions!r}; choose one of {', '.join(POSITIONS)}")
    if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window < 1):
        raise ValueError(
            f"attention's window is {window!r}; it is how many tokens to each side are seen: 1 or more, or null for all"
        )
    if not isinstance(qk_norm, bool):
        raise ValueError(f"attention's qk_norm is {qk_norm!r}; it must be true or false")
    a_number = isinstance(rope_theta, int | float) and 1 < rope_theta < math.inf
    if rope_theta is not None and (positions != "rotary" or not a_number):
        raise ValueError(
            f"attention's rope_theta is {rope_theta!r} with positions {positions!r}; it is a number above 1, and for "
            "rotary positions alone"
        )
    if positions == "rotary" and head_dim % (2 * rank):
        raise ValueError(
            f"rotary positions turn pairs of channels on {rank} axes, so the channels of a head must be divisible by "
            f"{2 * rank}, not {head_dim}: choose another num_heads or head_dim"
        )
    if positions == "one_sided" and rank > 1:
        raise ValueError("one_sided positions are for texts: an image has no before and after. Use rotary or alibi")
    if positions == "one_sided" and num_heads < 2:
        raise ValueError("one_sided positions need at least 2 heads, one that looks back and one that looks ahead")
