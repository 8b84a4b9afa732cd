"""The report of a study, whatever of it is finished: an HTML page, Markdown, CSV, JSON and pictures.

``report.json`` holds all that the report is made of, so that `build_report` makes the same files again from a report's
folder, byte for byte. A new report takes the old one's place as a whole, whenever the process is killed.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaformer_nlp.study.analysis.analyse import analyse_folders
from metaformer_nlp.study.analysis.rows import fold_environments
from metaformer_nlp.study.report.render import build_document
from metaformer_nlp.study.report.replace import replacing, restore
from metaformer_nlp.study.report.reproduction import command_of
from metaformer_nlp.study.report.sentences import sentences_of
from metaformer_nlp.study.report.verdict import verdict
from metaformer_nlp.study.words import setting

FILE = "report.json"
_INPUTS = ("study", "cells", "trials", "text", "sessions")
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


def write_report(analysis: Mapping[str, Any], folder: Path) -> Path:
    """Writes the report of an analysis: the same numbers give the same files. Files of others in `folder` stay."""
    from metaformer_nlp.study.report.figures import (  # matplotlib: the runner and its cells do without
        DRAWN_WITH,
        draw_all,
    )

    folder = folder.resolve()
    with replacing(folder) as new:
        shutil.rmtree(new / "plots", ignore_errors=True)  # a picture of numbers that are gone must not stay
        answers = {"verdict": verdict(analysis), "findings": sentences_of(analysis)}
        (new / FILE).write_text(to_json({**answers, **analysis, "drawn_with": DRAWN_WITH}), encoding="utf-8")
        if analysis.get("text"):
            (new / "study.yaml").write_text(analysis["text"], encoding="utf-8")
        commands = [command_of(analysis, row) for row in analysis["cells"]]
        cells = [_cell_columns(row, command) for row, command in zip(analysis["cells"], commands, strict=True)]
        _write_csv(new / "cells.csv", cells)
        arms = [_arm_columns(domain, arm) for domain in analysis["domains"].values() for arm in domain["arms"]]
        _write_csv(new / "arms.csv", arms)
        document = build_document(analysis, draw_all(analysis, new / "plots"))
        (new / "report.md").write_text(document.markdown(), encoding="utf-8")
        (new / "report.html").write_text(document.html(), encoding="utf-8")
    return folder / "report.html"


def to_json(report: Mapping[str, Any]) -> str:
    """The content of ``report.json``: inputs as they are, environments once, computed numbers rounded."""
    cells, environments = fold_environments(report["cells"])
    content = {key: value if key in _INPUTS else rounded(value) for key, value in report.items()}
    first = {key: content[key] for key in ("verdict", "findings", "study") if key in content}
    return _lines({**first, **content, "cells": cells, "environments": environments}) + "\n"


def rounded(value: Any) -> Any:
    """Plain data with its floats rounded to `_DIGITS` significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
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
    flat |= {key: value for key, value in row.items() if key not in ("tasks", "environment", "curve", "tuned")}
    flat |= {f"task:{name}": task["score"] for name, task in row["tasks"].items()}
    flat |= {f"tuned:{key}": setting(value) for key, value in row["tuned"].items()}
    return flat | {"command": command}


def _arm_columns(domain: Mapping[str, Any], arm: Mapping[str, Any]) -> dict[str, Any]:
    columns = {"domain": domain["name"], **{key: arm[key] for key in ("arm", "kind", "of", "planned")}}
    columns |= {"n": arm["score"]["n"], "mean": arm["score"]["value"], "sd": arm["score"]["sd"]}
    columns |= {"low": arm["score"]["low"], "high": arm["score"]["high"], "chance": domain["chance"]}
    kept = arm["retention"]
    columns |= {"retention": kept["value"], "retention_low": kept["low"], "retention_high": kept["high"]}
    for reference, pair in arm["against"].items():
        keys = ("value", "low", "high", "low_corrected", "high_corrected", "p", "p_holm", "label")
        columns |= {f"minus {reference}: {key}": pair[key] for key in keys}
        columns[f"minus {reference}: p_equivalent"] = (pair["tost"] or {}).get("p_corrected")
    columns |= {key: arm[key] for key in ("total", "trainable", "macs", "steps", "tokens", "train_seconds")}
    return rounded(columns | {f"task:{name}": task["value"] for name, task in arm["tasks"].items()})


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
