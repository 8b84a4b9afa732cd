"""What the report says of how a study was made: budgets, trials and choices, changes, runners that were killed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from metaformer_nlp.study.analysis.analyse import analyse
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report import protocol
from metaformer_nlp.study.report.render import markdown
from metaformer_nlp.study.report.wording import sentences
from tests.study.simulated import (
    SKILLS,
    large_study_data,
    planted_rows,
    simulated_rows,
    small_study_data,
    without_result,
)

Make = Callable[[dict[str, Any]], Study]


@pytest.fixture
def told(make_study: Make) -> Callable[..., str]:
    """The report of a study of images with this tuning, these trials and sessions."""

    def make(
        tune: dict[str, Any] | None = None,
        trials: Any = (),
        sessions: Any = (),
        text: str | None = None,
        rows: Any = None,
    ) -> str:
        data = large_study_data(2)
        data["domains"] = {"images": data["domains"]["images"]}
        data["domains"]["images"]["tune"] |= tune or {}
        study = make_study(data)
        lines = [json.dumps(line) for line in sessions]
        rows = simulated_rows(study) if rows is None else rows
        return markdown(analyse(study, rows, trials, study.text if text is None else text, lines), {})

    return make


def test_broken_budgets_are_told_and_are_limits(told: Any) -> None:
    text = told()
    assert "| CIFAR-10 images | steps | 0 % | yes | – |" in text
    assert re.search(r"\| CIFAR-10 images \| parameters \| 25 % \| no \| .*no channel MLP −50 %", text)
    assert re.search(
        r"- In CIFAR-10 images, arms differ in parameters: .*no channel MLP −50 %.* Scores may come of that\.", text
    )


def test_tuned_values_are_told(told: Any) -> None:
    text = told()
    assert (
        "Each arm chose optim.lr among 0.001, 0.003 and 0.01. A value has one trial. The best held_out/accuracy" in text
    )
    assert "| pooling | 0.003 |" in text
    assert "Caution: the trials" not in text
    assert "Caution: the trials were judged on the data that the scores" in told({"metric": "validation/loss"})


def test_what_each_trial_scored_is_told_and_choices_at_an_end_are_named(told: Any) -> None:
    trials = [
        {"domain": "images", "arm": arm, "value": value, "status": "finished", "score": 0.5 + 10 * value}
        for arm in SKILLS
        for value in (0.001, 0.003, 0.01)
    ]
    trials[0] |= {"status": "failed", "score": None}
    text = told(trials=trials)
    assert "| arm | optim.lr 0.001 | optim.lr 0.003 | optim.lr 0.01 | chosen |" in text
    assert "| attention | failed | 53.0 | 60.0 | 0.001 |" in text
    (ends,) = re.findall(
        r"At an end of what was tried, so that a value beyond it might have done better: (.*)\.\n", text
    )
    assert "attention" in ends
    assert "pooling" not in ends, "it chose the value in the middle"


def test_means_of_several_trials_and_the_rule_for_equals_are_told(told: Any) -> None:
    trials = [
        {"domain": "images", "arm": "attention", "value": value, "seed": seed, "status": "finished", "score": score}
        for seed, scores in enumerate(((0.5, 0.6, 0.7), (0.52, 0.61, 0.72)))
        for value, score in zip((0.001, 0.003, 0.01), scores, strict=True)
    ]
    trials[5] |= {"status": "failed", "score": None}
    text = told({"trials": 2, "tie": 0.003}, trials)
    assert "| attention | 51.0 (50.0, 52.0) | 60.5 (60.0, 61.0) | – (70.0, failed) | 0.001 |" in text
    assert re.search(
        r"A value has 2 trials\. The best mean \S+ wins\. Values within 0\.003 of the best count as equal", text
    )


def test_a_protocol_that_was_changed_and_a_runner_that_was_killed_are_told(told: Any) -> None:
    start = {"started": "2026-01-01T00:00:00.000+00:00", "executor": "slurm", "host": "node1", "parallel": 4}
    change = {"changed": {"claim": [None, {"arm": "pooling", "retains": 0.9}]}, "finished": 3}
    change["time"] = "2026-01-02T03:04:05.678+00:00"
    command = "python scripts/run_study.py run a_name_of_its_own.yaml --folder 'my runs'"
    text = told(sessions=[{**start, "cpu_count": 2, "command": command}, change])
    assert "Started at 2026-01-01T00:00:00.000+00:00, with no end recorded" in text
    assert "after 3 finished runs (2026-01-02 03:04 UTC), claim was changed from nothing to {" in text
    assert "All of this was decided in the study file before the first run." not in text
    assert "run a_name_of_its_own.yaml --folder 'my runs' --only images/pooling/seed-1" in text
    assert "All of this was decided in the study file before the first run." in told(
        sessions=[{**start, "cpu_count": 2, "command": command}]
    )
    assert "All of this was decided" not in told(), "nothing is known of when it ran"


def test_surroundings_that_differ_are_a_caution(make_study: Make) -> None:
    study = make_study(large_study_data(2))
    rows = simulated_rows(study)

    def last() -> str:
        analysis = analyse(study, rows)
        return sentences("records.j2", a=analysis, **protocol.records(analysis))[-1]

    assert last() == "Ran with python 3.11.7, torch 2.15.0, numpy 2.4.6, Linux, no GPU, commit 0123456789ab."
    rows[0]["environment"] = {**rows[0]["environment"], "gpu": "a GPU"}
    assert last().startswith("Caution: not all cells ran in the same surroundings: 1 cells with python")


def test_commands_of_studies_side_by_side_name_their_files(make_study: Make) -> None:
    """Domains that were renamed for being in both have their own names in the commands."""
    data = large_study_data(2)
    parts = [
        make_study({**data, "name": name, "domains": {"images": data["domains"]["images"]}}) for name in ("a", "b")
    ]
    text = "\n---\n".join(part.text for part in parts)
    domains = tuple(replace(part.domains[0], name=f"{part.name}-images") for part in parts)
    study = replace(parts[0], name="a-b", domains=domains)
    analysis = analyse(study, [], text=text)
    command = protocol.command_of(analysis, {"domain": "b-images", "arm": "pooling", "seed": 1})
    assert command == "python scripts/run_study.py run b.yaml --only images/pooling/seed-1"
    assert [name for name, *_ in protocol.questions(analysis)] == ["a", "b"]


def test_arms_that_no_trial_brings_above_no_mixing_are_named(make_study: Make) -> None:
    data = small_study_data(2)
    data["domains"]["vision"]["tune"] = {"key": "lr", "values": [0.1, 0.2], "metric": "loss", "tie": 0.01}
    study = make_study(data)
    losses = {"attention": (2.0, 1.0), "identity": (3.0, 3.1), "pooling": (3.2, 2.995), "conv": (2.98, 3.5)}
    trials = [
        {"domain": "vision", "arm": arm, "value": value, "status": "finished", "score": score}
        for arm, scores in losses.items()
        for value, score in zip((0.1, 0.2), scores, strict=True)
    ]
    rows = without_result(planted_rows(study, dict.fromkeys(data["arms"], 0.5)), "fourier", (0, 1), "missing")
    text = markdown(analyse(study, rows, trials), {})
    assert "With no value better than no mixing, so that the choice tells little: pooling." in text
    table = text.partition("### Tuned in vision")[2].partition("### Settings")[0]
    assert "| conv |" in table
    assert "fourier" not in table, "it has neither run nor been tried"


def test_a_head_of_comments_in_a_document_of_its_own_is_no_study(make_study: Make) -> None:
    study = make_study(large_study_data(2))
    analysis = analyse(study, simulated_rows(study), text=f"# how it came about\n---\n{study.text}")
    assert [name for name, *_ in protocol.questions(analysis)] == ["simulated"]
    assert protocol.command_of(analysis, analysis.cells[0]).endswith("--only images/attention/seed-0")


def test_a_setting_that_no_trial_chose_is_at_no_end(make_study: Make) -> None:
    """Where no value beats the control, the setting stays as it was, which may be a value of the grid."""
    data = large_study_data(2)
    study = replace(make_study({**data, "domains": {"images": data["domains"]["images"]}}), control="identity")
    (domain,) = study.domains
    assert domain.tune is not None
    trials = [
        {"domain": "images", "arm": arm, "value": value, "status": "finished", "score": 0.5}
        for arm in SKILLS
        for value in domain.tune.values
    ]

    def at_an_end(beat_control: bool) -> list[str]:
        tune = replace(domain.tune, beat_control=beat_control)  # type: ignore[type-var]
        asked = replace(study, domains=(replace(domain, tune=tune),))
        return protocol.tuned(analyse(asked, simulated_rows(asked), trials))[0].outermost

    assert {"attention", "identity"} <= set(at_an_end(False))
    assert at_an_end(True) == ["identity"]
