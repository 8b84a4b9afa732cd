"""The models of the page: found in the given folders, told apart by their kind, opened when they are asked for.

Only what lies in the given folders is read: a name with ``..``, an absolute path and a link that leads out of a folder
are refused. Weights come from safetensors files alone, and no code of a model's folder is run.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from tasks.demo.folders import inside, refuse_links
from tasks.demo.kinds import Kind, Opened, check_weights, kind_of, open_model
from tasks.images.checkpoints import split_entry
from vision.loading import model_folder

__all__ = ["KINDS", "Found", "Kind", "Models", "Opened", "given_models", "words"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""The kinds of models that the page knows."""
TRAINED = "trained here"
"""What the page calls the folder of the models that it trains."""
DEEPEST = 4  # folders below a given one that are looked into
MOST = 200  # models in the lists
MOST_OPEN = 6  # models in memory


@dataclass(frozen=True)
class Found:
    """A model in a given folder, or why it is none."""

    name: str
    folder: Path
    """That of its files, or its file."""
    kind: Kind | None
    problem: str = ""


@dataclass
class Models:
    """The models below the given folders."""

    roots: Mapping[str, Path]
    """The given folders and files, by the names that the page calls them."""
    choices: list[tuple[Any, tuple[Kind, ...], int]] = field(default_factory=list)
    """Components whose lists of models the frame keeps current, with their kinds and how many are chosen at first."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[tuple[Path, int], Opened] = {}
        self._added: list[str] = []

    def found(self) -> list[Found]:
        """The models that are there now, and the given folders that hold none; of more than `MOST` the last says so."""
        every: list[Found] = []
        for label, root in self.roots.items():
            for folder in _model_folders(root):
                if label == TRAINED and folder == root:
                    continue  # nothing was trained yet
                below = folder.relative_to(root).as_posix()
                every.append(self._examined(label if below == "." else f"{label}/{below}", label, folder))
        names = [one.name for one in every]
        more = len(every) - MOST
        left_out = f"{more:,} further folders, which the lists leave out. Name one of them below to add it."
        return [
            *every[:MOST],
            *([Found("…", Path(), None, left_out)] if more > 0 else []),
            *(self._still(name) for name in self._added if name not in names[:MOST]),
        ]

    def names(self, *kinds: Kind) -> list[str]:
        """The names of the models of these kinds, in the order of the folders."""
        return [one.name for one in self.found() if one.kind in kinds]

    def open(self, name: str, *kinds: Kind) -> Opened:
        """The model of this name, which is of one of ``kinds``, from memory where it was opened before.

        Raises:
            ValueError: no such model, one of another kind, or one that cannot be read.
        """
        one = self.look(name)
        if one.kind is None:
            raise ValueError(f"{name}: {one.problem}")
        if one.kind not in kinds:
            raise ValueError(f"{name} is a {words(one.kind)}; here a {' or '.join(map(words, kinds))} is needed.")
        with self._lock:
            key = one.folder, _changed(one.folder)
            if key not in self._opened:
                while len(self._opened) >= MOST_OPEN:
                    self._opened.pop(next(iter(self._opened)))
                self._opened[key] = open_model(one.folder, one.kind, name if one.folder.is_file() else None)
            return self._opened[key]

    def look(self, name: str) -> Found:
        """What is at ``name``, a path below a given folder, whether the list has it or not.

        Raises:
            ValueError: nothing, or a path that leads out of the given folders.
        """
        label, folder = inside(name, self.roots)
        return self._examined(name, label, folder)

    def add(self, name: str) -> Kind:
        """The kind of the model at ``name``, which is from now on one of those that are found.

        Raises:
            ValueError: as `look`, or no model.
        """
        one = self.look(name)
        if one.kind is None:
            raise ValueError(f"{name}: {one.problem}")
        if name not in self._added:
            self._added.append(name)
        return one.kind

    def _still(self, name: str) -> Found:
        """What is at ``name``, which was there when it was added."""
        try:
            return self.look(name)
        except ValueError as error:
            return Found(name, Path(), None, str(error))

    def _examined(self, name: str, label: str, path: Path) -> Found:
        folder = path
        try:
            folder = path if path.is_file() else model_folder(path)
            if folder.is_file() or os.path.lexists(folder / "config.json"):  # else there is nothing to walk through
                refuse_links(folder, self.roots[label])
            check_weights(folder)
            return Found(name, folder, kind_of(folder))
        except ValueError as error:
            return Found(name, folder, None, str(error))
        except OSError as error:  # such as a folder that nobody may read, or that was removed a moment ago
            return Found(name, folder, None, f"cannot be read: {error.strerror or error}.")


def given_models(entries: list[str], trained: Path) -> Models:
    """The models of the options: folders, files, and NAME=FILE; and those that the page trains in ``trained``.

    Raises:
        ValueError: a path that is not there.
    """
    return Models({**{entry: split_entry(entry)[1] for entry in entries}, TRAINED: trained})


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
    try:
        config = json.loads((model_folder(folder) / "config.json").read_text(encoding="utf-8"))
        return isinstance(config.get("model_type"), str)
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _changed(folder: Path) -> int:
    """When a file of the folder was last written."""
    files = [folder] if folder.is_file() else [file for file in folder.iterdir() if file.is_file()]
    return max((file.stat().st_mtime_ns for file in files), default=0)
