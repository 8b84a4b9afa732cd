"""The only reader of YAML: recipes and study files mean the same by the same text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from metaformer_nlp.errors import reading

__all__ = ["read_text", "read_yaml"]

_TAG = "tag:yaml.org,2002:"
_LARGEST = 100_000  # values of a file, those that anchors repeat counted each time


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-3 is a number, as YAML 1.1 has it for text, and a date is text, as JSON has none."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - of this class, and not of yaml's own
        first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    f"{_TAG}float", re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_text(path: Path, kind: str) -> str:
    """The text of a file in UTF-8, with or without a byte order mark; ValueError that names the file.

    ``kind`` is what the file should be, such as "a recipe".
    """
    with reading(path, kind):
        return path.read_text(encoding="utf-8-sig")


def read_yaml(text: str, where: str) -> Any:
    """The content of a YAML text; ValueError that names `where` it stands, the line, and what is wrong."""
    try:
        loader = _Loader(text)
        loader.name = where
        root = loader.get_single_node()
        if root is None:
            return None
        _check(loader, root, {}, set())
        return loader.construct_document(root)
    except yaml.reader.ReaderError as error:  # it alone tells no line
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(
            f"{where}: line {line}: not valid YAML: character {error.character!r}: {error.reason}"
        ) from error
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not valid YAML: {error}") from error
    except RecursionError:
        raise ValueError(f"{where}: nested too deeply to be read; write it flatter.") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check(loader: _Loader, node: yaml.Node, sizes: dict[yaml.Node, int], above: set[yaml.Node]) -> int:
    """How many values a node has; ValueError with the line where YAML allows what a recipe must not have.

    That is a repeated key, as one of the two would vanish, a key that is a list, half a character, and an anchor within
    itself. Each node is looked at once, after which `sizes` has it, and before anything is made of it: what it merges
    is put into it then.
    """
    line = node.start_mark.line + 1
    if node in above:
        raise ValueError(f"line {line}: the anchor is part of what it names; write out what is meant.")
    if node in sizes:
        return sizes[node]
    size = 1
    if isinstance(node, yaml.ScalarNode):
        _check_scalar(loader, node, line)
    else:
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            _check_keys(loader, node)
            parts = [part for pair in node.value for part in pair]
        size += sum(_check(loader, part, sizes, above | {node}) for part in parts)
    if size > _LARGEST:
        raise ValueError(f"line {line}: more than {_LARGEST:,} values; anchors may repeat too much.")
    sizes[node] = size
    return size


def _check_scalar(loader: _Loader, node: yaml.ScalarNode, line: int) -> Any:
    if re.search("[\ud800-\udfff]", node.value):
        raise ValueError(f"line {line}: {node.value!r} has half a character (a lone surrogate); write it out.")
    if node.tag == f"{_TAG}merge":
        return "<<"
    try:
        return loader.construct_object(node)
    except (ValueError, LookupError) as error:
        raise ValueError(f"line {line}: {node.value[:40]!r} cannot be read: {error}") from error


def _check_keys(loader: _Loader, node: yaml.MappingNode) -> None:
    seen = set()
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        scalar = isinstance(key_node, yaml.ScalarNode)
        key = _check_scalar(loader, key_node, line) if scalar else key_node.value
        if not scalar or not isinstance(key, str | int | float | None):
            shown = loader.construct_object(key_node, deep=True)
            raise ValueError(f"line {line}: a key must be a word or a number, not {shown!r}")
        if key in seen:
            raise ValueError(f"line {line}: the key {key!r} is there twice; remove one.")
        seen.add(key)
