"""The files of the report, and reports made again from their own folders."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.analysis.analyse import analyse, analyse_folders
from metaformer_nlp.study.protocol.file import study_to_mapping
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.render import page as render_page
from metaformer_nlp.study.report.render import rules_text
from metaformer_nlp.study.report.write import build_report, write_report
from metaformer_nlp.study.runner.cell import write_json, write_outcome
from tests.study.simulated import content, large_study_data, planted_rows, simulated_rows, small_study_data

Make = Callable[[dict[str, Any]], Study]
TRUTH = {"attention": 0.9, "pooling": 0.85, "identity": 0.7, "no_residual": 0.3}
RESULTS = Path(__file__).parents[3] / "docs" / "results"


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time."""
    monkeypatch.setattr("metaformer_nlp.study.report.figures.draw_all", lambda *_: {})


class Links(HTMLParser):
    """Collects every address the page would fetch from or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.anchors: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.anchors += [value or "" for name, value in attrs if name == "id"]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_the_page_needs_nothing_but_itself_and_all_files_are_there(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    study = make_study({**study_data, "control": "identity"})
    analysis = analyse(study, planted_rows(study, TRUTH), text=study.text)
    page = write_report(analysis, tmp_path / "report")
    text = page.read_text()
    links = Links()
    links.feed(text)
    pictures = [address for address in links.addresses if not address.startswith("#")]
    assert pictures
    assert all(address.startswith("data:image/png;base64,") for address in pictures)
    inner = {address[1:] for address in links.addresses if address.startswith("#")}
    assert inner
    assert inner <= set(links.anchors)
    assert not {"script", "link", "iframe", "object"} & set(links.tags)
    assert not re.search(r"url\(|@import", text)
    assert 'name="viewport"' in text

    markdown = (page.parent / "report.md").read_text()
    linked = set(re.findall(r"!\[.*?\]\((.*?)\)", markdown))
    assert linked == {f"plots/{path.name}" for path in (page.parent / "plots").iterdir()}, "each is shown"
    assert len(linked) == len(pictures)
    assert all((page.parent / picture).read_bytes().startswith(b"\x89PNG") for picture in linked)
    assert (page.parent / "rules.md").read_text() == rules_text()
    assert (page.parent / "study.yaml").read_text() == study.text
    with (page.parent / "cells.csv").open() as file:
        cells = list(csv.DictReader(file))
    assert len(cells) == 16
    assert float(cells[0]["score"]) == analysis.cells[0]["score"]
    with (page.parent / "arms.csv").open() as file:
        arms = list(csv.DictReader(file))
    assert [(row["domain"], row["arm"]) for row in arms][4] == ("text", "attention")
    pooling = analysis.domains["vision"].arms["pooling"]
    assert pooling.share
    assert float(arms[1]["gain_kept"]) == pytest.approx(pooling.share.value)
    assert float(arms[1]["minus identity: value"]) == pytest.approx(pooling.against["identity"].estimate.value)
    stored = json.loads((page.parent / "report.json").read_text())
    assert list(stored)[:2] == ["conclusion", "answers"]
    assert stored["domains"].keys() == {"vision", "text"}


def test_a_report_is_rebuilt_from_its_own_folder_byte_for_byte(make_study: Make, tmp_path: Path) -> None:
    sizes = {name: 1000 * 2**place for place, name in enumerate(("a", "b", "c"))}
    scale = [{"axis": axis, "domains": sizes} for axis in ("tokens", "epochs")]
    study = make_study(small_study_data(3, list(sizes), scale=scale))
    truth = {arm.name: 0.5 + 0.02 * place for place, arm in enumerate(study.arms)}
    session = {"started": "2026-01-01", "seconds": 60, "cpu_count": 2, "parallel": 2, "interrupted": False}
    sessions = [json.dumps({**session, "command": "python scripts/run_study.py run somewhere/small.yaml"})]
    page = write_report(analyse(study, planted_rows(study, truth), (), study.text, sessions), tmp_path / "report")
    before = content(page.parent)
    assert {
        "plots/first.png",
        "plots/scores-c.png",
        "plots/trend-tokens.png",
        "plots/trend-epochs.png",
    } <= before.keys()
    for name in before:
        assert not name.startswith("plots/") or f"]({name})" in before["report.md"].decode(), f"{name} is not shown"
    assert b"run_study.py run somewhere/small.yaml --only a/pooling/seed-1" in before["report.html"]
    assert b"--only a/pooling/seed-1" in before["cells.csv"]
    assert b"NaN" not in before["report.json"]
    assert render_page(before["report.md"].decode(), page.parent) == before["report.html"].decode()

    (page.parent / "report.md").write_text("of an older version")
    (page.parent / "plots" / "gone.png").write_text("of numbers that are gone")
    (page.parent / "notes.txt").write_text("of somebody else")
    build_report(page.parent)
    assert content(page.parent) == before | {"notes.txt": b"of somebody else"}


@pytest.mark.usefixtures("without_pictures")
def test_reports_are_laid_side_by_side(make_study: Make, tmp_path: Path) -> None:
    for name, label in (("images", "CIFAR-10 images"), ("text", "text (GLUE)")):
        data = large_study_data(3)
        study = make_study({**data, "name": f"only_{name}", "domains": {name: data["domains"][name]}})
        page = write_report(analyse(study, simulated_rows(study), text=study.text), tmp_path / name)
        assert label in page.read_text()
        assert len((page.parent / "report.json").read_bytes()) < 300_000
    with pytest.raises(ValueError, match="name one with --output"):
        build_report(tmp_path / "images", tmp_path / "text")
    page = build_report(tmp_path / "images", tmp_path / "text", output=tmp_path / "both")
    text = page.read_text()
    assert "Do the domains order the mixers alike?" in text
    assert "run only_text.yaml --only text/pooling/seed-0" in text
    before = content(tmp_path / "both")
    build_report(tmp_path / "both")
    assert content(tmp_path / "both") == before


@pytest.mark.usefixtures("without_pictures")
def test_a_folder_with_something_else_is_not_written_over(make_study: Make, tmp_path: Path) -> None:
    study = make_study(small_study_data(2))
    write_report(analyse(study, []), tmp_path / "report")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something else than a report"):
        build_report(tmp_path / "report", output=tmp_path / "mine")
    with pytest.raises(ValueError, match="is no folder of a study"):
        build_report(tmp_path / "mine")


def test_a_report_of_nothing_and_of_one_cell(make_study: Make, tmp_path: Path) -> None:
    answer = {"arm": "identity", "reference": "pooling", "sign": "lower", "source": "a paper"}
    scale = [{"axis": "tokens", "domains": {"vision": 1, "text": 2, "probe": 4}}]
    study = make_study(small_study_data(2, ("vision", "text", "probe"), expected=[answer], scale=scale))
    write_json(tmp_path / "study.json", {"study": study_to_mapping(study), "text": study.text})
    assert "Not run yet (48): vision/attention/seed-0, text/attention/seed-0" in build_report(tmp_path).read_text()
    of_part = next(cell for cell in study.cells() if cell.arm == "no_norm")
    write_outcome(tmp_path, of_part, None, result={"metrics": {"validation/accuracy": 0.5}})
    assert "Not run yet (47)" in build_report(tmp_path).read_text()
    arm = analyse_folders([tmp_path]).domains["vision"].arms["no_norm"]
    assert (arm.score.value, arm.total) == (0.5, None), "what the result does not tell is not made up"
    second = next(cell for cell in study.cells() if cell.arm == "no_norm" and cell.seed == 1)
    write_outcome(tmp_path, second, None, result={"metrics": {"validation/accuracy": 0.51}})
    assert "Not run yet (46)" in build_report(tmp_path).read_text(), "an arm is above chance, and no mixer has run"
    write_outcome(tmp_path, study.cells()[0], "out of memory\nand more")
    assert "<td>vision/attention/seed-0</td><td>out of memory</td>" in re.sub(
        r"\n", "", build_report(tmp_path).read_text()
    )


@pytest.mark.usefixtures("without_pictures")
def test_a_report_of_before_is_read(tmp_path: Path) -> None:
    """Its report.json has environments once, no items, and answers of another kind; it has no control either."""
    old = shutil.copytree(RESULTS / "probes_images", tmp_path / "old", ignore=shutil.ignore_patterns("plots"))
    stored = json.loads((old / "report.json").read_text())
    for key in ("conclusion", "answers", "trials"):
        stored.pop(key, None)
    for row in stored["cells"]:
        row.pop("items", None)
    write_json(old / "report.json", {**stored, "verdict": [], "findings": {}, "across": {}})
    assert isinstance(stored["cells"][0]["environment"], int)
    page = build_report(old)
    assert f"{len(stored['cells'])} cells" in page.read_text()
    first = analyse_folders([old]).cells[0]
    assert first["environment"] == stored["environments"][stored["cells"][0]["environment"]]
    assert first["items"] is None
