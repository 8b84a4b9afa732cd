"""A configuration is a tree of dataclasses: its options by dotted names, and what the type of each lets through.

The types are those that `command_line` documents. Its parser converts texts to them and refuses most of what does not
fit; what it lets through everywhere, null and numbers that are not finite, is refused here. Both say in the same words
what an option allows.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, Union

from metaformer_nlp.config.names import closest
from metaformer_nlp.config.numbers import is_finite

_WORDS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    dict: ("a mapping", "mappings"),
    list: ("a list", "lists"),
}
_SHOWN = 200  # letters of a wrong value that a message repeats


class Option(NamedTuple):
    """A leaf of the tree: ``model.hidden_size``, its type, and what it is where nothing is said (or MISSING)."""

    name: str
    kind: Any
    default: Any


def fields_of(config: Any) -> list[dataclasses.Field[Any]]:
    """The fields of a configuration, or of its class, in the constructor's order: those by keyword only are last."""
    return sorted(dataclasses.fields(config), key=lambda field: field.kw_only is True)


@functools.cache
def options_of(config_class: type) -> tuple[Option, ...]:
    """Every option of ``config_class``, in order."""
    hints, groups = typing.get_type_hints(config_class), groups_of(config_class)
    found: list[Option] = []
    for field in fields_of(config_class):
        if field.name in groups:
            inner = options_of(groups[field.name])
            found += [option._replace(name=f"{field.name}.{option.name}") for option in inner]
        else:
            factory = field.default_factory
            default = field.default if factory is dataclasses.MISSING else factory()
            found.append(Option(field.name, hints[field.name], default))
    return tuple(found)


def option_names(config_class: type) -> list[str]:
    """Dotted names of every option of ``config_class``, in order: ``["model.name", ..., "tracker"]``."""
    return [option.name for option in options_of(config_class)]


def groups_of(config_class: type) -> dict[str, type]:
    """Fields that are dataclasses themselves, by name."""
    hints = typing.get_type_hints(config_class)
    return {
        field.name: hints[field.name]
        for field in fields_of(config_class)
        if dataclasses.is_dataclass(hints[field.name])
    }


def unknown_option(config_class: type, key: str, dashes: str = "") -> str:
    """What to say about ``key``, which is none of the options: the nearest that is."""
    names = option_names(config_class)
    # "lr" or "training.lr" for "optim.lr": the right option in the wrong group
    last = key.rsplit(".", 1)[-1]
    in_other_group = next((name for name in names if name.rsplit(".", 1)[-1] == last), None)
    nearest = closest(key, names, cutoff=0.75) or in_other_group or closest(key, names, cutoff=0.0)
    return f"unknown option {dashes}{key}; the nearest is {dashes}{nearest} (--help lists all)"


def check_values(config_class: type, values: Mapping[str, Any]) -> None:
    """Raise ValueError for a null in nested ``values`` whose option takes none, and for a number that is not finite.

    No option means "no limit" by infinity (null does), and JSON, in which runs are recorded, has no such numbers.
    """
    for name, kind, default in options_of(config_class):
        value: Any = values
        for part in name.split("."):
            value = value[part]
        if value is None and not _takes_null(kind):
            left_out = "" if default is dataclasses.MISSING else f"; left out, it is {json.dumps(default, default=str)}"
            raise ValueError(_not_allowed(name, value, kind) + left_out)
        if not is_finite(value):
            raise ValueError(f"{name}: {json.dumps(value)} is not allowed; numbers must be finite")


def wrong_value(config_class: type, given: Iterable[tuple[str, Any]]) -> str | None:
    """What to say about the first of the ``given`` (dotted key, value) whose type its option refuses; None: all fit.

    The parser's errors tell people of Python's types, and programs nothing: so each value is tried alone.
    """
    import jsonargparse  # here, since recipes are also read where it is not installed

    for key, value in given:
        for name, kind, _ in options_of(config_class):
            if f"{key}.".startswith(f"{name}."):
                value = value if key == name else {key.removeprefix(f"{name}."): value}
                parser = jsonargparse.ArgumentParser(exit_on_error=False)
                parser.add_argument("--value", type=kind)
                try:
                    parser.parse_object({"value": value})
                except (jsonargparse.ArgumentError, OverflowError):
                    return _not_allowed(name, value, kind)
    return None


def allowed(kind: Any, plural: bool = False) -> str:
    """What values of the type ``kind`` are, as people call them: ``a list of whole numbers or null``."""
    names = _alternatives(kind, plural)
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _alternatives(kind: Any, plural: bool) -> list[str]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return [name for argument in arguments for name in _alternatives(argument, plural)]
    if origin is Literal:
        return [str(argument) for argument in arguments]
    if origin in (list, tuple) and arguments[0] is not Any:
        number = f"{len(arguments)} " if origin is tuple and Ellipsis not in arguments else ""
        return [f"{_WORDS[list][plural]} of {number}{allowed(arguments[0], plural=True)}"]
    if kind in (bool, types.NoneType):
        return ["true", "false"] if kind is bool else ["null"]
    known = _WORDS.get(origin or kind)
    return [known[plural] if known else getattr(kind, "__name__", str(kind))]


def _not_allowed(name: str, value: Any, kind: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, default=str)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return f"{name}: {shown or 'an empty text'} is not allowed; it must be {allowed(kind)}"


def _takes_null(kind: Any) -> bool:
    return kind in (Any, None, types.NoneType) or types.NoneType in typing.get_args(kind)
