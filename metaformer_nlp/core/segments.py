"""What the segment ids of a batch of text decide.

``segment_ids`` is an integer tensor ``(B, L)``: 0 is padding, k > 0 is the k-th document of a packed row. A boolean one
says more: every row is one document, and these are its tokens, so that work over pairs of tokens or over the documents
of a row can be left out. No token may receive anything from padding or from another document. The values computed here
depend on the segments alone, so a model computes them once per forward pass and hands them to all its layers.

``sources (B, L)`` bool, where it is given, says which tokens may give anything to others or to averages over them (they
all receive); None is all of them.

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

        Ids are integer or boolean tensors: prepare a tuple or a floating tensor, so that the two cannot be taken for
        each other.
        """
        is_ids = isinstance(segments, Tensor) and not segments.is_floating_point()
        return self.prepare(segments) if is_ids else segments


def prepare_once(module: SegmentAware, shared: dict[Hashable, Any], *given: Tensor) -> Any:
    """``module.prepare(*given)``, computed only if no module with an equal key has left it in ``shared``."""
    key = module.prepare_key()
    if key not in shared:
        shared[key] = module.prepare(*given)
    return shared[key]


def same_segment(segment_ids: Tensor) -> Tensor:
    """(B, L) -> (B, L, L) bool: may token i see token j? Padding sees padding, so that no row is empty."""
    return segment_ids[:, :, None] == segment_ids[:, None, :]


class Documents(NamedTuple):
    """Where each token of a batch belongs; padding counts as one more document of its row."""

    rank: Tensor  # (B, L) int64: its place when the slots of the row are sorted by document
    position: Tensor  # (B, L) int64: how many earlier tokens of its document there are

    @property
    def number(self) -> Tensor:
        """(B, L) int64: which document of its row, in no particular order, below L: the rank of its first token."""
        return self.rank - self.position


def documents(segment_ids: Tensor) -> Documents:
    """Sorts the slots of ``segment_ids (B, L)`` by document; O(L log L), so that long rows cost little."""
    if segment_ids.dtype == torch.bool:
        real, padding = segment_ids.cumsum(1), (~segment_ids).cumsum(1)
        position = torch.where(segment_ids, real, padding) - 1
        return Documents(torch.where(segment_ids, position, position + real[:, -1:]), position)
    index = torch.arange(segment_ids.shape[1], device=segment_ids.device)
    # Keys that all differ are sorted stably by any sort, also by ONNX's, which has no stable one. No slices either:
    # exporters would make a program for rows of at least 3 tokens out of them.
    slots = (segment_ids.long() * segment_ids.shape[1] + index).sort(1).indices
    ordered = segment_ids.gather(1, slots)
    starts = (ordered != ordered.roll(1, 1)) | (index == 0)
    number = starts.cumsum(1) - 1
    position = index - torch.zeros_like(slots).scatter_add(1, number, torch.where(starts, index, 0)).gather(1, number)
    rank = torch.zeros_like(slots).scatter(1, slots, index.expand_as(slots))
    return Documents(rank, position.gather(1, rank))


def positions_in_segment(segment_ids: Tensor) -> Tensor:
    """(B, L) -> (B, L) int: how many earlier tokens of its own document each token has."""
    return documents(segment_ids).position


def unbroken_runs(segment_ids: Tensor) -> Tensor:
    """(B, L) -> (B, L) int64: 0, 1, 2, ..., one more at each slot that belongs to another document than the last."""
    inner = torch.arange(segment_ids.shape[1], device=segment_ids.device) > 0
    return ((segment_ids != segment_ids.roll(1, 1)) & inner).cumsum(1)


def neighbour_masks(segment_ids: Tensor, offsets: Iterable[int]) -> dict[int, Tensor]:
    """For each offset k a mask (B, L, 1) bool: do slots i .. i+k lie in one unbroken run of a document?"""
    length, runs = segment_ids.shape[1], unbroken_runs(segment_ids)
    slots = torch.arange(length, device=segment_ids.device)
    masks = {}
    for offset in sorted(set(offsets)):
        inside = (slots + offset >= 0) & (slots + offset < length)
        masks[offset] = (inside & (runs.roll(-offset, 1) == runs))[:, :, None]
    return masks


def neighbour(x: Tensor, offset: int, masks: dict[int, Tensor], outside: float = 0.0) -> Tensor:
    """(B, L, C) -> (B, L, C): the token ``offset`` slots to the right (left if negative); ``outside`` the document."""
    return torch.where(masks[offset], x.roll(-offset, 1), outside)


class SegmentMeans(NamedTuple):
    """Everything needed to average over documents."""

    row: Tensor | None  # (B * L,) int: a number for the token's document, another for each of the batch; None: the row
    inverse_count: Tensor  # (B, L, 1) or (B, 1, 1) float: one over how many tokens are averaged; 0 for none
    sources: Tensor | None  # (B, L, 1) bool: the tokens that are averaged; None is all


def segment_means(segment_ids: Tensor, sources: Tensor | None = None) -> SegmentMeans:
    """Prepares :func:`mean_over_segment` for ``segment_ids (B, L)`` and ``sources (B, L)``."""
    if segment_ids.dtype == torch.bool:
        # Padding is no document of its own here: it gets the mean of its row, which nobody looks at.
        given = segment_ids if sources is None else segment_ids & sources
        return SegmentMeans(None, _inverse(given.sum(1)[:, None, None]), given[:, :, None])
    batch, length = segment_ids.shape
    number = documents(segment_ids).number
    counted = torch.ones_like(number) if sources is None else sources.to(number.dtype)
    counts = torch.zeros_like(number).scatter_add(1, number, counted)
    row = number + torch.arange(batch, device=number.device)[:, None] * length
    inverse_count = _inverse(counts.gather(1, number)[:, :, None])
    return SegmentMeans(row.flatten(), inverse_count, None if sources is None else sources[:, :, None])


def _inverse(count: Tensor) -> Tensor:
    return torch.where(count > 0, count.float().reciprocal(), 0.0)


def mean_over_segment(x: Tensor, means: SegmentMeans) -> Tensor:
    """(B, L, C) -> (B, L, C): every token gets the mean over the sources of its document, summed in float32.

    Where there is none the mean is 0. For integer segments it is scattered addition, which is linear in the tokens,
    but on a GPU rounds in another order from call to call, so that such a run is not repeatable to the bit there.
    """
    tokens = x.float() if means.sources is None else torch.where(means.sources, x.float(), 0.0)
    if means.row is None:
        return (tokens.sum(1, keepdim=True) * means.inverse_count).to(x.dtype).expand_as(x)
    tokens = tokens.flatten(0, 1)
    sums = torch.zeros_like(tokens).index_add(0, means.row, tokens)
    return (sums[means.row].view_as(x) * means.inverse_count).to(x.dtype)
