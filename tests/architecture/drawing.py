"""Draws docs/architecture.md from the imports of the code: python -m tests.architecture.drawing"""

from __future__ import annotations

import ast

from tests.architecture.test_imports import ALLOWED, ROOT, files, imports, room

WIDTH = 100  # letters of the drawing
PAGE = ROOT / "docs" / "architecture.md"


def arrows() -> dict[str, set[str]]:
    """Each room, and the rooms that its files import."""
    found = {name: {room(module) for path in files(name) for module in imports(path)} for name in ALLOWED}
    return {
        name: {target for target in targets if target in ALLOWED and target != name} for name, targets in found.items()
    }


def purpose(name: str) -> str:
    """The first line of a room's docstring."""
    if name == "scripts":  # commands, and no package
        return "Command lines, recipes and launch files."
    path = ROOT / name.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def floors(edges: dict[str, set[str]]) -> list[list[str]]:
    """Rooms by floor, the highest first: a room lies above all that it imports. ValueError if imports form a circle."""
    height: dict[str, int] = {}
    while len(height) < len(edges):
        ready = [name for name, below in edges.items() if name not in height and below <= height.keys()]
        if not ready:
            raise ValueError(f"imports form a circle among {sorted(edges.keys() - height.keys())}")
        height |= {name: max((height[target] + 1 for target in edges[name]), default=0) for name in ready}
    return [sorted(name for name in edges if height[name] == level) for level in range(max(height.values()), -1, -1)]


def boxes(names: list[str]) -> list[str]:
    short = [name.removeprefix("metaformer_nlp.") for name in names]
    return [
        "  ".join(left + middle + right for middle in cells)
        for left, cells, right in (
            ("┌─", ["─" * len(name) for name in short], "─┐"),
            ("│ ", short, " │"),
            ("└─", ["─" * len(name) for name in short], "─┘"),
        )
    ]


def lines(names: list[str]) -> list[list[str]]:
    """A floor cut into lines that fit a page."""
    for count in range(1, len(names) + 1):
        size = -(-len(names) // count)
        parts = [names[start : start + size] for start in range(0, len(names), size)]
        if max(len(boxes(part)[0]) for part in parts) <= WIDTH:
            return parts
    return [[name] for name in names]


def page() -> str:
    """The text of docs/architecture.md."""
    edges = arrows()
    levels = floors(edges)
    drawn = [boxes(line) for level in levels for line in lines(level)]
    width = max(len(lines[0]) for lines in drawn)
    picture = "\n".join(f"{line:^{width}}".rstrip() for row in drawn for line in row)
    rows = [
        f"| `{name}` | {', '.join(f'`{target}`' for target in sorted(edges[name])) or '-'} | {purpose(name)} |"
        for level in levels
        for name in level
    ]
    return "\n".join(
        [
            "# Architecture",
            "",
            "A room imports rooms on lower floors only. `tests/architecture` checks it, room by room.",
            "",
            "```",
            picture,
            "```",
            "",
            "| room | imports | purpose |",
            "|---|---|---|",
            *rows,
            "",
            "This page is drawn from the imports of the code: `python -m tests.architecture.drawing`.",
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
