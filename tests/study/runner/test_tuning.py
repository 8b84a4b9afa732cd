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
from metaformer_nlp.study.runner.cell import cell_folder, configure, read_json, write_outcome
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
