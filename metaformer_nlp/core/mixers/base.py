"""The contract of a token mixer, and the registry of their names.

Shapes: B batch, S token axes ((L,) for text, (H, W) for images), C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from metaformer_nlp.core.registry import Registry
from metaformer_nlp.core.segments import SegmentAware

TokenShape = tuple[int, ...]


class TokenMixer(SegmentAware):
    """``mixer(x, segment_ids) -> x'`` of the same shape (B, *S, C).

    A mixer is constructed as ``Mixer(dim, token_shape, **options)``, ``token_shape`` being the largest grid it will
    see: ``(L,)`` or ``(H, W)``. Options are keyword arguments by name, never ``**kwargs``, so that a misspelt one is an
    error. ``segment_ids`` is None for images; for text an integer tensor (B, L), 0 being padding and k > 0 the k-th
    document, or a boolean one, True for the tokens of rows that are one document each: no token may receive anything
    from padding or from another document. What can be derived from the segments alone belongs into :meth:`prepare`,
    called once per forward pass; its value then takes the ids' place.
    """

    ranks: ClassVar[tuple[int, ...]] = (1, 2)
    """The numbers of token axes it can mix over: 1 for text, 2 for images."""
    fixed_length: ClassVar[bool] = False
    """Has it something learned or drawn for each position, so that it can see no more tokens than ``token_shape``?"""
    excludes_sources: ClassVar[bool] = False
    """Can it leave tokens out as sources: has its :meth:`prepare` a second parameter, ``sources``?

    ``sources`` (B, L) bool, or None for all: a token that is none receives what the others give it, and gives nothing
    to any other token. Averages, maxima, sums and attention leave it out for itself as well, and are 0 where no source
    is in reach. What a mixer makes of a token alone or of nothing stays: the ``-x`` of pooling, the ``x`` of identity,
    gates, biases.
    """

    def __init__(self, dim: int, token_shape: TokenShape) -> None:
        super().__init__()
        if len(token_shape) not in self.ranks:
            raise ValueError(
                f"{type(self).__name__} mixes tokens on {self.ranks} axes, not on a grid {tuple(token_shape)}"
            )
        self.dim, self.token_shape = dim, tuple(token_shape)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Sets a parameter; one that was frozen stays frozen, since transformers loads into new, trainable ones."""
        before = self._parameters.get(name)
        if param is not None and before is not None and not before.requires_grad:
            param.requires_grad_(False)
        super().register_parameter(name, param)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        """(B, *S, C) -> (B, *S, C)."""
        raise NotImplementedError

    def macs(self, token_shape: TokenShape) -> int:
        """Multiply-accumulates for one sample of ``token_shape`` tokens; counted by torch unless overridden."""
        like = next(self.parameters(), torch.empty(0))
        modes = {module: module.training for module in self.modules()}
        self.eval()  # so that nothing that is measured in training, as by a batch norm, changes
        try:
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                self(torch.zeros(1, *token_shape, self.dim, device=like.device, dtype=like.dtype))
        finally:
            for module, training in modes.items():
                module.training = training
        return counter.get_total_flops() // 2


def number_of_heads(mixer: str, dim: int, num_heads: int | None, head_dim: int) -> int:
    """``num_heads``, or as many as heads of ``head_dim`` channels make up ``dim``, at least one.

    Raises ``ValueError``, in the name of ``mixer``, if ``dim`` channels cannot be divided into so many equal heads.
    """
    heads = num_heads if num_heads is not None else max(dim // max(head_dim, 1), 1)
    if heads < 1 or dim % heads or head_dim < 1:
        raise ValueError(
            f"{mixer} cannot divide {dim} channels into {heads} equal heads (head_dim {head_dim}): choose another "
            "num_heads or head_dim"
        )
    return heads


MIXERS: Registry[type[TokenMixer]] = Registry("token mixer")
Mixer = TypeVar("Mixer", bound=type[TokenMixer])


def register_mixer(name: str) -> Callable[[Mixer], Mixer]:
    """Class decorator: makes a :class:`TokenMixer` usable by ``name`` in every model, study and test."""
    return MIXERS.register(name)  # type: ignore[return-value]
