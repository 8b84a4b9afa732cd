"""How mixers are named in options and configurations, and built from their names.

A mixer is its name or a mapping of its name and options; in a list for all layers or stages ``"pooling x 10"`` stands
for ten of them and ``"pooling x rest"`` for all that the others leave.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

from metaformer_nlp.core.mixers.base import MIXERS, TokenMixer, TokenShape
from metaformer_nlp.core.registry import nearest

MixerSpec = str | Mapping[str, Any]

_REPEATED = re.compile(r"(?P<name>\S+)\s+x\s*(?P<times>\S+)$")


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


def _named(spec: MixerSpec) -> dict[str, Any]:
    """A mixer given as a name or a mapping, checked, as a mapping with ``name`` and options."""
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    if not isinstance(options.get("name"), str):
        raise ValueError(
            f"a token mixer is a name or a mapping with a 'name', got {spec!r}. Names: {', '.join(MIXERS)}"
        )
    MIXERS[options["name"]]
    return options


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
