"""Files of the user's own that a cell's code is in: its experiment and its plugins, where they are named as files.

Two contents of one file are two experiments or two mixers: cells of both must not stand under one name. A runner reads
the files when it comes (`Cell.files`), a cell that finds another content is not run, and what a cell was run with is in
its ``cell.json``, which `run` compares with the files at each start. What a file imports is not looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaformer_nlp.study.plan import Cell

NOT_RUN = "not run: "  # how the problem of such a cell begins


def own_files(cell: Cell, known: dict[str, str] | None = None) -> dict[str, str]:
    """Path, as the cell has it -> sha256 of the file; of those that are there.

    `known` has what was read before, which is not read again, and is added to.
    """
    contents = {} if known is None else known
    plugins = cell.config.get("plugins") or ()
    names = [str(name) for name in (cell.experiment, *plugins) if str(name).endswith(".py")]
    for name in names:
        if name not in contents and Path(name).is_file():
            contents[name] = hashlib.sha256(Path(name).read_bytes()).hexdigest()
    return {name: contents[name] for name in names if name in contents}


def changed_files(asked: Mapping[str, Any], cell: Cell) -> list[str]:
    """Which of these files are not what they were when the cell was started, as its ``cell.json`` says.

    A file that lies elsewhere now, or was written down without its folder, is known by its name.
    """
    now = own_files(cell)
    changed = []
    for name, then in (asked.get("files") or {}).items():
        found = [now[name]] if name in now else [now[path] for path in now if Path(path).name == Path(name).name]
        if found and then not in found:
            changed.append(f"{name}: its content has changed ({then[:8]} -> {found[0][:8]})")
    return changed


def other_content(cell: Cell) -> str | None:
    """Why the cell is not run: a file is not what its runner found when it came; None if all are."""
    now = own_files(cell)
    changed = [name for name, then in cell.files.items() if now.get(name) != then]
    if not changed:
        return None
    return (
        f"{NOT_RUN}{', '.join(changed)} has changed since the study was started. Change it back and start again, or "
        "start again with it as it is now: which finished cells do not fit it is said then"
    )


def was_not_run(outcome: Mapping[str, Any] | None) -> bool:
    """Whether a cell has failed for that reason alone."""
    return bool(outcome and str(outcome.get("problem") or "").startswith(NOT_RUN))
