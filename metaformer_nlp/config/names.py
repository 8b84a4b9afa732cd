"""Names that people write: dotted ones for what is nested, and the one that was meant by a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["closest", "flatten", "nearest", "split_names"]


def closest(name: str, allowed: Iterable[str], cutoff: float = 0.6) -> str | None:
    """That of ``allowed`` which is most like ``name``; None where none is, by ``cutoff`` from 0 (all are) to 1."""
    return next(iter(difflib.get_close_matches(name, list(allowed), n=1, cutoff=cutoff)), None)


def nearest(name: str, allowed: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of an error message: the likeliest meant name, else all of them."""
    allowed = list(allowed)
    close = closest(name, allowed, cutoff)
    return f"did you mean {close!r}?" if close else f"allowed: {', '.join(allowed)}."


def flatten(tree: Mapping[str, Any], groups: type[dict[str, Any]] = dict, prefix: str = "") -> dict[str, Any]:
    """``{"optim": {"lr": 1}}`` -> ``{"optim.lr": 1}``: into mappings of the type ``groups``, but for empty ones."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, groups) and value:
            flat.update(flatten(value, groups, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def split_names(names: str | Sequence[str]) -> list[str]:
    """``"a, b"`` or ``["a", "b"]`` -> ``["a", "b"]``; ValueError where there is none."""
    listed = names.split(",") if isinstance(names, str) else names
    found = [name.strip() for name in listed if name.strip()]
    if not found:
        raise ValueError("an empty list of names; give at least one, or several separated by commas")
    return found
