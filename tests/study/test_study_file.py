"""Study files: what they expand to, and what a wrong one is told."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.plan import Study
from metaformer_nlp.study.study_file import load_study, read_yaml, study_from_mapping, study_to_mapping

Make = Callable[[dict[str, Any]], Study]


def test_cells_are_the_whole_grid_seed_by_seed(study_data: dict[str, Any], make_study: Make) -> None:
    cells = make_study(study_data).cells()
    assert len({cell.key for cell in cells}) == len(cells) == 2 * 4 * 2
    assert [cell.seed for cell in cells] == [0] * 8 + [1] * 8, "an interrupted study must be balanced over arms"
    assert [cell.key for cell in cells[:3]] == [
        "vision/attention/seed-0",
        "text/attention/seed-0",
        "vision/pooling/seed-0",
    ]


def test_an_arm_may_be_limited_to_a_domain(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["arms"]["identity"]["domains"] = ["text"]
    cells = make_study(study_data).cells()
    assert {cell.domain for cell in cells if cell.arm == "identity"} == {"text"}


def test_settings_override_one_another_in_order(
    study_data: dict[str, Any], write_study: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text("model: {token_mixer: {name: pooling, pool_size: 5}, norm: a}\noptim.lr: 1e-3\n")
    (tmp_path / "b.yaml").write_text("model: {norm: b}\n")
    domain = study_data["domains"]["vision"]
    domain |= {"config": ["a.yaml", "b.yaml"], "set": {"model.norm": "c", "optim.wd": 0.1}}
    study_data["arms"]["pooling"]["set_in"] = {"vision": {"model.norm": "d"}}
    study = load_study(write_study(study_data))
    configs = {cell.arm: cell.config for cell in study.cells() if cell.domain == "vision" and cell.seed == 1}
    assert configs["attention"] == {
        "model": {"token_mixer": "attention", "norm": "c"},
        "optim": {"lr": 0.001, "wd": 0.1},
        "run": {"seed": 1},
    }
    assert configs["pooling"]["model"]["norm"] == "d"
    assert study.domain("vision").config["model"]["norm"] == "b", "the recipe itself stays as it was"


def test_a_study_survives_being_written_out(study_data: dict[str, Any], make_study: Make) -> None:
    study = make_study(study_data)
    again = study_from_mapping(study_to_mapping(study), "again")
    assert [cell.digest for cell in again.cells()] == [cell.digest for cell in study.cells()]
    assert again.domain("text").tasks == study.domain("text").tasks


def test_the_digest_follows_what_decides_the_outcome(study_data: dict[str, Any], make_study: Make) -> None:
    first = make_study(copy.deepcopy(study_data)).cells()[0]
    study_data["domains"]["vision"]["set"] = {"run.num_workers": 3}
    assert make_study(copy.deepcopy(study_data)).cells()[0].digest == first.digest, "how many workers read is no matter"
    study_data["domains"]["vision"]["set"] = {"seconds": 0.5}
    assert make_study(study_data).cells()[0].digest != first.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(basline="x"), "unknown key 'basline'; did you mean 'baseline'?"),
        (lambda s: s.pop("question"), "'question' is missing"),
        (lambda s: s.update(baseline="no_residual"), "'no_residual' is no mixer arm; choose one of attention, pooling"),
        (lambda s: s.update(seeds=[0, 0]), "repeat a seed"),
        (lambda s: s.update(seeds=3), "seeds must be a list"),
        (lambda s: s.update(parallel=0), "parallel must be a whole number"),
        (lambda s: s.update(arms={}), "arms must be a mapping with at least one entry"),
        (lambda s: s["arms"]["pooling"].update(kind="mixr"), "arms.pooling.kind is 'mixr'; it must be one of mixer"),
        (lambda s: s["arms"]["no_residual"].pop("of"), "arms.no_residual.of must name the arm"),
        (lambda s: s["arms"]["no_residual"].update(of="no_residual"), "arms.no_residual.of must name the arm"),
        (lambda s: s["arms"]["pooling"].update(of="attention"), "arms.pooling.of is for architecture arms"),
        (lambda s: s["arms"]["pooling"].update(domains=["txt"]), "names domain 'txt'; known: vision, text"),
        (lambda s: s["arms"]["pooling"]["set"].update({"run.seed": 1}), "'run.seed' belongs to the runner"),
        (lambda s: s["arms"].update({"a/b": s["arms"]["pooling"]}), "'a/b' must be a name of letters"),
        (
            lambda s: s["domains"]["text"].update(metrics="x"),
            "domains.text: unknown key 'metrics'; did you mean 'metric'?",
        ),
        (lambda s: s["domains"]["text"].update(config="nowhere.yaml"), "there is no file nowhere.yaml"),
        (lambda s: s["domains"]["text"].update(chance=[1]), "chance must be a number or the key of a metric"),
    ],
)
def test_a_wrong_study_is_told_what_where_and_how(
    study_data: dict[str, Any], make_study: Make, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    change(study_data)
    with pytest.raises(ValueError, match=re.escape(message)):
        make_study(study_data)


def test_an_override_below_a_value_is_refused(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["arms"]["pooling"]["set"]["seconds.more"] = 1
    with pytest.raises(ValueError, match=r"'seconds' is 0\.0 and not a mapping"):
        make_study(study_data).cells()


def test_yaml_with_a_repeated_key_is_refused() -> None:
    with pytest.raises(ValueError, match=r"file\.yaml: line 2: the key 'a' is there twice"):
        read_yaml("a: 1\na: 2\n", "file.yaml")
    assert read_yaml("a: 1e-3\nb: 2.5\nc: e5\n", "x") == {"a": 0.001, "b": 2.5, "c": "e5"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no study file .*nothing\.yaml"):
        load_study(tmp_path / "nothing.yaml")
