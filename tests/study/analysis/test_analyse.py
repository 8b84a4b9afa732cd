"""From rows to numbers: studies whose truth is known, and reports made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaformer_nlp.study.analysis.analyse import analyse, analyse_folders
from metaformer_nlp.study.protocol.file import study_to_mapping
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.runner.cell import cell_folder, write_json, write_outcome
from tests.study.simulated import Truth, planted_rows

Make = Callable[[dict[str, Any]], Study]
TRUTH: Truth = {"attention": 0.9, "pooling": 0.85, "identity": 0.7, "no_residual": 0.3}


def arm_of(domain: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next(arm for arm in domain["arms"] if arm["arm"] == name)


def many_arms(data: dict[str, Any], seeds: int) -> dict[str, Any]:
    """A study of one domain: eight mixers, two parts of the architecture."""
    arms = {name: {"kind": "mixer", "set": {}} for name in ("attention", "pooling", *"abcdef")}
    parts = {name: {"kind": "architecture", "of": "pooling", "set": {}} for name in ("no_residual", "no_norm")}
    domains = {"vision": {**data["domains"]["vision"], "margin": 0.02}}
    rest = {"seeds": list(range(seeds)), "references": ["pooling"]}
    return {**data, "domains": domains, "arms": {**arms, **parts}, **rest}


def test_a_study_in_which_nothing_differs_says_so(study_data: dict[str, Any], make_study: Make) -> None:
    study = make_study(many_arms(study_data, 3))
    truth = {arm.name: 0.8 for arm in study.arms}
    alarms, shown = {"attention": 0, "pooling": 0, "costs": 0, "contrast": 0}, 0
    for seed in range(200):
        domain = analyse(study, planted_rows(study, truth, 0.004, seed))["domains"]["vision"]
        for reference in ("attention", "pooling"):
            labels = [arm["against"][reference]["label"] for arm in domain["arms"] if arm["arm"] != reference]
            alarms[reference] += any(label.startswith("different") for label in labels)
            shown += labels.count("equivalent")
        alarms["costs"] += any(cost["sign"] for cost in domain["effects"]["costs"])
        contrast = domain["effects"]["contrast"]
        alarms["contrast"] += not contrast["low"] <= 0 <= contrast["high"]
    for name, count in alarms.items():
        assert count / 200 <= 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5, name
    assert shown > 0, "with a margin it can also be shown that there is none"


def test_the_same_model_in_all_arms_is_equivalent(study_data: dict[str, Any], make_study: Make) -> None:
    study = make_study(many_arms(study_data, 3))
    made = planted_rows(study, {arm.name: 0.8 for arm in study.arms})
    of_seed = {row["seed"]: row["score"] for row in made if row["arm"] == "attention"}
    analysis = analyse(study, [{**row, "score": of_seed[row["seed"]]} for row in made])
    domain = analysis["domains"]["vision"]
    assert {arm["against"]["pooling"]["label"] for arm in domain["arms"] if arm["arm"] != "pooling"} == {"equivalent"}
    assert {finding["holds"] for finding in analysis["across"]["findings"]} == {"none"}
    assert domain["variance"]["seed"]["share"] == 1.0


def test_a_planted_difference_lies_within_its_interval(study_data: dict[str, Any], make_study: Make) -> None:
    study = make_study(many_arms(study_data, 4))
    truth = {**{arm.name: 0.8 for arm in study.arms}, "pooling": 0.76, "no_residual": 0.4}
    inside, found, effects = [], 0, []
    for seed in range(150):
        domain = analyse(study, planted_rows(study, truth, 0.004, seed))["domains"]["vision"]
        test = arm_of(domain, "pooling")["against"]["attention"]
        inside.append(test["low"] <= -0.04 <= test["high"])
        found += test["label"] == "different" and test["sign"] == -1
        contrast = domain["effects"]["contrast"]
        effects.append(contrast["low"] <= (0.36 - 0.04) / 2 - 0.04 / 7 <= contrast["high"])
    assert np.mean(inside) == pytest.approx(0.95, abs=0.04)
    assert np.mean(effects) == pytest.approx(0.95, abs=0.04)
    assert found > 75


def test_a_baseline_below_the_other_mixers_does_not_make_parts_dear(
    study_data: dict[str, Any], make_study: Make
) -> None:
    study = make_study(many_arms(study_data, 4))
    truth = {**{arm.name: 0.8 for arm in study.arms}, "no_residual": 0.75, "no_norm": 0.75}
    good = analyse(study, planted_rows(study, truth))["domains"]["vision"]["effects"]
    assert good["side"] == 1
    assert good["same_arm"]["low"] <= 0.05 <= good["same_arm"]["high"]
    poor = analyse(study, planted_rows(study, {**truth, **dict.fromkeys(("attention", *"abc"), 0.5)}))
    poor = poor["domains"]["vision"]["effects"]
    assert poor["contrast"]["low"] > 0, "swapping attention gains, so that whatever costs anything costs more"
    assert poor["same_arm"]["high"] < 0, "pooling loses more by most other mixers than by a missing part"
    assert poor["side"] == 0
    away = {**truth, **dict.fromkeys("abcdef", 0.5)}  # attention and pooling are as good as each other
    assert analyse(study, planted_rows(study, away))["domains"]["vision"]["effects"]["side"] == -1


def test_every_arm_is_compared_with_every_reference(study_data: dict[str, Any], make_study: Make) -> None:
    study_data |= {"references": ["pooling"], "seeds": [0, 1, 2, 3], "claim": {"arm": "pooling", "retains": 0.9}}
    study_data["arms"]["identity"]["domains"] = ["text"]
    study = make_study(study_data)
    analysis = analyse(study, planted_rows(study, TRUTH))
    vision, text = analysis["domains"]["vision"], analysis["domains"]["text"]
    assert list(arm_of(vision, "attention")["against"]) == ["pooling"]
    assert list(arm_of(text, "identity")["against"]) == ["attention", "pooling"]
    assert arm_of(text, "identity")["against"]["pooling"]["value"] == pytest.approx(-0.15, abs=0.02)
    assert arm_of(text, "identity")["against"]["pooling"]["comparisons"] == 3
    assert arm_of(vision, "pooling")["against"]["attention"]["comparisons"] == 2
    assert vision["claim"]["retention"]["value"] == pytest.approx(0.94, abs=0.02)
    shares = vision["variance"]
    assert shares["architecture"]["share"] == pytest.approx(0.55**2 / (0.55**2 + 0.05**2), abs=0.02)
    assert json.loads(json.dumps(analysis)) == analysis, "plain data"
    assert analyse(study, planted_rows(study, TRUTH)) == analysis, "the same each time"


def test_a_difference_is_judged_once(study_data: dict[str, Any], make_study: Make) -> None:
    """The cost of a part is the comparison with the arm it was taken out of, and not another one with another word."""
    for references in (["pooling"], []):
        study = make_study({**many_arms(study_data, 3), "references": references})
        truth = {**{arm.name: 0.8 for arm in study.arms}, "no_norm": 0.783}
        domain = analyse(study, planted_rows(study, truth, 0.004))["domains"]["vision"]
        for cost in domain["effects"]["costs"]:
            assert cost["comparisons"] == (9 if cost["kind"] == "mixer" or references else 2)
            if pair := arm_of(domain, cost["arm"])["against"].get(cost["reference"]):
                assert (cost["p_holm"], cost["shown"], cost["sign"]) == (pair["p_holm"], pair["label"], -pair["sign"])
                assert (cost["low"], cost["value"]) == (-pair["high"], -pair["value"])


def test_arms_without_runs_are_named_and_judge_nothing(study_data: dict[str, Any], make_study: Make) -> None:
    study = make_study(many_arms(study_data, 3))
    made = planted_rows(study, {**{arm.name: 0.8 for arm in study.arms}, "no_norm": 0.4, "no_residual": 0.5})
    effects = analyse(study, made)["domains"]["vision"]["effects"]
    assert (effects["side"], effects["left_out"], effects["without"]["arm"]) == (1, [], "no_norm")
    assert effects["without"]["value"] == pytest.approx(0.3, abs=0.02)
    made = [row | {"status": "failed", "score": None} if row["arm"] == "c" else row for row in made]
    effects = analyse(study, made)["domains"]["vision"]["effects"]
    assert (effects["side"], effects["left_out"]) == (0, ["c"])


def test_task_by_task_and_over_the_tasks(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["seeds"] = [0, 1, 2]
    study_data["domains"]["text"]["tasks"] = {name: f"validation/{name}" for name in "abcd"}
    study = make_study(study_data)
    made = planted_rows(study, TRUTH)
    for row in made:
        for place, task in enumerate(row["tasks"].values()):
            task["score"] += 0.1 * place * (row["arm"] == "pooling")  # from 5 points below to 25 above
    arm = arm_of(analyse(study, made)["domains"]["text"], "pooling")
    over = arm["over_tasks"]["attention"]
    assert (over["tasks"], over["n"], over["value"]) == (4, 3, pytest.approx(0.1, abs=0.02))
    assert over["low"] < 0 < over["high"], "other tasks might have it the other way round"
    assert arm_of(analyse(study, made)["domains"]["vision"], "pooling")["over_tasks"] == {}


def test_what_holds_in_all_domains_in_some_and_in_none(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["seeds"] = [0, 1, 2, 3, 4]
    study_data["domains"]["late"] = {**study_data["domains"]["vision"], "label": "late"}
    study = make_study(study_data)

    def finding(arm: str | None, truth: Truth) -> dict[str, Any]:
        findings = analyse(study, planted_rows(study, truth))["across"]["findings"]
        return next(item for item in findings if item["arm"] == arm)

    assert (finding("identity", TRUTH)["holds"], finding("identity", TRUTH)["sign"]) == ("all", -1)
    assert (finding(None, TRUTH)["kind"], finding(None, TRUTH)["holds"], finding(None, TRUTH)["sign"]) == (
        *("contrast", "all"),
        1,
    )
    mixed = {**TRUTH, "identity": {"vision": 0.7, "text": 0.9, "late": 0.7}}
    some = finding("identity", mixed)
    assert (some["holds"], some["in"]) == ("some", ["vision", "late"])
    turned = finding("identity", {**TRUTH, "identity": {"vision": 0.7, "text": 0.98, "late": 0.9}})
    assert (turned["holds"], turned["sign"]) == ("contradicts", 0)
    assert (turned["in"], turned["against"]) == (["vision"], ["text"])
    base = {"vision": 0.9, "text": 0.1, "late": 0.9}
    baseline_lost = {**mixed, "attention": base}
    assert finding("identity", baseline_lost)["holds"] == "contradicts", "identity is above chance in text"
    assert not finding(None, baseline_lost)["domains"]["text"]["counts"], "of a baseline at chance nothing can be lost"
    all_lost = {name: {"vision": value, "text": 0.1, "late": value} for name, value in TRUTH.items()}
    unlearned = finding("identity", all_lost)
    assert (unlearned["holds"], unlearned["domains"]["text"]["counts"]) == ("all", False), "text counts for nothing"
    ranks = analyse(study, planted_rows(study, TRUTH))["across"]["ranks"]
    assert [rank["domains"] for rank in ranks] == [["vision", "text"], ["vision", "late"], ["text", "late"]]
    assert (ranks[0]["arms"], ranks[0]["value"]) == (["attention", "pooling", "identity"], pytest.approx(1.0))


def test_curves_and_tuned_values_are_read_from_the_cells(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    tune = {"key": "seconds", "values": [0.0, 0.5], "metric": "validation/accuracy"}
    study_data["domains"] = {"vision": {**study_data["domains"]["vision"], "tune": tune}}
    study = make_study(study_data)
    for trial in study.trials()[:2]:  # attention's
        write_outcome(tmp_path, trial, None, result={"metrics": {"validation/accuracy": 0.1 + trial.trial}})
    write_json(tmp_path / "study.json", {"study": study_to_mapping(study), "text": study.text})
    for cell in study.cells({("vision", "attention"): 0.5})[::4]:  # attention's
        train = {"steps": 20, "tokens": 640}
        write_outcome(tmp_path, cell, None, result={"metrics": {"validation/accuracy": 0.5}, "train": train})
        lines = [{"step": 5, "loss": 1.0}]
        lines += [{"step": step, "validation/accuracy": 0.01 * step + 0.1 * cell.seed} for step in (10, 20)]
        lines += [{"step": 15, "validation/accuracy": 0.3}] if cell.seed else []
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (cell_folder(tmp_path, cell) / "metrics.jsonl").write_text(text)
    analysis = analyse_folders([tmp_path])
    assert (analysis["cells"][0]["tuned"], analysis["cells"][-1]["tuned"]) == ({"seconds": 0.5}, {})
    assert arm_of(analysis["domains"]["vision"], "attention")["tuned"] == {"0": {"seconds": 0.5}, "1": {"seconds": 0.5}}
    assert analysis["cells"][0]["curve"] == [[10, 0.1], [20, 0.2]]
    assert (analysis["cells"][0]["tokens"], analysis["cells"][-1]["curve"]) == (640, [])
    curve = arm_of(analysis["domains"]["vision"], "attention")["curve"]
    assert [point[:2] for point in curve] == [[10, pytest.approx(0.15)], [20, pytest.approx(0.25)]], "common steps only"
    assert curve[0][2] < 0.15 < curve[0][3]
    assert curve[0][4] == 2
    assert arm_of(analysis["domains"]["vision"], "attention")["tokens"] == 640


def test_a_report_is_made_again_from_its_inputs(study_data: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    study = make_study(study_data)
    analysis = {
        **analyse(study, planted_rows(study, TRUTH)),
        "text": study.text,
        "sessions": ['{"seconds": 1}'],
        "trials": [],
    }
    write_json(tmp_path / "report.json", {**analysis, "domains": {}, "across": "nonsense"})
    assert analyse_folders([tmp_path]) == analysis
    with pytest.raises(ValueError, match="nor a report"):
        analyse_folders([tmp_path / "nothing"])


def test_an_arm_that_the_largest_share_of_variance_hangs_on_is_named(
    study_data: dict[str, Any], make_study: Make
) -> None:
    """A part that fails to train makes the parts weigh most; without it the mixers do."""
    study = make_study(many_arms(study_data, 3))
    truth = {arm.name: 0.80 for arm in study.arms} | {"a": 0.77, "b": 0.83, "no_residual": 0.1}
    variance = analyse(study, planted_rows(study, truth, 0.001))["domains"]["vision"]["variance"]
    assert variance["architecture"]["share"] > 0.9
    assert variance["without"]["arm"] == "no_residual"
    assert variance["without"]["mixer"]["share"] > 0.9
    both = analyse(study, planted_rows(study, truth | {"no_norm": 0.1}, 0.001))["domains"]["vision"]["variance"]
    assert both["without"] is None, "without one of the two, the other still weighs most"
    mixer = truth | {"no_residual": 0.7, "c": 0.1}
    assert analyse(study, planted_rows(study, mixer, 0.001))["domains"]["vision"]["variance"]["without"]["arm"] == "c"
