"""Settings that are tried on training rows: which one is chosen, and on which rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.engine import NonFiniteLossError
from tasks.glue.files import Example
from tasks.glue.finetuning import run
from tasks.glue.sweep import SweepConfig, choose
from tasks.glue.task import split_rows
from tests.tasks.glue.glue_runs import options, read


def test_a_sweep_chooses_on_training_rows_and_trains_on_all_of_them(
    tmp_path: Path, glue_root: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"sweep.lr": [1e-3, 1e-2], "sweep.batch_size": [4, 8], "sweep.share": 0.25, "seeds": [0, 1]}
    run(options(tmp_path, glue_root, words, **values))
    said = capsys.readouterr().out
    assert "sweep of RTE: 4 trials (2 steps, 2 steps, 2 steps, 2 steps)" in said
    assert "then 2 runs on all of them" in said
    sweep = read(tmp_path / "sweep" / "RTE" / "sweep.json")
    assert sweep["rows"]["train"]["rows"] + sweep["rows"]["held_out"]["rows"] == 40
    assert [trial["setting"] for trial in sweep["trials"]] == [
        {"optim.lr": lr, "run.batch_size": size} for lr in (1e-3, 1e-2) for size in (4, 8)
    ]
    ranked = sorted(sweep["trials"], key=lambda trial: (-trial["score"], trial["metrics"]["held_out/loss"]))
    assert sweep["chosen"] == ranked[0]["setting"]
    assert all(key.startswith("held_out/") for trial in sweep["trials"] for key in trial["metrics"])
    for seed in (0, 1):
        config = read(tmp_path / f"seed-{seed}" / "RTE" / "config.json")
        assert {"optim.lr": config["optim"]["lr"], "run.batch_size": config["run"]["batch_size"]} == sweep["chosen"]
        assert read(tmp_path / f"seed-{seed}" / "result.json")["tasks"]["RTE"]["data"]["train"]["rows"] == 40
    # Trials that have ended are not run again, also where values are added.
    trial = tmp_path / "sweep" / "RTE" / "share-0.25_lr-0.001_batch_size-4"
    before = (trial / "metrics.jsonl").stat().st_mtime_ns
    assert not list(trial.glob("model*"))
    fewer = {**values, "sweep.batch_size": [4]}
    run(options(tmp_path, glue_root, words, **{**fewer, "sweep.lr": [1e-3, 2e-3], "seeds": [7]}))
    assert (trial / "metrics.jsonl").stat().st_mtime_ns == before
    # With another share they are other trials.
    run(options(tmp_path, glue_root, words, **{**fewer, "sweep.lr": [1e-3], "sweep.share": 0.5, "seeds": [8]}))
    (other,) = read(tmp_path / "sweep" / "RTE" / "sweep.json")["trials"]
    assert other["metrics"] == read(trial.with_name("share-0.5_lr-0.001_batch_size-4") / "result.json")["metrics"]
    assert other["metrics"] != read(trial / "result.json")["metrics"]


def test_a_diverged_trial_has_no_score(tmp_path: Path) -> None:
    def train(setting: dict[str, float], folder: Path) -> dict[str, Any]:
        (folder / "model").mkdir(parents=True)
        (folder / "model-best").mkdir()
        if setting["optim.lr"] > 1:
            raise NonFiniteLossError("the loss is not finite", {})
        return {"metrics": {"held_out/score": 0.5, "held_out/loss": abs(setting["optim.lr"] - 0.3)}}

    settings = SweepConfig(lr=[5.0, 0.1, 0.3]).settings()
    assert choose(settings, 0.1, tmp_path, {"task": "x"}, train) == {"optim.lr": 0.3}, "of equal scores the lower loss"
    assert [trial["score"] for trial in read(tmp_path / "sweep.json")["trials"]] == [None, 0.5, 0.5]
    assert not list(tmp_path.glob("*/model*"))
    with pytest.raises(ValueError, match="all diverged"):
        choose(SweepConfig(lr=[7.0]).settings(), 0.1, tmp_path, {}, train)


def test_what_is_held_out_depends_on_the_rows_number_alone() -> None:
    rows = [Example((str(number),), number) for number in range(2000)]
    rest, held = split_rows(rows, 0.1, 2)
    assert {*rest, *held} == set(rows)
    assert 150 < len(held) < 250
    assert all(held[i + 1].label == (held[i].label or 0) + 1 for i in range(0, len(held), 2))  # twins stay together
    _, fewer = split_rows(rows[:1000], 0.1, 2)
    assert fewer == held[: len(fewer)]
    with pytest.raises(ValueError, match="nothing on one side"):
        split_rows(rows[:2], 0.1, 1)


def test_a_share_of_the_training_rows_can_be_measured_on(tmp_path: Path, glue_root: str, words: str) -> None:
    """For choosing settings: the dev set plays no role, and the average is called by what it was measured on.

    Which rows are held out depends on their numbers alone, so that a quarter is about a quarter.
    """
    result = run(options(tmp_path, glue_root, words, **{"data.held_out": 0.25}))
    assert result["tasks"]["RTE"]["data"]["train"]["rows"] == 32
    assert result["tasks"]["RTE"]["data"]["held_out"]["rows"] == 8
    metrics = result["metrics"]
    assert metrics["held_out/average"] == metrics["held_out/RTE/accuracy"]
    assert not any(key.startswith("validation") for key in metrics)
    assert 0 < metrics["constant/average"] < 1
