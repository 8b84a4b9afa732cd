"""Recipes: YAML files of options, which are laid over one another before anything is made of them.

Keys may be nested or dotted. Values that are mappings themselves (a mixer's options) are replaced as a whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from metaformer_nlp.config.options import groups_of, unknown_option
from metaformer_nlp.config.yaml_text import read_yaml
from metaformer_nlp.errors import reading

__all__ = ["flatten", "merge_recipes"]


def merge_recipes(
    config_class: type, recipes: Sequence[str | Path], values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Nested options of ``config_class``: those of ``recipes``, the later over the earlier, and ``values`` over all.

    Raises:
        ValueError: a file that is not there or holds no options, or a key that is none; the nearest is named.
    """
    merged = _Group()
    for recipe in recipes:
        path = Path(recipe)
        _merge(merged, _nested(config_class, _read(path), where=f"recipe {path}"))
    _merge(merged, _nested(config_class, values or {}, where="configuration"))
    return merged


def flatten(config_class: type, nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``{"optim": {"lr": 1}}`` -> ``("optim.lr", 1)``, an option at a time."""
    groups = groups_of(config_class)
    for key, value in nested.items():
        if key in groups:
            yield from flatten(groups[key], value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ValueError(f"recipe {path}: no such file (looked in {Path.cwd()})")
    with reading(path, "a recipe"):
        text = path.read_text(encoding="utf-8")
    values = read_yaml(text, f"recipe {path}")
    if not isinstance(values, dict | None):
        raise ValueError(f"recipe {path}: must hold `key: value` lines, not a {type(values).__name__}")
    return values or {}


class _Group(dict[str, Any]):
    """A mapping that stands for a dataclass, as opposed to an option whose value is a mapping."""


def _nested(root: type, values: Mapping[str, Any], *, where: str, prefix: str = "") -> _Group:
    """Nested form of ``values`` whose keys may be dotted; below a group only existing keys are let through."""
    config_class = root
    for name in prefix.split(".")[:-1]:
        config_class = groups_of(config_class)[name]
    groups, names = groups_of(config_class), {field.name for field in dataclasses.fields(config_class)}
    nested = _Group()
    for key, value in values.items():
        head, _, tail = str(key).partition(".")
        if head in groups:
            inner = {tail: value} if tail else value
            if not isinstance(inner, Mapping):
                raise ValueError(f"{where}: {prefix}{head} is a group of options, not a value: {inner!r}")
            _merge(nested, {head: _nested(root, inner, where=where, prefix=f"{prefix}{head}.")})
        elif head in names and not tail:
            nested[head] = value
        else:
            raise ValueError(f"{where}: {unknown_option(root, f'{prefix}{key}')}")
    return nested


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    """Lay ``new`` over ``into``. Values that are mappings themselves (a mixer's options) are wrapped, never mixed."""
    for key, value in new.items():
        if isinstance(value, _Group) and isinstance(into.get(key), _Group):
            _merge(into[key], value)
        else:
            into[key] = value
