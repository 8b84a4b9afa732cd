"""A long row of tokens as blocks, each with the slots around it, so that a window costs what it sees.

Shapes: B batch, L tokens, n blocks of S slots in a row, R slots of reach to each side, R <= S; ``...`` is anything.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def blocks(x: Tensor, size: int, fill: float = 0) -> Tensor:
    """(B, L, ...) -> (B * n, S, ...); what the last block of a row lacks is ``fill``."""
    return _cut(x, size, fill).flatten(0, 1)


def surroundings(x: Tensor, size: int, reach: int, fill: float = 0) -> Tensor:
    """(B, L, ...) -> (B * n, R + S + R, ...): each block with the slots around it; outside the row they are ``fill``.

    Copies of slices, whose gradient is cheaper than that of overlapping views.
    """
    cut = _cut(x, size, fill)
    before = _padded(cut[:, :-1, size - reach :], 1, 0, fill)
    after = _padded(cut[:, 1:, :reach], 0, 1, fill)
    return torch.cat((before, cut, after), dim=2).flatten(0, 1)


def _cut(x: Tensor, size: int, fill: float) -> Tensor:
    return _padded(x, 0, -x.shape[1] % size, fill).unflatten(1, (-1, size))


def _padded(x: Tensor, before: int, after: int, fill: float) -> Tensor:
    return F.pad(x, (0, 0) * (x.ndim - 2) + (before, after), value=fill)
