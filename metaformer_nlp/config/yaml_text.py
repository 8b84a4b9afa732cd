"""The only reader of YAML: recipes and study files mean the same by the same text."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Safe YAML, in which a repeated key is an error, as one of the two would vanish, and 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str | int | float | None):
                raise ValueError(f"line {line}: a key must be a word or a number, not {key!r}")
            if key in seen:
                raise ValueError(f"line {line}: the key {key!r} is there twice; remove one.")
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes a number without a dot, or with an exponent without a sign, for text; people mean a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(text: str, where: str) -> Any:
    """The content of a YAML text; ValueError that names `where` it stands, the line, and what is wrong."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not valid YAML: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
