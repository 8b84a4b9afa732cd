"""What may be read: the given folders, and nothing that is reached from them by ``..``, by a root or by a link."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath

__all__ = ["inside", "refuse_links"]


def inside(name: str, roots: Mapping[str, Path]) -> tuple[str, Path]:
    """The label of a given folder, and the path below it that ``name`` says: with the label before it, or without.

    Raises:
        ValueError: another absolute name, one with ``..``, a link out of the folder, or nothing there.
    """
    shown = name if len(name) <= 200 else f"{name[:200]}…"
    where = ", ".join(roots) or "a given folder (there is none: start the page with --models or --studies)"
    if not name.strip() or "\0" in name:
        raise ValueError(f"Give the name of a folder below {where}.")
    places = [
        (label, name[len(label) :].lstrip("/")) for label in roots if name == label or name.startswith(f"{label}/")
    ]
    path = PureWindowsPath(places[0][1] if places else name)  # it takes both kinds of slashes
    if path.is_absolute() or path.drive or path.root or name.startswith("~"):
        raise ValueError(f"{shown}: an absolute path is refused. Give a path below {where}.")
    if ".." in path.parts:
        raise ValueError(f"{shown}: a path with .. is refused. Give a path below {where}.")
    for label, rest in places or [(label, name) for label in roots]:
        candidate = roots[label] / rest
        try:
            there = candidate.exists() or candidate.is_symlink()
        except OSError:  # such as a name that is too long
            there = False
        if there:
            _refuse_link(candidate, roots[label])
            return label, candidate
    raise ValueError(f"{shown}: no such folder below {where}.")


def refuse_links(folder: Path, root: Path) -> None:
    """ValueError if ``folder``, below the given ``root``, or anything below it is a link out of the given folder."""
    _refuse_link(folder, root)
    for place, folders, files in os.walk(folder):  # does not follow links
        for name in (*folders, *files):
            if os.path.islink(path := os.path.join(place, name)):
                _refuse_link(Path(path), root)


def _refuse_link(path: Path, root: Path) -> None:
    """The given folder itself may be a link: whoever started the page named it."""
    if path.is_symlink() and not path.exists():  # or it leads in a circle, over which `resolve` may stumble
        raise ValueError(f"{path.name}: a link that leads nowhere is refused. Remove it.")
    if path != root and not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{path.name}: a link out of the given folder is refused. Copy the file into the folder.")
