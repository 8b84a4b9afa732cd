"""The report of a study, whatever of it is finished: an HTML page, Markdown, CSV, JSON and pictures.

``report.json`` holds all that the report is made of, so that `build_report` makes the same files again from a report's
folder, byte for byte. A new report takes the old one's place as a whole, whenever the process is killed.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from metaformer_nlp.study.analysis.analyse import analyse_folders
from metaformer_nlp.study.analysis.results import Analysis, Arm, Domain
from metaformer_nlp.study.analysis.rows import fold_environments
from metaformer_nlp.study.protocol.file import study_to_mapping
from metaformer_nlp.study.report import render
from metaformer_nlp.study.report.protocol import command_of
from metaformer_nlp.study.report.replace import replacing, restore
from metaformer_nlp.study.words import setting

FILE = "report.json"
_DIGITS = 10  # of computed numbers: fewer than a float has, so that another processor's last bit changes no byte


def build_report(*folders: Path | str, output: Path | str | None = None) -> Path:
    """Writes the report of studies' run folders or of reports' folders; the path of its page, ``report.html``.

    Several studies become one, their domains side by side. Without `output`, the report of a run folder is its
    ``report/``, and that of a report's folder takes its place. ValueError if a folder is neither.
    """
    paths = [Path(folder).resolve() for folder in folders]
    for path in paths:
        restore(path)
    if output is None and len(paths) > 1:
        raise ValueError("The report of several studies needs a folder of its own: name one with --output.")
    target = Path(output).resolve() if output else report_folder(paths[0])
    if target.exists() and not (target / FILE).is_file() and any(target.iterdir()):
        raise ValueError(f"{target} holds something else than a report; name a new or an empty folder for it.")
    return write_report(analyse_folders(paths), target)


def report_folder(folder: Path) -> Path:
    """Where the report of `folder` lies: in it, unless it is itself the folder of a report."""
    return folder if (folder / FILE).is_file() and not (folder / "study.json").is_file() else folder / "report"


def write_report(analysis: Analysis, folder: Path) -> Path:
    """Writes the report of an analysis: the same numbers give the same files. Files of others in `folder` stay."""
    from metaformer_nlp.study.report.figures import (  # matplotlib: the runner and its cells do without
        DRAWN_WITH,
        draw_all,
    )

    folder = folder.resolve()
    with replacing(folder) as new:
        shutil.rmtree(new / "plots", ignore_errors=True)  # a picture of numbers that are gone must not stay
        (new / FILE).write_text(to_json(analysis, DRAWN_WITH), encoding="utf-8")
        if analysis.text:
            (new / "study.yaml").write_text(analysis.text, encoding="utf-8")
        _write_csv(new / "cells.csv", [_cell_columns(row, command_of(analysis, row)) for row in analysis.cells])
        arms = [_arm_columns(domain, arm) for domain in analysis.domains.values() for arm in domain.arms.values()]
        _write_csv(new / "arms.csv", arms)
        pictures = draw_all(analysis, new / "plots")
        text = render.markdown(analysis, pictures)
        (new / "report.md").write_text(text, encoding="utf-8")
        (new / "report.html").write_text(render.page(text, new), encoding="utf-8")
        (new / render.RULES).write_text(render.rules_text(), encoding="utf-8")
    return folder / "report.html"


def to_json(analysis: Analysis, drawn_with: str) -> str:
    """The content of ``report.json``: the answer first; inputs as they are, environments once, numbers rounded."""
    cells, environments = fold_environments(analysis.cells)
    found = {key: rounded(_plain(getattr(analysis, key))) for key in ("domains", "ranks", "settings", "trends")}
    answers = {question.name: rounded(_plain(question)) for question in analysis.questions}
    inputs = {"trials": analysis.trials, "text": analysis.text, "sessions": analysis.sessions}
    content = {
        "conclusion": render.conclusion(analysis),
        "answers": answers,
        "study": study_to_mapping(analysis.study),
        "cells": cells,
        "environments": environments,
        **found,
        **inputs,
        "drawn_with": drawn_with,
    }
    return _lines(content) + "\n"


def _plain(value: Any) -> Any:
    """Results as plain data."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def rounded(value: Any) -> Any:
    """Plain data with its floats rounded to `_DIGITS` significant digits; an end that does not exist is None."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def _lines(value: Any, indent: str = "") -> str:
    """JSON for files under version control: what fits a line, and lists of numbers, on one line; the rest opened up."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    if len(flat) + len(indent) <= 120 or not inner or _is_series(value):
        return flat
    deeper = f"{indent} "
    if isinstance(value, Mapping):
        items = [f"{json.dumps(str(key), ensure_ascii=False)}: {_lines(item, deeper)}" for key, item in value.items()]
    else:
        items = [_lines(item, deeper) for item in inner]
    start, end = "{}" if isinstance(value, Mapping) else "[]"
    return start + "\n" + ",\n".join(f"{deeper}{item}" for item in items) + f"\n{indent}{end}"


def _is_series(value: Any) -> bool:
    """Whether `value` is a list of lists of numbers, such as a curve."""
    return isinstance(value, list | tuple) and all(
        isinstance(item, list | tuple) and not any(isinstance(part, str | list | tuple | Mapping) for part in item)
        for item in value
    )


def _cell_columns(row: Mapping[str, Any], command: str) -> dict[str, Any]:
    flat = {key: row[key] for key in ("domain", "arm", "seed")}
    flat |= {key: value for key, value in row.items() if key not in ("tasks", "environment", "curve", "tuned", "items")}
    flat |= {f"task:{name}": task["score"] for name, task in row["tasks"].items()}
    flat |= {f"tuned:{key}": setting(value) for key, value in row["tuned"].items()}
    return flat | {"command": command}


def _arm_columns(domain: Domain, arm: Arm) -> dict[str, Any]:
    columns: dict[str, Any] = {"domain": domain.name, "arm": arm.name, "kind": arm.kind, "of": arm.of}
    columns |= {"planned": arm.planned, "n": arm.score.n, "mean": arm.score.value, "sd": arm.score.sd}
    columns |= {"low": arm.score.low, "high": arm.score.high, "chance": domain.chance}
    kept, share = arm.retention, arm.share
    columns |= {"retention": kept.value, "retention_low": kept.low, "retention_high": kept.high}
    if share:
        low, high = share.interval or (None, None)
        columns |= {"gain_kept": share.value, "gain_kept_low": low, "gain_kept_high": high}
    for reference, pair in arm.against.items():
        low, high = pair.corrected or (None, None)
        its: dict[str, Any] = {"value": pair.estimate.value, "low": pair.estimate.low, "high": pair.estimate.high}
        its |= {"low_corrected": low, "high_corrected": high, "p": pair.p, "p_holm": pair.p_holm}
        its |= {"p_equivalent": pair.p_equivalent, "shown": pair.word}
        columns |= {f"minus {reference}: {key}": value for key, value in its.items()}
    if arm.over_items:
        columns |= {"items: low": arm.over_items.low, "items: high": arm.over_items.high}
    columns |= {key: getattr(arm, key) for key in ("total", "trainable", "macs", "steps", "tokens", "train_seconds")}
    return dict(rounded(columns | {f"task:{name}": task.value for name, task in arm.tasks.items()}))


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
