"""The contract of a token mixer, and how one is named and built.

Shapes: B batch, S token axes ((L,) for text, (H, W) for images), C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from metaformer_nlp.core.registry import Registry
from metaformer_nlp.core.segments import SegmentAware

TokenShape = tuple[int, ...]
MixerSpec = str | Mapping[str, Any]


class TokenMixer(SegmentAware):
    """``mixer(x, segment_ids) -> x'`` of the same shape (B, *S, C).

    A mixer is constructed as ``Mixer(dim, token_shape, **options)``, ``token_shape`` being the largest grid it will
    see: ``(L,)`` or ``(H, W)``. Options are keyword arguments by name, never ``**kwargs``, so that a misspelt one is an
    error. ``segment_ids`` is None for images; for text an integer tensor (B, L), 0 being padding and k > 0 the k-th
    document: no token may receive anything from padding or from another document. What can be derived from the
    segments alone belongs into :meth:`prepare`, called once per forward pass; its value then takes the ids' place.
    """

    ranks: ClassVar[tuple[int, ...]] = (1, 2)
    """The numbers of token axes it can mix over: 1 for text, 2 for images."""
    fixed_length: ClassVar[bool] = False
    """Has it something learned or drawn for each position, so that it can see no more tokens than ``token_shape``?"""

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
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self(torch.zeros(1, *token_shape, self.dim, device=next(self.parameters(), torch.empty(0)).device))
        return counter.get_total_flops() // 2


MIXERS: Registry[type[TokenMixer]] = Registry("token mixer")
Mixer = TypeVar("Mixer", bound=type[TokenMixer])


def register_mixer(name: str) -> Callable[[Mixer], Mixer]:
    """Class decorator: makes a :class:`TokenMixer` usable by ``name`` in every model, study and test."""
    return MIXERS.register(name)  # type: ignore[return-value]


def _named(spec: MixerSpec) -> dict[str, Any]:
    """A mixer given as a name or a mapping, checked, as a mapping with ``name`` and options."""
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    if not isinstance(options.get("name"), str):
        raise ValueError(
            f"a token mixer is a name or a mapping with a 'name', got {spec!r}. Names: {', '.join(MIXERS)}"
        )
    MIXERS[options["name"]]
    return options


def mixer_specs(token_mixer: MixerSpec | Sequence[MixerSpec], count: int, unit: str = "stage") -> list[dict[str, Any]]:
    """One mixer for each of ``count`` stages or layers; a single one is meant for all of them.

    Raises ``ValueError`` for a list of another length and for unknown names.
    """
    if isinstance(token_mixer, str | Mapping):
        return [_named(token_mixer) for _ in range(count)]
    if len(token_mixer) != count:
        raise ValueError(
            f"token_mixer names {len(token_mixer)} mixers for {count} {unit}s: {list(token_mixer)!r}. "
            f"Give one for all, or one for each {unit}"
        )
    return [_named(spec) for spec in token_mixer]


def build_mixer(
    spec: MixerSpec, dim: int, token_shape: TokenShape, defaults: Mapping[str, Mapping[str, Any]] | None = None
) -> TokenMixer:
    """The mixer that ``spec`` names; ``defaults`` are a model's own options by mixer name, which ``spec`` overrides."""
    options = _named(spec)
    name = options.pop("name")
    return MIXERS[name](dim, tuple(token_shape), **{**((defaults or {}).get(name, {})), **options})
