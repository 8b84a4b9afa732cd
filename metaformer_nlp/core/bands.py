"""Averages over windows of packed or padded text, as products with banded matrices.

The average over a window inside a document is a row of a matrix over the tokens that is 0 beyond the window, the
document and the sources. It is built once per forward pass; a layer then costs one batched product, whatever the
window, and its gradient another, where sums of shifted copies pass over memory for every shift. Short rows take the
whole matrix; long ones are cut into blocks, each multiplied with itself and the slots that its windows reach, so that
work and memory grow with the number of tokens and not with its square.

Shapes: B batch, L tokens, C channels, N blocks of S slots, R slots of reach, on both sides together.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from metaformer_nlp.core.segments import unbroken_runs

BLOCK = 64
"""Slots of a block of a long row."""
SHORT = 2 * BLOCK
"""Rows up to this length are not cut."""


class Window(NamedTuple):
    """How many neighbours before and after a token are averaged with it, along ``axis`` (None: along every axis)."""

    before: int
    after: int
    axis: int | None = None


class Band(NamedTuple):
    """The matrix of one window over the tokens of a batch."""

    weights: Tensor  # float32 (B, L, L), or (N, S, S + R) where the flattened batch is cut into blocks
    reach: tuple[int, int] | None  # slots before and after a block, together R; None for whole rows


def window_band(
    segment_ids: Tensor, window: Window, *, subtract_input: bool = False, sources: Tensor | None = None
) -> Band:
    """The average over ``window`` inside the documents of ``segment_ids (B, L)``, minus the token itself if wanted.

    Only ``sources (B, L)`` are averaged; a window that holds none averages to 0.
    """
    batch, length = segment_ids.shape
    runs = unbroken_runs(segment_ids)
    slots = torch.arange(length, device=runs.device)
    # An exported program must serve rows of every length, so it may not choose by length.
    if torch.compiler.is_exporting() or length <= SHORT:
        reach = None
        distance = slots[None, :] - slots[:, None]
        seen = runs[:, :, None] == runs[:, None, :]
        given = None if sources is None else sources[:, None, :]
    else:
        # The rows of the batch as one: where a row ends, a run ends too.
        reach = left, right = min(window.before, length - 1), min(window.after, length - 1)
        fill = -batch * length % BLOCK
        runs = (runs + length * torch.arange(batch, device=runs.device)[:, None]).flatten()
        block = torch.arange(BLOCK, device=runs.device)
        distance = torch.arange(left + BLOCK + right, device=runs.device)[None, :] - left - block[:, None]
        here = F.pad(runs, (0, fill), value=-1).view(-1, BLOCK, 1)
        seen = here == _around(F.pad(runs, (left, right + fill), value=-1), reach)[:, None, :]
        given = None if sources is None else _around(F.pad(sources.flatten(), (left, right + fill)), reach)[:, None, :]
    inside = seen & (distance >= -window.before) & (distance <= window.after)
    weights = (inside if given is None else inside & given).float()
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1)
    return Band(weights - (distance == 0).float() if subtract_input else weights, reach)


def banded_product(x: Tensor, band: Band) -> Tensor:
    """(B, L, C) -> (B, L, C): the matrix of :func:`window_band` times the tokens."""
    weights = band.weights.to(x.dtype)
    if band.reach is None:
        return weights @ x
    batch, length, _ = x.shape
    fill = -batch * length % BLOCK
    left, right = band.reach
    around = _around(F.pad(x.flatten(0, 1), (0, 0, left, right + fill)), band.reach)  # (N, C, S + R)
    return (weights @ around.transpose(1, 2)).flatten(0, 1)[: batch * length].view_as(x)


def _around(slots: Tensor, reach: tuple[int, int]) -> Tensor:
    """(N * S + R, ...) -> (N, ..., S + R): each block with the slots around it; a view."""
    return slots.unfold(0, BLOCK + sum(reach), BLOCK)
