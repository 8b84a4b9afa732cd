"""The report of a study, whatever of it is finished: an HTML page, Markdown, CSV and JSON, from the analysis alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaformer_nlp.study.analysis import analyse_folder
from metaformer_nlp.study.document import Document
from metaformer_nlp.study.findings import RULES, findings, interval, points
from metaformer_nlp.study.progress import duration


def build_report(folder: Path | str) -> Path:
    """Writes ``<folder>/report/`` from what is finished by now; the path of its page, ``report.html``."""
    analysis = analyse_folder(folder)
    return write_report(analysis, Path(folder) / "report")


def write_report(analysis: Mapping[str, Any], folder: Path) -> Path:
    """Writes the report of an analysis: the same numbers give the same files."""
    from metaformer_nlp.study.plots import draw_all  # matplotlib: the runner and its cells do without

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**analysis, "findings": findings(analysis)}, indent=1, ensure_ascii=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    _write_csv(folder / "cells.csv", [_cell_columns(row) for row in analysis["cells"]])
    _write_csv(
        folder / "arms.csv",
        [_arm_columns(domain, arm) for domain in analysis["domains"].values() for arm in domain["arms"]],
    )
    pictures = draw_all(analysis, folder / "plots")
    document = build_document(analysis, pictures)
    (folder / "report.md").write_text(document.markdown(), encoding="utf-8")
    (folder / "report.html").write_text(document.html(), encoding="utf-8")
    return (folder / "report.html").resolve()


def build_document(analysis: Mapping[str, Any], pictures: Mapping[str, Path]) -> Document:
    """The report's content, from the answer down to the protocol."""
    study, found = analysis["study"], findings(analysis)
    document = Document(f"Study “{study['name']}”")
    document.paragraph(study["question"])
    document.paragraph(found["headline"], lead=True)
    for name, sentences in found["domains"].items():
        document.heading(_title(analysis["domains"][name]), 3)
        document.bullets(sentences)
    document.heading("What this study can and cannot show")
    document.bullets(found["limits"])
    document.heading("The architecture's parts beside the mixers")
    _picture(
        document,
        pictures,
        "effects",
        "Points that each change costs. A mixer is compared with the baseline mixer, a part of the architecture with "
        "the arm it was taken out of, seed by seed (dots). Bars are 95 % intervals; at an arrow head, one goes on.",
    )
    _picture(
        document,
        pictures,
        "retention",
        "What each arm retains of the baseline's score above chance, one domain against the other. Bars are 95 % "
        "intervals, cut off at the border. On the grey diagonal, an arm retains as much in both; the dashed lines are "
        "the baseline.",
    )
    for domain in analysis["domains"].values():
        _domain(document, domain, pictures, study)
    _protocol(document, analysis)
    return document


def _domain(
    document: Document, domain: Mapping[str, Any], pictures: Mapping[str, Path], study: Mapping[str, Any]
) -> None:
    document.heading(_title(domain))
    _picture(
        document,
        pictures,
        f"scores-{domain['name']}",
        "Mean score of each arm with its 95 % interval; each dot is a seed.",
    )
    rows = [
        (
            arm["label"],
            f"{arm['score']['n']} of {arm['planned']}",
            interval(arm["score"]),
            "baseline" if arm["arm"] == study["baseline"] else interval(arm["difference"], signed=True),
            _percent(arm["retention"]),
            _count(arm["total"]),
            _count(arm["trainable"]),
            _count(arm["macs"]),
            "–" if arm["train_seconds"] is None else f"{arm['train_seconds']:.1f}",
        )
        for arm in domain["arms"]
    ]
    header = ("arm", "seeds", "score", "difference", "retention, %", "parameters", "trainable", "MACs", "train s")
    document.table(header, rows)
    notes = {
        arm[key]["note"]: None
        for arm in domain["arms"]
        for key in ("score", "difference", "retention")
        if arm[key]["note"] and arm["arm"] != study["baseline"]
    }
    notation = (
        f"In brackets: 95 % intervals over seeds. Score: {domain['metric']}, in points of 100. Difference: from "
        "the baseline, seed by seed. Retention: score above chance as a share of the baseline's, in %. Seconds: mean "
        "of the training runs, side by side on this machine."
    )
    document.paragraph(" ".join([notation, *(f"Note: {note}." for note in notes)]))
    if domain["task_chance"]:
        document.heading(f"{_title(domain)}: task by task", 3)
        _picture(
            document, pictures, f"tasks-{domain['name']}", "Mean score of each arm in each task, in points of 100."
        )
        tasks = list(domain["task_chance"])
        table = [[arm["label"], *(interval(arm["tasks"][task]) for task in tasks)] for arm in domain["arms"]]
        table.append(["chance", *(points(domain["task_chance"][task]) for task in tasks)])
        document.table(["arm", *tasks], table)


def _protocol(document: Document, analysis: Mapping[str, Any]) -> None:
    study, cells = analysis["study"], analysis["cells"]
    failed = [row for row in cells if row["status"] == "failed"]
    missing = [row for row in cells if row["status"] == "missing"]
    if failed or missing:
        document.heading("Cells without a result")
        if failed:
            rows = [(f"{row['domain']}/{row['arm']}/seed-{row['seed']}", _first_line(row["problem"])) for row in failed]
            document.table(("failed", "why"), rows, text_columns=(1,))
            document.paragraph(
                "The next start of the study tries them again, from their last checkpoint if there is one. To begin "
                "one anew, remove its folder under cells/; error.txt in there has the whole message."
            )
        if missing:
            names = [f"{row['domain']}/{row['arm']}/seed-{row['seed']}" for row in missing]
            document.paragraph(f"Not run yet ({len(missing)}): {', '.join(names)}.")
    document.heading("Protocol")
    document.bullets(
        [
            f"{len(cells)} cells: {', '.join(study['domains'])}; {len(study['arms'])} arms; seeds "
            f"{', '.join(map(str, study['seeds']))}. The baseline is {study['baseline']}.",
            *_times(analysis),
            *_environments(cells),
        ]
    )
    document.heading("How the sentences above are made", 3)
    document.bullets(RULES)
    document.heading("Settings of the arms", 3)
    document.table(
        ("arm", "kind", "compared with", "sets"),
        [
            (
                name,
                arm["kind"],
                arm["of"] or study["baseline"],
                json.dumps(arm["set"] | ({"in": arm["set_in"]} if arm["set_in"] else {})),
            )
            for name, arm in study["arms"].items()
        ],
        text_columns=(1, 2, 3),
    )
    document.heading("Files", 3)
    if analysis.get("text"):
        document.code(analysis["text"], "The study file")
    recipes = {name: domain["config"][0] for name, domain in study["domains"].items()}
    document.code(json.dumps(recipes, indent=1), "The recipes, before what the arms set")


def _times(analysis: Mapping[str, Any]) -> list[str]:
    """Wall-clock time and commands of the sessions in which the study ran."""
    said = []
    for line in analysis.get("sessions", []):
        session = json.loads(line)
        end = ", interrupted" if session["interrupted"] else ""
        said.append(
            f"Ran for {duration(session['seconds'])} from {session['started']} on {session['cpu_count']} CPU cores, "
            f"{session['parallel']} cells at once{end}: {session['command'] or 'run_study()'}"
        )
    seconds = [row["cell_seconds"] for row in analysis["cells"] if row["cell_seconds"]]
    if seconds:
        said.append(f"All finished cells together took {duration(sum(seconds))}, the longest {duration(max(seconds))}.")
    return said


def _environments(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The versions the cells ran with; more than one set is a flaw of the study and is said."""
    found: dict[str, None] = {}
    for row in cells:
        if where := row["environment"]:
            versions = {"python": where["python"], **where["packages"]}
            parts = [f"{name} {version}" for name, version in versions.items()]
            parts += [where["machine"], where["gpu"] or "no GPU", f"commit {(where['commit'] or 'unknown')[:12]}"]
            found[", ".join(parts)] = None
    if len(found) > 1:
        return [f"Caution: not all cells ran in the same surroundings: {'; or '.join(found)}."]
    return [f"Ran with {text}." for text in found]


def _picture(document: Document, pictures: Mapping[str, Path], name: str, caption: str) -> None:
    if name in pictures:
        document.picture(pictures[name], f"plots/{pictures[name].name}", name.replace("-", ", "), caption)


def _title(domain: Mapping[str, Any]) -> str:
    return domain["label"][:1].upper() + domain["label"][1:]


def _percent(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return "–"
    if estimate["low"] is None:
        return f"{100 * estimate['value']:.0f}".replace("-", "\N{MINUS SIGN}")
    text = f"{100 * estimate['value']:.0f} [{100 * estimate['low']:.0f}, {100 * estimate['high']:.0f}]"
    return text.replace("-", "\N{MINUS SIGN}").replace(" ", "\N{NO-BREAK SPACE}")


def _count(value: float | None) -> str:
    """A number of parameters or operations: exact up to a million, then 12.3 M, 4.5 G."""
    if value is None:
        return "–"
    if value < 1e6:
        return f"{value:,.0f}"
    return f"{value / 1e6:,.2f} M" if value < 1e9 else f"{value / 1e9:,.2f} G"


def _first_line(text: str | None) -> str:
    return next(iter((text or "").splitlines()), "")


def _cell_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    flat = {key: value for key, value in row.items() if key not in ("tasks", "environment")}
    return flat | {f"task:{name}": task["score"] for name, task in row["tasks"].items()}


def _arm_columns(domain: Mapping[str, Any], arm: Mapping[str, Any]) -> dict[str, Any]:
    columns = {"domain": domain["name"], **{key: arm[key] for key in ("arm", "kind", "of", "planned")}}
    columns |= {"n": arm["score"]["n"], "mean": arm["score"]["value"], "sd": arm["score"]["sd"]}
    columns |= {"low": arm["score"]["low"], "high": arm["score"]["high"], "chance": domain["chance"]}
    for name in ("difference", "retention"):
        columns |= {name: arm[name]["value"], f"{name}_low": arm[name]["low"], f"{name}_high": arm[name]["high"]}
    columns |= {key: arm[key] for key in ("total", "trainable", "macs", "train_seconds")}
    return columns | {f"task:{name}": task["value"] for name, task in arm["tasks"].items()}


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
