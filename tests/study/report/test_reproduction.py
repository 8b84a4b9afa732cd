"""What the report says of how a study was made: budgets, trials and choices, changes, runners that were killed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from metaformer_nlp.study.analysis.analyse import analyse
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.render import build_document
from metaformer_nlp.study.report.sentences import sentences_of
from metaformer_nlp.study.report.verdict import verdict
from tests.study.simulated import SKILLS, large_study_data, simulated_rows

Make = Callable[[dict[str, Any]], Study]


def test_broken_budgets_and_tuned_values_are_told(make_study: Make) -> None:
    study = make_study(large_study_data(2))
    analysis = {**analyse(study, simulated_rows(study)), "text": study.text, "sessions": []}
    text = build_document(analysis, {}).markdown()
    assert "| CIFAR-10 images | steps | 0 % | yes | – |" in text
    assert re.search(r"\| CIFAR-10 images \| parameters \| 25 % \| no \| .*no channel MLP −50 %", text)
    assert "Each arm chose optim.lr among 0.001, 0.003, 0.01" in text
    assert "Caution: the trials" not in text
    analysis["study"]["domains"]["images"]["tune"]["metric"] = "validation/loss"
    assert "Caution: the trials were judged on the data that the scores" in build_document(analysis, {}).markdown()
    assert "| pooling | 0.003 |" in text
    limits = sentences_of(analysis)["limits"]
    assert any("asks arms to be equal" in limit and "no channel MLP \N{MINUS SIGN}50 %" in limit for limit in limits)


def test_what_a_later_analysis_uses_is_told_and_not_judged(make_study: Make) -> None:
    data = large_study_data(2)
    answer = {"arm": "identity", "reference": "pooling", "sign": "lower", "size": 0.029, "source": "a paper"}
    data["expected"] = [{**answer, "domains": ["images"]}]
    data["scale"] = [{"axis": "tokens", "domains": {"images": 1000, "probe": 2000}, "margin": 0.01}]
    study = make_study({**data, "control": "identity", "claim": {"arm": "pooling", "gain": 0.5}})
    analysis = {**analyse(study, simulated_rows(study)), "text": study.text, "sessions": []}
    text = build_document(analysis, {}).markdown()
    for sentence in (
        "Identity mixes nothing: what the baseline scores above it is what mixing gains.",
        "Claimed, and not judged in this report: pooling keeps at least 50\N{NO-BREAK SPACE}% of what attention scores",
        "not judged in this report: identity lower than pooling by 0.029 in CIFAR-10 images (a paper).",
        "tokens: CIFAR-10 images (1,000), matching probe (2,000); changes below 0.01 a doubling count as steady.",
    ):
        assert sentence in text
    assert not any("retains at least" in answer["statement"] for answer in verdict(analysis))


def test_what_each_trial_scored_is_told_and_choices_at_an_end_are_named(make_study: Make) -> None:
    study = make_study(large_study_data(2))
    trials = [
        {"domain": "images", "arm": arm, "value": value, "status": "finished", "score": 0.5 + 10 * value}
        for arm in SKILLS
        for value in (0.001, 0.003, 0.01)
    ]
    trials[0] |= {"status": "failed", "score": None}
    analysis = {**analyse(study, simulated_rows(study)), "text": study.text, "sessions": [], "trials": trials}
    text = build_document(analysis, {}).markdown()
    assert "| arm | optim.lr 0.001 | optim.lr 0.003 | optim.lr 0.01 | chosen |" in text
    assert "| attention | failed | 53.0 | 60.0 | 0.001 |" in text
    ends = next(line for line in text.splitlines() if line.startswith("At an end of what was tried"))
    assert "attention" in ends
    assert "pooling" not in ends, "it chose the value in the middle"


def test_means_of_several_trials_and_the_rule_for_equals_are_told(make_study: Make) -> None:
    data = large_study_data(2)
    data["domains"]["images"]["tune"] |= {"trials": 2, "tie": 0.003}
    study = make_study(data)
    trials = [
        {"domain": "images", "arm": "attention", "value": value, "seed": seed, "status": "finished", "score": score}
        for seed, scores in enumerate(((0.5, 0.6, 0.7), (0.52, 0.61, 0.72)))
        for value, score in zip((0.001, 0.003, 0.01), scores, strict=True)
    ]
    trials[5] |= {"status": "failed", "score": None}
    analysis = {**analyse(study, simulated_rows(study)), "text": study.text, "sessions": [], "trials": trials}
    text = build_document(analysis, {}).markdown()
    assert "| attention | 51.0 (50.0, 52.0) | 60.5 (60.0, 61.0) | – (70.0, failed) | 0.001 |" in text
    assert re.search(
        r"2 trials a value, the best mean \S+ wins\. Values within 0\.003 of the best count as equal", text
    )
    assert "A value with a failed trial is no candidate." in text


def test_a_protocol_that_was_changed_and_a_runner_that_was_killed_are_told(make_study: Make) -> None:
    study = make_study(large_study_data(2))
    start = {"started": "2026-01-01T00:00:00.000+00:00", "executor": "slurm", "host": "node1", "parallel": 4}
    change = {"changed": {"claim": [None, {"arm": "pooling", "retains": 0.9}]}, "finished": 3, "time": "2026-01-02"}
    command = "python scripts/run_study.py run a_name_of_its_own.yaml --folder 'my runs'"
    sessions = [{**start, "cpu_count": 2, "command": command}, change]
    analysis = {**analyse(study, simulated_rows(study)), "text": study.text}
    text = build_document({**analysis, "sessions": [json.dumps(line) for line in sessions]}, {}).html()
    assert "Started at 2026-01-01T00:00:00.000+00:00, with no end recorded" in text
    assert "changed when 3 runs had finished (2026-01-02): claim (was null, is {" in text
    assert "run a_name_of_its_own.yaml --folder &#x27;my runs&#x27; --only images/pooling/seed-1" in text
