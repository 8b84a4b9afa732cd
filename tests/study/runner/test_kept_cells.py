"""The finished runs of studies that go on (docs/cells) are those that the study files ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaformer_nlp.study.protocol.file import Names, load_study
from metaformer_nlp.study.runner.cell import read_json
from metaformer_nlp.study.runner.queue import Queue
from metaformer_nlp.study.runner.tuning import tunings
from tasks.experiments import EXPERIMENTS, FORMER_NAMES

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "docs/cells"


@pytest.mark.parametrize("name", [path.name for path in sorted(KEPT.iterdir()) if path.is_dir()])
def test_no_kept_run_is_orphaned_and_every_choice_stands(name: str) -> None:
    folder = KEPT / name
    study = load_study(ROOT / f"scripts/recipes/studies/{name}.yaml", Names(EXPERIMENTS, FORMER_NAMES))
    kept = {str(path.parent.relative_to(folder / "cells")) for path in folder.glob("cells/*/*/*/outcome.json")}
    assert kept
    assert set(Queue(study, folder).finished) == kept
    found = tunings(study, folder)
    for path in folder.glob("cells/*/*/choice.json"):
        domain, arm = path.parts[-3:-1]
        assert found[domain, arm].stands
        assert found[domain, arm].value == (read_json(path) or {})["value"]
