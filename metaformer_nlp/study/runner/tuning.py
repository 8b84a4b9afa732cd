"""What the trials decide: the value of a tuned setting for each domain and arm.

A value's score is the mean over its trials; `choose` has the rule. A value with a failed trial is no candidate, since
the mean of those that did not fail would be that of another, luckier value.

The best may lie beyond the end of the values. Where an end is chosen, the study file may have further values tried
beyond it (``tune.widen``); a choice that is an end of all that was tried says so. Where mixing nothing does as well as
every value of an arm, its trials cannot tell its values apart, and nothing may be chosen (``tune.beat_control``).

A choice is made from the outcomes of all of an arm's trials, written down beside them (``cells/<domain>/<arm>/
choice.json``) by the first runner that sees them ended, and stands from then on: a trial that failed and was tried
again could otherwise change the settings of an arm half of whose cells have run. It is void when the trials, the
metric or the rules that decide are no longer the same, because the study file has changed; to make it anew, remove the
file.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from metaformer_nlp.config.names import flatten
from metaformer_nlp.study.protocol.study import Arm, Cell, Domain, Study, Tune, make_cell, trial_names
from metaformer_nlp.study.runner.cell import is_result, read_json, read_outcome, write_json
from metaformer_nlp.study.runner.lock import Taken, held

Place = tuple[str, str]  # domain, arm
Chosen = dict[Place, Any]
# Where the experiments of this project read the data that they measure on.
SOURCES = frozenset({"data.name", "data.root", "data.revision", "data.text", "data.validation"})
_ROUNDING = 1e-9  # of a tie: 0.903 is within 0.003 of 0.9


@dataclass(frozen=True)
class Choice:
    """The number of the value that is taken, each value's mean (None if it is no candidate), and why it is taken.

    The number is None where no value is taken, so that the setting stays what it is without tuning.
    """

    number: int | None
    means: tuple[float | None, ...]
    why: str


def chosen_values(study: Study, folder: Path) -> Chosen:
    """(domain, arm) -> the value of the tuned setting, where all trials have ended; see `tunings`."""
    return {place: its.value for place, its in tunings(study, folder).items() if its.choice}


def tunings(
    study: Study,
    folder: Path,
    known: Mapping[Place, Any] = MappingProxyType({}),
    given_up: Container[str] | None = None,
    record: bool = False,
) -> dict[Place, Tuning]:
    """The tuning of each arm some of whose trials have ended, but for those whose values are `known`.

    A trial that failed (its loss was no number, say) is no candidate; where all have failed nothing is chosen. A runner
    names the failed trials that it has `given_up`, since it tries the others again before anything is chosen without
    them; None: all. It also asks to `record` what is chosen, so that it stands from now on; OSError if that cannot be
    written. What another process is about to record is not chosen yet.
    """
    found: dict[Place, Tuning] = {}
    chosen = dict(known)
    # A trial may itself start from tuned cells, whose digest depends on what they chose: domains in the file's order.
    for domain in study.domains:
        if domain.tune is None:
            continue
        for arm in study.arms_of(domain.name):
            place = domain.name, arm.name
            if place in known or not _anything_to_read(study, folder, domain, arm):
                continue
            found[place] = its = Tuning(study, folder, domain, arm, chosen, given_up)
            if record and its.choice and not its.stands:
                its.record()
            if its.choice:
                chosen[place] = its.value
    return found


def choose(tune: Tune, outcomes: Sequence[Sequence[Mapping[str, Any]]]) -> Choice | None:
    """The choice among the values of `tune` from the outcomes of each value's trials; None if no value is a candidate.

    The highest mean of ``tune.metric`` wins, the lowest of a loss. Those within ``tune.tie`` of it are sorted and their
    middle one is taken, the smaller of two: noise would rather choose an end. Without a tie, and where values are no
    numbers, it is the first in the file.
    """
    means = tuple(_mean(tune.metric, of_value) for of_value in outcomes)
    scores = {number: sign(tune) * mean for number, mean in enumerate(means) if mean is not None}
    if not scores:
        return None
    equal = [number for number, score in scores.items() if score >= max(scores.values()) - slack(tune)]
    if not tune.tie or len(equal) == 1:
        return Choice(equal[0], means, "the best")
    among = f"{len(equal)} values within {tune.tie:g} of the best"
    if not are_numbers(tune.values):
        return Choice(equal[0], means, f"the first of {among}")
    rising = sorted(equal, key=lambda number: tune.values[number])
    return Choice(rising[(len(rising) - 1) // 2], means, f"the middle one of {among}")


def end_of(values: Sequence[Any], value: Any) -> str | None:
    """Which end of the `values` it is, "largest" or "smallest"; None within them, and where they are no numbers."""
    if not are_numbers(values):
        return None
    return {max(values): "largest", min(values): "smallest"}.get(value)


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


def sign(tune: Tune) -> int:
    return -1 if tune.metric.endswith("loss") else 1


def slack(tune: Tune) -> float:
    """By how much less than the best a score may be to count as equal."""
    return tune.tie + _ROUNDING if tune.tie else 0.0


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


class Tuning:
    """One arm's tuning: the values that are tried by now, and the choice once all their trials have ended."""

    def __init__(
        self,
        study: Study,
        folder: Path,
        domain: Domain,
        arm: Arm,
        chosen: Mapping[Place, Any],
        given_up: Container[str] | None = None,
    ) -> None:
        assert domain.tune is not None
        self._study, self._folder, self._domain, self._arm = study, folder, domain, arm
        self._chosen, self._given_up, self._tune = chosen, given_up, domain.tune
        self._file = choice_file(folder, domain.name, arm.name)
        self._beside = None if arm.name == study.control or not self._tune.beat_control else study.control
        self._best_of_control: float | None = None
        self.numbers: tuple[int, ...] = tuple(range(len(self._tune.values)))  # of `Tune.candidates`
        self.choice: Choice | None = None
        self.ended = False  # all trials, well or not
        self.stands = self._read()  # whether the choice is written down
        if not self.stands:
            self._try()

    @property
    def values(self) -> list[Any]:
        """Those that are tried, in the order of `numbers`."""
        return [self._tune.candidates[number] for number in self.numbers]

    @property
    def value(self) -> Any:
        """What the arm's cells are run with; there must be a `choice`."""
        assert self.choice is not None
        return self._untuned if self.choice.number is None else self._tune.candidates[self.choice.number]

    @property
    def end(self) -> str | None:
        """Which end of all that was tried is chosen, if it is one: a value beyond it might have done better."""
        taken = self.choice is not None and self.choice.number is not None
        return end_of(self.values, self.value) if taken else None

    def record(self) -> None:
        """Writes the choice down; it is then the one that stands: of two runners that do so at once the first one's.

        There is none yet if another runner is at it now.
        """
        assert self.choice is not None
        try:
            with held(self._folder / "locks" / f"{self._domain.name}--{self._arm.name}--choice"):
                if not self._read():  # another runner may have written it since we looked
                    write_json(self._file, self._written(self.choice))
        except Taken:
            self.choice = None

    @property
    def _trials(self) -> list[Cell]:
        return self._study.trials_of(self._domain, self._arm, self._chosen, self.numbers)

    @property
    def _untuned(self) -> Any:
        """What the setting is without tuning."""
        cell = make_cell(self._study, replace(self._domain, tune=None), self._arm, self._study.seeds[0], self._chosen)
        return flatten(dict(cell.config))[self._tune.key]

    def _written(self, choice: Choice) -> dict[str, Any]:
        tune = self._tune
        written = {"key": tune.key, "value": self.value, "trial": choice.number, "why": choice.why, "end": self.end}
        written |= {"metric": tune.metric, "tie": tune.tie, "values": self.values, "means": choice.means}
        written |= {} if self._beside is None else {"control": self._best_of_control}
        return written | {"trials": [trial.digest for trial in self._trials]}

    def _read(self) -> bool:
        """Takes over the choice that is written down; False if there is none that was made in this way."""
        written = read_json(self._file)
        if written is None or (written.get("metric"), written.get("tie", 0.0)) != (self._tune.metric, self._tune.tie):
            return False
        values, candidates = written.get("values", [*self._tune.values]), [*self._tune.candidates]
        if not isinstance(values, list) or any(value not in candidates for value in values):
            return False
        given, self.numbers = self.numbers, tuple(candidates.index(value) for value in values)
        number, means, why = written.get("trial"), tuple(written.get("means", ())), str(written.get("why", ""))
        if (
            self.numbers[: len(given)] == given
            and written.get("trials") == [trial.digest for trial in self._trials]
            and ("control" in written) == (self._beside is not None)
            and (number in self.numbers or (number is None and written.get("value") == self._untuned))
            and self._beyond(choice := Choice(number, means, why)) is None
        ):
            self.choice, self.ended = choice, True
            return True
        self.numbers = given
        return False

    def _try(self) -> None:
        """Chooses among the values that are tried, as long as a value beyond them is to be tried and has been."""
        while (outcomes := self._outcomes()) is not None:
            choice = choose(replace(self._tune, values=tuple(self.values)), outcomes)
            if choice is not None and choice.number is not None:
                choice = replace(choice, number=self.numbers[choice.number])
            beyond = None if choice is None else self._beyond(choice)
            if beyond is None:
                self.ended = True
                self.choice = choice and self._beside_control(choice)
                if self.end:
                    assert self.choice is not None
                    self.choice = replace(self.choice, why=f"{self.choice.why}, the {self.end} that was tried")
                return
            self.numbers = (*self.numbers, beyond)

    def _beyond(self, choice: Choice) -> int | None:
        """The number of the value to be tried beyond the chosen one; None if it is no end, or all have been tried."""
        if choice.number is None or not (end := end_of(self.values, self._tune.candidates[choice.number])):
            return None
        first, last = len(self._tune.values) + (end == "smallest"), len(self._tune.candidates)
        return next((number for number in range(first, last, 2) if number not in self.numbers), None)

    def _beside_control(self, choice: Choice) -> Choice | None:
        """No value where none beats the control's best; no choice as long as the control's trials have not ended."""
        if self._beside is None:
            return choice
        arm = self._study.arm(self._beside)
        control = Tuning(self._study, self._folder, self._domain, arm, self._chosen, self._given_up)
        if not control.ended:
            return None
        if control.choice is None:  # all its trials failed: nothing to compare with
            return choice
        best, self._best_of_control = (_best(self._tune, its.means) for its in (choice, control.choice))
        if sign(self._tune) * (best - self._best_of_control) > slack(self._tune):
            return choice
        why = f"no value: the best, {best:.6g}, does not beat {arm.name}'s, {self._best_of_control:.6g}"
        return Choice(None, choice.means, why + (f", by more than {self._tune.tie:g}" if self._tune.tie else ""))

    def _outcomes(self) -> list[list[Mapping[str, Any]]] | None:
        """Of each value that is tried those of its trials, {} of one that failed; None if not all have ended."""
        outcomes: dict[int, list[Mapping[str, Any]]] = {number: [] for number in self.numbers}
        for trial in self._trials:
            outcome = read_outcome(self._folder, trial)
            failed = not is_result(outcome, trial)
            if outcome is None or (failed and self._given_up is not None and trial.key not in self._given_up):
                return None
            outcomes[trial.trial or 0].append({} if failed else outcome)
        return list(outcomes.values())


def _best(tune: Tune, means: Sequence[float | None]) -> float:
    return max((mean for mean in means if mean is not None), key=lambda mean: sign(tune) * mean)
