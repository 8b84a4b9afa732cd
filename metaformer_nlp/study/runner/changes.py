"""Files of the user's own that a cell's code is in: its experiment and its plugins, where they are named as files.

Two contents of one file are two experiments or two mixers: cells of both must not stand under one name. A runner reads
the files when it comes (`Cell.files`), and what a cell was run with is in its ``cell.json``. A runner does not begin
beside cells of another content, finished or running, stops starting cells when a file has changed since it came or a
cell of another content ends elsewhere, and looks at all cells once more when it ends. What a file imports is not looked
at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaformer_nlp.study.protocol.study import Cell
from metaformer_nlp.study.words import listed


def source_files(cell: Cell, known: dict[str, str] | None = None) -> dict[str, str]:
    """Path, as the cell has it -> sha256 of the file; of those that are there.

    `known` has what was read before, which is not read again, and is added to.
    """
    hashes = {} if known is None else known
    plugins = cell.config.get("plugins") or ()
    names = [str(name) for name in (cell.experiment, *plugins) if str(name).endswith(".py")]
    for name in names:
        if name not in hashes and Path(name).is_file():
            hashes[name] = hashlib.sha256(Path(name).read_bytes()).hexdigest()
    return {name: hashes[name] for name in names if name in hashes}


def changed_files(asked: Mapping[str, Any], cell: Cell) -> list[str]:
    """Which of these files are not what they were when the cell was started, as its ``cell.json`` says.

    A file that lies elsewhere now, or was written down without its folder, is known by its name.
    """
    now, changed = cell.files, []
    for name, then in (asked.get("files") or {}).items():
        found = [now[name]] if name in now else [now[path] for path in now if Path(path).name == Path(name).name]
        if found and then not in found:
            changed.append(f"{name}: its content has changed ({then[:8]} -> {found[0][:8]})")
    return changed


def changes_since(cell: Cell) -> str:
    """What has become of the cell's files since its runner came, and what to do; "" if they are the same."""
    now = source_files(cell)
    changed = [
        f"{name} {'has changed' if name in now else 'is gone'}"
        for name, then in cell.files.items()
        if now.get(name) != then
    ]
    if not changed:
        return ""
    return (
        f"{listed(changed)} since this runner came. Put back what was there and start again, or start again with what "
        "is there now: finished cells that do not fit it are named then."
    )
