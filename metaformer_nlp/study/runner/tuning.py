"""What the trials decide: the value of a tuned setting for each domain and arm.

A value's score is the mean over its trials; `choose` has the rule. A value with a failed trial is no candidate, since
the mean of those that did not fail would be that of another, luckier value.

A choice is made from the outcomes of all of an arm's trials, written down beside them (``cells/<domain>/<arm>/
choice.json``) by the first runner that sees them ended, and stands from then on: a trial that failed and was tried
again could otherwise change the settings of an arm half of whose cells have run. It is void when the trials, the
metric or the tie that decide are no longer the same, because the study file has changed; to make it anew, remove the
file.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from metaformer_nlp.config.names import flatten
from metaformer_nlp.study.protocol.study import Arm, Cell, Domain, Study, Tune, trial_names
from metaformer_nlp.study.runner.cell import is_result, read_json, read_outcome, write_json
from metaformer_nlp.study.runner.lock import Taken, held

Chosen = dict[tuple[str, str], Any]
# Where the experiments of this project read the data that they measure on.
SOURCES = frozenset({"data.name", "data.root", "data.revision", "data.text", "data.validation"})
_ROUNDING = 1e-9  # of a tie: 0.903 is within 0.003 of 0.9


@dataclass(frozen=True)
class Choice:
    """The number of the value that is taken, each value's mean (None if it is no candidate), and why it is taken."""

    number: int
    means: tuple[float | None, ...]
    why: str


def chosen_values(
    study: Study,
    folder: Path,
    known: Mapping[tuple[str, str], Any] = MappingProxyType({}),
    given_up: Container[str] | None = None,
    record: bool = False,
) -> Chosen:
    """(domain, arm) -> the value that did best, where all trials have ended; `known` ones are not read again.

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
            if (domain.name, arm.name) in chosen or not _anything_to_read(study, folder, domain, arm):
                continue
            trials = study.trials_of(domain, arm, chosen)
            number = _standing(folder, domain, arm, trials)
            if number is None and (choice := _choose(folder, domain, trials, given_up)):
                number = _record(folder, domain, arm, trials, choice) if record else choice.number
            if number is not None:
                chosen[domain.name, arm.name] = domain.tune.values[number]
    return chosen


def choose(tune: Tune, outcomes: Sequence[Sequence[Mapping[str, Any]]]) -> Choice | None:
    """The choice among the values of `tune` from the outcomes of each value's trials; None if no value is a candidate.

    The highest mean of ``tune.metric`` wins, the lowest of a loss. Those within ``tune.tie`` of it are sorted and their
    middle one is taken, the smaller of two: noise would rather choose an end. Without a tie, and where values are no
    numbers, it is the first in the file.
    """
    sign = -1 if tune.metric.endswith("loss") else 1
    means = tuple(_mean(tune.metric, of_value) for of_value in outcomes)
    scores = {number: sign * mean for number, mean in enumerate(means) if mean is not None}
    if not scores:
        return None
    slack = tune.tie + _ROUNDING if tune.tie else 0.0
    equal = [number for number, score in scores.items() if score >= max(scores.values()) - slack]
    if not tune.tie or len(equal) == 1:
        return Choice(equal[0], means, "the best")
    among = f"{len(equal)} values within {tune.tie:g} of the best"
    if not are_numbers(tune.values):
        return Choice(equal[0], means, f"the first of {among}")
    rising = sorted(equal, key=lambda number: tune.values[number])
    return Choice(rising[(len(rising) - 1) // 2], means, f"the middle one of {among}")


def tie_rule(tie: float, values: Sequence[Any]) -> str:
    """What `choose` does with equals, in words: "" where the best wins alone."""
    if not tie:
        return ""
    taken = "the middle one is taken, the smaller of two" if are_numbers(values) else "the first is taken"
    return f"values within {tie:g} of the best count as equal, and of these {taken}"


def grid_order(values: Sequence[Any]) -> list[int]:
    """The places of `values` from the smallest to the largest; as they stand where they are no numbers."""
    places = list(range(len(values)))
    return sorted(places, key=lambda place: values[place]) if are_numbers(values) else places


def are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _mean(metric: str, outcomes: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean over a value's trials; None if one has failed."""
    if any(outcome.get("status") != "finished" for outcome in outcomes):
        return None
    return fsum(float(outcome["result"]["metrics"][metric]) for outcome in outcomes) / len(outcomes)


def tuned_on_scores(tune: Mapping[str, Any], score: str) -> bool:
    """Whether trials are judged on the data that the cells' metric `score` is measured on, as far as names tell.

    So it is where both metrics are of one part of the data, "validation" in "validation/accuracy", and trials set none
    of `SOURCES`. Less of the same data (``data.max_train_samples``, another share for validation) is no other data.
    """
    other_data = not SOURCES.isdisjoint(flatten(dict(tune["set"])))
    return not other_data and str(tune["metric"]).partition("/")[0] == score.partition("/")[0]


def choice_file(folder: Path, domain: str, arm: str) -> Path:
    return folder / "cells" / domain / arm / "choice.json"


def _anything_to_read(study: Study, folder: Path, domain: Domain, arm: Arm) -> bool:
    """Whether there is a choice or all trials have left an outcome: one look at the files, before any is read."""
    assert domain.tune is not None
    place = folder / "cells" / domain.name / arm.name
    outcomes = (place / name / "outcome.json" for name in trial_names(study, domain.tune))
    return (place / "choice.json").exists() or all(path.exists() for path in outcomes)


def _choose(folder: Path, domain: Domain, trials: list[Cell], given_up: Container[str] | None) -> Choice | None:
    """What is chosen; None if not all trials have ended for good, or no value is a candidate."""
    assert domain.tune is not None
    outcomes: list[list[Mapping[str, Any]]] = [[] for _ in domain.tune.values]
    for trial in trials:
        outcome = read_outcome(folder, trial)
        failed = not is_result(outcome, trial)
        if outcome is None or (failed and given_up is not None and trial.key not in given_up):
            return None
        outcomes[trial.trial or 0].append({} if failed else outcome)
    return choose(domain.tune, outcomes)


def _standing(folder: Path, domain: Domain, arm: Arm, trials: list[Cell]) -> int | None:
    """The number of the value that was chosen and written down; None if none was, or in another way."""
    assert domain.tune is not None
    choice = read_json(choice_file(folder, domain.name, arm.name))
    if choice is None or choice.get("trials") != [trial.digest for trial in trials]:
        return None
    if (choice.get("metric"), choice.get("tie", 0.0)) != (domain.tune.metric, domain.tune.tie):
        return None
    number = choice.get("trial")
    return number if isinstance(number, int) and 0 <= number < len(domain.tune.values) else None


def _record(folder: Path, domain: Domain, arm: Arm, trials: list[Cell], choice: Choice) -> int | None:
    """Writes a choice down and returns the number that stands: of two runners that do so at once the first one's.

    None if another runner is at it now.
    """
    tune = domain.tune
    assert tune is not None
    written = {"key": tune.key, "value": tune.values[choice.number], "trial": choice.number, "why": choice.why}
    written |= {"metric": tune.metric, "tie": tune.tie, "means": choice.means}
    written |= {"trials": [trial.digest for trial in trials]}
    try:
        with held(folder / "locks" / f"{domain.name}--{arm.name}--choice"):
            standing = _standing(folder, domain, arm, trials)  # another runner may have written it since we looked
            if standing is None:
                write_json(choice_file(folder, domain.name, arm.name), written)
            return choice.number if standing is None else standing
    except Taken:
        return None
