"""The study files in docs/studies.md and docs/study_file.md: accepted, complete, and what they ask for exists."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.config.yaml_text import read_yaml
from metaformer_nlp.study.protocol.file import Names, load_study
from metaformer_nlp.study.protocol.study import (
    AXES,
    BUDGETS,
    KINDS,
    SIGNS,
    Arm,
    Claim,
    Domain,
    KnownAnswer,
    Scale,
    Study,
    TaskScore,
    Tune,
    Until,
)
from metaformer_nlp.study.runner.cell import configure
from tasks.experiments import EXPERIMENTS, FORMER_NAMES

ROOT = Path(__file__).parents[3]
PAGES = {"scanned_digits": "studies", "shortest": "study_file", "example": "study_file", "my_study": "study_file"}


def written(name: str) -> str:
    """The block that begins with the file's name, of the page that has it."""
    page = ROOT / "docs" / f"{PAGES[name]}.md"
    text = page.read_text(encoding="utf-8")
    block = re.search(rf"```yaml\n(# {name}\.yaml\n.*?)```", text, re.DOTALL)
    assert block is not None, f"{page} has no {name}.yaml"
    return block[1]


def read(name: str, folder: Path) -> Study:
    path = folder / f"{name}.yaml"
    path.write_text(written(name), encoding="utf-8")
    return load_study(path, Names(EXPERIMENTS, FORMER_NAMES))


@pytest.mark.parametrize("name", PAGES)
def test_it_is_accepted_and_its_settings_exist(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = read(name, tmp_path)
    assert study.name == name
    values = {(domain.name, arm.name): 0.1 for domain in study.domains for arm in study.arms}
    for cell in (*study.trials(values), *study.cells(values)):
        if cell.seed == study.seeds[0]:
            configure(cell, from_dict, tmp_path / "run", tmp_path)


def test_the_example_has_every_key_there_is() -> None:
    data = read_yaml(written("example"), "docs/study_file.md")
    domains, arms = data["domains"].values(), data["arms"].values()
    tasks = [task for domain in domains for task in domain.get("tasks", {}).values() if isinstance(task, Mapping)]
    tunes = [domain["tune"] for domain in domains if "tune" in domain]
    # Not keys of a file are its own text, the names before mappings, and the module that an experiment's name means.
    for kind, found, elsewhere in (
        (Study, [data], {"text"}),
        (Domain, domains, {"name", "module"}),
        (Arm, arms, {"name"}),
        (TaskScore, tasks, {"name"}),
        (Tune, tunes, set()),
        (Claim, [data["claim"]], set()),
        (KnownAnswer, data["expected"], set()),
        (Scale, data["scale"], set()),
        (Until, [data["until"]], set()),
    ):
        assert keys(kind) - elsewhere == {key for mapping in found for key in mapping}, kind.__name__
    assert {arm["kind"] for arm in arms} == set(KINDS)
    assert all(re.search(rf"\b{budget}\b", written("example")) for budget in (*BUDGETS, *AXES, *SIGNS))


def test_the_shortest_has_no_key_too_many() -> None:
    data = read_yaml(written("shortest"), "docs/study_file.md")
    assert set(data) == required(Study)
    assert set(data["domains"]["images"]) == required(Domain) - {"name"} | {"expected_seconds"}, "the plan has a time"
    assert all(set(arm) == required(Arm) - {"name"} for arm in data["arms"].values())


def keys(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def required(kind: Any) -> set[str]:
    missing = dataclasses.MISSING
    return {item.name for item in dataclasses.fields(kind) if item.default is item.default_factory is missing}
