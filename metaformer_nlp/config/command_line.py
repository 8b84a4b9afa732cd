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
import functools
import importlib
import itertools
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jsonargparse
import yaml

from metaformer_nlp.config.names import flatten
from metaformer_nlp.config.options import check_values, fields_of, option_names, unknown_option, wrong_value
from metaformer_nlp.config.recipes import Group, merge_recipes, taken_away
from metaformer_nlp.errors import NonFiniteLossError, RunFolderBusyError

C = TypeVar("C")

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


def parse(config_class: type[C], argv: Sequence[str] | None = None, *, description: str | None = None) -> C:
    """Read a command line (default: this process's) into ``config_class``; a wrong one ends the program with status 2.

    ``--config`` may stand anywhere and be repeated; overrides win over every recipe. It takes a file or, such as
    ``recipe:digits``, the name of one of the project's own (:func:`recipe_path`). ``--help`` beside a ``--config``
    shows the recipe's values as the defaults, ``--print_config`` prints the resolved configuration. ``description``
    stands at the top of the help.
    """
    parser = _build_parser(config_class, description=description)
    given: list[tuple[str, Any]] = []
    try:
        recipes, overrides = _split_recipes(list(sys.argv[1:] if argv is None else argv))
        base = flatten(merge_recipes(config_class, recipes), Group)
        for name in taken_away(config_class, dict(_values_in(overrides))):
            base.pop(name, None)
        given = [*base.items(), *_values_in(overrides)]
        for token in overrides:
            if token.startswith("--"):
                _check_flag(config_class, token)
        if base:
            parser.set_defaults(base)
        namespace = parser.parse_args([token for token in overrides if token != "--print_config"])
        for name in ("config", "print_config"):
            namespace.pop(name, None)
        # Again, since a default, such as a recipe's value is now, has not been checked if it is a text.
        config = _build(config_class, namespace.as_dict(), given)
    except (ValueError, OverflowError, jsonargparse.ArgumentError) as error:
        parser.exit_on_error = True
        parser.error(_problem(config_class, error, given))
    if "--print_config" in overrides:
        print(yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True), end="")
        parser.exit()
    return config


def main(config_class: type[C], run: str, description: str | None) -> Any:
    """What a script does: parse the command line, run; what the user got wrong is one line, with status 2.

    ``run`` names what is run, ``module:function``. It is imported after the command line was understood, so that help
    and what is wrong with the options need not wait for torch. Every process of a launch says what is wrong, since each
    may have been given something else.
    """
    config = parse(config_class, description=description)
    module, _, function = run.partition(":")
    try:
        return getattr(importlib.import_module(module), function)(config)
    except (ValueError, RunFolderBusyError, NonFiniteLossError) as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
        print(f"error: {error}{notes}", file=sys.stderr)
        sys.exit(2)


def command_words(argv: Sequence[str]) -> list[str]:
    """What to type to start the program of this ``sys.argv`` again: a script, or a command of `metaformer`."""
    return [*argv[0].split(), *argv[1:]] if argv[0].startswith("metaformer ") else ["python", *argv]


def from_dict(config_class: type[C], values: Mapping[str, Any], recipes: Sequence[str | Path] = ()) -> C:
    """Build ``config_class`` from ``recipes`` (YAML files) and, over them, ``values``: nested or with dotted keys.

    Raises:
        ValueError: an unknown key (the nearest is named), a missing one, or a value of the wrong type.
    """
    merged = merge_recipes(config_class, recipes, values)
    return _build(config_class, merged, flatten(merged, Group).items())


def _problem(config_class: type, error: Exception, given: Iterable[tuple[str, Any]]) -> str:
    """What to say about an error while reading the options ``given``; the parser's own are in words of Python."""
    if isinstance(error, ValueError):
        return str(error)
    return wrong_value(config_class, given) or str(getattr(error, "message", error))


def _build(config_class: type[C], values: dict[str, Any], given: Iterable[tuple[str, Any]]) -> C:
    """The configuration of nested ``values``; a ``ValueError`` names that of ``given`` which is not of its type."""
    kind = typing.cast(type, config_class)
    parser = _cached_parser(kind)
    try:
        namespace = parser.parse_object(values)
    except (jsonargparse.ArgumentError, OverflowError) as error:
        raise ValueError(_problem(kind, error, given)) from error
    for name in ("config", "print_config"):
        namespace.pop(name, None)
    check_values(kind, namespace.as_dict())
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes  # renamed in jsonargparse 4.49
    return config_class(**vars(build(namespace)))


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as nested plain values that JSON and YAML can hold (paths become strings, tuples lists)."""
    return {field.name: _plain(getattr(config, field.name)) for field in fields_of(config)}


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


def _build_parser(config_class: type, *, description: str | None = None) -> jsonargparse.ArgumentParser:
    """A parser that raises in place of ending the program, so that `wrong_value` can say what is wrong."""
    parser = jsonargparse.ArgumentParser(
        description=description,
        usage="%(prog)s [--config RECIPE] [--group.option VALUE ...]",
        exit_on_error=False,
        formatter_class=_HelpFormatter,
    )
    # Only shown: `parse` takes recipes out of the command line itself, so that their place in it does not matter.
    parser.add_argument(
        "--config", metavar="RECIPE", help="YAML file of options, or recipe:NAME; may be repeated, the later one wins"
    )
    parser.add_argument("--print_config", action="store_true", help="print the resolved options as a recipe and stop")
    parser.add_class_arguments(config_class)
    options = set(option_names(config_class))
    groups = {name[:end] for name in options for end, letter in enumerate(name) if letter == "."}
    for action in parser._actions:
        if action.dest in groups:
            action.help = argparse.SUPPRESS  # "--model FILE" would only clutter the help: --config does this
    return parser


@functools.cache
def _cached_parser(config_class: type) -> jsonargparse.ArgumentParser:
    """A study builds hundreds of configurations of a few classes, and making a parser takes longer than all it does."""
    return _build_parser(config_class)


def _split_recipes(argv: list[str]) -> tuple[list[str], list[str]]:
    recipes: list[str] = []
    rest: list[str] = []
    tokens = iter(argv)
    for token in tokens:
        if token == "--config":
            recipe = next(tokens, None)
            if recipe is None or recipe.startswith("--"):
                raise ValueError("--config needs the path of a recipe file, or a name such as recipe:digits")
            recipes.append(recipe)
        elif token.startswith("--config="):
            recipes.append(token.removeprefix("--config="))
        else:
            rest.append(token)
    return recipes, rest


def _values_in(tokens: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and text of each ``--name=text`` and ``--name text``."""
    for token, following in itertools.zip_longest(tokens, tokens[1:], fillvalue="--"):
        name, equals, text = token.removeprefix("--").partition("=")
        if token.startswith("--") and (equals or not following.startswith("--")):
            yield name.removesuffix("+"), text if equals else following


def _check_flag(config_class: type, token: str) -> None:
    name = token[2:].split("=", 1)[0].removesuffix("+")
    known = [*option_names(config_class), "help", "print_config"]
    # Below an option everything is free: --model.token_mixer.pool_size 7 fills a mapping.
    if name and name not in known and not any(name.startswith(f"{option}.") for option in known):
        raise ValueError(unknown_option(config_class, name, dashes="--"))
