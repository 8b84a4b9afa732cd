"""What the segment ids of a batch of text decide.

``segment_ids`` is an integer tensor ``(B, L)``: 0 is padding, k > 0 is the k-th document of a packed row; a 0/1
attention mask is already one. No token may receive anything from padding or from another document. The values computed
here depend on the segments alone, so a model computes them once per forward pass and hands them to all its layers.

Shapes: B batch, L tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class SegmentAware(nn.Module):
    """A module called as ``module(x, segment_ids)`` that may derive things from the segments once per forward pass."""

    def prepare(self, segment_ids: Tensor) -> Any:
        """What ``forward`` takes as its second argument, made of ``segment_ids (B, L)``; by default, these ids."""
        return segment_ids

    def prepare_key(self) -> Hashable:
        """Modules with equal keys share one prepared value; by default a module shares with none."""
        return self

    def prepared(self, segments: Any) -> Any:
        """``segments`` as ``forward`` needs them, whether they arrive as ids ``(B, L)`` or prepared by the model.

        Ids are integer tensors: prepare a tuple or a floating tensor, so that the two cannot be taken for each other.
        """
        is_ids = isinstance(segments, Tensor) and not segments.is_floating_point() and segments.dtype != torch.bool
        return self.prepare(segments) if is_ids else segments


def prepare_once(module: SegmentAware, segment_ids: Tensor, shared: dict[Hashable, Any]) -> Any:
    """``module.prepare(segment_ids)``, computed only if no module with an equal key has left it in ``shared``."""
    key = module.prepare_key()
    if key not in shared:
        shared[key] = module.prepare(segment_ids)
    return shared[key]


def same_segment(segment_ids: Tensor) -> Tensor:
    """(B, L) -> (B, L, L) bool: may token i see token j? Padding sees padding, so that no row is empty."""
    return segment_ids[:, :, None] == segment_ids[:, None, :]


class Documents(NamedTuple):
    """Where each token of a batch belongs; padding counts as one more document of its row."""

    number: Tensor  # (B, L) int64: which document of its row, in no particular order, below L
    position: Tensor  # (B, L) int64: how many earlier tokens of that document there are


def documents(segment_ids: Tensor) -> Documents:
    """Sorts the slots of ``segment_ids (B, L)`` by document; O(L log L), so that long rows cost little."""
    index = torch.arange(segment_ids.shape[1], device=segment_ids.device)
    # Keys that all differ are sorted stably by any sort, also by ONNX's, which has no stable one.
    slots = (segment_ids.long() * segment_ids.shape[1] + index).sort(1).indices
    ordered = segment_ids.gather(1, slots)
    starts = (ordered != ordered.roll(1, 1)) | (index == 0)
    number = starts.cumsum(1) - 1
    first = torch.zeros_like(number).scatter_add(1, number, torch.where(starts, index, 0))
    position = index - first.gather(1, number)
    blank = torch.zeros_like(number)
    return Documents(blank.scatter(1, slots, number), blank.scatter(1, slots, position))


def positions_in_segment(segment_ids: Tensor) -> Tensor:
    """(B, L) -> (B, L) int: how many earlier tokens of its own document each token has."""
    return documents(segment_ids).position


def neighbour_masks(segment_ids: Tensor, offsets: Iterable[int]) -> dict[int, Tensor]:
    """For each offset k a mask (B, L, 1) bool: do slots i .. i+k lie in one unbroken run of a document?"""
    length = segment_ids.shape[1]
    slots = torch.arange(length, device=segment_ids.device)
    runs = ((segment_ids != segment_ids.roll(1, 1)) & (slots > 0)).cumsum(1)
    masks = {}
    for offset in sorted(set(offsets)):
        inside = (slots + offset >= 0) & (slots + offset < length)
        masks[offset] = (inside & (runs.roll(-offset, 1) == runs))[:, :, None]
    return masks


def neighbour(x: Tensor, offset: int, masks: dict[int, Tensor]) -> Tensor:
    """(B, L, C) -> (B, L, C): the token ``offset`` slots to the right (left if negative), or 0 outside the document."""
    return torch.where(masks[offset], x.roll(-offset, 1), 0.0)


def add_neighbour(total: Tensor, x: Tensor, offset: int, masks: dict[int, Tensor]) -> Tensor:
    """``total += neighbour(x, offset, masks)``, in place and in one pass over memory; ``total`` is not ``x``."""
    if torch.compiler.is_compiling():  # a compiler fuses this, for rows of any length; slices would each need a graph
        return total + neighbour(x, offset, masks)
    mask, length = masks[offset].to(x.dtype), x.shape[1]
    if abs(offset) < length:
        here = slice(max(0, -offset), length - max(0, offset))
        there = slice(max(0, offset), length - max(0, -offset))
        total[:, here].addcmul_(x[:, there], mask[:, here])
    return total


class SegmentMeans(NamedTuple):
    """Everything needed to average over documents."""

    row: Tensor  # (B * L,) int: a number for the token's document, different for all documents of the batch
    inverse_length: Tensor  # (B, L, 1) float: one over the document's length


def segment_means(segment_ids: Tensor) -> SegmentMeans:
    """Prepares :func:`mean_over_segment` for ``segment_ids (B, L)``."""
    batch, length = segment_ids.shape
    number = documents(segment_ids).number
    lengths = torch.zeros_like(number).scatter_add(1, number, torch.ones_like(number))
    row = number + torch.arange(batch, device=number.device)[:, None] * length
    return SegmentMeans(row.flatten(), lengths.gather(1, number)[:, :, None].float().reciprocal())


def mean_over_segment(x: Tensor, means: SegmentMeans) -> Tensor:
    """(B, L, C) -> (B, L, C): every token gets the mean over the tokens of its document, summed in float32."""
    tokens = x.flatten(0, 1).float()
    sums = torch.zeros_like(tokens).index_add(0, means.row, tokens)
    return (sums[means.row].view_as(x) * means.inverse_length).to(x.dtype)
