"""From run folders to an analysis, and from a report's numbers to the same analysis again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metaformer_nlp.engine.files import read_object
from metaformer_nlp.study.analysis import over_domains
from metaformer_nlp.study.analysis.domain import analyse_domain
from metaformer_nlp.study.analysis.merge import merge_studies
from metaformer_nlp.study.analysis.results import Analysis, Known, Question
from metaformer_nlp.study.analysis.rows import (
    Row,
    empty_row,
    of_all_starts,
    read_row,
    read_trial,
    unfold_environments,
)
from metaformer_nlp.study.protocol.file import study_from_mapping
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.runner.cell import read_study
from metaformer_nlp.study.runner.sessions import changes_named, objects
from metaformer_nlp.study.runner.tuning import tunings

QUESTIONS = ("known", "mixing", "claim", "removals", "parts", "swaps", "mixers")
"""The questions that are asked in each domain, in the order of the report."""


def analyse_folders(folders: Sequence[Path | str]) -> Analysis:
    """The analysis of the studies in these folders, laid side by side if there are several.

    A folder is that of a run (with ``study.json``) or of a report (with ``report.json``), whose numbers are made again
    from its cells. ValueError for any other folder, and for studies that cannot be laid side by side.
    """
    read = [_read_folder(Path(folder)) for folder in folders]
    study, rows = merge_studies([(study, rows) for study, rows, *_ in read])
    _, trials = merge_studies([(study, trials) for study, _, trials, *_ in read])
    text = "\n---\n".join(text for *_, text, _ in read)  # as several documents of one YAML file
    single = len(read) == 1
    sessions = [line for one, *_, lines in read for line in (lines if single else changes_named(lines, one.name))]
    return analyse(study, rows, trials, text, sessions)


def analyse(
    study: Study, rows: Sequence[Row], trials: Sequence[Row] = (), text: str = "", sessions: Sequence[str] = ()
) -> Analysis:
    """The analysis of a study from its cells' rows."""
    rows = [of_all_starts({**empty_row(), **row}) for row in rows]
    domains = {
        domain.name: analyse_domain(study, domain, [row for row in rows if row["domain"] == domain.name])
        for domain in study.domains
    }
    primary = over_domains.primary_domains(study, domains)
    questions = []
    for name in QUESTIONS:
        if found := over_domains.composed(primary, name):
            questions.append(Question(name, *found))
            for domain, word in found[1].items():
                domains[domain] = replace(domains[domain], answers={**domains[domain].answers, name: word})
                if name == "known" and domain not in found[2]:  # corrected for the number of domains, too
                    domains[domain] = replace(domains[domain], known=_not_against(domains[domain].known))
    primary = {name: domains[name] for name in primary}
    against = {name for question in questions if question.name in ("known", "claim") for name in question.against}
    ranks = over_domains.ranks(primary)
    if len(primary) > 1:
        questions.append(Question("agreement", over_domains.agreement(study.baseline, primary, ranks), {}))
    references = [study.baseline, *study.references, *([study.control] if study.control else [])]
    trends = (over_domains.trends(study, scale, domains) for scale in study.scale)
    return Analysis(
        study=study,
        cells=rows,
        trials=trials,
        text=text,
        sessions=sessions,
        domains=domains,
        first=over_domains.first_domains(study, primary, against),
        questions=tuple(questions),
        ranks=ranks,
        settings=over_domains.settings(study, primary, references),
        trends=tuple(found for found in trends if found),
    )


def _not_against(known: Sequence[Known]) -> tuple[Known, ...]:
    return tuple(
        replace(item, answer=replace(item.answer, word="open")) if item.answer.word == "no" else item for item in known
    )


def _read_folder(folder: Path) -> tuple[Study, list[Row], list[Row], str, list[str]]:
    """The study, its cells' rows, its trials' rows, its file's text and the lines of its sessions."""
    if stored := read_study(folder):
        study = study_from_mapping(stored["study"], str(folder / "study.json"))
        found = tunings(study, folder)
        chosen = {place: its.value for place, its in found.items() if its.choice}
        rows = [read_row(study, folder, cell) for cell in study.cells(chosen)]
        tried = study.trials(chosen, {place: its.numbers for place, its in found.items()})
        trials = [read_trial(study, folder, cell) for cell in tried]
        sessions = folder / "sessions.jsonl"
        text = sessions.read_text(encoding="utf-8", errors="replace") if sessions.is_file() else ""
        lines = [line for line in text.split("\n") if line.strip()]
        if damaged := len(lines) - len(objects(lines)):
            print(f"{sessions}: {damaged} of {len(lines)} lines are damaged and left out.", file=sys.stderr)
        return study, rows, trials, str(stored.get("text") or ""), lines
    mend = "put back a copy of it, or make the report again from the study's folder"
    if stored := read_object(folder / "report.json", mend):
        if missing := [key for key in ("study", "cells", "text", "sessions") if key not in stored]:
            raise ValueError(f"{folder / 'report.json'} is damaged (it lacks {', '.join(missing)}); {mend}")
        study = study_from_mapping(stored["study"], str(folder / "report.json"))
        rows = unfold_environments(stored["cells"], stored.get("environments", []))
        return study, rows, stored.get("trials", []), stored["text"], stored["sessions"]
    raise ValueError(
        f"{folder} is no folder of a study: it has neither a study.json, which run_study.py run makes, nor a "
        "report.json."
    )
