"""What the lines of ``sessions.jsonl`` tell (`sessions` writes them): when a study ran, and what of it was changed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from typing import Any

_MANY = ("--only", "--slurm")  # options of run_study.py that take several values


def sessions_of(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Every start of a study in order: what was known at its start, and ``seconds`` and ``interrupted`` of its end.

    ``seconds`` is None where there is no end: the runner was killed, or is still at work. A start's and an end's line
    have the same ``started``; studies that ran before there were two have both in one.
    """
    found: list[dict[str, Any]] = []
    for line in _read(lines):
        if "changed" in line:
            continue
        if "command" in line:
            found.append({"seconds": None, "interrupted": False, **line})
        elif start := next((its for its in found if its["started"] == line["started"]), None):
            start.update(line)
    return found


def changes_of(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The changes of a study's protocol after results were there: {"changed": {field: [before, now]}, "finished",
    "time"}."""
    return [line for line in _read(lines) if "changed" in line]


def file_and_folder(command: str) -> tuple[str, str | None] | None:
    """The study file and the ``--folder`` of a ``run_study.py run`` command; None if it is another command."""
    match = re.search(r"run_study(?:\.py)? run (.+)", command)
    if match is None:
        return None
    words, files, folder = shlex.split(match[1]), list[str](), None
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            files.append(word)
            continue
        option, equals, value = word.partition("=")
        if option in _MANY:
            while words and not words[0].startswith("--"):
                words.pop(0)
        elif not equals:
            value = words.pop(0) if words else ""
        if "--folder".startswith(option):  # it may be shortened
            folder = value
    return (files[0], folder) if files else None


def _read(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The lines that are whole; the last one of a runner that was killed, or whose disk was full, may not be."""
    found = []
    for line in lines:
        try:
            data = json.loads(line)
        except ValueError:
            continue
        found.append(data)
    return found
