"""Draws docs/architecture.md and its picture from the imports of the code: python -m tests.architecture.drawing"""

from __future__ import annotations

import ast

from tests.architecture.test_imports import ALLOWED, ROOT, files, imports, room

PAGE = ROOT / "docs" / "architecture.md"
PICTURE = PAGE.with_suffix(".svg")
WIDTH, MARGIN, GAP = 860, 16, 10  # pixels
HEIGHT, FLOOR, LETTER = 32, 56, 7.4  # of a room, of a line of rooms, of a letter
HOUSES = {
    "scripts": ("scripts", "#e0e0e0"),
    "tasks": ("tasks", "#ffe0b2"),
    "metaformer_nlp.study": ("metaformer_nlp/study", "#bbdefb"),
    "vision": ("vision", "#e1bee7"),
    "metaformer_nlp": ("metaformer_nlp", "#b2dfdb"),
}
"""Each house: its folder and its colour. A room is in the first one that its name begins with."""


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


def picture() -> str:
    """The text of docs/architecture.svg: a box for each room, floor by floor, in the colour of its house."""
    drawn, top = [], MARGIN + 24
    for place, level in enumerate(floors(arrows())):
        rows = lines(level)
        if place % 2:
            drawn.append(f'<rect y="{top}" width="{WIDTH}" height="{FLOOR * len(rows)}" fill="#f4f4f4"/>')
        for row in rows:
            left = (WIDTH - room_width(row)) / 2
            for name in row:
                drawn += box(name, left, top + (FLOOR - HEIGHT) / 2)
                left += room_width([name]) + GAP
            top += FLOOR
    legend, left = [], float(MARGIN)
    for folder, colour in HOUSES.values():
        legend.append(
            f'<rect x="{left:.0f}" y="{MARGIN}" width="14" height="14" rx="3" fill="{colour}" stroke="#888"/>'
        )
        legend.append(f'<text x="{left + 20:.0f}" y="{MARGIN + 12}">{folder}/</text>')
        left += 44 + LETTER * (len(folder) + 1)
    height = top + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="DejaVu Sans, Verdana, sans-serif" font-size="12.5" fill="#222">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *legend, *drawn, "</svg>", ""])


def box(name: str, left: float, top: float) -> list[str]:
    house = next(prefix for prefix in HOUSES if name.startswith(prefix))
    width, middle = room_width([name]), left + room_width([name]) / 2
    return [
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="5" fill="{HOUSES[house][1]}" '
        'stroke="#888"/>',
        f'<text x="{middle:.0f}" y="{top + HEIGHT / 2 + 4:.0f}" text-anchor="middle">{label(name)}</text>',
    ]


def label(name: str) -> str:
    return name.removeprefix("metaformer_nlp.")


def room_width(names: list[str]) -> float:
    return sum(LETTER * len(label(name)) + 22 for name in names) + GAP * (len(names) - 1)


def lines(names: list[str]) -> list[list[str]]:
    """A floor cut into lines that fit the picture."""
    for count in range(1, len(names) + 1):
        size = -(-len(names) // count)
        parts = [names[start : start + size] for start in range(0, len(names), size)]
        if max(room_width(part) for part in parts) <= WIDTH - 2 * MARGIN:
            return parts
    return [[name] for name in names]


def page() -> str:
    """The text of docs/architecture.md."""
    edges = arrows()
    levels = floors(edges)
    rows = [
        f"| `{name}` | {', '.join(f'`{target}`' for target in sorted(edges[name])) or '-'} | {purpose(name)} |"
        for level in levels
        for name in level
    ]
    return "\n".join(
        [
            "# Architecture",
            "",
            "A room is a package or a module. It imports rooms on lower floors only; `tests/architecture` checks that.",
            "",
            "![Floors of rooms: scripts at the top; below them tasks and studies; then the engine, text and vision; "
            "at the bottom core, config, hub and errors](architecture.svg)",
            "",
            "| room | imports | purpose |",
            "|---|---|---|",
            *rows,
            "",
            "This page and its picture are drawn from the imports of the code: `python -m tests.architecture.drawing`.",
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    PICTURE.write_text(picture(), encoding="utf-8")
