"""What a study is: its cells, their settings and their digests."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.protocol.file import load_study, study_from_mapping, study_to_mapping
from metaformer_nlp.study.protocol.study import (
    Study,
)

Make = Callable[[dict[str, Any]], Study]

PINNED = {
    "vision/pooling/trial-1": "0bd842c2e1a22e3c",
    "vision/pooling/seed-1": "208ccd6fec086493",
    "vision/no_residual/seed-0": "9f1a4841d5f1c5a9",
    "text/pooling/seed-1": "cad0dd8859213558",
}


def tune(data: dict[str, Any], **changes: Any) -> None:
    whole = {"key": "seconds", "values": [0.1, 0.2], "metric": "held_out/accuracy", "set": {"trouble_seed": 2}}
    data["domains"]["vision"]["tune"] = {**whole, **changes}


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


def test_digests_stay_what_they_are(study_data: dict[str, Any]) -> None:
    """Run folders are read by them: if one changes, nobody's finished cells are found any more."""
    tune(study_data)
    study_data["domains"]["text"] |= {"after": "vision", "set": {"trouble": "{after}/model"}}
    study = study_from_mapping(study_data, "file")
    digests = {cell.key: cell.digest[:16] for cell in (*study.trials(), *study.cells({("vision", "pooling"): 0.2}))}
    assert {key: digests[key] for key in PINNED} == PINNED


def test_more_trials_of_each_value_leave_the_first_as_they_were(study_data: dict[str, Any]) -> None:
    tune(study_data)
    one = {cell.key: cell.digest for cell in study_from_mapping(copy.deepcopy(study_data), "file").trials()}
    tune(study_data, trials=2, tie=0.003)
    study = study_from_mapping(copy.deepcopy(study_data), "file")
    two = {cell.key: cell.digest for cell in study.trials()}
    assert [key for key in two if "pooling" in key] == [
        f"vision/pooling/trial-{name}" for name in ("0", "1", "0-seed-1", "1-seed-1")
    ]
    assert one.items() < two.items()
    assert len(set(two.values())) == len(two), "the repeats are runs of their own"
    assert study.cells()[0].waits_for == tuple(key for key in two if "attention" in key)
    again = study_from_mapping(study_to_mapping(study), "again").domain("vision").tune
    assert again == study.domain("vision").tune
    tune(study_data, trials=2, values=[0.1, 0.2, 0.3])
    three = {cell.key: cell.digest for cell in study_from_mapping(study_data, "file").trials()}
    assert two.items() < three.items(), "nor do more values"


def test_the_digest_follows_what_decides_the_outcome(study_data: dict[str, Any], make_study: Make) -> None:
    first = make_study(copy.deepcopy(study_data)).cells()[0]
    study_data["domains"]["vision"]["set"] = {"run.num_workers": 3}
    assert make_study(copy.deepcopy(study_data)).cells()[0].digest == first.digest, "how many workers read is no matter"
    study_data["domains"]["vision"]["set"] = {"seconds": 0.5}
    assert make_study(study_data).cells()[0].digest != first.digest


def test_an_override_below_a_value_is_refused(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["arms"]["pooling"]["set"]["seconds.more"] = 1
    with pytest.raises(ValueError, match=r"'seconds' is 0\.0 and not a mapping"):
        make_study(study_data).cells()
