"""Recipes: YAML files of options, which are laid over one another before anything is made of them.

Keys may be nested or dotted. Values that are mappings themselves (a mixer's options) are replaced as a whole. A group
may name options of which one is given, as ``ONE_OF``: what is laid over another recipe takes away the others there.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaformer_nlp.config.names import flatten, nearest
from metaformer_nlp.config.options import groups_of, unknown_option
from metaformer_nlp.config.yaml_text import read_text, read_yaml

__all__ = ["SCRIPTS", "Group", "merge_recipes", "read_recipe", "recipe_path", "taken_away"]

_PACKAGE = Path(__file__).parents[1]
# Commands, recipes and launch files: `commands` of a wheel (see pyproject.toml), else `scripts` of the checkout.
SCRIPTS = next(filter(Path.is_dir, (_PACKAGE / "commands", _PACKAGE.parent / "scripts")), Path("scripts"))
_PREFIX = "recipe:"


def recipe_path(name: str | Path) -> Path:
    """The file of ``recipe:digits``, which is ``recipes/digits.yaml`` in `SCRIPTS`; of any other name, that path.

    Raises:
        ValueError: there is no recipe of that name; the nearest is named, and the folder that has all.
    """
    text = str(name)
    if not text.startswith(_PREFIX):
        return Path(name)
    folder = SCRIPTS / "recipes"
    names = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}
    wanted = text.removeprefix(_PREFIX)
    if wanted not in names:
        raise ValueError(f"there is no recipe {wanted!r}; {nearest(wanted, names)} All are in {folder}")
    return names[wanted]


def merge_recipes(
    config_class: type, recipes: Sequence[str | Path], values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Nested options of ``config_class``: those of ``recipes``, the later over the earlier, and ``values`` over all.

    Raises:
        ValueError: a file that is not there or holds no options, or a key that is none; the nearest is named.
    """
    merged = Group()
    layers = [(f"recipe {path}", read_recipe(path)) for path in map(recipe_path, recipes)]
    for where, layer in (*layers, ("configuration", values or {})):
        nested = _nested(config_class, layer, where=where)
        _merge(merged, nested)
        for name in taken_away(config_class, flatten(nested, Group)):
            group, _, option = name.rpartition(".")
            merged.get(group, {}).pop(option, None)
    return merged


def taken_away(config_class: type, given: Mapping[str, Any]) -> list[str]:
    """The dotted options that those ``given`` (dotted name -> value) stand in place of, by their groups' ``ONE_OF``."""
    names = []
    for group, kind in groups_of(config_class).items():
        options = [f"{group}.{option}" for option in getattr(kind, "ONE_OF", ())]
        if any(given.get(option) not in (None, "null") for option in options):
            names += [option for option in options if option not in given]
    return names


def read_recipe(path: Path) -> Mapping[str, Any]:
    """The options in a YAML file, keys as they are written there; none in an empty one.

    Raises:
        ValueError: a file that is not there, cannot be read, or holds something else.
    """
    if not os.path.exists(path):  # a Path's own raises for names that are too long
        named = path.with_suffix("").as_posix()
        hint = f"; did you mean {_PREFIX}{named}?" if os.path.exists(SCRIPTS / "recipes" / f"{named}.yaml") else ""
        raise ValueError(f"recipe {path}: no such file (looked in {Path.cwd()}){hint}")
    values = read_yaml(read_text(path, "a recipe"), f"recipe {path}")
    if not isinstance(values, dict | None):
        raise ValueError(f"recipe {path}: must hold `key: value` lines, not a {type(values).__name__}")
    return values or {}


class Group(dict[str, Any]):
    """A mapping that stands for a dataclass, as opposed to an option whose value is a mapping."""


def _nested(root: type, values: Mapping[str, Any], *, where: str, prefix: str = "") -> Group:
    """Nested form of ``values`` whose keys may be dotted; below a group only existing keys are let through."""
    config_class = root
    for name in prefix.split(".")[:-1]:
        config_class = groups_of(config_class)[name]
    groups, names = groups_of(config_class), {field.name for field in dataclasses.fields(config_class)}
    nested = Group()
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
        if isinstance(value, Group) and isinstance(into.get(key), Group):
            _merge(into[key], value)
        else:
            into[key] = value
