"""The reports under docs/results say what their numbers say: each is made again from its own folder, byte for byte.

Pictures are compared only where they were drawn with the same version of matplotlib: another one draws other bytes.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from metaformer_nlp.study.report.figures import DRAWN_WITH
from metaformer_nlp.study.report.write import build_report

AGAIN = "make it again with python scripts/run_study.py report"
REPORTS = sorted((Path(__file__).parents[3] / "docs" / "results").glob("*/report.json"))


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.parent.name)
def test_it_is_rebuilt_byte_for_byte(report: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(report.parent, tmp_path / report.parent.name)
    names = committed(folder)
    build_report(folder)
    assert committed(folder) == names, f"not the files that it is made of: {AGAIN} {report.parent}"
    alike = json.loads(report.read_text(encoding="utf-8")).get("drawn_with") == DRAWN_WITH
    for name in sorted(names):
        assert undrawn(folder / name, alike) == undrawn(report.parent / name, alike), (
            f"{name} is not what report.json says: {AGAIN} {report.parent}"
        )


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.parent.name)
def test_its_recipe_decides_what_it_decided(report: Path) -> None:
    """Who runs the recipe again gets a report that answers the same questions."""
    recipe = report.parents[3] / "scripts" / "recipes" / "studies" / f"{report.parent.name}.yaml"
    if not recipe.exists():
        pytest.skip("a report of several studies")
    again, its = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in (recipe, report.parent / "study.yaml"))
    for field in ("baseline", "control", "references", "claim", "expected", "scale", "until", "seeds"):
        assert again.get(field) == its.get(field), field


def committed(folder: Path) -> set[Path]:
    """The files of a report, less the page, which holds nothing that the others do not and is built from them."""
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} - {Path("report.html")}


def undrawn(path: Path, alike: bool) -> bytes:
    """A file's content, less what depends on what drew the pictures unless that is the same."""
    content = path.read_bytes()
    if alike:
        return content
    if path.suffix == ".png":
        return b""
    return re.sub(rb'"drawn_with": "[^"]*"', b"", content)
