"""Tuning: which value an arm takes, what waits for what, and what a domain that comes after another starts from."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.protocol.file import study_from_mapping
from metaformer_nlp.study.protocol.study import TUNED, Cell, Study, Tune
from metaformer_nlp.study.runner.cell import cell_folder, configure, read_json, write_json, write_outcome
from metaformer_nlp.study.runner.tuning import (
    Chosen,
    choice_file,
    choose,
    chosen_values,
    end_of,
    tuned_on_scores,
    tunings,
)


def outcome(value: float | None, metric: str = "held_out/accuracy") -> dict[str, Any]:
    return {"status": "failed"} if value is None else {"status": "finished", "result": {"metrics": {metric: value}}}


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("held_out/accuracy", [0.1, 0.3, 0.2], 1),
        ("held_out/accuracy", [0.3, 0.3, 0.2], 0),  # the first of equals
        ("held_out/accuracy", [None, 0.1, None], 1),  # a trial that failed is no candidate
        ("held_out/accuracy", [None, None], None),
        ("validation/loss", [2.0, 1.0, 3.0], 1),  # of losses the lowest
        ("validation/loss", [1.0, None, 1.0], 0),
        ("held_out/average", [-0.2, -0.1], 1),
    ],
)
def test_the_best_value(metric: str, values: list[float | None], best: int | None) -> None:
    choice = choose(Tune("lr", tuple(range(len(values))), metric), [[outcome(value, metric)] for value in values])
    assert (choice and choice.number) == best
    assert choice is None or choice.means == tuple(values)


@pytest.mark.parametrize(
    ("values", "tie", "scores", "best", "why"),
    [
        ((1, 2, 3), 0.0, [(0.5, 0.7), (0.8, 0.5), (0.6, 0.6)], 1, "the best"),  # the highest mean, not the highest
        ((1, 2, 3), 0.0, [(0.5, 0.7), (0.9, None), (0.6, 0.5)], 0, "the best"),  # one failed: no candidate
        ((1, 2, 3), 0.0, [(None, 0.7), (0.9, None), (0.6, None)], None, ""),
        ((1, 2, 3), 0.003, [(0.5, 0.5), (0.5, 0.5), (0.504, 0.504)], 2, "the best"),
        ((1, 2, 3), 0.003, [(0.9, 0.9), (0.903, 0.903), (0.903, 0.903)], 1, "the middle one of 3 values"),
        (
            (1, 2, 3),
            0.003,
            [(0.903, 0.903), (0.9, None), (0.9, 0.9)],
            0,
            "the middle one of 2 values",
        ),  # smaller
        (
            (9, 3, 1, 27),
            0.01,
            [(0.5,), (0.505,), (0.5,), (0.508,)],
            1,
            "the middle one of 4 values",
        ),  # of 3 and 9
        ((9, 3, 1, 27), 0.01, [(0.5,), (0.1,), (0.5,), (0.508,)], 0, "the middle one of 3 values"),
        (("a", "b", "c"), 0.01, [(0.4,), (0.5,), (0.505,)], 1, "the first of 2 values within 0.01 of the best"),
        (("a", "b", "c"), 0.0, [(0.4,), (0.5,), (0.505,)], 2, "the best"),
    ],
)
def test_several_trials_and_ties(
    values: tuple[Any, ...], tie: float, scores: list[tuple[float | None, ...]], best: int | None, why: str
) -> None:
    outcomes = [[outcome(score) for score in of_value] for of_value in scores]
    choice = choose(Tune("lr", values, "held_out/accuracy", trials=len(scores[0]), tie=tie), outcomes)
    assert (choice and choice.number) == best
    assert why in (choice.why if choice else "")


def test_of_a_loss_the_lowest_mean_wins_within_the_tie() -> None:
    outcomes = [[outcome(value, "loss") for value in pair] for pair in ((1.0, 1.2), (1.05, 1.06), (1.2, 0.8))]
    tune = Tune("lr", (1, 2, 3), "loss", trials=2)
    assert [(its := choose(replace(tune, tie=tie), outcomes)) and its.number for tie in (0.0, 0.1)] == [2, 1]


@pytest.mark.parametrize(
    ("metric", "changes", "same"),
    [
        ("validation/accuracy", {}, True),
        ("validation/loss", {"schedule.epochs": 1}, True),
        ("held_out/accuracy", {"data.held_out": 0.1}, False),
        ("validation/loss", {"data.text": "other.txt"}, False),  # its own part of another text
        ("validation/loss", {"data": {"text": "other.txt"}}, False),
        ("validation/accuracy", {"data.max_train_samples": 100}, True),
        ("validation/loss", {"data.held_out": 0.1}, True),  # of a text: a larger part of the same documents
        ("validation/loss", {"data": {"max_length": 64}, "optim.lr": 0.1}, True),
    ],
)
def test_trials_on_the_data_of_the_scores_are_known(metric: str, changes: dict[str, Any], same: bool) -> None:
    assert tuned_on_scores({"metric": metric, "set": changes}, "validation/accuracy") == same


@pytest.fixture
def study(study_data: dict[str, Any]) -> Study:
    """Both domains tuned, the second after the first."""
    domains = study_data["domains"]
    tune = {"key": "seconds", "values": [0.0, 0.5], "metric": "validation/accuracy", "set": {"trouble_seed": 5}}
    domains["vision"]["tune"] = tune
    domains["text"] |= {"tune": {**tune, "metric": "loss"}, "after": "vision", "set": {"trouble": "from {after}/model"}}
    return study_from_mapping(copy.deepcopy(study_data), "file")


def end(folder: Path, cell: Cell, **metrics: float) -> None:
    """As if the cell had run; failed, if there are no metrics."""
    cell_folder(folder, cell).mkdir(parents=True, exist_ok=True)
    write_outcome(folder, cell, "" if metrics else "it failed", result={"metrics": metrics})


def record(study: Study, folder: Path) -> Chosen:
    """As if a runner had looked."""
    tunings(study, folder, record=True)
    return chosen_values(study, folder)


def all_cells(study: Study, folder: Path) -> list[Cell]:
    found = tunings(study, folder)
    chosen = {place: its.value for place, its in found.items() if its.choice}
    return [*study.trials(chosen, {place: its.numbers for place, its in found.items()}), *study.cells(chosen)]


def find(study: Study, folder: Path, key: str) -> Cell:
    return next(cell for cell in all_cells(study, folder) if cell.key == key)


def test_cells_take_the_value_of_the_best_trial_once_all_have_ended(study: Study, tmp_path: Path) -> None:
    assert [cell.key for cell in all_cells(study, tmp_path)][:2] == [
        "vision/attention/trial-0",
        "vision/attention/trial-1",
    ]
    end(tmp_path, find(study, tmp_path, "vision/attention/trial-1"), **{"validation/accuracy": 0.9})
    assert chosen_values(study, tmp_path) == {}
    assert find(study, tmp_path, "vision/attention/seed-1").config["seconds"] == TUNED
    end(tmp_path, find(study, tmp_path, "vision/attention/trial-0"), **{"validation/accuracy": 0.8})
    assert chosen_values(study, tmp_path) == {("vision", "attention"): 0.5}
    assert find(study, tmp_path, "vision/attention/seed-1").config["seconds"] == 0.5
    assert find(study, tmp_path, "vision/pooling/seed-1").config["seconds"] == TUNED, "each arm for itself"


def test_a_trial_differs_from_its_cells_in_what_the_tuning_says(study: Study, tmp_path: Path) -> None:
    trial, cell = (find(study, tmp_path, f"vision/pooling/{name}") for name in ("trial-1", "seed-0"))
    assert (trial.config["seconds"], trial.config["trouble_seed"]) == (0.5, 5)
    assert "trouble_seed" not in cell.config
    assert (trial.needs, cell.needs) == (("validation/accuracy",),) * 2
    assert find(study, tmp_path, "text/pooling/trial-0").needs == ("loss",), "of a trial no more is asked"


def test_a_failed_trial_is_no_candidate_and_all_failed_give_no_choice(study: Study, tmp_path: Path) -> None:
    end(tmp_path, find(study, tmp_path, "vision/attention/trial-0"))
    end(tmp_path, find(study, tmp_path, "vision/attention/trial-1"), **{"validation/accuracy": 0.1})
    for number in range(2):
        end(tmp_path, find(study, tmp_path, f"vision/pooling/trial-{number}"))
    assert chosen_values(study, tmp_path) == {("vision", "attention"): 0.5}


def test_a_choice_by_another_metric_is_void(study: Study, tmp_path: Path) -> None:
    for number, (accuracy, loss) in enumerate(((0.9, 1.0), (0.8, 0.5))):
        trial = find(study, tmp_path, f"vision/attention/trial-{number}")
        end(tmp_path, trial, **{"validation/accuracy": accuracy, "validation/loss": loss})
        trial = find(study, tmp_path, f"vision/pooling/trial-{number}")
        end(tmp_path, trial, **{"validation/accuracy": accuracy})
    assert record(study, tmp_path) == {("vision", "attention"): 0.0, ("vision", "pooling"): 0.0}
    domain = study.domain("vision")
    assert domain.tune
    tune = replace(domain.tune, metric="validation/loss")
    other = replace(study, domains=(replace(domain, tune=tune), *study.domains[1:]))
    assert chosen_values(other, tmp_path) == {("vision", "attention"): 0.5}, "of pooling the loss is not known"
    assert chosen_values(study, tmp_path) == {("vision", "attention"): 0.0, ("vision", "pooling"): 0.0}


def test_a_choice_waits_for_every_trial_and_says_why(study_data: dict[str, Any], tmp_path: Path) -> None:
    tune = {"key": "seconds", "values": [0.0, 0.5, 1.0], "metric": "validation/accuracy", "trials": 2}
    study_data["domains"]["vision"]["tune"] = tune
    study = study_from_mapping(copy.deepcopy(study_data), "file")
    scores = iter((0.5, 0.6, 0.7, 0.72, 0.61, 0.5))  # means of 0.61, 0.605 and 0.6
    trials = [trial for trial in study.trials() if trial.arm == "pooling"]
    for trial in trials:
        assert record(study, tmp_path) == {}
        end(tmp_path, trial, **{"validation/accuracy": next(scores)})
    place = ("vision", "pooling")
    assert record(study, tmp_path) == {place: 0.0}
    study_data["domains"]["vision"]["tune"] = {**tune, "tie": 0.011}
    tied = study_from_mapping(study_data, "file")
    assert record(tied, tmp_path) == {place: 0.5}, "the choice was made without a tie"
    written = read_json(choice_file(tmp_path, *place))
    assert written
    assert written["why"] == "the middle one of 3 values within 0.011 of the best"
    assert written["means"] == [pytest.approx(value) for value in (0.61, 0.605, 0.6)]
    end(tmp_path, trials[0])
    assert chosen_values(tied, tmp_path) == {place: 0.5}, "what is written down stands"
    choice_file(tmp_path, *place).unlink()
    assert chosen_values(tied, tmp_path) == {place: 0.5}
    end(tmp_path, trials[1])
    assert chosen_values(tied, tmp_path) == {place: 1.0}, "a value with a failed trial is no candidate"


def test_an_outcome_that_changes_changes_what_is_chosen_and_the_digest(study: Study, tmp_path: Path) -> None:
    """As long as no runner has written the choice down."""
    digests = []
    for first in (0.7, 0.9):
        end(tmp_path, find(study, tmp_path, "vision/attention/trial-0"), **{"validation/accuracy": first})
        end(tmp_path, find(study, tmp_path, "vision/attention/trial-1"), **{"validation/accuracy": 0.8})
        digests.append(find(study, tmp_path, "vision/attention/seed-0").digest)
    assert chosen_values(study, tmp_path) == {("vision", "attention"): 0.0}
    assert digests[0] != digests[1]


def test_a_later_domain_waits_and_starts_from_the_cell_of_the_same_arm_and_seed(study: Study, tmp_path: Path) -> None:
    cell, trial = (find(study, tmp_path, f"text/pooling/{name}") for name in ("seed-1", "trial-0"))
    assert set(cell.waits_for) == {"vision/pooling/seed-1", "text/pooling/trial-0", "text/pooling/trial-1"}
    assert trial.waits_for == ("vision/pooling/seed-0",)
    assert find(study, tmp_path, "vision/pooling/trial-0").waits_for == ()
    assert cell.config.get("model", {}) == {}, "what the arm sets is in the model it starts from"
    _, config = configure(trial, from_dict, tmp_path / "own", tmp_path)
    assert config.trouble == f"from {tmp_path / 'cells/vision/pooling/seed-0'}/model"


def test_what_comes_after_is_another_run_when_what_it_starts_from_is(study: Study, tmp_path: Path) -> None:
    before = find(study, tmp_path, "text/pooling/trial-0").digest
    for number, score in enumerate((0.2, 0.1)):
        end(tmp_path, find(study, tmp_path, f"vision/pooling/trial-{number}"), **{"validation/accuracy": score})
    trial = find(study, tmp_path, "text/pooling/trial-0")
    assert trial.digest != before
    end(tmp_path, trial, loss=1.0)
    end(tmp_path, find(study, tmp_path, "text/pooling/trial-1"), loss=0.5)
    assert chosen_values(study, tmp_path) == {("vision", "pooling"): 0.0, ("text", "pooling"): 0.5}


def test_values_beyond_the_ends_follow_the_grids_own_ratios() -> None:
    assert Tune("lr", (3e-3, 1e-3, 9e-3), "loss").candidates == (3e-3, 1e-3, 9e-3)
    wide = Tune("lr", (3e-3, 1e-3, 9e-3), "loss", widen=2).candidates
    assert wide == (3e-3, 1e-3, 9e-3, 0.027, 0.000333333, 0.081, 0.000111111)
    assert Tune("lr", (3e-3, 1e-3, 9e-3), "loss", widen=1).candidates == wide[:5], "numbers stay when widen grows"
    assert Tune("lr", (1.0, 3.0, 10.0), "loss", widen=1).candidates[3:] == (33.3333, 0.333333)


@pytest.mark.parametrize(
    ("values", "value", "end"),
    [
        ([1, 3, 2], 3, "largest"),
        ([1, 3, 2], 1, "smallest"),
        ([1, 3, 2], 2, None),
        (["a", "b"], "b", None),
        ([True, False], True, None),
    ],
)
def test_ends(values: list[Any], value: Any, end: str | None) -> None:
    assert end_of(values, value) == end


PLACE = ("vision", "pooling")


@pytest.fixture
def wide(study_data: dict[str, Any]) -> dict[str, Any]:
    """One domain, whose three values may be two more at each end."""
    del study_data["domains"]["text"]
    tune = {"key": "seconds", "values": [0.2, 0.4, 0.8], "metric": "validation/accuracy", "widen": 2}
    study_data["domains"]["vision"]["tune"] = tune
    return study_data


def try_all(study: Study, folder: Path, scores: dict[float, float | None], arm: str = "pooling") -> list[float]:
    """Ends every trial that is asked for with the score of its value; which values were asked for, in order."""
    asked = []
    while todo := [
        cell
        for cell in all_cells(study, folder)
        if cell.trial is not None and cell.arm == arm and not (cell_folder(folder, cell) / "outcome.json").exists()
    ]:
        for trial in todo:
            value = trial.config["seconds"]
            asked.append(value)
            score = scores[value]
            end(folder, trial, **({} if score is None else {"validation/accuracy": score}))
    return asked


@pytest.mark.parametrize(
    ("scores", "asked", "taken", "which", "why"),
    [
        ({0.2: 0.5, 0.4: 0.7, 0.8: 0.6}, [], 0.4, None, "the best"),
        ({0.2: 0.5, 0.4: 0.6, 0.8: 0.7, 1.6: 0.65}, [1.6], 0.8, None, "the best"),
        ({0.2: 0.5, 0.4: 0.6, 0.8: 0.7, 1.6: 0.75, 3.2: 0.7}, [1.6, 3.2], 1.6, None, "the best"),
        (
            {0.2: 0.5, 0.4: 0.6, 0.8: 0.7, 1.6: 0.8, 3.2: 0.9},
            [1.6, 3.2],
            3.2,
            "largest",
            "the best, the largest that was tried",
        ),
        ({0.2: 0.5, 0.4: 0.6, 0.8: 0.7, 1.6: None}, [1.6], 0.8, None, "the best"),  # a larger one fails: no end
        ({0.2: 0.7, 0.4: 0.6, 0.8: 0.5, 0.1: 0.6}, [0.1], 0.2, None, "the best"),
        (
            {0.2: 0.7, 0.4: 0.6, 0.8: 0.5, 0.1: 0.8, 0.05: 0.9},
            [0.1, 0.05],
            0.05,
            "smallest",
            "the best, the smallest that was tried",
        ),
        ({0.2: 0.5, 0.4: None, 0.8: None}, [], 0.2, "smallest", ""),
    ],
)
def test_beyond_a_chosen_end_further_values_are_tried(
    scores: dict[float, float | None],
    asked: list[float],
    taken: float,
    which: str | None,
    why: str,
    wide: dict[str, Any],
    tmp_path: Path,
) -> None:
    if None in list(scores.values())[:3]:
        wide["domains"]["vision"]["tune"]["widen"] = 0
    study = study_from_mapping(wide, "file")
    assert try_all(study, tmp_path, scores) == [0.2, 0.4, 0.8, *asked]
    assert record(study, tmp_path) == {PLACE: taken}
    written = read_json(choice_file(tmp_path, *PLACE))
    assert written
    assert (written["value"], written["end"]) == (taken, which)
    assert written["values"] == [0.2, 0.4, 0.8, *asked]
    assert len(written["means"]) == len(written["trials"]) == 3 + len(asked)
    assert written["why"] == (why or written["why"])
    assert tunings(study, tmp_path)[PLACE].end == which, "what is written down says it, too"


def test_a_tie_within_the_values_widens_nothing(wide: dict[str, Any], tmp_path: Path) -> None:
    wide["domains"]["vision"]["tune"]["tie"] = 0.05
    study = study_from_mapping(wide, "file")
    assert try_all(study, tmp_path, {0.2: 0.66, 0.4: 0.68, 0.8: 0.7}) == [0.2, 0.4, 0.8]
    assert record(study, tmp_path) == {PLACE: 0.4}


def test_choices_and_trials_of_before_stand_when_widen_comes(wide: dict[str, Any], tmp_path: Path) -> None:
    """One within the values as it is; of one at an end the trials are kept, and more are asked for."""
    data = copy.deepcopy(wide)
    del data["domains"]["vision"]["tune"]["widen"]
    old = study_from_mapping(data, "file")
    try_all(old, tmp_path, {0.2: 0.5, 0.4: 0.7, 0.8: 0.6})
    try_all(old, tmp_path, {0.2: 0.5, 0.4: 0.6, 0.8: 0.7}, "attention")
    assert record(old, tmp_path) == {PLACE: 0.4, ("vision", "attention"): 0.8}
    for arm in ("pooling", "attention"):  # as an older runner wrote it
        path = choice_file(tmp_path, "vision", arm)
        written = read_json(path)
        assert written
        write_json(path, {key: value for key, value in written.items() if key not in ("end", "values")})
    study = study_from_mapping(wide, "file")
    before = {cell.key: cell.digest for cell in old.trials()}
    assert {cell.key: cell.digest for cell in study.trials()} == before
    assert chosen_values(study, tmp_path) == {PLACE: 0.4}
    assert tunings(study, tmp_path)["vision", "attention"].numbers == (0, 1, 2, 3)
    assert try_all(study, tmp_path, {1.6: 0.6}, "attention") == [1.6]
    assert chosen_values(study, tmp_path) == {PLACE: 0.4, ("vision", "attention"): 0.8}


@pytest.mark.parametrize("metric", ["validation/accuracy", "validation/loss"])
def test_nothing_is_chosen_where_no_value_beats_the_controls_best(
    metric: str, wide: dict[str, Any], tmp_path: Path
) -> None:
    tune = {"metric": metric, "tie": 0.05, "widen": 0, "beat_control": True}
    wide["domains"]["vision"]["tune"] |= tune
    wide["domains"]["vision"]["config"] = [{"seconds": 0.3}]
    study = study_from_mapping(wide | {"control": "identity"}, "file")
    sign = -1 if metric.endswith("loss") else 1

    def all_end(arm: str, *scores: float) -> None:
        for trial, score in zip((cell for cell in study.trials() if cell.arm == arm), scores, strict=True):
            end(tmp_path, trial, **{metric: sign * score})

    all_end("pooling", 0.3, 0.44, 0.3)
    all_end("attention", 0.3, 0.46, 0.3)
    assert record(study, tmp_path) == {}, "the control's trials have not ended"
    assert "vision/identity/trial-2" in find(study, tmp_path, "vision/pooling/seed-0").waits_for
    assert "vision/pooling/trial-2" not in find(study, tmp_path, "vision/identity/seed-0").waits_for
    all_end("identity", 0.1, 0.3, 0.4)
    expected = {("vision", "identity"): 0.8, ("vision", "attention"): 0.4, PLACE: 0.3}
    assert record(study, tmp_path) == expected
    written = read_json(choice_file(tmp_path, *PLACE))
    assert written
    assert (written["value"], written["trial"], written["end"], written["control"]) == (0.3, None, None, sign * 0.4)
    assert (
        written["why"]
        == f"no value: the best, {sign * 0.44}, does not beat identity's, {sign * 0.4}, by more than 0.05"
    )
    for arm in ("pooling", "identity"):
        all_end(arm, 0.9, 0.9, 0.9)
    assert record(study, tmp_path) == expected, "what is written down stands"
    wide["domains"]["vision"]["config"] = [{"seconds": 0.5}]
    other = study_from_mapping(wide | {"control": "identity"}, "file")
    assert chosen_values(other, tmp_path)[PLACE] != 0.3, "the setting of before is not that of now"


def test_a_choice_made_without_the_rule_is_made_anew_with_it(wide: dict[str, Any], tmp_path: Path) -> None:
    wide["domains"]["vision"]["tune"]["widen"] = 0
    wide["control"] = "identity"
    study = study_from_mapping(copy.deepcopy(wide), "file")
    for trial in study.trials():
        score = 0.5 if trial.arm == "pooling" and trial.trial == 1 else 0.6 if trial.arm == "identity" else 0.1
        end(tmp_path, trial, **{"validation/accuracy": score})
    assert record(study, tmp_path)[PLACE] == 0.4
    wide["domains"]["vision"]["tune"]["beat_control"] = True
    study = study_from_mapping(wide, "file")
    assert record(study, tmp_path)[PLACE] == 0.0, "what config says"
    assert tunings(study, tmp_path)[PLACE].stands


def test_where_all_trials_of_the_control_failed_the_best_is_chosen(wide: dict[str, Any], tmp_path: Path) -> None:
    wide["domains"]["vision"]["tune"]["beat_control"] = True
    study = study_from_mapping(wide | {"control": "identity"}, "file")
    for trial in study.trials():
        if trial.arm == "identity":
            end(tmp_path, trial)
        elif trial.arm == "pooling":
            end(tmp_path, trial, **{"validation/accuracy": 0.5 if trial.trial == 1 else 0.1})
    assert record(study, tmp_path) == {PLACE: 0.4}
