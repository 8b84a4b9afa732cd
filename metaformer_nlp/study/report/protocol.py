"""The report's last part, from which the study can be made again: budgets, tuning, settings, commands, surroundings."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import fsum
from pathlib import Path
from typing import Any

from metaformer_nlp.config.yaml_text import read_yaml
from metaformer_nlp.study.analysis.results import Analysis, Domain
from metaformer_nlp.study.protocol.study import Tune
from metaformer_nlp.study.report.names import row_names
from metaformer_nlp.study.runner.budgets import kept_budgets
from metaformer_nlp.study.runner.sessions import changes_of, file_and_folder, sessions_of
from metaformer_nlp.study.runner.tuning import end_of, grid_order, sign, slack, tie_rule, tuned_on_scores
from metaformer_nlp.study.words import deviation, listed, points, setting


def key_of(row: Mapping[str, Any]) -> str:
    """The cell's name, as `Cell.key` has it."""
    return f"{row['domain']}/{row['arm']}/seed-{row['seed']}"


def command_of(analysis: Analysis, row: Mapping[str, Any]) -> str:
    """The command that runs this cell alone."""
    file, folder, domain = _source(analysis, row["domain"])
    into = ["--folder", folder] if folder else []
    only = f"{domain}/{row['arm']}/seed-{row['seed']}"
    return shlex.join(["python", "scripts/run_study.py", "run", file, *into, "--only", only])


def commands(analysis: Analysis) -> list[tuple[str, str, str, str]]:
    """Of every cell its name, score, seconds and command."""
    return [
        (
            key_of(row),
            points(row["score"]),
            "–" if row["cell_seconds"] is None else f"{row['cell_seconds']:.0f}",
            command_of(analysis, row),
        )
        for row in analysis.cells
    ]


def _source(analysis: Analysis, domain: str) -> tuple[str, str | None, str]:
    """The study file that a domain comes from and the folder, as named when it ran, and the domain's name in it."""
    commands = (session["command"] or "" for session in sessions_of(analysis.sessions))
    runs = [run for command in commands if (run := file_and_folder(command))]
    name = analysis.study.name
    for data in _study_files(analysis):
        inner = next((key for key in (domain, domain.removeprefix(f"{data['name']}-")) if key in data["domains"]), None)
        if inner:
            name, domain = data["name"], inner
            break
    # Of a study alone, the file is the one that was run, whatever its name.
    named = [run for run in runs if Path(run[0]).stem == name] or (runs if len(_study_files(analysis)) < 2 else [])
    file, folder = named[-1] if named else (f"{name}.yaml", None)
    return file, folder, domain


def _study_files(analysis: Analysis) -> list[dict[str, Any]]:
    """The study files as they were written; of merged studies, one after the other."""
    return _read(analysis.text)


@lru_cache(maxsize=1)  # asked for each cell
def _read(text: str) -> list[dict[str, Any]]:
    parts = (read_yaml(part, "the study file in the report") for part in text.split("\n---\n") if part)
    return [data for data in parts if isinstance(data, dict)]  # a head of comments alone is no file


def questions(analysis: Analysis) -> list[tuple[str, str, list[str]]]:
    """(name, question, labels of its domains) of each study that the report is of."""
    labels = {name: domain.label for name, domain in analysis.domains.items()}
    files = _study_files(analysis)
    if len(files) < 2:
        return [(analysis.study.name, analysis.study.question, list(labels.values()))]
    return [
        (
            data["name"],
            data["question"],
            [labels[key] for name in data["domains"] for key in (f"{data['name']}-{name}", name) if key in labels],
        )
        for data in files
    ]


def budgets(analysis: Analysis) -> list[tuple[str, str, str, str, str]]:
    """What the study file asks to be equal, and whether it was, of the arms that have run.

    Domain, budget, allowed, kept, arms that differ.
    """
    study, rows, names = analysis.study, [], row_names(analysis.study)
    for domain in study.domains:
        began = {arm.name for arm in analysis.domains[domain.name].arms.values() if arm.began}
        its = [row for row in analysis.cells if row["domain"] == domain.name and row["arm"] in began]
        if not its:
            continue
        for entry in kept_budgets(domain.equal, study.baseline, its):
            unlike = [f"{names[item['arm']]} {deviation(item['difference'])}" for item in entry["broken"]]
            unlike += [f"not known of {listed([names[arm] for arm in entry['unknown']])}"] if entry["unknown"] else []
            kept = {True: "yes", False: "no", None: "not known"}[entry["kept"]]
            allowed = f"{100 * entry['allowed']:g} %"
            rows.append((domain.title, entry["budget"], allowed, kept, ", ".join(unlike) or "–"))
    return rows


@dataclass(frozen=True)
class Tuned:
    """How the arms of a domain chose a setting: the values that were tried, and a row for each arm."""

    domain: str
    tune: Tune
    values: list[Any]
    rule: str
    on_scores: bool  # judged on the data that the scores are measured on
    table: tuple[list[str], list[list[str]]]
    outermost: list[str]  # the arms whose choice is an end of what was tried
    no_better: list[str]  # the arms of which no value does better than no mixing


def tuned(analysis: Analysis) -> list[Tuned]:
    """What was tuned, domain by domain."""
    return [
        _tuned(analysis, analysis.domains[domain.name], domain.tune) for domain in analysis.study.domains if domain.tune
    ]


def _tuned(analysis: Analysis, domain: Domain, tune: Tune) -> Tuned:
    its = [trial for trial in analysis.trials if trial["domain"] == domain.name]  # older reports hold none
    values = [*tune.values, *(trial["value"] for trial in its if trial["value"] not in tune.values)]
    values = [value for place, value in enumerate(values) if value not in values[:place]]
    values = [values[place] for place in grid_order(values)]  # a value that was tried later stands where it belongs
    rows, outermost, names = [], [], row_names(analysis.study)
    worse = _no_better(analysis.study.control, tune, its)
    untuned = worse if tune.beat_control else []  # their setting is chosen by no trial
    tried_arms = {trial["arm"] for trial in its if trial["status"] != "missing"}
    for arm in domain.arms.values():
        if not arm.began and arm.name not in tried_arms:
            continue
        chosen = [its[tune.key] for its in arm.tuned.values() if tune.key in its]
        of_arm = [trial for trial in its if trial["arm"] == arm.name]
        tried = [value for value in values if any(trial["value"] == value for trial in of_arm)] or values
        if arm.name not in untuned and any(end_of(tried, value) for value in chosen):
            outermost.append(names[arm.name])
        scores = [_trials([trial for trial in of_arm if trial["value"] == value], tune.metric) for value in values]
        rows.append(
            [names[arm.name], *(scores if its else ()), " or ".join(dict.fromkeys(map(setting, chosen))) or "–"]
        )
    header = ["arm", *(f"{tune.key} {setting(value)}" for value in (values if its else ())), "chosen"]
    rule = tie_rule(tune.tie, values)
    on_scores = tuned_on_scores(asdict(tune), domain.metric)
    no_better = [names[name] for name in worse]
    return Tuned(domain.label, tune, values, rule, on_scores, (header, rows), outermost, no_better)


def _no_better(control: str | None, tune: Tune, trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """The arms whose best value is not better than the control's by more than the tie."""
    best: dict[str, float] = {}
    for name in dict.fromkeys(trial["arm"] for trial in trials):
        scores: dict[str, list[float | None]] = {}
        for trial in trials:
            if trial["arm"] == name:
                scores.setdefault(setting(trial["value"]), []).append(trial["score"])
        means = [fsum(each) / len(each) for each in scores.values() if None not in each]  # type: ignore[arg-type]
        if means:  # of the values all of whose trials have ended well, as `choose` has it
            best[name] = max(sign(tune) * mean for mean in means)
    if control not in best:
        return []
    return [name for name, of in best.items() if name != control and of - best[control] <= slack(tune)]


def _trials(trials: Sequence[Mapping[str, Any]], metric: str) -> str:
    """The mean over a value's trials and each of them: "53.1 (52.9, 53.3)"; of a single one its score."""
    each = [_trial(trial, metric) for trial in trials]
    if not each:
        return "–"
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


def changes(analysis: Analysis) -> list[dict[str, Any]]:
    """What was changed in the analysis after results were there, so that it was not decided beforehand."""
    return [
        {
            "study": change.get("study"),  # where several are laid side by side
            "finished": change["finished"],
            "time": f"{change['time'][:16].replace('T', ' ')} UTC",
            "changed": [each for field, pair in change["changed"].items() for each in _changed(field, *pair)],
        }
        for change in changes_of(analysis.sessions)
    ]


def _changed(field: str, before: Any, now: Any) -> Iterator[tuple[str, str, str]]:
    """The innermost fields that differ, with both values as text."""
    inner: Iterable[tuple[str, Any, Any]]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        inner = ((f"{field}[{_name_of(pair[1], place)}]", *pair) for place, pair in pairs)
    elif isinstance(before, dict) and isinstance(now, dict):
        inner = ((f"{field}.{key}", before.get(key), now.get(key)) for key in {**before, **now})
    else:
        yield field, *("nothing" if value is None else setting(value) for value in (before, now))  # type: ignore[misc]
        return
    for name, *pair in inner:
        if pair[0] != pair[1]:
            yield from _changed(name, *pair)


def _name_of(item: Any, place: int) -> str:
    """A published difference by its arms, a scale by its axis, anything else by its place in the list."""
    if isinstance(item, dict) and {"arm", "reference"} <= item.keys():
        return f"{item['arm']} against {item['reference']}"
    return item["axis"] if isinstance(item, dict) and "axis" in item else str(place)


def records(analysis: Analysis) -> dict[str, Any]:
    """How the runs were made: sessions, seconds of the cells, cells that were started more than once, and how many
    cells ran in which surroundings. More than one of these is a flaw of the study."""
    found: dict[str, int] = {}
    for row in analysis.cells:
        if where := row["environment"]:
            versions = {"python": where["python"], **where["packages"]}
            parts = [f"{name} {version}" for name, version in versions.items()]
            parts += [where["machine"], where["gpu"] or "no GPU", f"commit {(where['commit'] or 'unknown')[:12]}"]
            text = ", ".join(parts)
            found[text] = found.get(text, 0) + 1
    return {
        "sessions": sessions_of(analysis.sessions),
        "seconds": [row["cell_seconds"] for row in analysis.cells if row["cell_seconds"]],
        "again": [key_of(row) for row in analysis.cells if row["restarted"]],
        "surroundings": found,
    }
