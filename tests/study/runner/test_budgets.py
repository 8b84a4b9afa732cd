"""Budgets: an arm that breaks one is refused before anything starts, and after the runs it is looked at again."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.preview.overview import describe
from metaformer_nlp.study.protocol.file import study_from_mapping
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.runner.budgets import Cost, budget_problems, cell_costs, kept_budgets
from metaformer_nlp.study.runner.preflight import find_problems
from metaformer_nlp.study.runner.runner import run_study

ROOT = Path(__file__).parents[3]
PRICED = str(Path(__file__).parents[1].joinpath("priced_experiment.py"))
TOY = str(Path(__file__).parents[1].joinpath("toy_experiment.py"))
TUNE = {"key": "lr", "values": [0.1, 0.2, 0.3], "metric": "held_out", "set": {"schedule.steps": 10}}


@pytest.fixture
def data() -> dict[str, Any]:
    """Three arms of the same cost, one domain."""
    domain = {"experiment": PRICED, "config": [{"lr": 0.1}], "metric": "score", "chance": 0}
    return {
        "name": "priced",
        "question": "What does it take?",
        "baseline": "first",
        "domains": {"images": domain},
        "arms": {name: {"kind": "mixer", "set": {"model.width": 10}} for name in ("first", "second", "third")},
        "seeds": [0, 1],
    }


def study_of(data: dict[str, Any]) -> Study:
    return study_from_mapping(copy.deepcopy(data), "file")


def problems(data: dict[str, Any]) -> list[str]:
    study = study_of(data)
    found = budget_problems(study, cell_costs(study, from_dict, Path("nowhere")))
    return [text for texts in found.values() for text in texts]


def test_equal_arms_are_let_through(data: dict[str, Any]) -> None:
    data["domains"]["images"]["equal"] = {"steps": 0.0, "samples": 0.0, "parameters": 0.0, "macs": 0.0}
    assert problems(data) == []
    costs = cell_costs(study_of(data), from_dict, Path("nowhere"))
    assert costs["images", "second", None] == Cost(100, 800, None, 210, 200, 160_000)


def test_an_arm_that_breaks_a_budget_is_named_with_both_values(data: dict[str, Any]) -> None:
    data["domains"]["images"]["equal"] = {"steps": 0.0, "parameters": 0.05}
    data["arms"]["third"]["set"] = {"model.width": 11}  # 253 parameters in place of 210
    (problem,) = problems(data)
    for part in ("domains.images.equal.parameters", "arm third takes 253", "20.5 % more", "210", "baseline first"):
        assert part in problem
    assert "5 % are allowed" in problem
    assert "Change the arm's sizes in arms.third.set, allow more" in problem
    data["domains"]["images"]["set"] = {"tokens_each": 4}
    (problem,) = problems(data)
    assert "match_cost.py finds text encoders" in problem
    data["domains"]["images"]["equal"]["parameters"] = 0.21
    assert problems(data) == []
    data["arms"]["second"]["set"] = {"model.width": 10, "schedule.steps": 99}
    (problem,) = problems(data)
    assert "arm second takes 99, 1 % less than the 100" in problem
    assert "schedule" in problem


def test_a_budget_that_cannot_be_told_is_refused(data: dict[str, Any]) -> None:
    data["domains"]["images"]["equal"] = {"tokens": 0.0}
    (problem,) = problems(data)
    assert "equal.tokens cannot be checked for arms first, second, third" in problem
    assert "it tells steps, samples, parameters, macs" in problem
    data["domains"]["images"] |= {"experiment": TOY, "config": [{"seconds": 0.0}], "equal": {"steps": 0.0}}
    for arm in data["arms"].values():
        arm["set"] = {}
    (problem,) = problems(data)
    assert "defines no cost(config)" in problem


def refused(data: dict[str, Any], *keys: str) -> list[str]:
    """What `run` would say, of all cells and trials or of some."""
    study = study_of(data)
    cells = [cell for cell in (*study.trials(), *study.cells()) if not keys or cell.key in keys]
    return find_problems(study, Path("nowhere"), from_dict, cells)


def test_wrong_settings_and_missing_data_are_no_budget_problems(data: dict[str, Any]) -> None:
    data["domains"]["images"] |= {"equal": {"steps": 0.0, "macs": 0.0}, "set": {"data": "nowhere"}}
    assert refused(data) == ["domain images: data nowhere: no such folder"]
    del data["domains"]["images"]["equal"]
    assert refused(data) == ["domain images: data nowhere: no such folder"], "without a budget, too"
    data["domains"]["images"] |= {"equal": {"macs": 0.0}, "set": {}}
    data["arms"]["second"]["set"] = {"model.widht": 10}
    data["arms"]["third"]["set"] = {"model.depth": 3}
    misspelt, broken = refused(data)
    assert misspelt.startswith("images/second: ")
    assert "model.widht; the nearest is model.width" in misspelt
    assert misspelt.endswith("(set in arms.second.set)")
    assert "arm third takes 300" in broken
    assert "cannot be checked" not in misspelt + broken
    assert refused(data, "images/third/seed-1") == [broken], "what is not to be run need not fit"


def test_the_head_of_the_study_file_is_shown_where_data_is_missing(data: dict[str, Any], tmp_path: Path) -> None:
    """Line by line, so that a command in it can be copied; not where something else is wrong."""
    head = f"# A study.\n# Data: made by\n#   python make.py {'--option value ' * 10}\\\n#     --last"
    for setting, shown in (({"data": "elsewhere"}, True), ({"schedule.stps": 1}, False), ({"run.foldr": 1}, False)):
        data["domains"]["images"]["set"] = setting
        study = replace(study_of(data), text=f"{head}\nname: priced\n# no more of it\n")
        plan = describe(study, tmp_path, from_dict)
        (problem,) = plan.problems
        end = f"\nThe study file says at its top:\n{head}"
        assert plan.text.endswith(end) == shown
        with pytest.raises(ValueError, match="cannot be run as it is") as refused:
            run_study(study, tmp_path / "new", from_dict, executor="inline")
        assert str(refused.value).endswith(problem + end if shown else problem)


def test_where_something_is_wrong_is_said_shortly(data: dict[str, Any]) -> None:
    data["arms"] |= {name: {"kind": "mixer", "set": {"model.width": 10}} for name in ("fourth", "fifth")}
    data["arms"]["third"]["set"] = {"model.widht": 10}
    data["domains"]["images"]["config"] = [{"model": {"width": 10}}]  # an option of the model is looked at first
    data["domains"]["others"] = copy.deepcopy(data["domains"]["images"])
    data["domains"]["images"]["set"] = {"schedule.step": 3}
    misspelt, own = refused(data)
    assert misspelt.startswith("4 of 5 arms of domain images (first: first): ")
    assert misspelt.endswith("(set in domains.images.set)")
    assert own.startswith("images/third and others/third: ")
    assert own.endswith("(set in arms.third.set)")
    for domain in data["domains"].values():
        domain["set"] = {"data": "nowhere"}
    data["arms"]["third"]["set"] = {}
    assert refused(data) == ["all domains: data nowhere: no such folder"]


def test_the_section_that_counts_is_named(data: dict[str, Any]) -> None:
    """Of those that set the key the one that is applied last; what is only mentioned, or set nowhere, is no section."""
    images = data["domains"]["images"]
    images |= {"config": [{"model": {"depth": 1}, "data": "here"}], "set": {"model.depth": 2}}
    for arm, section in (
        ({}, "domains.images.set"),
        ({"set": {"model.depth": "deep"}}, "arms.second.set"),
        ({"set": {"model.depth": 2}, "set_in": {"images": {"model.depth": "deep"}}}, "arms.second.set_in.images"),
    ):
        data["arms"]["second"] = {"kind": "mixer", "set": {"lr": 0.1}, **arm}
        images["set"]["model.depth"] = 2 if arm else "deep"
        (problem,) = refused(data, "images/second/seed-0")
        assert "model.depth" in problem
        assert problem.endswith(f"(set in {section})"), problem
    data["arms"]["second"]["set_in"] = {}
    images["tune"] = {**TUNE, "key": "model.depth", "values": [2, "deep"]}
    (problem,) = refused(data)
    assert problem.startswith("images/first: "), "the baseline stands for all"
    assert problem.endswith("(set in domains.images.tune.values)")
    images["tune"] = {**TUNE, "set": {"model.depth": "deep"}}
    (problem,) = refused(data)
    assert problem.endswith("(set in domains.images.tune.set)")
    images |= {"tune": None, "set": {"data": "nowhere"}}
    assert refused(data) == ["domain images: data nowhere: no such folder"]


def test_what_the_experiment_cannot_tell_is_no_reason_to_refuse(data: dict[str, Any]) -> None:
    data["domains"]["images"] |= {"experiment": TOY, "config": [{"seconds": 0.0}]}
    for arm in data["arms"].values():
        arm["set"] = {}
    assert refused(data) == []


def test_what_a_run_would_fail_of_is_refused(data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "no_python.py").write_text("def mixer(:\n")
    (tmp_path / "no_module.py").write_text("import there_is_no_such_module\n")
    data["domains"]["images"] |= {
        "experiment": "tasks.images.classification",
        "config": [str(ROOT / "scripts/recipes/digits_study.yaml")],
    }
    data["arms"]["first"]["set"] = {"model.token_mixer": {"name": "pooling", "pool_sise": 5}}
    data["arms"]["second"]["set"] = {"plugins": [str(tmp_path / "no_python.py")]}
    data["arms"]["third"]["set"] = {"plugins": [str(tmp_path / "no_module.py")]}
    misspelt, no_python, no_module = refused(data)
    assert misspelt.startswith("images/first: token mixer 'pooling' has no option 'pool_sise'")
    assert "pool_sise" in misspelt
    assert no_python.startswith("images/second: SyntaxError: ")
    assert "no_python.py, line 1" in no_python
    assert no_module.startswith("images/third: ModuleNotFoundError: ")
    assert "there_is_no_such_module" in no_module


def test_an_arm_that_breaks_a_budget_is_named_once_and_not_for_its_trials(data: dict[str, Any]) -> None:
    data["domains"]["images"] |= {"equal": {"macs": 0.0}, "tune": TUNE}
    data["arms"]["third"]["set"] = {"model.depth": 3}
    (problem,) = problems(data)
    assert "arm third takes 300" in problem
    assert "trial" not in problem


def test_time_is_held_equal_by_minutes_alone(data: dict[str, Any]) -> None:
    data["domains"]["images"]["equal"] = {"seconds": 0.02}
    (problem,) = problems(data)
    assert "schedule.minutes alone, which is not set" in problem
    data["domains"]["images"]["set"] = {"schedule.minutes": 2.0, "schedule.steps": None}
    assert problems(data) == []
    data["arms"]["second"]["set"] = {"schedule.minutes": 3.0}
    (problem,) = problems(data)
    assert "arm second takes 180, 50 % more than the 120" in problem
    data["domains"]["images"]["equal"] = {"steps": 0.0}
    (problem,) = problems(data)
    assert "schedule.minutes limits the run" in problem


def test_a_tuned_setting_may_not_change_a_budget(data: dict[str, Any]) -> None:
    data["domains"]["images"] |= {"equal": {"macs": 0.0, "steps": 0.0}, "tune": TUNE}
    assert problems(data) == []
    costs = cell_costs(study_of(data), from_dict, Path("nowhere"))
    assert costs["images", "second", 0].steps == 10
    assert costs["images", "second", None].steps == 100
    data["domains"]["images"]["tune"] = {**TUNE, "key": "model.depth", "values": [2, 3]}
    (problem,) = problems(data)
    assert "arm first takes 300, 50 % more than the 200" in problem
    assert "trial of model.depth=3" in problem


def test_what_is_chosen_is_counted(data: dict[str, Any]) -> None:
    data["domains"]["images"]["tune"] = {**TUNE, "key": "model.depth", "values": [2, 3]}
    costs = cell_costs(study_of(data), from_dict, Path("nowhere"), {("images", "second"): 3})
    assert (costs["images", "first", None].macs, costs["images", "second", None].macs) == (200, 300)


def test_a_domain_after_another_is_counted_with_the_model_it_starts_from(data: dict[str, Any]) -> None:
    after = {**data["domains"]["images"], "after": "images", "equal": {"parameters": 0.1}}
    after["config"] = [{"model": {"checkpoint": "{after}/model"}, "schedule": {"steps": 7}}]
    data["domains"]["images"]["tune"] = TUNE
    data["domains"]["later"] = after
    assert problems(data) == []
    data["arms"]["second"]["set"] = {"model.width": 20}
    costs = cell_costs(study_of(data), from_dict, Path("nowhere"))
    assert (costs["later", "second", None].macs, costs["later", "second", None].steps) == (800, 7)
    (problem,) = problems(data)
    assert "domains.later.equal.parameters: arm second takes 820" in problem


@pytest.mark.slow
def test_the_runner_refuses_before_anything_starts(data: dict[str, Any], tmp_path: Path) -> None:
    data["domains"]["images"]["equal"] = {"macs": 0.0}
    data["arms"]["third"]["set"] = {"model.depth": 3}
    with pytest.raises(ValueError, match=r"equal\.macs: arm third takes 300, 50 % more than the 200"):
        run_study(study_of(data), tmp_path, from_dict)
    assert not list(tmp_path.iterdir())


def row(arm: str, **values: Any) -> dict[str, Any]:
    return {"arm": arm, "steps": 100, "total": 1000, "train_seconds": None, **values}


def test_what_the_runs_took_is_looked_at_again() -> None:
    rows = [row("first"), row("first", total=1200), row("second", total=1155), row("third", steps=101)]
    steps, parameters = kept_budgets({"steps": 0.0, "parameters": 0.1}, "first", rows)
    assert (steps["budget"], steps["kept"], steps["unknown"]) == ("steps", False, [])
    assert steps["broken"] == [{"arm": "third", "value": 101, "baseline": 100, "difference": pytest.approx(0.01)}]
    assert parameters["kept"], "an arm's value is the mean over its cells: 1155 beside 1100"
    assert not kept_budgets({"parameters": 0.04}, "first", rows)[0]["kept"]


def test_what_is_not_known_is_neither_kept_nor_broken() -> None:
    rows = [row("first", train_seconds=60.0), row("second", train_seconds=61.0), row("third")]
    (entry,) = kept_budgets({"seconds": 0.05}, "first", rows)
    assert (entry["kept"], entry["unknown"], entry["broken"]) == (None, ["third"], [])
    (entry,) = kept_budgets({"seconds": 0.01}, "first", rows)
    assert (entry["kept"], entry["unknown"]) == (False, ["third"])
    (entry,) = kept_budgets({"seconds": 0.01}, "third", rows)
    assert entry["kept"] is None, "without the baseline's value nothing can be said"
