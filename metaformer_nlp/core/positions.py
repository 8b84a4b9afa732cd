"""Relative positions for attention: rotations of queries and keys, and biases of their products.

Shapes: T tokens, h heads, D channels of a head; Q queries and K keys, whose ``offsets`` are one integer tensor (Q, K)
for each token axis: the key's place minus the query's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

ROPE_THETA = {1: 10_000.0, 2: 100.0}
"""Usual base of the rotations' wavelengths by number of token axes: in texts arXiv 2104.09864, in images 2403.13298."""
NUM_BUCKETS, MAX_DISTANCE = 32, 128


def grid_offsets(token_shape: Sequence[int], device: torch.device | None = None) -> tuple[Tensor, ...]:
    """Offsets (T, T) of all tokens of a grid, one tensor an axis."""
    return tuple(place[None, :] - place[:, None] for place in _places(token_shape, device))


def _places(token_shape: Sequence[int], device: torch.device | None) -> list[Tensor]:
    """Where each token of a grid lies, (T,) for each axis."""
    grids = torch.meshgrid(*(torch.arange(size, device=device) for size in token_shape), indexing="ij")
    return [grid.flatten() for grid in grids]


def rotary_table(
    token_shape: Sequence[int], head_dim: int, theta: float, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines (T, 1, D) of rotary positions (Su et al., arXiv 2104.09864), for :func:`rotate`.

    Channel i is turned together with channel i + D/2. On several axes each turns an equal share of these pairs by the
    place along it (axial rotary positions, Heo et al., arXiv 2403.13298). Needs D to be a multiple of 2 x the number
    of axes.
    """
    pairs = head_dim // 2 // len(token_shape)
    frequencies = theta ** (-torch.arange(pairs, device=device) / pairs)
    angles = torch.cat([place[:, None] * frequencies for place in _places(token_shape, device)], dim=1)[:, None]
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat((cosine, cosine), -1), torch.cat((-sine, sine), -1)


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """(B, T, h, D) turned by the angles of :func:`rotary_table`."""
    cosine, sine = (part.to(x.dtype) for part in table)
    return torch.addcmul(x * cosine, x.roll(x.shape[-1] // 2, -1), sine)


def alibi_slopes(num_heads: int) -> list[float]:
    """Slopes of ALiBi (Press et al., arXiv 2108.12409): 2^(-8/h), 2^(-16/h), ..., 2^-8 for a power of two.

    For other numbers of heads those of the power of two below, then every second one of the power above.
    """
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    between = [2 ** (-4 * (head + 1) / power) for head in range(0, 2 * power, 2)]
    return slopes + between[: num_heads - power]


def one_sided_slopes(num_heads: int) -> list[float]:
    """Slopes of heads that look to one side: from 1, which sees little but the neighbour, down to 2^-8."""
    return [2 ** (-8 * head / max(num_heads - 1, 1)) for head in range(num_heads)]


def distance_bias(offsets: Sequence[Tensor], slopes: Sequence[float]) -> Tensor:
    """(h, Q, K) float32: minus slope times distance. On a map the distance is Euclidean (CROMA, arXiv 2311.00566)."""
    distance = offsets[0].abs().float() if len(offsets) == 1 else torch.stack(list(offsets)).float().norm(dim=0)
    return -torch.tensor(slopes, device=distance.device)[:, None, None] * distance


class RelativeBias(nn.Module):
    """A learned number for each head and offset, added to the products of queries and keys.

    In texts there is one for each of 32 buckets of distances, which are wider farther away (T5, Raffel et al., arXiv
    1910.10683). On maps each offset has its own (Swin, Liu et al., arXiv 2103.14030); beyond the grid that the table
    was built for, the outermost ones serve.
    """

    def __init__(self, num_heads: int, token_shape: Sequence[int]) -> None:
        super().__init__()
        self.token_shape = tuple(token_shape)
        sizes = (NUM_BUCKETS,) if len(self.token_shape) == 1 else tuple(2 * size - 1 for size in self.token_shape)
        self.table = nn.Parameter(torch.empty(*sizes, num_heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.table, std=0.02)

    def forward(self, offsets: Sequence[Tensor]) -> Tensor:
        """(h, Q, K)"""
        return self.table.flatten(0, -2)[self._index(offsets)].permute(2, 0, 1)

    def _index(self, offsets: Sequence[Tensor]) -> Tensor:
        if len(offsets) == 1:
            return distance_buckets(offsets[0])
        index = torch.zeros_like(offsets[0])
        for offset, size in zip(offsets, self.token_shape, strict=True):
            index = index * (2 * size - 1) + offset.clamp(1 - size, size - 1) + size - 1
        return index


def refit_relative_bias(table: Tensor, sizes: Sequence[int]) -> Tensor:
    """The table (2H-1, 2W-1, h) of a map's :class:`RelativeBias`, cut or extended to the ``sizes`` of another.

    With the result a model gives what with ``table`` it gives on maps of the other size.
    """
    for axis, size in enumerate(sizes):
        before = table.shape[axis]
        places = torch.arange(size, device=table.device) - (size - before) // 2
        table = table.index_select(axis, places.clamp(0, before - 1))
    return table


def distance_buckets(offset: Tensor) -> Tensor:
    """T5's bucket 0..31 of each offset: 16 a side. Distances 0 to 7 have their own; the others widen up to 128."""
    half = NUM_BUCKETS // 2
    exact, distance = half // 2, offset.abs()
    share = (distance.clamp(min=1).float() / exact).log() / math.log(MAX_DISTANCE / exact)
    wide = (exact + (share * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(offset > 0, half, 0) + torch.where(distance < exact, distance, wide)
