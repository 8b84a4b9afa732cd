"""The reports under docs/results say what their numbers say: each is made again from its own folder, byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from metaformer_nlp.study.report import build_report

REPORTS = sorted((Path(__file__).parents[2] / "docs" / "results").glob("*/report.json"))


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.parent.name)
def test_it_is_rebuilt_byte_for_byte(report: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(report.parent, tmp_path / report.parent.name)
    names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    build_report(folder)
    assert {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} == names
    for name in sorted(names):
        assert (folder / name).read_bytes() == (report.parent / name).read_bytes(), (
            f"{name} is not what report.json says; make it again: python scripts/run_study.py report {report.parent}"
        )
