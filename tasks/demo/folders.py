"""What may be read: the given folders, and nothing that is reached from them by ``..``, by a root or by a link."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

__all__ = ["inside", "linked_out"]


def inside(name: str, roots: Sequence[Path]) -> tuple[Path, Path]:
    """The given folder and the path below it that ``name`` says, either with that folder's own name before it or not.

    Raises:
        ValueError: an absolute name, one with ``..``, a link out of the folder, or nothing there.
    """
    path, shown = Path(name), name[:200]
    if not name.strip() or "\0" in name:
        raise ValueError("Give the name of a folder.")
    if path.is_absolute() or PureWindowsPath(name).drive or name.startswith("~"):
        raise ValueError(f"{shown}: an absolute path is refused. Give a path below {_listed(roots)}.")
    if ".." in path.parts or ".." in PureWindowsPath(name).parts:
        raise ValueError(f"{shown}: a path with .. is refused. Give a path below {_listed(roots)}.")
    for root in roots:
        own = path.parts[: len(root.parts)] == root.parts
        for candidate in [root.joinpath(*path.parts[len(root.parts) :])] * own + [root / path]:
            if candidate.exists() or candidate.is_symlink():
                _refuse_link(candidate, root)
                return root, candidate
    raise ValueError(f"{shown}: no such folder below {_listed(roots)}.")


def linked_out(folder: Path, root: Path) -> None:
    """ValueError if ``folder``, below the given ``root``, or an entry of it leads out of the given folder by a link."""
    _refuse_link(folder, root)
    if folder.is_dir():
        for file in folder.iterdir():
            _refuse_link(file, root)


def _refuse_link(path: Path, root: Path) -> None:
    """The given path itself may be a link: whoever started the page named it."""
    limit = root.resolve()
    if path != root and not path.resolve().is_relative_to(limit if limit.is_dir() else limit.parent):
        raise ValueError(f"{path}: a link out of the given folder {root} is refused. Copy the file into the folder.")


def _listed(roots: Sequence[Path]) -> str:
    return ", ".join(map(str, roots)) or "a given folder (there is none: start the page with --models or --studies)"
