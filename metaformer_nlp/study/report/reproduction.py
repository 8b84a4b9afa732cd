"""The report's last part, from which the study can be made again: budgets, tuning, settings, commands, surroundings."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import fsum
from pathlib import Path
from typing import Any

from metaformer_nlp.config.yaml_text import read_yaml
from metaformer_nlp.study.protocol.claims import gain_claimed, known_answers, scales
from metaformer_nlp.study.report.document import Document
from metaformer_nlp.study.runner.budgets import kept_budgets
from metaformer_nlp.study.runner.sessions import changes_of, file_and_folder, sessions_of
from metaformer_nlp.study.runner.tuning import are_numbers, grid_order, tie_rule, tuned_on_scores
from metaformer_nlp.study.words import capital, deviation, duration, listed, points, setting


def key_of(row: Mapping[str, Any]) -> str:
    """The cell's name, as `Cell.key` has it."""
    return f"{row['domain']}/{row['arm']}/seed-{row['seed']}"


def command_of(analysis: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """The command that runs this cell alone."""
    file, folder, domain = _source(analysis, row["domain"])
    into = ["--folder", folder] if folder else []
    only = f"{domain}/{row['arm']}/seed-{row['seed']}"
    return shlex.join(["python", "scripts/run_study.py", "run", file, *into, "--only", only])


def _source(analysis: Mapping[str, Any], domain: str) -> tuple[str, str | None, str]:
    """The study file that a domain comes from and the folder, as named when it ran, and the domain's name in it."""
    commands = (session["command"] or "" for session in sessions_of(analysis["sessions"]))
    runs = [run for command in commands if (run := file_and_folder(command))]
    name = analysis["study"]["name"]
    for data in _study_files(analysis):
        inner = next((key for key in (domain, domain.removeprefix(f"{data['name']}-")) if key in data["domains"]), None)
        if inner:
            name, domain = data["name"], inner
            break
    # Of a study alone, the file is the one that was run, whatever its name.
    named = [run for run in runs if Path(run[0]).stem == name] or (runs if len(_study_files(analysis)) < 2 else [])
    file, folder = named[-1] if named else (f"{name}.yaml", None)
    return file, folder, domain


def _study_files(analysis: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The study files as they were written; of merged studies, one after the other."""
    return _read(analysis.get("text") or "")


@lru_cache(maxsize=1)  # asked for each cell
def _read(text: str) -> list[dict[str, Any]]:
    return [read_yaml(part, "the study file in the report") for part in text.split("\n---\n") if part]


def questions(analysis: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """(name, question, labels of its domains) of each study that the report is of."""
    labels = {name: domain["label"] for name, domain in analysis["domains"].items()}
    files = _study_files(analysis)
    if len(files) < 2:
        return [(analysis["study"]["name"], analysis["study"]["question"], list(labels.values()))]
    return [
        (
            data["name"],
            data["question"],
            [labels[key] for name in data["domains"] for key in (f"{data['name']}-{name}", name) if key in labels],
        )
        for data in files
    ]


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
            *_changed(analysis),
            *_times(analysis),
            *_surroundings(cells),
        ]
    )
    _budgets(document, analysis)
    for domain in analysis["domains"].values():
        _tuning(document, domain, study, analysis.get("trials", ()))
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
    lines = []
    if study["references"]:
        lines.append(f"Beside the baseline, all arms are compared with {listed(study['references'])}.")
    if (claim := study["claim"]) and "retains" in claim:
        lines.append(
            f"The claim to be tested: {claim['arm']} retains at least {100 * claim['retains']:g} % of the baseline's "
            "score above chance."
        )
    if control := study.get("control"):
        lines.append(f"{capital(control)} mixes nothing: what the baseline scores above it is what mixing gains.")
    if gain := gain_claimed(study):
        lines.append(f"Claimed, and not judged in this report: {gain}.")
    labels = {name: domain["label"] for name, domain in analysis["domains"].items()}
    lines += [f"Known, and not judged in this report: {text}." for text in known_answers(study, labels)]
    lines += [f"One scale, and not judged in this report: {text}." for text in scales(study, labels)]
    for domain in analysis["domains"].values():
        if domain["margin"] is not None:
            lines.append(f"In {domain['label']}, differences below {points(domain['margin'])} points count as equal.")
        if after := study["domains"][domain["name"]]["after"]:
            lines.append(f"In {domain['label']}, each cell starts from the same arm's and seed's cell of {after}.")
    return lines


def _budgets(document: Document, analysis: Mapping[str, Any]) -> None:
    """What the study file asks to be equal, and whether it was."""
    study, rows = analysis["study"], list[tuple[str, ...]]()
    for domain in analysis["domains"].values():
        names = {arm["arm"]: arm["label"] for arm in domain["arms"]}
        its = [row for row in analysis["cells"] if row["domain"] == domain["name"]]
        for entry in kept_budgets(study["domains"][domain["name"]]["equal"], study["baseline"], its):
            unlike = [f"{names[item['arm']]} {deviation(item['difference'])}" for item in entry["broken"]]
            unlike += [f"not known of {names[arm]}" for arm in entry["unknown"]]
            kept = {True: "yes", False: "no", None: "not known"}[entry["kept"]]
            allowed = f"{100 * entry['allowed']:g} %"
            rows.append((domain["label"], entry["budget"], allowed, kept, ", ".join(unlike) or "–"))
    if rows:
        document.heading("What was held equal", 3)
        header = ("domain", "budget", "allowed", "kept", "arms that differ by more")
        document.table(header, rows, text_columns=(1, 4), tones={"no": "minus", "yes": "same"})
        document.paragraph("Allowed: the largest difference from the baseline's mean over its finished cells.")


def _tuning(
    document: Document, domain: Mapping[str, Any], study: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]
) -> None:
    """Which values were tried, how each did in each arm, and which the arm chose."""
    tune = study["domains"][domain["name"]]["tune"]
    if not tune:
        return
    document.heading(f"Tuned in {domain['label']}", 3)
    order = grid_order(tune["values"])  # a value that was appended later stands where it belongs
    values = [tune["values"][place] for place in order]
    choice = ", ".join(map(setting, values))
    own = f", with {json.dumps(tune['set'], ensure_ascii=False)}" if tune["set"] else ""
    number = tune.get("trials", 1)
    each = "one trial a value, the best" if number == 1 else f"{number} trials a value, the best mean"
    failing = "" if number == 1 else " A value with a failed trial is no candidate."
    rule = tie_rule(tune.get("tie", 0.0), values)
    document.paragraph(
        f"Each arm chose {tune['key']} among {choice}: {each} {tune['metric']} wins{own}."
        f"{rule and f' {capital(rule)}.'}{failing} The number of trials is the same for all arms."
    )
    if tuned_on_scores(tune, domain["metric"]):
        document.paragraph(
            "Caution: the trials were judged on the data that the scores are measured on. A score is then that of the "
            "best of several, which is a little too high."
        )
    its = [trial for trial in trials if trial["domain"] == domain["name"]]  # older reports hold none
    tried = values if its else []
    rows, outermost = [], []
    for arm in domain["arms"]:
        chosen = [tuned[tune["key"]] for tuned in arm["tuned"].values() if tune["key"] in tuned]
        if are_numbers(values) and any(value in (values[0], values[-1]) for value in chosen):
            outermost.append(arm["label"])
        of_arm = [trial for trial in its if trial["arm"] == arm["arm"]]  # in the order of `Study.trials_of`
        scores = [_trials(of_arm[place :: len(values)], tune["metric"]) for place in order if of_arm]
        rows.append((arm["label"], *scores, " or ".join(dict.fromkeys(map(setting, chosen))) or "–"))
    header = ("arm", *(f"{tune['key']} {setting(value)}" for value in tried), "chosen")
    document.table(header, rows, tones={"failed": "minus"})
    if outermost:
        document.paragraph(
            f"At an end of what was tried, so that a value beyond it might have done better: {listed(outermost)}."
        )


def _trials(trials: Sequence[Mapping[str, Any]], metric: str) -> str:
    """The mean over a value's trials and each of them: "53.1 (52.9, 53.3)"; of a single one its score."""
    each = [_trial(trial, metric) for trial in trials]
    if len(each) == 1:
        return each[0]
    scores = [trial["score"] for trial in trials if trial["score"] is not None]
    mean = _score(fsum(scores) / len(scores), metric) if len(scores) == len(each) else "–"
    return f"{mean} ({', '.join(each)})"


def _trial(trial: Mapping[str, Any], metric: str) -> str:
    """A trial's score, or its status if it has none."""
    if trial["score"] is None:
        return "–" if trial["status"] == "missing" else str(trial["status"])
    return _score(trial["score"], metric)


def _score(score: float, metric: str) -> str:
    """A loss as it is, other metrics in points."""
    return f"{score:.4g}" if metric.endswith("loss") else points(score)


def _changed(analysis: Mapping[str, Any]) -> list[str]:
    """What was changed in the analysis after results were there, so that it was not decided beforehand."""
    lines = []
    for change in changes_of(analysis["sessions"]):
        fields = [
            f"{field} (was {setting(before)}, is {setting(now)})" for field, (before, now) in change["changed"].items()
        ]
        runs = "1 run" if change["finished"] == 1 else f"{change['finished']} runs"
        lines.append(f"Not decided beforehand: changed when {runs} had finished ({change['time']}): {listed(fields)}.")
    return lines


def _times(analysis: Mapping[str, Any]) -> list[str]:
    """Wall-clock time and commands of the sessions in which the study ran."""
    lines = []
    for session in sessions_of(analysis["sessions"]):
        if session["seconds"] is None:
            ran = f"Started at {session['started']}, with no end recorded (it was killed, or was still running),"
        else:
            ran = f"Ran for {duration(session['seconds'])} from {session['started']}"
        host = f" of {session['host']}" if session.get("host") else ""
        executor = session.get("executor", "processes")
        place = "" if executor == "processes" else f"{executor}, "
        cells = "one cell" if session["parallel"] == 1 else f"{session['parallel']} cells"
        end = ", interrupted" if session["interrupted"] else ""
        lines.append(
            f"{ran} on {session['cpu_count']} CPU cores{host}, {place}{cells} at once{end}: "
            f"{session['command'] or 'run_study()'}"
        )
    seconds = [row["cell_seconds"] for row in analysis["cells"] if row["cell_seconds"]]
    if seconds:
        trials = ", trials not counted" if analysis.get("trials") else ""
        lines.append(
            f"All finished cells together took {duration(sum(seconds))}{trials}, the longest {duration(max(seconds))}."
        )
    if again := [key_of(row) for row in analysis["cells"] if row["restarted"]]:
        lines.append(
            f"Started more than once: {listed(again)}. Seconds are those of all starts; what a start that was killed "
            "did after its last checkpoint is not in them."
        )
    return lines


def _surroundings(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The versions the cells ran with; more than one set is a flaw of the study, and the report says so."""
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
