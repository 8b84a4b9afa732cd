"""One command line for every script: a tree of dataclasses, read from recipes, dotted overrides or a plain mapping.

An experiment describes itself by a frozen dataclass whose fields are either values or further dataclasses (its groups:
model, data, optim, ...). Field docstrings become the text of ``--help``. Three ways lead to such an object and all
three reject a key that does not exist, naming the nearest that does:

- :func:`parse`: ``--config recipe.yaml --model.token_mixer attention --optim.lr 1e-3`` (a script),
- :func:`from_dict`: ``{"model.token_mixer": "attention", "optim": {"lr": 1e-3}}`` (a study),
- :func:`to_dict` is the way back to plain values (JSON), as stored in a run folder.

Precedence: defaults < recipes, in the order they are named < overrides.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import difflib
import functools
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jsonargparse
import yaml

from metaformer_nlp.engine import NonFiniteLossError, RunFolderBusyError

C = TypeVar("C")

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


def parse(config_class: type[C], argv: Sequence[str] | None = None, *, description: str | None = None) -> C:
    """Read a command line (default: this process's) into ``config_class``; a wrong one ends the program with status 2.

    ``--config`` may stand anywhere and be repeated; overrides win over every recipe. ``--help`` beside a ``--config``
    shows the recipe's values as the defaults, ``--print_config`` prints the resolved configuration. ``description``
    stands at the top of the help.
    """
    parser = _build_parser(config_class, description=description)
    try:
        recipes, overrides = _split_recipes(list(sys.argv[1:] if argv is None else argv))
        base = _merge_recipes(config_class, recipes)
        for token in overrides:
            if token.startswith("--"):
                _check_flag(config_class, token)
    except ValueError as error:
        parser.error(str(error))
    if base:
        try:
            parser.set_defaults(dict(_flatten(config_class, base)))
        except Exception as error:  # jsonargparse raises several types here, all of them about a value in the recipe
            parser.error(f"{', '.join(recipes)}: {error}")
    namespace = parser.parse_args([token for token in overrides if token != "--print_config"])
    try:
        if base:  # a default, such as a recipe's value is now, is not checked if it is a text
            for name in ("config", "print_config"):
                namespace.pop(name, None)
            namespace = _checked(config_class, namespace.as_dict())
        config = _instantiate(parser, config_class, namespace)
    except ValueError as error:
        parser.error(str(error))
    if "--print_config" in overrides:
        print(yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True), end="")
        parser.exit()
    return config


def main(config_class: type[C], run: Callable[[C], Any], description: str | None) -> None:
    """What a script does: parse the command line, run; what the user got wrong is one line, with status 2.

    Every process of a launch says it, since each may have been given something else.
    """
    config = parse(config_class, description=description)
    try:
        run(config)
    except (ValueError, RunFolderBusyError, NonFiniteLossError) as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
        print(f"error: {error}{notes}", file=sys.stderr)
        sys.exit(2)


def from_dict(config_class: type[C], values: Mapping[str, Any], recipes: Sequence[str | Path] = ()) -> C:
    """Build ``config_class`` from ``recipes`` (YAML files) and, over them, ``values``: nested or with dotted keys.

    Raises:
        ValueError: an unknown key (the nearest is named), a missing one, or a value of the wrong type.
    """
    merged = _merge_recipes(config_class, recipes)
    _merge(merged, _expand(config_class, values, where="configuration"))
    return _instantiate(_quiet_parser(typing.cast(type, config_class)), config_class, _checked(config_class, merged))


def _checked(config_class: type, values: dict[str, Any]) -> Any:
    """The namespace of nested ``values``, of the options' types; a ``ValueError`` names one that is not."""
    try:
        return _quiet_parser(config_class).parse_object(values)
    except jsonargparse.ArgumentError as error:
        raise ValueError(f"configuration: {error.message}") from error


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as nested plain values that JSON and YAML can hold (paths become strings, tuples lists)."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def option_names(config_class: type) -> list[str]:
    """Dotted names of every option of ``config_class``, in order: ``["model.name", ..., "tracker"]``."""
    return [name for name, _ in _walk(config_class)]


def split_names(names: str | Sequence[str]) -> list[str]:
    """``"a, b"`` or ``["a", "b"]`` -> ``["a", "b"]``; ValueError where there is none."""
    listed = names.split(",") if isinstance(names, str) else names
    found = [name.strip() for name in listed if name.strip()]
    if not found:
        raise ValueError("an empty list of names; give at least one, or several separated by commas")
    return found


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """The description keeps its lines; of an option's spellings only the plain one is shown, not ``--name+``."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        shown = copy.copy(action)
        shown.option_strings = [name for name in action.option_strings if not name.endswith("+")]
        return super()._format_action_invocation(shown)


def _build_parser(
    config_class: type, *, description: str | None = None, exit_on_error: bool = True
) -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser(
        description=description,
        usage="%(prog)s [--config RECIPE.yaml] [--group.option VALUE ...]",
        exit_on_error=exit_on_error,
        formatter_class=_HelpFormatter,
    )
    # Only shown: `parse` takes recipes out of the command line itself, so that their place in it does not matter.
    parser.add_argument("--config", metavar="RECIPE.yaml", help="file of options; may be repeated, the later one wins")
    parser.add_argument("--print_config", action="store_true", help="print the resolved options as a recipe and stop")
    parser.add_class_arguments(config_class)
    options = set(option_names(config_class))
    groups = {name[:end] for name in options for end, letter in enumerate(name) if letter == "."}
    for action in parser._actions:
        if action.dest in groups:
            action.help = argparse.SUPPRESS  # "--model FILE" would only clutter the help: --config does this
    return parser


@functools.cache
def _quiet_parser(config_class: type) -> jsonargparse.ArgumentParser:
    """One that raises in place of ending the program. A study builds hundreds of configurations of a few classes, and
    making the parser takes longer than all it does.
    """
    return _build_parser(config_class, exit_on_error=False)


def _instantiate(parser: jsonargparse.ArgumentParser, config_class: type[C], namespace: Any) -> C:
    for name in ("config", "print_config"):
        namespace.pop(name, None)
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes  # renamed in jsonargparse 4.49
    return config_class(**vars(build(namespace)))


def _groups(config_class: type) -> dict[str, type]:
    """Fields that are dataclasses themselves, by name."""
    hints = typing.get_type_hints(config_class)
    return {
        field.name: hints[field.name]
        for field in dataclasses.fields(config_class)
        if dataclasses.is_dataclass(hints[field.name])
    }


def _walk(config_class: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    groups = _groups(config_class)
    for field in dataclasses.fields(config_class):
        if field.name in groups:
            yield from _walk(groups[field.name], f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field


def _split_recipes(argv: list[str]) -> tuple[list[str], list[str]]:
    recipes: list[str] = []
    rest: list[str] = []
    tokens = iter(argv)
    for token in tokens:
        if token == "--config":
            recipe = next(tokens, None)
            if recipe is None or recipe.startswith("--"):
                raise ValueError("--config needs the path of a recipe file")
            recipes.append(recipe)
        elif token.startswith("--config="):
            recipes.append(token.removeprefix("--config="))
        else:
            rest.append(token)
    return recipes, rest


def _merge_recipes(config_class: type, recipes: Sequence[str | Path]) -> dict[str, Any]:
    merged = _Group()
    for recipe in recipes:
        path = Path(recipe)
        if not path.is_file():
            raise ValueError(f"recipe {path}: no such file (looked in {Path.cwd()})")
        try:
            values = yaml.load(path.read_text(encoding="utf-8"), _YamlLoader)
        except yaml.YAMLError as error:
            raise ValueError(f"recipe {path}: not valid YAML: {error}") from error
        if values is None:
            continue
        if not isinstance(values, dict):
            raise ValueError(f"recipe {path}: must hold `key: value` lines, not a {type(values).__name__}")
        _merge(merged, _expand(config_class, values, where=f"recipe {path}"))
    return merged


def _expand(config_class: type, values: Mapping[str, Any], *, where: str, prefix: str = "") -> dict[str, Any]:
    """Nested form of ``values`` whose keys may be dotted; below a group only existing keys are let through."""
    groups = _groups_below(config_class, prefix)
    names = {field.name for field in dataclasses.fields(_class_at(config_class, prefix))}
    nested = _Group()
    for key, value in values.items():
        head, _, tail = str(key).partition(".")
        if head in groups:
            inner = {tail: value} if tail else value
            if not isinstance(inner, Mapping):
                raise ValueError(f"{where}: {prefix}{head} is a group of options, not a value: {inner!r}")
            _merge(nested, {head: _expand(config_class, inner, where=where, prefix=f"{prefix}{head}.")})
        elif head in names and not tail:
            nested[head] = value
        else:
            raise ValueError(f"{where}: {_unknown(config_class, f'{prefix}{key}')}")
    return nested


def _class_at(config_class: type, prefix: str) -> type:
    for name in prefix.split(".")[:-1]:
        config_class = _groups(config_class)[name]
    return config_class


def _groups_below(config_class: type, prefix: str) -> dict[str, type]:
    return _groups(_class_at(config_class, prefix))


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    """Lay ``new`` over ``into``. Values that are mappings themselves (a mixer's options) are wrapped, never mixed."""
    for key, value in new.items():
        if isinstance(value, _Group) and isinstance(into.get(key), _Group):
            _merge(into[key], value)
        else:
            into[key] = value


class _Group(dict[str, Any]):
    """A mapping that stands for a dataclass, as opposed to an option whose value is a mapping."""


def _flatten(config_class: type, nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    groups = _groups(config_class)
    for key, value in nested.items():
        if key in groups:
            yield from _flatten(groups[key], value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _check_flag(config_class: type, token: str) -> None:
    name = token[2:].split("=", 1)[0].removesuffix("+")
    known = [*option_names(config_class), "help", "print_config"]
    # Below an option everything is free: --model.token_mixer.pool_size 7 fills a mapping.
    if name and name not in known and not any(name.startswith(f"{option}.") for option in known):
        raise ValueError(_unknown(config_class, name, dashes="--"))


def _unknown(config_class: type, key: str, dashes: str = "") -> str:
    names = option_names(config_class)
    nearest = difflib.get_close_matches(key, names, n=1, cutoff=0.75)
    # "lr" or "training.lr" for "optim.lr": the right option in the wrong group
    last = key.rsplit(".", 1)[-1]
    nearest = nearest or [name for name in names if name.rsplit(".", 1)[-1] == last]
    nearest = nearest or difflib.get_close_matches(key, names, n=1, cutoff=0.0)
    return f"unknown option {dashes}{key}; the nearest is {dashes}{nearest[0]} (--help lists all)"


class _YamlLoader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-3`` as text, since it lacks the dot; people mean a number."""


_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)$|^[-+]?(?:\d+\.\d*|\.\d+)$|^[-+]?\.(?:inf|nan)$"),
    list("-+0123456789."),
)
