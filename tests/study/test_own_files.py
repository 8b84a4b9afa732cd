"""The files that a cell's code is in, an experiment or a plugin of the user's own: what has run with other content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.plan import Study
from metaformer_nlp.study.run import run_study
from tasks.cli import from_dict


def test_finished_cells_of_another_content_are_refused(
    study_data: dict[str, Any], make_study: Callable[[dict[str, Any]], Study], tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text(Path(study_data["domains"]["vision"]["experiment"]).read_text(encoding="utf-8"), encoding="utf-8")
    study_data["domains"]["vision"]["experiment"] = str(own)
    study, folder = make_study(study_data), tmp_path / "run"

    def run(*only: str) -> list[str]:
        return run_study(study, folder, from_dict, executor="inline", only=only).finished

    assert run("vision/pooling/seed-0") == ["vision/pooling/seed-0"]
    asked = json.loads((folder / "cells/vision/pooling/seed-0/cell.json").read_text(encoding="utf-8"))
    assert list(asked["files"]) == ["own.py"]
    before = own.read_text(encoding="utf-8")
    own.write_text(before + "# changed\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"own\.py: its content is another one \(\w{8} -> \w{8}\)"):
        run("vision/pooling/seed-0")
    own.write_text(before, encoding="utf-8")
    assert run("vision/pooling/seed-0") == ["vision/pooling/seed-0"]


def test_an_unfinished_run_is_not_continued_with_another_content(
    study_data: dict[str, Any], make_study: Callable[[dict[str, Any]], Study], tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text(Path(study_data["domains"]["vision"]["experiment"]).read_text(encoding="utf-8"), encoding="utf-8")
    study_data["domains"]["vision"]["experiment"] = str(own)
    study, folder = make_study(study_data), tmp_path / "run"
    key = "vision/pooling/seed-0"
    run_study(study, folder, from_dict, executor="inline", only=[key])
    (folder / "cells" / key / "outcome.json").unlink()  # as if it had been killed
    own.write_text(own.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    run_study(study, folder, from_dict, executor="inline", only=[key])
    assert [path.name for path in (folder / "replaced").iterdir()] == ["vision--pooling--seed-0--1"]
