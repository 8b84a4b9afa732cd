"""What the runner decides, from outcomes that are written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.protocol.study import TUNED, Study
from metaformer_nlp.study.runner import queue as queue_module
from metaformer_nlp.study.runner.cell import write_outcome
from metaformer_nlp.study.runner.lock import held
from metaformer_nlp.study.runner.queue import Queue
from metaformer_nlp.study.runner.tuning import choice_file, chosen_values

Make = Callable[[dict[str, Any]], Study]


@pytest.fixture
def tuned(study_data: dict[str, Any]) -> dict[str, Any]:
    """Two arms; "vision" chooses between three values, "text" starts from its cells: 6 trials, 8 cells."""
    study_data["arms"] = {name: study_data["arms"][name] for name in ("attention", "pooling")}
    tune = {"key": "seconds", "values": [0.1, 0.2, 0.3], "metric": "validation/accuracy"}
    study_data["domains"]["vision"]["tune"] = tune
    study_data["domains"]["text"]["after"] = "vision"
    study_data["domains"]["text"]["tasks"] = {}
    return study_data


def finish(folder: Path, schedule: Queue, key: str, score: float = 0.5) -> None:
    write_outcome(folder, schedule.cells[key], None, result={"metrics": {"validation/accuracy": score}})


def fail(folder: Path, schedule: Queue, key: str) -> None:
    write_outcome(folder, schedule.cells[key], "it failed")


def run(schedule: Queue, key: str) -> None:
    """As if the cell, whose outcome is there, had run here."""
    schedule.start(key)
    schedule.end(key)


def keys(cells: list[Any]) -> list[str]:
    return [cell.key for cell in cells]


def test_cells_start_when_their_trials_and_the_cells_before_have_ended(
    tuned: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    schedule = Queue(make_study(tuned), tmp_path)
    trials = [f"vision/{arm}/trial-{number}" for arm in ("attention", "pooling") for number in range(3)]
    assert keys(schedule.next(100)) == trials
    assert keys(schedule.next(2)) == trials[:2]
    for number, score in ((0, 0.5), (1, 0.7)):
        finish(tmp_path, schedule, f"vision/pooling/trial-{number}", score)
        run(schedule, f"vision/pooling/trial-{number}")
    fail(tmp_path, schedule, "vision/pooling/trial-2")  # no candidate, but it has ended
    assert not [key for key in keys(schedule.next(100)) if "seed" in key]
    run(schedule, "vision/pooling/trial-2")
    assert not schedule.blocked()
    started = [cell for cell in schedule.next(100) if cell.trial is None]
    assert keys(started) == ["vision/pooling/seed-0", "vision/pooling/seed-1"]
    assert {cell.config["seconds"] for cell in started} == {0.2}
    finish(tmp_path, schedule, "vision/pooling/seed-1")
    run(schedule, "vision/pooling/seed-1")
    assert "text/pooling/seed-1" in keys(schedule.next(100))
    assert "text/pooling/seed-0" not in keys(schedule.next(100))


def test_a_choice_stands_whatever_becomes_of_a_failed_trial(
    tuned: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    study = make_study(tuned)
    schedule = Queue(study, tmp_path)
    finish(tmp_path, schedule, "vision/pooling/trial-0", 0.5)
    finish(tmp_path, schedule, "vision/pooling/trial-1", 0.7)
    fail(tmp_path, schedule, "vision/pooling/trial-2")
    run(schedule, "vision/pooling/trial-2")
    again = Queue(study, tmp_path)
    assert again.passed_over == ["vision/pooling/trial-2"]
    assert "vision/pooling/trial-2" not in again.waiting
    digest = again.cells["vision/pooling/seed-0"].digest

    finish(tmp_path, schedule, "vision/pooling/trial-2", 0.9)
    assert chosen_values(study, tmp_path) == {("vision", "pooling"): 0.2}
    assert Queue(study, tmp_path).cells["vision/pooling/seed-0"].digest == digest
    (tmp_path / "cells/vision/pooling/trial-1/outcome.json").unlink()
    assert chosen_values(study, tmp_path) == {("vision", "pooling"): 0.2}, "a trial that runs again changes nothing"

    # Without the file the choice is made anew, and not before the failed trial has been tried again.
    for number, score in ((1, 0.7), (2, None)):
        fail(tmp_path, schedule, f"vision/pooling/trial-{number}")
        if score:
            finish(tmp_path, schedule, f"vision/pooling/trial-{number}", score)
    (tmp_path / "cells/vision/pooling/choice.json").unlink()
    anew = Queue(study, tmp_path)
    anew.settle()
    assert not anew.passed_over
    assert "vision/pooling/trial-2" in keys(anew.next(100))
    assert not choice_file(tmp_path, "vision", "pooling").exists()
    assert anew.cells["vision/pooling/seed-0"].config["seconds"] == TUNED
    finish(tmp_path, schedule, "vision/pooling/trial-2", 0.9)
    run(anew, "vision/pooling/trial-2")
    assert anew.cells["vision/pooling/seed-0"].config["seconds"] == 0.3

    # Another value to try is another experiment: the choice is void until its trial has ended.
    tuned["domains"]["vision"]["tune"]["values"].append(0.4)
    assert chosen_values(make_study(tuned), tmp_path) == {}


def test_the_first_of_two_runners_chooses_for_both(tuned: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    study = make_study(tuned)
    one, two = Queue(study, tmp_path), Queue(study, tmp_path)
    for number in range(3):
        finish(tmp_path, one, f"vision/pooling/trial-{number}", 0.5)
    one.settle()
    finish(tmp_path, two, "vision/pooling/trial-2", 0.9)  # run again, with better luck
    two.settle()
    for schedule in (one, two):
        assert schedule.cells["vision/pooling/seed-0"].config["seconds"] == 0.1


def test_a_choice_that_another_runner_writes_is_not_written_over(
    tuned: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    schedule = Queue(make_study(tuned), tmp_path, ["vision/pooling/*"])
    for number in range(3):
        finish(tmp_path, schedule, f"vision/pooling/trial-{number}")
    lock = tmp_path / "locks/vision--pooling--choice"
    with held(lock):
        schedule.look()
        assert not schedule.next(100)
        assert not schedule.is_over()
    schedule.look()
    assert keys(schedule.next(100)) == ["vision/pooling/seed-0", "vision/pooling/seed-1"]


def test_a_failed_trial_that_another_runner_tries_again_keeps_nobody_waiting(
    tuned: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    study = make_study(tuned)
    one = Queue(study, tmp_path, ["vision/pooling/*"])
    fail(tmp_path, one, "vision/pooling/trial-0")
    run(one, "vision/pooling/trial-0")
    two = Queue(study, tmp_path, ["vision/pooling/*"])
    two.start("vision/pooling/trial-0")
    (tmp_path / "cells/vision/pooling/trial-0/outcome.json").unlink()
    for number in (1, 2):
        finish(tmp_path, one, f"vision/pooling/trial-{number}")
        run(one, f"vision/pooling/trial-{number}")
    assert not one.next(100)
    finish(tmp_path, two, "vision/pooling/trial-0", 0.9)
    two.look()
    two.end("vision/pooling/trial-0")
    one.look()
    assert keys(one.next(1)) == keys(two.next(1)) == ["vision/pooling/seed-0"]
    assert one.next(1)[0].config["seconds"] == two.next(1)[0].config["seconds"] == 0.1


def test_a_choice_that_cannot_be_written_lets_nothing_start(
    tuned: dict[str, Any], make_study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    schedule = Queue(make_study(tuned), tmp_path, ["vision/pooling/*"])
    for number in range(3):
        finish(tmp_path, schedule, f"vision/pooling/trial-{number}")
    with monkeypatch.context() as patch:
        patch.setattr("metaformer_nlp.study.runner.tuning.write_json", refuse)
        schedule.look()
        assert "No space left" in schedule.unwritten
        assert not schedule.next(100)
        assert not schedule.is_over()
    schedule.look()
    assert keys(schedule.next(100)) == ["vision/pooling/seed-0", "vision/pooling/seed-1"]


def test_cells_that_wait_for_a_failed_one_are_named(tuned: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    tuned["domains"]["vision"].pop("tune")
    schedule = Queue(make_study(tuned), tmp_path, ["*/pooling/*"])
    fail(tmp_path, schedule, "vision/pooling/seed-0")
    schedule.start("vision/pooling/seed-1")
    run(schedule, "vision/pooling/seed-0")
    assert schedule.blocked() == {"text/pooling/seed-0": "vision/pooling/seed-0"}
    assert not schedule.is_over(), "the other seed is running"
    finish(tmp_path, schedule, "vision/pooling/seed-1")
    schedule.end("vision/pooling/seed-1")
    assert not schedule.is_over(), "and the cell after it can start"
    finish(tmp_path, schedule, "text/pooling/seed-1")
    run(schedule, "text/pooling/seed-1")
    assert schedule.is_over()


def test_an_arm_all_of_whose_trials_failed_waits_for_them(
    tuned: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    schedule = Queue(make_study(tuned), tmp_path, ["text/pooling/seed-0"])
    for number in range(3):
        assert not schedule.blocked()
        fail(tmp_path, schedule, f"vision/pooling/trial-{number}")
        run(schedule, f"vision/pooling/trial-{number}")
    expected = dict.fromkeys(["vision/pooling/seed-0", "text/pooling/seed-0"], "vision/pooling/trial-0")
    assert schedule.blocked() == expected
    assert schedule.is_over()
    assert len(Queue(make_study(tuned), tmp_path, ["text/pooling/seed-0"]).waiting) == 5, "tried again next time"


def test_an_arm_waits_for_its_trials_where_each_value_has_a_failed_one(
    tuned: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    tuned["domains"]["vision"]["tune"]["trials"] = 2
    schedule = Queue(make_study(tuned), tmp_path, ["vision/pooling/seed-1"])
    assert len(schedule.waiting) == 7
    names = ["0", "1", "2", "0-seed-1", "1-seed-1", "2-seed-1"]
    for name in names:
        assert not schedule.blocked()
        end = fail if name in ("1", "0-seed-1", "2-seed-1") else finish
        end(tmp_path, schedule, f"vision/pooling/trial-{name}")
        run(schedule, f"vision/pooling/trial-{name}")
    assert schedule.blocked() == {"vision/pooling/seed-1": "vision/pooling/trial-0-seed-1"}
    schedule = Queue(make_study(tuned), tmp_path, ["vision/pooling/seed-1"])
    finish(tmp_path, schedule, "vision/pooling/trial-1")
    run(schedule, "vision/pooling/trial-1")
    assert schedule.next(9) == [schedule.cells[f"vision/pooling/trial-{name}"] for name in ("0-seed-1", "2-seed-1")]
    for name in ("0-seed-1", "2-seed-1"):
        fail(tmp_path, schedule, f"vision/pooling/trial-{name}")
        run(schedule, f"vision/pooling/trial-{name}")
    assert keys(schedule.next(9)) == ["vision/pooling/seed-1"]
    assert schedule.cells["vision/pooling/seed-1"].config["seconds"] == tuned["domains"]["vision"]["tune"]["values"][1]


def test_what_other_runners_do_is_followed(study_data: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    study_data["domains"]["text"]["tasks"] = {}
    study = make_study(study_data)
    before = Queue(study, tmp_path)
    fail(tmp_path, before, "text/pooling/seed-0")
    schedule = Queue(study, tmp_path, ["text/*/seed-0"])
    assert schedule.look() == []
    assert "text/pooling/seed-0" in schedule.waiting, "failed before this runner came: tried once more"
    finish(tmp_path, schedule, "text/attention/seed-0")
    fail(tmp_path, schedule, "text/pooling/seed-0")
    fail(tmp_path, schedule, "text/identity/seed-0")
    assert schedule.look() == ["text/attention/seed-0", "text/pooling/seed-0", "text/identity/seed-0"]
    assert schedule.failed == ["text/pooling/seed-0", "text/identity/seed-0"], "the other runner has tried them"
    assert keys(schedule.next(100)) == ["text/no_residual/seed-0"]


def test_deciding_reads_nothing_twice(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_data["domains"]["text"]["after"] = "vision"
    schedule = Queue(make_study(study_data), tmp_path)
    for cell in list(schedule.cells.values())[::3]:
        fail(tmp_path, schedule, cell.key)
    schedule.look()
    read, made = [], []
    monkeypatch.setattr(queue_module, "read_outcome", lambda *args: read.append(args))
    monkeypatch.setattr(queue_module, "make_cell", lambda *args: made.append(args))
    for _ in range(3):
        schedule.look()
        schedule.next(100)
        schedule.is_over()
    assert not read
    assert not made


def test_what_has_just_ended_elsewhere_is_not_started_between_two_looks(
    tuned: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    schedule = Queue(make_study(tuned), tmp_path)
    first, second, *_ = keys(schedule.next(100))
    fail(tmp_path, schedule, first)
    finish(tmp_path, schedule, second)
    assert not {first, second} & set(keys(schedule.next(100)))
    assert set(schedule.look()) == {first, second}
    assert (schedule.failed, schedule.finished) == ([first], [second])


@pytest.fixture
def widened(tuned: dict[str, Any]) -> dict[str, Any]:
    tuned["domains"]["vision"]["tune"] |= {"values": [0.1, 0.2, 0.4], "widen": 1}
    return tuned


TRIALS = [f"vision/pooling/trial-{number}" for number in range(3)]
BEYOND = "vision/pooling/trial-3"


def test_a_trial_beyond_the_chosen_end_comes_before_the_cells_which_wait_for_it(
    widened: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    study = make_study(widened)
    one, two = Queue(study, tmp_path), Queue(study, tmp_path, ["text/pooling/seed-0"])
    other = Queue(study, tmp_path, ["vision/attention/*"])
    for number, key in enumerate(TRIALS):
        assert not one.added
        finish(tmp_path, one, key, 0.5 + number / 10)
        run(one, key)
    assert keys(one.added) == [BEYOND]
    assert one.wanted[0] == BEYOND
    assert keys(one.next(100))[0] == BEYOND, "before what waits already"
    assert not [key for key in keys(one.next(100)) if key.startswith("vision/pooling/seed")]
    assert not one.blocked()
    two.look()
    assert keys(two.added) == keys(two.next(100)) == [BEYOND], "another runner comes to the same"
    other.settle()
    assert not other.added, "no run of this arm was asked for"
    after_a_kill = Queue(study, tmp_path)
    assert BEYOND in after_a_kill.waiting
    assert not choice_file(tmp_path, "vision", "pooling").exists()
    finish(tmp_path, one, BEYOND, 0.6)
    run(one, BEYOND)
    two.look()
    assert {schedule.cells["vision/pooling/seed-0"].config["seconds"] for schedule in (one, two)} == {0.4}
    assert "vision/pooling/seed-0" in keys(one.next(100))
    assert BEYOND in two.finished


def test_a_failed_trial_beyond_the_end_leaves_the_end(
    widened: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    study = make_study(widened)
    schedule = Queue(study, tmp_path, ["vision/pooling/*"])
    for number, key in enumerate(TRIALS):
        finish(tmp_path, schedule, key, 0.5 + number / 10)
        run(schedule, key)
    fail(tmp_path, schedule, BEYOND)
    again = Queue(study, tmp_path, ["vision/pooling/*"])
    assert keys(again.next(9)) == [BEYOND], "tried once more by the next start"
    run(schedule, BEYOND)
    assert schedule.failed == [BEYOND]
    assert schedule.cells["vision/pooling/seed-0"].config["seconds"] == 0.4
    assert Queue(study, tmp_path).passed_over == [BEYOND]


def test_finished_cells_run_again_where_the_value_beyond_the_end_wins(
    widened: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    """As when `widen` comes to a study that has run."""
    widened["domains"]["vision"]["tune"].pop("widen")
    schedule = Queue(make_study(widened), tmp_path, ["vision/pooling/*"])
    for number, key in enumerate(TRIALS):
        finish(tmp_path, schedule, key, 0.5 + number / 10)
        run(schedule, key)
    for seed in range(2):
        finish(tmp_path, schedule, f"vision/pooling/seed-{seed}")
        run(schedule, f"vision/pooling/seed-{seed}")
    assert schedule.is_over()
    widened["domains"]["vision"]["tune"]["widen"] = 1
    for score, left in ((0.1, []), (0.9, ["vision/pooling/seed-0", "vision/pooling/seed-1"])):
        schedule = Queue(make_study(widened), tmp_path, ["vision/pooling/*"])
        assert list(schedule.waiting) == [BEYOND, "vision/pooling/seed-0", "vision/pooling/seed-1"]
        finish(tmp_path, schedule, BEYOND, score)
        run(schedule, BEYOND)
        schedule.look()
        assert keys(schedule.next(9)) == left
        (tmp_path / "cells" / BEYOND / "outcome.json").unlink()
        choice_file(tmp_path, "vision", "pooling").unlink()


def test_arms_wait_for_the_trials_of_the_control(tuned: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    tuned |= {"control": "pooling"}
    tuned["domains"]["vision"]["tune"]["beat_control"] = True
    tuned["domains"]["vision"]["config"] = [{"seconds": 0.7}]
    schedule = Queue(make_study(tuned), tmp_path, ["vision/attention/*"])
    own = [f"vision/attention/trial-{number}" for number in range(3)]
    assert keys(schedule.next(9)) == [*own, *TRIALS], "the control's are wanted, too"
    for key in own:
        finish(tmp_path, schedule, key)
        run(schedule, key)
    assert keys(schedule.next(9)) == TRIALS
    assert not schedule.is_over()
    for key in TRIALS:
        assert not schedule.blocked()
        finish(tmp_path, schedule, key)
        run(schedule, key)
    schedule.look()
    assert keys(schedule.next(9)) == ["vision/attention/seed-0", "vision/attention/seed-1"]
    assert schedule.cells["vision/attention/seed-0"].config["seconds"] == 0.7, "no value is better than the control's"


def test_cells_are_named_whose_control_cannot_be_tried(tuned: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    """Its trials start from a cell that failed: nothing would ever end this wait."""
    tuned |= {"control": "pooling"}
    text = tuned["domains"]["text"]
    text["tune"] = {**tuned["domains"]["vision"].pop("tune"), "beat_control": True}
    schedule = Queue(make_study(tuned), tmp_path, ["text/attention/seed-0"])
    for key in ("vision/pooling/seed-0", "vision/attention/seed-0"):
        (fail if "pooling" in key else finish)(tmp_path, schedule, key)
        run(schedule, key)
    for number in range(3):
        finish(tmp_path, schedule, f"text/attention/trial-{number}")
        run(schedule, f"text/attention/trial-{number}")
    assert schedule.blocked()["text/attention/seed-0"] == "vision/pooling/seed-0"
    assert schedule.is_over()
