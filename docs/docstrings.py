"""Docstrings of the code as the site's Markdown: roles, literal blocks, and the stars of shapes such as (B, *S, C)."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

CHANGES = (
    (re.compile(r":(?:class|data|func|meth|mod):(?=`)"), ""),
    (re.compile(r"::$", re.MULTILINE), ":"),
    (re.compile(r"^:\n\n", re.MULTILINE), ""),
    (re.compile(r"(?<=[ (])\*(?=[A-Z]\b)"), r"\\*"),
)


class Docstrings(Extension):
    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            for pattern, replacement in CHANGES:
                obj.docstring.value = pattern.sub(replacement, obj.docstring.value)
