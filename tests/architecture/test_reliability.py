"""docs/reliability.md: every fault is there once, and every test it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


def test_every_fault_is_listed_once() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| (tests/\S+\.py\S*) ?.*\|$", TEXT, re.MULTILINE)
    assert sorted(int(number) for number, _ in rows) == list(range(1, 37))


def test_every_test_it_names_is_there() -> None:
    named = re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", TEXT)
    assert len(named) > 60
    for file, function in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not function or function in names, f"{file}::{function}"
