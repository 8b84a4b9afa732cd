"""What was found, in one folder: results.json, results.csv and report.md, whole after every single result."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Literal, get_args

__all__ = ["Folder", "Result", "curve"]

Verdict = Literal["passed", "FAILED", "measured", "error", "not measured"]


@dataclass(frozen=True)
class Result:
    """One number, or why there is none."""

    section: str
    subject: str
    """What was examined, such as a mixer or a model."""
    setting: str
    """Under which circumstances, such as the precision and the shape."""
    quantity: str
    value: float | None
    limit: float | None = None
    """The largest value that passes; None for what is only measured."""
    note: str = ""
    verdict: Verdict = "measured"

    @classmethod
    def check(cls, section: str, subject: str, setting: str, quantity: str, value: float, limit: float) -> Result:
        """A value that must not be above ``limit``; NaN fails."""
        return cls(section, subject, setting, quantity, value, limit, "", "passed" if value <= limit else "FAILED")

    @classmethod
    def missing(cls, section: str, subject: str, setting: str, reason: str, late: bool = False) -> Result:
        return cls(section, subject, setting, "", None, None, reason, "not measured" if late else "error")


class Folder:
    """The results so far. A file is replaced as a whole: whoever is killed leaves what was known before."""

    def __init__(self, path: Path, environment: str) -> None:
        path.mkdir(parents=True, exist_ok=True)
        (path / "loss.svg").unlink(missing_ok=True)
        self.path, self.environment, self.state = path, environment, "still running, or killed"
        self.results: list[Result] = []
        self._write_all()

    def add(self, result: Result) -> None:
        self.results.append(result)
        self._write_all()

    def finish(self, state: str) -> None:
        self.state = state
        self._write_all()

    @property
    def faults(self) -> list[Result]:
        return [result for result in self.results if result.verdict in ("FAILED", "error")]

    def _write_all(self) -> None:
        rows = [asdict(result) for result in self.results]

        def write_csv(file: IO[str]) -> None:
            writer = csv.DictWriter(file, [field.name for field in fields(Result)])
            writer.writeheader()
            writer.writerows(rows)

        content = {"environment": self.environment, "state": self.state, "results": rows}
        self._replace("results.json", lambda file: json.dump(content, file, indent=1))
        self._replace("results.csv", write_csv)
        self._replace("report.md", lambda file: file.write(self.page()))

    def _replace(self, name: str, write: Callable[[IO[str]], Any]) -> None:
        part = self.path / f"{name}.part"
        with part.open("w", encoding="utf-8", newline="") as file:
            write(file)
        os.replace(part, self.path / name)

    def page(self) -> str:
        """The report in Markdown: what is wrong comes first, then a table a section."""
        counts = {verdict: sum(result.verdict == verdict for result in self.results) for verdict in get_args(Verdict)}
        parts = [
            "# Examination of a device",
            f"{self.environment}. State: {self.state}.",
            "Results: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) + ".",
        ]
        if self.faults:
            rows = [
                (r.verdict, r.section, r.subject, r.setting, r.quantity, number(r.value), number(r.limit), r.note)
                for r in self.faults
            ]
            parts += ["## What is wrong", table(("", "section", *_HEADINGS, "value", "limit", "reason"), rows)]
        for section, group in groupby(self.results, key=lambda result: result.section):
            results = list(group)
            parts += [f"## {section}", *(part for part in (_checks(results), _figures(results)) if part)]
        if (self.path / "loss.svg").is_file():
            parts.append("![training loss](loss.svg)")
        return "\n\n".join(parts) + "\n"


_HEADINGS = ("subject", "setting", "quantity")


def _checks(results: Sequence[Result]) -> str:
    """Of each kind of check the number, and the value that is nearest to its limit."""
    kinds: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.limit is not None:
            kinds.setdefault((result.setting, result.quantity), []).append(result)
    rows = []
    for (setting, quantity), checks in kinds.items():
        worst = max(checks, key=lambda result: (result.value or 0.0) / (result.limit or 1.0))
        passed = sum(result.verdict == "passed" for result in checks)
        rows.append(
            (setting, quantity, f"{passed} of {len(checks)}", number(worst.value), number(worst.limit), worst.subject)
        )
    return table(("setting", "check", "passed", "largest", "limit", "of"), rows) if rows else ""


def _figures(results: Sequence[Result]) -> str:
    """A line for each subject and setting, a column for each quantity."""
    measured = [result for result in results if result.limit is None]
    quantities = list(dict.fromkeys(result.quantity for result in measured if result.quantity))
    lines: dict[tuple[str, str], dict[str, Result]] = {}
    for result in measured:
        lines.setdefault((result.subject, result.setting), {})[result.quantity] = result
    rows = []
    for (subject, setting), found in lines.items():
        values = [number(found[name].value) if name in found else "" for name in quantities]
        notes = [result.note for result in found.values() if result.note]
        rows.append((subject, setting, *values, "; ".join(dict.fromkeys(notes))))
    return table(("subject", "setting", *quantities, "note"), rows) if rows else ""


def number(value: float | None) -> str:
    """Four digits, whatever the size."""
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown; columns without any entry are left out."""
    kept = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line[place].replace("|", "\\|") for place in kept) + " |" for line in lines)


def curve(path: Path, points: Sequence[tuple[float, float]], label: str) -> None:
    """Draw a line through ``points`` (x, y) as an SVG file; matplotlib is missing on a bare image."""
    xs, ys = zip(*points, strict=True)
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    places = " ".join(
        f"{60 + 520 * (x - left) / max(right - left, 1e-9):.1f},{20 + 220 * (high - y) / max(high - low, 1e-9):.1f}"
        for x, y in points
    )
    words = [(4, 26, number(high)), (4, 244, number(low)), (60, 264, number(left)), (540, 264, number(right))]
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 290" font-family="sans-serif" font-size="13">\n'
        + f'<polyline points="{places}" fill="none" stroke="#1f77b4" stroke-width="2"/>\n'
        + "".join(f'<text x="{x}" y="{y}">{word}</text>\n' for x, y, word in [*words, (220, 282, label)])
        + "</svg>\n",
        encoding="utf-8",
    )
