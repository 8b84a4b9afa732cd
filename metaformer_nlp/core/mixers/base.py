"""The contract of a token mixer, and how one is named and built.

Shapes: B batch, S token axes ((L,) for text, (H, W) for images), C channels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from metaformer_nlp.core.registry import Registry, nearest
from metaformer_nlp.core.segments import SegmentAware

TokenShape = tuple[int, ...]
MixerSpec = str | Mapping[str, Any]


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
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self(torch.zeros(1, *token_shape, self.dim, device=next(self.parameters(), torch.empty(0)).device))
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

    In a list a name may stand for several: ``["pooling x 10", "attention x 2"]``; one of them may be ``x rest``, which
    is as many as the others leave. So may the name of a mapping: ``{"name": "pooling x rest", "pool_size": 7}``.

    Raises ``ValueError`` for a list of another length and for unknown names.
    """
    if isinstance(token_mixer, str | Mapping):
        if _REPEATED.match(_name(token_mixer)) is None:
            return [_named(token_mixer) for _ in range(count)]
        token_mixer = [token_mixer]
    repeated = [_repeated(spec) for spec in token_mixer]
    counted = sum(times for _, times in repeated if times is not None)
    open_ends = sum(times is None for _, times in repeated)
    if open_ends > 1 or (counted >= count if open_ends else counted != count):
        named = f"{counted} mixers and 'x rest' {open_ends} times" if open_ends else f"{counted} mixers"
        raise ValueError(
            f"token_mixer names {named} for {count} {unit}s: {list(token_mixer)!r}. Give one for all, or one for each "
            f"{unit}, where 'pooling x 3' counts as three and one 'pooling x rest' as all that are left, at least one"
        )
    return [dict(spec) for spec, times in repeated for _ in range(count - counted if times is None else times)]


_REPEATED = re.compile(r"(?P<name>\S+)\s+x\s*(?P<times>\S+)$")


def _name(spec: MixerSpec) -> str:
    return str(spec if isinstance(spec, str) else spec.get("name"))


def _repeated(spec: MixerSpec) -> tuple[dict[str, Any], int | None]:
    """An entry of a list, checked, and how often it counts; None for all that are left."""
    match = _REPEATED.match(_name(spec))
    if match is None:
        return _named(spec), 1
    name, times = match["name"], match["times"]
    if times != "rest" and not (times.isdecimal() and int(times) > 0):
        raise ValueError(
            f"token_mixer {_name(spec)!r}: write '{name} x 3', with a number of at least 1, or '{name} x rest'"
        )
    named = _named(name if isinstance(spec, str) else {**spec, "name": name})
    return named, None if times == "rest" else int(times)


def build_mixer(
    spec: MixerSpec, dim: int, token_shape: TokenShape, defaults: Mapping[str, Mapping[str, Any]] | None = None
) -> TokenMixer:
    """The mixer that ``spec`` names; ``defaults`` are a model's own options by mixer name, which ``spec`` overrides.

    Raises ``ValueError`` for an unknown mixer, and for an option that the mixer has not.
    """
    options = _named(spec)
    name = options.pop("name")
    known = [key for key, it in signature(MIXERS[name]).parameters.items() if it.kind is it.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ValueError(
                f"token mixer {name!r} has no option {option!r}.{nearest(option, known)} Its options: "
                f"{', '.join(known) or 'none'}"
            )
    return MIXERS[name](dim, tuple(token_shape), **{**((defaults or {}).get(name, {})), **options})
