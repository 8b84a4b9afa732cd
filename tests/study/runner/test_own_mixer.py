"""A mixer of the user's own in a study of images and text, as README and docs/study_file.md have them, really run."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.config.yaml_text import read_yaml
from metaformer_nlp.core import MIXERS
from metaformer_nlp.study.protocol.file import Names, study_from_mapping
from metaformer_nlp.study.runner.runner import run_study
from tasks.experiments import EXPERIMENTS, FORMER_NAMES

ROOT = Path(__file__).parents[3]


@pytest.fixture
def _forgotten() -> Iterator[None]:
    """The mixer is registered in this process, where other tests go through all that are."""
    yield
    MIXERS._entries.pop("previous", None)
    sys.modules.pop("my_mixer", None)


@pytest.mark.usefixtures("_forgotten")
def test_an_arm_uses_a_mixer_out_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    mixer, study = tmp_path / "my_mixer.py", tmp_path / "my_study.yaml"
    for file, page in ((mixer, ROOT / "README.md"), (study, ROOT / "docs" / "study_file.md")):
        block = re.search(rf"```\w+\n(# {re.escape(file.name)}\n.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        assert block is not None, f"{page} has no {file.name}"
        file.write_text(block[1], encoding="utf-8")
    data = read_yaml(study.read_text(encoding="utf-8"), "my_study.yaml")
    for domain in data["domains"].values():  # in the least time
        domain["set"] |= {"schedule.steps": 2, "run.batch_size": 8, "run.eval_every": None}
    data["domains"]["text"]["set"]["schedule.warmup_steps"] = 1
    data["seeds"] = [0]
    assert data["arms"]["previous"]["set"]["plugins"] == ["my_mixer.py"]
    data["arms"]["previous"]["set"]["plugins"] = [str(mixer)]
    summary = run_study(
        study_from_mapping(data, "my_study.yaml", tmp_path, Names(EXPERIMENTS, FORMER_NAMES)),
        tmp_path / "run", from_dict, executor="inline", only=["*/previous/*"],
    )  # fmt: skip
    assert summary.finished == ["images/previous/seed-0", "text/previous/seed-0"]
    for key in summary.finished:
        model = json.loads((tmp_path / "run" / "cells" / key / "model" / "config.json").read_text(encoding="utf-8"))
        assert model["token_mixer"] == "previous"
        outcome = json.loads((tmp_path / "run" / "cells" / key / "outcome.json").read_text(encoding="utf-8"))
        assert 0 <= outcome["result"]["metrics"]["validation/accuracy"] <= 1
