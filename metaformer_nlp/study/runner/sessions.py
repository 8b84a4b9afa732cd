"""``sessions.jsonl``: when a study ran and where, and what of its protocol changed after results were there.

One object a line, appended and never rewritten. A runner writes a line when it starts (``started``, ``command``,
``executor``, ``host``, ``parallel``, ``cpu_count``) and one when it ends (the same ``started``, ``seconds``,
``interrupted``); without the second it is still at work, or was killed.

How results are judged is not part of what makes a cell the same cell, so that the study file can be corrected. A study
that is judged otherwise than it was when its first results came in is no longer decided beforehand, though, and the
report says so: a line then has ``changed`` (field -> [before, now]), ``finished`` (runs at that time) and ``time``.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metaformer_nlp.study.protocol.file import study_to_mapping
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.runner.cell import read_json, read_study

_OF_STUDY = ("baseline", "references", "claim", "control", "expected", "scale", "until")
_OF_DOMAIN = ("metric", "chance", "tasks", "margin", "equal", "axis")
_OF_ARM = ("kind", "of", "domains", "seeds")
_SEVERAL_VALUES = ("--only", "--slurm")  # options of run_study.py that take several values


class Session:
    """One start of a study, whose first line is written at once and whose second by `end`."""

    def __init__(self, folder: Path, command: str, executor: str, parallel: int) -> None:
        self._folder, self._clock, self._started = folder, time.perf_counter(), _now()
        _append(
            folder,
            {
                "started": self._started,
                "command": command,
                "executor": executor,
                "host": platform.node(),
                "parallel": parallel,
                "cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            },
        )

    def end(self, interrupted: bool) -> None:
        seconds = time.perf_counter() - self._clock
        _append(self._folder, {"started": self._started, "seconds": seconds, "interrupted": interrupted})


def record_changes(folder: Path, study: Study) -> dict[str, list[Any]]:
    """Writes a line if results are there and the study is judged otherwise than ``study.json`` says; field -> both.

    Fields are those of the study file, such as ``claim``, ``seeds`` or ``domains.text.margin``; ``domains`` and
    ``arms`` if some were taken out.
    """
    stored = read_study(folder)
    changed = _changes(stored["study"], study_to_mapping(study)) if stored else {}
    outcomes = (read_json(path) or {} for path in folder.glob("cells/*/*/*/outcome.json")) if changed else ()
    finished = sum(outcome.get("status") == "finished" for outcome in outcomes)
    if not finished:
        return {}
    _append(folder, {"changed": changed, "finished": finished, "time": _now()})
    return changed


def sessions_of(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Every start of a study in order: what was known at its start, and ``seconds`` and ``interrupted`` of its end.

    ``seconds`` is None where there is no end: the runner was killed, or is still at work. A start's and an end's line
    have the same ``started``; studies that ran before there were two have both in one.
    """
    found: list[dict[str, Any]] = []
    for line in objects(lines):
        if "started" not in line:
            continue
        if "command" in line:
            found.append({"seconds": None, "interrupted": False, **line})
        elif start := next((its for its in found if its["started"] == line["started"]), None):
            start.update(line)
    return found


def changes_of(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The changes of a study's protocol after results were there: {"changed": {field: [before, now]}, "finished",
    "time"}."""
    return [line for line in objects(lines) if "changed" in line]


def changes_named(lines: Iterable[str], study: str) -> list[str]:
    """The lines of a study that is laid beside others: a change says of which study it is."""
    named = []
    for line in lines:
        data = next(iter(objects([line])), {})
        change = "changed" in data and "study" not in data
        named.append(json.dumps({**data, "study": study}, ensure_ascii=False) if change else line)
    return named


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
        if option in _SEVERAL_VALUES:
            while words and not words[0].startswith("--"):
                words.pop(0)
        elif not equals:
            value = words.pop(0) if words else ""
        if "--folder".startswith(option):  # it may be shortened
            folder = value
    return (files[0], folder) if files else None


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    pairs = {field: (before.get(field) or None, now.get(field) or None) for field in _OF_STUDY}
    for name, domain in now["domains"].items():
        if name in before["domains"]:
            then, place = before["domains"][name], f"domains.{name}"
            pairs |= {f"{place}.{field}": (then.get(field), domain[field]) for field in _OF_DOMAIN}
            tunes = then.get("tune") or {}, domain["tune"] or {}
            for field in ("metric", "values", "trials", "tie", "widen", "beat_control"):
                pairs[f"{place}.tune.{field}"] = tunes[0].get(field), tunes[1].get(field)
    for name, arm in now["arms"].items():
        if name in before["arms"]:
            then = before["arms"][name]
            pairs |= {f"arms.{name}.{field}": (then.get(field) or None, arm.get(field) or None) for field in _OF_ARM}
    if not before.get("until") or pairs["until"][0] != pairs["until"][1]:  # else it adds them as was decided beforehand
        pairs["seeds"] = before["seeds"], now["seeds"]  # more of them after a look are a second look, too
    for field in ("domains", "arms"):
        if not set(before[field]) <= set(now[field]):
            pairs[field] = list(before[field]), list(now[field])
    return {field: list(pair) for field, pair in pairs.items() if pair[0] != pair[1]}


def _append(folder: Path, line: Mapping[str, Any]) -> None:
    with (folder / "sessions.jsonl").open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        cut = file.read() not in (b"", b"\n")  # a line of a runner that was killed: this one is not to be part of it
        file.write(b"\n" * cut + json.dumps(line).encode() + b"\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def objects(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Those of the lines that are a whole JSON object; one of a runner that was killed, or whose disk was full, may
    not be."""
    found = []
    for line in lines:
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict):
            found.append(data)
    return found
