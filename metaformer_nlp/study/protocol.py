"""The report's last part, from which the study can be made again: budgets, tuning, settings, commands, surroundings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaformer_nlp.study.budgets import kept_budgets
from metaformer_nlp.study.document import Document
from metaformer_nlp.study.progress import duration
from metaformer_nlp.study.study_file import read_yaml
from metaformer_nlp.study.wording import capital, listed, points


def key_of(row: Mapping[str, Any]) -> str:
    """The cell's name, as `Cell.key` has it."""
    return f"{row['domain']}/{row['arm']}/seed-{row['seed']}"


def command_of(analysis: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """The command that runs this cell alone."""
    file, domain = _source(analysis, row["domain"])
    return f"python scripts/run_study.py run {file} --only {domain}/{row['arm']}/seed-{row['seed']}"


def _source(analysis: Mapping[str, Any], domain: str) -> tuple[str, str]:
    """The study file that a domain comes from, as it was named when the study ran, and the domain's name in it."""
    commands = (json.loads(line)["command"] or "" for line in analysis["sessions"])
    files = [match[1] for command in commands if (match := re.search(r"run_study\.py run (\S+)", command))]
    name = analysis["study"]["name"]
    for text in filter(None, (analysis["text"] or "").split("\n---\n")):  # of merged studies, one after the other
        data = read_yaml(text, "the study file in the report")
        inner = next((key for key in (domain, domain.removeprefix(f"{data['name']}-")) if key in data["domains"]), None)
        if inner:
            name, domain = data["name"], inner
            break
    return next((file for file in reversed(files) if Path(file).stem == name), f"{name}.yaml"), domain


def add_missing(document: Document, analysis: Mapping[str, Any]) -> None:
    """The cells that failed, with their reason, and those that have not run."""
    failed = [row for row in analysis["cells"] if row["status"] == "failed"]
    missing = [row for row in analysis["cells"] if row["status"] == "missing"]
    if not failed and not missing:
        return
    document.heading("Cells without a result")
    if failed:
        document.table(("failed", "why"), [(key_of(row), _first_line(row["problem"])) for row in failed], (1,))
        document.paragraph(
            "The next start of the study tries them again, from their last checkpoint if there is one. To begin "
            "one anew, remove its folder under cells/; error.txt in there has the whole message."
        )
    if missing:
        document.paragraph(f"Not run yet ({len(missing)}): {', '.join(map(key_of, missing))}.")


def add_protocol(document: Document, analysis: Mapping[str, Any]) -> None:
    """What was decided beforehand, what was held equal and whether it was, and how to run each cell again."""
    study, cells = analysis["study"], analysis["cells"]
    document.heading("Protocol")
    document.bullets(
        [
            f"{len(cells)} cells: {', '.join(study['domains'])}; {len(study['arms'])} arms; seeds "
            f"{', '.join(map(str, study['seeds']))}. The baseline is {study['baseline']}.",
            *_decided(analysis),
            *_times(analysis),
            *_surroundings(cells),
        ]
    )
    _budgets(document, analysis)
    for domain in analysis["domains"].values():
        _tuning(document, domain, study)
    document.heading("Settings of the arms", 3)
    document.table(
        ("arm", "kind", "compared with", "sets"),
        [
            (
                name,
                arm["kind"],
                arm["of"] or study["baseline"],
                json.dumps(arm["set"] | ({"in": arm["set_in"]} if arm["set_in"] else {}), ensure_ascii=False),
            )
            for name, arm in study["arms"].items()
        ],
        text_columns=(1, 2, 3),
    )
    document.heading("Every cell's command", 3)
    document.paragraph("Each cell can be run alone, by its line in cells.csv.")
    header = ("cell", "score", "seconds", "command")
    rows = [
        (
            key_of(row),
            points(row["score"]),
            "–" if row["cell_seconds"] is None else f"{row['cell_seconds']:.0f}",
            command_of(analysis, row),
        )
        for row in cells
    ]
    document.table(header, rows, text_columns=(3,), fold=f"All {len(cells)} cells")
    document.heading("Files", 3)
    if analysis["text"]:
        document.code(analysis["text"], "The study file")
    recipes = {name: domain["config"][0] for name, domain in study["domains"].items()}
    document.code(json.dumps(recipes, indent=1, ensure_ascii=False), "The recipes, before what the arms set")


def _decided(analysis: Mapping[str, Any]) -> list[str]:
    """The analysis that the study file decides beforehand."""
    study = analysis["study"]
    said = []
    if study["references"]:
        said.append(f"Beside the baseline, all arms are compared with {listed(study['references'])}.")
    if claim := study["claim"]:
        said.append(
            f"The claim to be tested: {claim['arm']} retains at least {100 * claim['retains']:g} % of the baseline's "
            "score above chance."
        )
    for domain in analysis["domains"].values():
        if domain["margin"] is not None:
            said.append(f"In {domain['label']}, differences below {points(domain['margin'])} points count as equal.")
        if after := study["domains"][domain["name"]]["after"]:
            said.append(f"In {domain['label']}, each cell starts from the same arm's and seed's cell of {after}.")
    return said


def _budgets(document: Document, analysis: Mapping[str, Any]) -> None:
    """What the study file asks to be equal, and whether it was."""
    study, rows = analysis["study"], list[tuple[str, ...]]()
    for domain in analysis["domains"].values():
        names = {arm["arm"]: arm["label"] for arm in domain["arms"]}
        its = [row for row in analysis["cells"] if row["domain"] == domain["name"]]
        for entry in kept_budgets(study["domains"][domain["name"]]["equal"], study["baseline"], its):
            unlike = [
                f"{names[item['arm']]} {100 * item['difference']:+.3g} %".replace("-", "\N{MINUS SIGN}")
                for item in entry["broken"]
            ]
            unlike += [f"not known of {names[arm]}" for arm in entry["unknown"]]
            kept = {True: "yes", False: "no", None: "not known"}[entry["kept"]]
            allowed = f"{100 * entry['allowed']:g} %"
            rows.append((domain["label"], entry["budget"], allowed, kept, ", ".join(unlike) or "–"))
    if rows:
        document.heading("What was held equal", 3)
        header = ("domain", "budget", "allowed", "kept", "arms that differ by more")
        document.table(header, rows, text_columns=(1, 4), tones={"no": "minus", "yes": "same"})
        document.paragraph("Allowed: the largest difference from the baseline's mean over its finished cells.")


def _tuning(document: Document, domain: Mapping[str, Any], study: Mapping[str, Any]) -> None:
    """Which values were tried, and which each arm chose."""
    tune = study["domains"][domain["name"]]["tune"]
    if not tune:
        return
    document.heading(f"Tuned in {domain['label']}", 3)
    tried = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in tune["values"])
    own = f", with {json.dumps(tune['set'], ensure_ascii=False)}" if tune["set"] else ""
    document.paragraph(
        f"Before its cells ran, each arm chose {tune['key']} among {tried}: one trial a value, the best "
        f"{tune['metric']} wins{own}. The number of trials is the same for all arms."
    )
    rows = []
    for arm in domain["arms"]:
        chosen = dict.fromkeys(f"{its[tune['key']]:g}" for its in arm["tuned"].values() if tune["key"] in its)
        rows.append((arm["label"], " or ".join(chosen) or "–"))
    document.table(("arm", tune["key"]), rows)


def _times(analysis: Mapping[str, Any]) -> list[str]:
    """Wall-clock time and commands of the sessions in which the study ran."""
    said = []
    for line in analysis["sessions"]:
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


def _surroundings(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The versions the cells ran with; more than one set is a flaw of the study and is said."""
    found: dict[str, int] = {}
    for row in cells:
        if where := row["environment"]:
            versions = {"python": where["python"], **where["packages"]}
            parts = [f"{name} {version}" for name, version in versions.items()]
            parts += [where["machine"], where["gpu"] or "no GPU", f"commit {(where['commit'] or 'unknown')[:12]}"]
            text = ", ".join(parts)
            found[text] = found.get(text, 0) + 1
    if len(found) > 1:
        each = "; ".join(f"{number} cells with {text}" for text, number in found.items())
        return [f"Caution: not all cells ran in the same surroundings: {each}."]
    return [capital(f"ran with {text}.") for text in found]


def _first_line(text: str | None) -> str:
    return next(iter((text or "").splitlines()), "")
