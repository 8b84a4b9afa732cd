"""The models of the page: found in the given folders, told apart by their kind, opened when they are asked for.

Only what lies in the given folders is read: a name with ``..``, an absolute path and a link that leads out of a folder
are refused. Weights come from safetensors files alone, and no code of a model's folder is run.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from tasks.demo.folders import inside, linked_out
from tasks.demo.kinds import Kind, Opened, check_weights, kind_of, open_model
from vision.loading import model_folder

__all__ = ["KINDS", "Found", "Kind", "Models", "Opened"]

KINDS: tuple[Kind, ...] = get_args(Kind)
DEEPEST = 4  # folders below a given one that are looked into
MOST = 200  # models of the page
MOST_OPEN = 6  # models in memory
"""The kinds of models that the page knows."""


@dataclass(frozen=True)
class Found:
    """A model in a given folder, or why it is none."""

    name: str
    folder: Path
    kind: Kind | None
    problem: str = ""


@dataclass
class Models:
    """The models below the given folders.

    Raises:
        ValueError: a given path that is not there.
    """

    roots: list[Path]
    choices: list[tuple[Any, tuple[Kind, ...], int]] = field(default_factory=list)
    """Components whose lists of models the frame keeps current, with their kinds and how many are chosen at first."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[tuple[Path, int], Opened] = {}
        for root in self.roots:
            if not root.exists():
                raise ValueError(f"models {root}: no such file or folder (looked in {Path.cwd()})")

    def found(self) -> dict[str, Found]:
        """The models that are there now, by the names that the page shows."""
        every: dict[str, Found] = {}
        for root in self.roots:
            for folder in _model_folders(root):
                name = str(root if folder == root else root / folder.relative_to(root))
                if len(every) < MOST:
                    every.setdefault(name, _examined(name, folder, root))
        return every

    def names(self, *kinds: Kind) -> list[str]:
        """The names of the models of these kinds, in the order of the folders."""
        return [name for name, one in self.found().items() if one.kind in kinds]

    def open(self, name: str, *kinds: Kind) -> Opened:
        """The model of this name, which is of one of ``kinds``, from memory where it was opened before.

        Raises:
            ValueError: no such model, one of another kind, or one that cannot be read.
        """
        one = self._named(name)
        if one.kind is None:
            raise ValueError(f"{name}: {one.problem}")
        if one.kind not in kinds:
            raise ValueError(f"{name} is a {words(one.kind)}; here a {' or '.join(map(words, kinds))} is needed.")
        with self._lock:
            key = one.folder, _changed(one.folder)
            if key not in self._opened:
                while len(self._opened) >= MOST_OPEN:
                    self._opened.pop(next(iter(self._opened)))
                self._opened[key] = open_model(one.folder, one.kind)
            return self._opened[key]

    def _named(self, name: str) -> Found:
        """A model by the name that the page shows, or by a path below a given folder."""
        if (one := self.found().get(name)) is not None:
            return one
        root, folder = inside(name, self.roots)
        return _examined(name, model_folder(folder), root)


def words(kind: Kind) -> str:
    """A kind as people read it."""
    return kind.replace("_lm", " language model").replace("_", " ")


def _model_folders(root: Path) -> Iterator[Path]:
    """The given path itself where it is a file or holds a model; else the folders of models below it. Links are not
    followed."""
    if root.is_file() or _holds_model(root):
        yield root
        return
    nothing = True
    for place, folders, _ in os.walk(root):
        path = Path(place)
        if path != root and _holds_model(path):
            nothing = False
            folders.clear()
            yield path
        elif len(path.relative_to(root).parts) >= DEEPEST:
            folders.clear()
        folders.sort()
    if nothing:
        yield root  # so that the page says that there is no model


def _holds_model(folder: Path) -> bool:
    return _model_type(model_folder(folder)) is not None


def _model_type(folder: Path) -> str | None:
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return kind if isinstance(kind, str) else None


def _examined(name: str, path: Path, root: Path) -> Found:
    folder = path if path.is_file() else model_folder(path)
    try:
        linked_out(folder, root)
        check_weights(folder)
        return Found(name, folder, kind_of(folder))
    except ValueError as error:
        return Found(name, folder, None, str(error))


def _changed(folder: Path) -> int:
    """When a file of the folder was last written."""
    files: Sequence[Path] = [folder] if folder.is_file() else [file for file in folder.iterdir() if file.is_file()]
    return max((file.stat().st_mtime_ns for file in files), default=0)
