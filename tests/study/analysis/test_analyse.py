"""From rows to numbers: studies whose truth is known, and analyses made again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaformer_nlp.study.analysis.analyse import analyse, analyse_folders
from metaformer_nlp.study.protocol.file import study_to_mapping
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.write import to_json
from metaformer_nlp.study.runner.cell import cell_folder, write_json, write_outcome
from tests.study.simulated import MIXERS, PARTS, Truth, planted_rows, small_study_data, without_result

Make = Callable[[dict[str, Any]], Study]
TRUTH: Truth = {"attention": 0.9, "pooling": 0.85, "identity": 0.7, "no_residual": 0.3}
SAME: Truth = dict.fromkeys((*MIXERS, *PARTS, "batch_norm"), 0.8)


def test_false_alarms_are_as_rare_as_they_are_said_to_be(make_study: Make) -> None:
    study = make_study(small_study_data(3, references=["pooling"]))
    alarms, equal = dict.fromkeys(("attention", "pooling", "identity"), 0), 0
    for draw in range(100):
        domain = analyse(study, planted_rows(study, SAME, 0.004, draw)).domains["vision"]
        for reference in alarms:
            shown = {arm.against[reference].word for arm in domain.arms.values() if reference in arm.against}
            alarms[reference] += bool(shown & {"above", "below"})
            equal += "equal" in shown
    for name, count in alarms.items():
        assert count / 100 <= 0.05 + 3.3 * (0.05 * 0.95 / 100) ** 0.5, name
    assert equal > 0, "with a margin it can also be shown that there is no difference"


def test_a_planted_difference_lies_within_its_interval(make_study: Make) -> None:
    study = make_study(small_study_data(4))
    truth = {**SAME, "pooling": 0.76, "identity": 0.7, "no_residual": 0.4}
    inside, found, costs = [], 0, []
    for draw in range(80):
        domain = analyse(study, planted_rows(study, truth, 0.004, draw)).domains["vision"]
        pooling = domain.arms["pooling"]
        its = pooling.against["attention"]
        inside.append((its.estimate.low or 0) <= -0.04 <= (its.estimate.high or 0))
        found += its.word == "below"
        removal = next(item for item in domain.removals if item.arm == "no_residual")
        costs.append((removal.cost.low or 0) <= 0.36 <= (removal.cost.high or 0))
        assert pooling.share
        assert pooling.share.interval
        inside.append(pooling.share.interval[0] <= 0.6 <= pooling.share.interval[1])
    assert np.mean(inside) == pytest.approx(0.95, abs=0.04)
    assert np.mean(costs) == pytest.approx(0.95, abs=0.05)
    assert found > 72


def test_what_is_compared_with_what(make_study: Make) -> None:
    """All arms with the baseline, the references and the claim's arm; mixers with the control; a swap with its arm."""
    data = small_study_data(4, ("vision", "text"), references=["conv"])
    data["arms"]["fourier"]["domains"] = ["text"]
    study = make_study(data)
    analysis = analyse(study, planted_rows(study, {**SAME, "pooling": 0.75, "no_norm": 0.4}))
    vision, text = analysis.domains["vision"], analysis.domains["text"]
    assert set(text.arms["fourier"].against) == {"attention", "conv", "pooling", "identity"}
    assert set(text.arms["no_norm"].against) == {"attention", "conv", "pooling"}
    assert set(vision.arms["attention"].against) == {"conv", "pooling", "identity"}
    assert "fourier" not in vision.arms
    assert (
        vision.arms["conv"].against["attention"].comparisons,
        text.arms["conv"].against["attention"].comparisons,
    ) == (*(6, 7),)
    assert text.arms["fourier"].against["pooling"].estimate.value == pytest.approx(0.05, abs=0.02)
    assert [(item.arm, item.of) for item in vision.removals] == [
        ("identity", "pooling"),
        ("no_residual", "pooling"),
        ("no_norm", "pooling"),
    ]
    assert [(item.arm, item.of, item.mixer) for item in vision.swaps] == [
        ("pooling", "attention", True),
        ("conv", "attention", True),
        ("batch_norm", "pooling", False),
    ]
    part = next(item for item in vision.removals if item.arm == "no_norm")
    pair = vision.arms["no_norm"].against["pooling"]
    assert part.word == pair.word == "below", "a difference is judged once"
    assert part.cost.value == pytest.approx(-(pair.estimate.value or 0))
    assert analysis.centre == "pooling"


def test_a_part_that_falls_to_chance_costs_at_least_that(make_study: Make) -> None:
    study = make_study(small_study_data(4))
    domain = analyse(study, planted_rows(study, {**SAME, "no_norm": 0.1})).domains["vision"]
    assert [item.to_chance for item in domain.removals] == [False, False, True]


def test_missing_runs_are_counted_and_the_rest_is_compared(make_study: Make) -> None:
    study = make_study(small_study_data(3))
    rows = without_result(planted_rows(study, SAME, seed=1), "pooling", [1, 2], "missing")
    rows = without_result(rows, "attention", [0])
    pooling = analyse(study, rows).domains["vision"].arms["pooling"]
    assert (pooling.score.n, pooling.planned, pooling.absent) == (1, 3, (1, 2))
    assert pooling.against["attention"].estimate.note == "a single run: no interval"
    assert pooling.retention.n == 0, "no seed in common"


def test_task_by_task_and_over_the_tasks(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["seeds"] = [0, 1, 2]
    study_data["domains"]["text"]["tasks"] = {name: f"validation/{name}" for name in "abcd"}
    study = make_study(study_data)
    rows = planted_rows(study, TRUTH)
    for row in rows:
        for place, task in enumerate(row["tasks"].values()):
            task["score"] += 0.1 * place * (row["arm"] == "pooling")  # from 5 points below to 25 above
    domains = analyse(study, rows).domains
    pooling = domains["text"].arms["pooling"]
    assert pooling.over_tasks
    assert (pooling.over_tasks.n, pooling.over_tasks.value) == (3, pytest.approx(0.1, abs=0.02))
    assert pooling.over_tasks.low is not None
    assert pooling.over_tasks.low < 0 < (pooling.over_tasks.high or 0), "other tasks might have it the other way round"
    assert pooling.tasks["d"].value == pytest.approx(1.15, abs=0.02)
    assert domains["text"].task_chance == pytest.approx(dict.fromkeys("abcd", 0.2))
    assert domains["vision"].arms["pooling"].over_tasks is None


def test_other_test_items_widen_an_interval(make_study: Make) -> None:
    study = make_study(small_study_data(4))
    rng, rows = np.random.default_rng(0), planted_rows(study, SAME, 0.002)
    easy = rng.normal(1.5, 1.0, 400)
    for row in rows:
        correct = easy + rng.logistic(size=400) > 0.4 * (row["arm"] == "pooling")
        bits = base64.b64encode(np.packbits(correct).tobytes()).decode()
        row |= {"items": {"bits": bits, "count": 400}, "score": float(correct.mean())}
    arms = analyse(study, rows).domains["vision"].arms
    over, alone = arms["pooling"].over_items, arms["pooling"].against["attention"].estimate
    assert over
    assert over.value == pytest.approx(alone.value)
    assert over.low is not None
    assert over.low <= np.mean(1 / (1 + np.exp(0.4 - easy)) - 1 / (1 + np.exp(-easy))) <= (over.high or 0)
    assert arms["attention"].over_items is None
    rows[0]["items"] = None
    assert all(arm.over_items is None for arm in analyse(study, rows).domains["vision"].arms.values())


def test_curves_and_tuned_values_are_read_from_the_cells(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    tune = {"key": "seconds", "values": [0.0, 0.5], "metric": "validation/accuracy"}
    study_data["domains"] = {"vision": {**study_data["domains"]["vision"], "tune": tune}}
    study = make_study(study_data)
    for trial in study.trials()[:2]:  # attention's
        write_outcome(tmp_path, trial, None, result={"metrics": {"validation/accuracy": 0.1 + (trial.trial or 0)}})
    write_json(tmp_path / "study.json", {"study": study_to_mapping(study), "text": study.text})
    for cell in study.cells({("vision", "attention"): 0.5})[::4]:  # attention's
        train = {"steps": 20, "tokens": 640}
        write_outcome(tmp_path, cell, None, result={"metrics": {"validation/accuracy": 0.5}, "train": train})
        lines: list[dict[str, float]] = [{"step": 5, "loss": 1.0}]
        lines += [{"step": step, "validation/accuracy": 0.01 * step + 0.1 * cell.seed} for step in (10, 20)]
        lines += [{"step": 15, "validation/accuracy": 0.3}] if cell.seed else []
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (cell_folder(tmp_path, cell) / "metrics.jsonl").write_text(text)
    analysis = analyse_folders([tmp_path])
    first, last = analysis.cells[0], analysis.cells[-1]
    assert (first["tuned"], last["tuned"]) == ({"seconds": 0.5}, {})
    assert (first["curve"], first["tokens"], last["curve"]) == ([[10, 0.1], [20, 0.2]], 640, [])
    arm = analysis.domains["vision"].arms["attention"]
    assert arm.tuned == {"0": {"seconds": 0.5}, "1": {"seconds": 0.5}}
    assert arm.tokens == 640
    assert [point[:2] for point in arm.curve] == [[10, pytest.approx(0.15)], [20, pytest.approx(0.25)]], "common steps"
    _, mean, low, high, n = arm.curve[0]
    assert n == 2
    assert (low or 1) < (mean or 0) < (high or 0)


def test_an_analysis_is_made_again_from_its_inputs(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    study = make_study(study_data)
    analysis = analyse(study, planted_rows(study, TRUTH), text=study.text, sessions=['{"seconds": 1}'])
    stored = json.loads(to_json(analysis, "x"))
    write_json(tmp_path / "report.json", {**stored, "domains": {}, "answers": "nonsense"})
    assert to_json(analyse_folders([tmp_path]), "x") == to_json(analysis, "x")
    with pytest.raises(ValueError, match=r"neither a study\.json"):
        analyse_folders([tmp_path / "nothing"])
    write_json(tmp_path / "report.json", {"study": stored["study"]})
    with pytest.raises(ValueError, match=r"damaged \(it lacks cells, text, sessions\)"):
        analyse_folders([tmp_path])
