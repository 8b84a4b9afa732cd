"""What the trials decide: the value of a tuned setting for each domain and arm.

A choice is made from the outcomes of all of an arm's trials, written down beside them (``cells/<domain>/<arm>/
choice.json``) by the first runner that sees them ended, and stands from then on: a trial that failed and was tried
again could otherwise change the settings of an arm half of whose cells have run. It is void when the trials or the
metric that decides are no longer the same, because the study file has changed; to make it anew, remove the file.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from metaformer_nlp.engine.record import flatten
from metaformer_nlp.study.cell import is_result, read_json, read_outcome, write_json
from metaformer_nlp.study.lock import Taken, held
from metaformer_nlp.study.plan import Arm, Cell, Domain, Study, make_cell

Chosen = dict[tuple[str, str], Any]
# Where the experiments of this project read the data that they measure on.
SOURCES = frozenset({"data.name", "data.root", "data.revision", "data.text", "data.validation"})


def chosen_values(
    study: Study,
    folder: Path,
    known: Mapping[tuple[str, str], Any] = MappingProxyType({}),
    given_up: Container[str] | None = None,
    record: bool = False,
) -> Chosen:
    """(domain, arm) -> the value of the best trial, where all trials have ended; `known` ones are not read again.

    A trial that failed (its loss was no number, say) is no candidate; where all have failed nothing is chosen. A runner
    names the failed trials that it has `given_up`, since it tries the others again before anything is chosen without
    them; None: all. It also asks to `record` what is chosen, so that it stands from now on; OSError if that cannot be
    written. What another process is about to record is not chosen yet.
    """
    chosen = dict(known)
    # A trial may itself start from tuned cells, whose digest depends on what they chose: domains in the file's order.
    for domain in study.domains:
        if domain.tune is None:
            continue
        for arm in study.arms_of(domain.name):
            if (domain.name, arm.name) in chosen or not _anything_to_read(folder, domain, arm):
                continue
            trials = arm_trials(study, domain, arm, chosen)
            number = _standing(folder, domain, arm, trials)
            if number is None:
                number = _best(folder, domain, trials, given_up)
                if number is not None and record:
                    number = _record(folder, domain, arm, trials, number)
            if number is not None:
                chosen[domain.name, arm.name] = domain.tune.values[number]
    return chosen


def best_trial(metric: str, outcomes: list[Mapping[str, Any]]) -> int | None:
    """The number of the trial with the highest `metric` (the lowest loss), the first of equals; None if all failed."""
    sign = -1 if metric.endswith("loss") else 1
    scores = {
        number: sign * float(outcome["result"]["metrics"][metric])
        for number, outcome in enumerate(outcomes)
        if outcome.get("status") == "finished"
    }
    return max(scores, key=lambda number: (scores[number], -number)) if scores else None


def tuned_on_scores(tune: Mapping[str, Any], score: str) -> bool:
    """Whether trials are judged on the data that the cells' metric `score` is measured on, as far as names tell.

    So it is where both metrics are of one part of the data, "validation" in "validation/accuracy", and trials set none
    of `SOURCES`. Less of the same data (``data.max_train_samples``, another share for validation) is no other data.
    """
    other_data = not SOURCES.isdisjoint(flatten(dict(tune["set"])))
    return not other_data and str(tune["metric"]).partition("/")[0] == score.partition("/")[0]


def arm_trials(study: Study, domain: Domain, arm: Arm, chosen: Mapping[tuple[str, str], Any]) -> list[Cell]:
    """The trials of one arm in a tuned domain."""
    assert domain.tune is not None
    numbers = range(len(domain.tune.values))
    return [make_cell(study, domain, arm, study.seeds[0], chosen, number) for number in numbers]


def choice_file(folder: Path, domain: str, arm: str) -> Path:
    return folder / "cells" / domain / arm / "choice.json"


def _anything_to_read(folder: Path, domain: Domain, arm: Arm) -> bool:
    """Whether there is a choice or all trials have left an outcome: one look at the files, before any is read."""
    assert domain.tune is not None
    place = folder / "cells" / domain.name / arm.name
    outcomes = (place / f"trial-{number}" / "outcome.json" for number in range(len(domain.tune.values)))
    return (place / "choice.json").exists() or all(path.exists() for path in outcomes)


def _best(folder: Path, domain: Domain, trials: list[Cell], given_up: Container[str] | None) -> int | None:
    """The number of the best trial; None if not all have ended for good, or all have failed."""
    assert domain.tune is not None
    outcomes: list[Mapping[str, Any]] = []
    for trial in trials:
        outcome = read_outcome(folder, trial)
        failed = not is_result(outcome, trial)
        if outcome is None or (failed and given_up is not None and trial.key not in given_up):
            return None
        outcomes.append({} if failed else outcome)
    return best_trial(domain.tune.metric, outcomes)


def _standing(folder: Path, domain: Domain, arm: Arm, trials: list[Cell]) -> int | None:
    """The number of the trial that was chosen and written down; None if none was, or by other trials or metrics."""
    assert domain.tune is not None
    choice = read_json(choice_file(folder, domain.name, arm.name))
    if choice is None or choice.get("trials") != [trial.digest for trial in trials]:
        return None
    if choice.get("metric") != domain.tune.metric:
        return None
    number = choice.get("trial")
    return number if isinstance(number, int) and 0 <= number < len(trials) else None


def _record(folder: Path, domain: Domain, arm: Arm, trials: list[Cell], number: int) -> int | None:
    """Writes a choice down and returns the one that stands: of two runners that do so at once the first one's.

    None if another runner is at it now.
    """
    assert domain.tune is not None
    choice = {"key": domain.tune.key, "value": domain.tune.values[number], "trial": number}
    choice |= {"metric": domain.tune.metric, "trials": [trial.digest for trial in trials]}
    try:
        with held(folder / "locks" / f"{domain.name}--{arm.name}--choice"):
            standing = _standing(folder, domain, arm, trials)  # another runner may have written it since we looked
            if standing is None:
                write_json(choice_file(folder, domain.name, arm.name), choice)
            return number if standing is None else standing
    except Taken:
        return None
