"""The printed plan and the estimate of time."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.preview.overview import describe
from metaformer_nlp.study.protocol.file import study_from_mapping
from metaformer_nlp.study.protocol.study import Cell, Study
from metaformer_nlp.study.runner.cell import cell_folder, write_json, write_outcome
from metaformer_nlp.study.runner.durations import Durations, trial_share
from metaformer_nlp.study.runner.progress import Progress
from metaformer_nlp.study.runner.tuning import chosen_values, tunings

PRICED = str(Path(__file__).parents[1].joinpath("priced_experiment.py"))


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def data() -> dict[str, Any]:
    """A tuned domain and one after it; a wide arm costs four times the MACs of the baseline."""
    first = {
        "label": "small pictures",
        "experiment": PRICED,
        "config": [{"lr": 0.1, "schedule": {"steps": 100}}],
        "metric": "accuracy",
        "chance": 0.1,
        "margin": 0.02,
        "equal": {"steps": 0.0},
        "tune": {"key": "lr", "values": [0.1, 0.2, 0.3], "metric": "held_out", "set": {"schedule.steps": 50}},
        "expected_seconds": 100,
    }
    second = {**first, "label": "", "after": "first", "tune": None, "margin": None, "equal": {}, "chance": "constant"}
    second["config"] = [{"model": {"checkpoint": "{after}/model"}}]
    mixer = {"kind": "mixer"}
    return {
        "name": "planned",
        "question": "What will it take, [bold]and why[/bold]?",
        "baseline": "plain",
        "references": ["wide"],
        "claim": {"arm": "wide", "retains": 0.9},
        "domains": {"first": first, "second": second},
        "arms": {
            "plain": {**mixer, "set": {"model.width": 10}},
            "wide": {**mixer, "set": {"model.width": 20}},
            "shallow": {"kind": "architecture", "of": "plain", "set": {"model.width": 10, "model.depth": 1}},
        },
        "seeds": [0, 1],
        "parallel": 2,
    }


def text_of(study: Study, folder: Path) -> str:
    return describe(study, folder, from_dict).text


def study_of(data: dict[str, Any]) -> Study:
    return study_from_mapping(copy.deepcopy(data), "file")


def words(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def line(text: str, start: str) -> list[str]:
    """The words of the first line that begins with `start`."""
    return next(row.split() for row in text.splitlines() if " ".join(row.split()).startswith(start))


def end(folder: Path, cell: Cell, seconds: float, problem: str = "", **metrics: float) -> None:
    cell_folder(folder, cell).mkdir(parents=True, exist_ok=True)
    write_outcome(folder, cell, problem, result={"metrics": metrics}, seconds=seconds)


def test_a_plan_says_what_is_asked_decided_and_held_equal(data: dict[str, Any], tmp_path: Path) -> None:
    plan = describe(study_of(data), tmp_path, from_dict)
    text = plan.text
    assert plan.problems == ()
    assert "refuse" not in text
    assert max(map(len, text.splitlines())) <= 96
    for part in (
        "What will it take, [bold]and why[/bold]?",
        "plain; all arms are compared with wide, too",
        "wide retains at least 90 % of plain's score above chance",
        "Domain first: small pictures",
        "accuracy; chance is 0.1",
        "accuracy; chance is that of constant",
        "differences below 0.02 of accuracy count as equal",
        "Budgets steps: the same in all arms",
        "one trial (50 steps, 400 samples each) with each of 0.1, 0.2 and 0.3",
        "the same arm's and seed's cell of first",
        "Budgets none",
        "Metrics Whether runs give the metrics named here is known when the first run of each kind has ended",
        "model.width=10, model.depth=1",
        "12 cells (2 domains, 3 arms, 2 seeds), and 9 trials",
    ):
        assert part in words(text), part
    assert not any(word in text for word in ("Control", "Known answers", "Scale", "At an end", "one more at a time"))
    answer = {"arm": "wide", "reference": "plain", "sign": "higher", "source": "a paper"}
    data["domains"]["first"]["tune"] |= {"trials": 2, "tie": 0.003, "widen": 2, "values": [0.1, 0.2, 0.4]}
    data["domains"]["first"]["tune"] |= {"beat_control": True}
    data["seeds"] = [0, 1, 2]
    scale = {"axis": "epochs", "domains": {"first": 1, "second": 2}}
    data["domains"]["second"]["metric"] = "accuracy"
    data["arms"]["deep"] = {"kind": "mixer", "set": {"model.width": 10}}
    more = {"control": "deep", "claim": {"arm": "wide", "gain": 0.5}, "expected": [answer], "scale": [scale]}
    more["until"] = {"half_width": 0.02, "most": 5}
    told = words(text_of(study_of({**data, **more}), tmp_path))
    for part in (
        "Control deep: what plain scores above it is what mixing gains",
        "Claimed gain wide keeps at least 50 % of what plain scores above deep. Yes if the whole 95 % interval of that "
        "share (Fieller's) lies there, no if all of it lies below, open otherwise, and where plain is not shown above "
        "deep, so that mixing makes no difference",
        "Known answers wide higher than plain (a paper)",
        "Scale epochs: first (1), second (2)",
        "the best mean held_out of 2 trials (50 steps, 400 samples each) with each of 0.1, 0.2 and 0.4; values within "
        "0.003 of the best count as equal, and of these the middle one is taken, the smaller of two; beyond a "
        "chosen end of them further ones are tried, at most 2 at each end; none is chosen, and it stays as it is set, "
        "where no value beats deep's best by more than 0.003; trials differ from cells in schedule.steps=50",
        "24 cells (2 domains, 4 arms, 3 seeds), and 24 trials",
        "Seeds 0, 1, 2; then one more at a time, 5 at most, until the 98 % interval of plain's difference from wide "
        "reaches at most 0.02 to each side in every domain",
    ):
        assert part in told, part
    assert line(text, "wide")[:7] == ["wide", "100", "800", "820", "+290", "%", "800"]
    assert not list(tmp_path.iterdir()), "nothing is written"
    # 6 cells and 6 later ones of 800 samples, 9 trials of 400, with 200, 800 and 100 MACs a sample
    assert f"{(2 * 2 * 800 + 3 * 400) * (200 + 800 + 100):.2g} multiply-accumulates" in words(text)
    assert "13,200 samples" in words(text)
    assert "caution" not in text
    data["domains"]["first"]["tune"] |= {"metric": "accuracy", "beat_control": False}
    assert "caution: judged on the data that scores are measured on" in words(text_of(study_of(data), tmp_path))


def test_what_run_would_refuse_is_said_once_at_the_end(data: dict[str, Any], tmp_path: Path) -> None:
    del data["arms"]["shallow"]
    data["domains"]["first"]["equal"] = {"macs": 0.1}
    data["domains"]["second"]["set"] = {"schedule.step": 3}
    plan = describe(study_of(data), tmp_path, from_dict)
    misspelt, broken = plan.problems
    assert misspelt.startswith("domain second: ")
    assert "schedule.step" in misspelt
    assert "nearest is schedule.steps" in misspelt
    assert broken.startswith("domains.first.equal.macs: arm wide takes 800, 300 % more than the 200")
    text, end = words(plan.text).split("run would refuse this:")
    assert end == f" - {words(misspelt)} - {words(broken)}"
    assert "macs: within 10 % of plain's in all arms - broken or not known, see the end" in text
    assert "takes 800" not in text
    assert "8 cells (2 domains" in text


def test_data_that_is_not_there_is_said_once_for_all_domains(data: dict[str, Any], tmp_path: Path) -> None:
    for domain in data["domains"].values():
        domain["set"] = {"data": "elsewhere"}
    plan = describe(study_of(data), tmp_path, from_dict)
    assert plan.problems == ("all domains: data elsewhere: no such folder",), "a budget that waits for it is not broken"
    assert plan.text.count("data elsewhere") == 1
    assert "Not known what runs take; the reason is at the end" in words(plan.text)
    assert "Time left about" in plan.text, "the file's expected_seconds are still there"


def test_finished_cells_are_not_refused_and_others_settings_are(data: dict[str, Any], tmp_path: Path) -> None:
    del data["domains"]["second"], data["domains"]["first"]["tune"]
    for cell in study_of(data).cells():
        end(tmp_path, cell, 1.0, accuracy=0.5)
        write_json(cell_folder(tmp_path, cell) / "cell.json", {"digest": cell.digest, "spec": cell.spec})
    assert describe(study_of(data), tmp_path, from_dict).problems == ()
    data["domains"]["first"]["set"] = {"lr": 0.7}
    (problem,) = describe(study_of(data), tmp_path, from_dict).problems
    assert "6 finished or running cells of other settings" in problem


def test_what_is_not_refused_is_said_in_its_place(data: dict[str, Any], tmp_path: Path) -> None:
    """All is finished, so that there is no end to refer to."""
    del data["domains"]["second"], data["domains"]["first"]["tune"]
    for cell in study_of(data).cells():
        end(tmp_path, cell, 1.0, accuracy=0.5)
    data["domains"]["first"]["equal"] = {"macs": 0.1}
    plan = describe(study_of(data), tmp_path, from_dict)
    assert plan.problems == ()
    assert "the end" not in plan.text
    assert "in all arms - domains.first.equal.macs: arm wide takes 800, 300 % more than the 200" in words(plan.text)
    for arm in data["arms"].values():  # the data is gone; that is no other run
        arm["set"]["data"] = "elsewhere"
    for cell in study_of(data).cells():
        end(tmp_path, cell, 1.0, accuracy=0.5)
    plan = describe(study_of(data), tmp_path, from_dict)
    assert plan.problems == ()
    assert "the end" not in plan.text
    assert "Not known what runs take; data elsewhere: no such folder" in words(plan.text)


def test_a_failed_trial_that_is_not_tried_again_is_not_refused(data: dict[str, Any], tmp_path: Path) -> None:
    """run looks at what it would start, and so does the plan: here nothing, since the choice stands without it."""
    del data["domains"]["second"]
    study = study_of(data)
    for trial in study.trials():
        end(tmp_path, trial, 1.0, "" if trial.key.endswith("0") else "it failed", held_out=0.5)
    tunings(study, tmp_path, record=True)
    chosen = chosen_values(study, tmp_path)
    for cell in study.cells(chosen):
        end(tmp_path, cell, 1.0, accuracy=0.5)
    data["domains"]["first"]["equal"] = {"macs": 0.1}
    assert describe(study_of(data), tmp_path, from_dict).problems == ()


def test_an_arm_that_has_chosen_an_end_is_named_and_its_further_trial_counted(
    data: dict[str, Any], tmp_path: Path
) -> None:
    data["domains"]["first"]["tune"]["values"] = [0.1, 0.2, 0.4]
    study = study_of(data)
    for trial in study.trials():
        end(tmp_path, trial, 1.0, held_out=0.5 + 0.1 * (trial.trial == (2 if trial.arm == "wide" else 1)))
    told = words(text_of(study, tmp_path))
    assert "At an end a value beyond it might be better for wide (0.4, the largest tried)" in told
    assert line(text_of(study, tmp_path), "first trials")[2:5] == ["9", "9", "0"]
    data["domains"]["first"]["tune"]["widen"] = 1
    widened = study_of(data)
    assert "At an end" not in text_of(widened, tmp_path), "it is not chosen yet"
    assert line(text_of(widened, tmp_path), "first trials")[2:6] == ["10", "9", "0", "1"]


def grid(data: dict[str, Any]) -> dict[str, Any]:
    """Four domains like one another: another setting, another budget and no tuning, another cost."""
    base = data["domains"]["first"]
    names = {"run": {"batch_size": 8, "folder": "x"}, "lr": 0.1, "schedule": {"steps": 100, "minutes": None}}
    base["config"] = [names]
    data["domains"] = {
        "base": {**base, "set": {"lr": 0.4}},
        "norm": {**base, "set": {"lr": 0.5}},
        "plain": {**base, "set": {"lr": 0.5}, "equal": {"samples": 0.0}, "tune": None},
        "long": {**base, "set": {"lr": 0.5, "schedule.steps": 200}},
    }
    return data


def test_a_domain_like_an_earlier_one_says_what_differs(data: dict[str, Any], tmp_path: Path) -> None:
    parts = text_of(study_of(grid(data)), tmp_path).split("\nDomain ")[1:]
    base, norm, plain, long = map(words, parts)
    assert "Sets lr=0.4" in base
    assert norm == "norm: small pictures As base but lr=0.5 "
    same = "As norm with the same settings"
    assert plain == f"plain: small pictures {same} Budgets samples: the same in all arms Tuned none "
    assert "As norm but schedule.steps=200" in long
    assert "wide 200 1,600 820" in long, "its runs take something else"
    assert "accuracy" not in long, "what is the same is not said again"
    data["domains"]["long"]["config"] = [{"data": "here", "model": {"width": 1, "depth": 3, "checkpoint": ""}}]
    assert "Experiment" in text_of(study_of(data), tmp_path).split("\nDomain long")[1], "little is the same"


def test_times_before_anything_has_run(data: dict[str, Any], tmp_path: Path) -> None:
    """100 s for the mean arm of 1100/3 MACs: half of it for all, half by MACs; half of that for a trial."""
    text = text_of(study_of(data), tmp_path)
    by_arm = {arm: 50 + 50 * macs / (1100 / 3) for arm, macs in (("plain", 200), ("wide", 800), ("shallow", 100))}
    for arm, seconds in by_arm.items():
        times = " ".join(line(text, arm)).split("~")[1:]
        expected = [f"{seconds / 2:.0f} s", f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"]
        assert [time.strip() for time in times] == expected
    # 9 trials of 50 s and 12 cells of 100 s on average
    assert "about 28 min of one CPU core; 14 min on the clock with 2 at once" in words(text)
    data["domains"]["second"].pop("expected_seconds")
    assert "Time not known before a run of each domain has ended" in words(text_of(study_of(data), tmp_path))


def test_runs_that_have_ended_are_counted_and_measured(data: dict[str, Any], tmp_path: Path) -> None:
    study = study_of(data)
    trials = [cell for cell in study.trials() if cell.arm == "plain"]
    for trial, seconds in zip(trials[:2], (30.0, 40.0), strict=True):
        end(tmp_path, trial, seconds, held_out=0.5)
    end(tmp_path, trials[2], 1.0, problem="it failed")
    text = text_of(study, tmp_path)
    assert " ".join(line(text, "plain")).endswith("35 s ~70 s"), "a cell is twice its trial"
    assert line(text, "first trials")[:6] == ["first", "trials", "9", "2", "1", "6"]
    assert line(text, "first cells")[:6] == ["first", "cells", "6", "0", "0", "6"]


def test_a_trial_is_no_cell(data: dict[str, Any]) -> None:
    study = study_of(data)
    assert trial_share(study.domain("first")) == 0.5
    times = Durations(study)
    assert (times.seconds("first", "plain", True), times.seconds("first", "plain", False)) == (50, 100)
    cells = {cell.key: cell for cell in (*study.trials(), *study.cells())}
    times.add(cells["first/wide/trial-0"], 10.0)
    assert times.seconds("first", "wide", False) == 20, "twice the trial of the same arm"
    assert times.seconds("first", "plain", True) == 10, "as the trial of another arm"
    times.add(cells["first/plain/seed-0"], 80.0)
    assert times.seconds("first", "plain", False) == 80
    assert times.seconds("first", "plain", True) == 40, "half a cell of the same arm, before a trial of another"
    assert times.seconds("second", "plain", False) == 100, "another domain says nothing"
    for seconds in (84.0, 9000.0):
        times.add(cells["first/plain/seed-0"], seconds)
    assert times.seconds("first", "plain", False) == 84, "a run that was stopped for hours does not count for many"


def test_the_time_left_counts_trials_and_arms(data: dict[str, Any], tmp_path: Path) -> None:
    data["domains"].pop("second")
    study = study_of(data)
    cells = [*study.trials(), *study.cells()]
    end(tmp_path, cells[0], 10.0, held_out=0.5)
    progress = Progress(study, tmp_path, cells, parallel=1)
    assert progress.time_left() == "about 3 min left"  # 8 trials of 10 s and 6 cells of 20 s: 200 s
    assert Progress(study, tmp_path, cells[:1], parallel=1).time_left() == ""
    two = [cell for cell in cells if cell.key in ("first/wide/seed-0", "first/wide/seed-1")]
    for parallel in (2, 8):  # no more at once than there are
        assert Progress(study, tmp_path, [cells[0], *two], parallel).time_left() == "about 20 s left"
    assert Progress(study, tmp_path, [cells[0], *two, cells[1]], 2).time_left() == "about 25 s left"


def test_a_narrow_terminal_breaks_no_name(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, long = "pooling_without_channel_mlp", "an_arm_of_which_the_name_alone_is_wider_than_most_of_the_terminal"
    data["arms"][name] = data["arms"].pop("shallow")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)  # a short folder: a long one, which is not broken, may be wider than the terminal
    text = text_of(study_of(data), Path("runs"))
    assert max(map(len, text.splitlines())) <= 80
    assert line(text, name) == [name, "100", "800", "110", "~32", "s", "~64", "s"], "MACs are left out first"
    assert "compared with plain" in words(text)
    data["arms"][long] = data["arms"].pop(name)
    data["domains"]["a_domain_with_a_name_of_its_own_that_is_long"] = data["domains"].pop("second")
    text = text_of(study_of(data), Path("runs"))
    assert line(text, long) == [long, "100", "110", "~64", "s"]
    assert line(text, "a_domain_with_a_name_of_its_own_that_is_long")[1:] == ["cells", "6", "0", "0", "6", "10", "min"]
