"""The numbers, the sentences and the files of the report, from studies whose truth is known."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.analysis.analyse import analyse, analyse_folders
from metaformer_nlp.study.protocol.file import study_to_mapping
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.sentences import sentences_of
from metaformer_nlp.study.report.verdict import verdict
from metaformer_nlp.study.report.write import build_report, write_report
from metaformer_nlp.study.runner.cell import write_json, write_outcome
from tests.study.simulated import large_study_data, planted_rows, simulated_rows

Make = Callable[[dict[str, Any]], Study]
TRUTH = {"attention": 0.9, "pooling": 0.85, "identity": 0.7, "no_residual": 0.3}


def test_effects_are_those_that_were_planted(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["seeds"] = list(range(30))
    study = make_study(study_data)
    domain = analyse(study, planted_rows(study, TRUTH))["domains"]["vision"]
    effects = domain["effects"]
    assert effects["mixer"]["value"] == pytest.approx((0.05 + 0.2) / 2, abs=0.01)
    assert effects["architecture"]["value"] == pytest.approx(0.85 - 0.3, abs=0.01), "against pooling, not the baseline"
    assert effects["contrast"]["value"] == pytest.approx(0.55 - 0.125, abs=0.015)
    assert effects["contrast"]["low"] > 0
    kept = {arm["arm"]: arm["retention"]["value"] for arm in domain["arms"]}
    assert kept["attention"] == 1.0
    assert kept["identity"] == pytest.approx(0.6 / 0.8, abs=0.01)


def test_the_sentences_follow_the_numbers(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["seeds"] = [0, 1, 2, 3, 4]
    study = make_study(study_data)

    def first(truth: Mapping[str, float], noise: float = 0.01) -> str:
        return str(verdict(analyse(study, planted_rows(study, truth, noise)))[0]["sentence"])

    assert first(TRUTH).startswith("Supported in images (+")
    assert "points; of one part alone, “no residual”; " in first(TRUTH)
    turned = {"attention": 0.9, "pooling": 0.5, "identity": 0.3, "no_residual": 0.49}
    assert first(turned).startswith("Not supported in images (−")
    assert first(dict.fromkeys(TRUTH, 0.8)).startswith("Cannot tell in images ("), "an A/A study"
    assert "no domain has the runs" in first({**TRUTH, "attention": 0.1}), "the baseline has learned nothing"
    below = sentences_of(analyse(study, planted_rows(study, TRUTH)))["domains"]["vision"]
    assert any(said.startswith("Mixers beside attention, below attention: pooling (−") for said in below)
    better = sentences_of(analyse(study, planted_rows(study, {**TRUTH, "pooling": 0.95})))["domains"]["vision"]
    assert any("above attention: pooling (+" in sentence for sentence in better)

    def parts(value: float) -> str:
        found = sentences_of(analyse(study, planted_rows(study, {**TRUTH, "no_residual": value})))
        return next(sentence for sentence in found["domains"]["text"] if "no residual" in sentence)

    assert parts(0.3).startswith("“no residual” costs 5")
    assert parts(0.95).startswith("“no residual” gains ")
    assert parts(0.85).startswith("“no residual” against pooling: cannot tell (cost ")


def test_a_study_of_mixers_alone_says_so(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["arms"] = {name: arm for name, arm in study_data["arms"].items() if arm["kind"] == "mixer"}
    study = make_study(study_data)
    truth = {name: value for name, value in TRUTH.items() if name in study_data["arms"]}
    (third,) = verdict(analyse(study, planted_rows(study, truth)))
    assert "of 2 mixers, 1 differs from attention somewhere, in all domains alike: identity." in third["sentence"]


def test_a_task_that_the_baseline_has_not_learned_is_named(study_data: dict[str, Any], make_study: Make) -> None:
    study = make_study(study_data)
    made = planted_rows(study, TRUTH)
    for row in made:
        if row["domain"] == "text":
            row["tasks"]["order"]["score"] = 0.2
    sentences = sentences_of(analyse(study, made))["domains"]["text"]
    assert any(s.startswith("Not even attention is clearly above chance in order (20.0") for s in sentences)
    assert not any("above chance in topic" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("spread", "said"), [(0.0001, "less than 0.1"), (0.01, "about 4.4"), (0.5, "over 100 (hardly any)")]
)
def test_how_large_a_difference_must_be_to_be_seen(
    study_data: dict[str, Any], make_study: Make, spread: float, said: str
) -> None:
    study_data["seeds"] = [0, 1, 2]
    study = make_study(study_data)
    made = planted_rows(study, dict.fromkeys(TRUTH, 0.5), 0.0)
    for row in made:
        row["score"] += spread * (row["seed"] - 1) * (row["arm"] != "attention")
    limits = sentences_of(analyse(study, made))["limits"]
    assert any(f"comparisons): {said} in images and {said} in text." in limit for limit in limits), limits


def test_a_single_seed_judges_nothing(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["seeds"] = [0]
    study = make_study(study_data)
    analysis = analyse(study, planted_rows(study, TRUTH))
    found = sentences_of(analysis)
    assert {answer["verdict"] for answer in verdict(analysis)} == {"cannot tell"}
    assert any("single runs" in sentence for sentence in found["domains"]["vision"])
    assert any("One seed has no spread" in sentence for sentence in found["limits"])


def test_missing_cells_are_compared_by_the_seeds_there_are(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["seeds"] = [0, 1, 2]
    study = make_study(study_data)
    made = planted_rows(study, TRUTH)
    for row in made:
        if (row["domain"], row["arm"]) == ("vision", "pooling") and row["seed"] > 0:
            row |= {"status": "missing", "score": None, "tasks": {}}
        if (row["domain"], row["arm"]) == ("text", "attention"):
            row |= {"status": "failed", "score": None, "problem": "out of memory", "tasks": {}}
    analysis = analyse(study, made)
    pooling = analysis["domains"]["vision"]["arms"][1]
    assert (pooling["score"]["n"], pooling["planned"], pooling["against"]["attention"]["n"]) == (1, 3, 1)
    assert analysis["domains"]["vision"]["effects"]["contrast"]["n"] == 1, "only the seed that all arms have"
    assert "has no finished run yet" in sentences_of(analysis)["domains"]["text"][0]
    assert "19 of 24 cells are finished and 3 have failed" in sentences_of(analysis)["limits"][0]


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
    study_data["question"] = "Is <b>a_b</b> | *better*?"
    study = make_study(study_data)
    analysis = {**analyse(study, planted_rows(study, TRUTH)), "text": study.text, "sessions": []}
    page = write_report(analysis, tmp_path / "report")
    text = page.read_text()
    links = Links()
    links.feed(text)
    pictures = [address for address in links.addresses if not address.startswith("#")]
    assert pictures
    assert all(address.startswith("data:image/png;base64,") for address in pictures)
    assert {address[1:] for address in links.addresses if address.startswith("#")} == set(links.anchors)
    assert not {"script", "link", "iframe", "object"} & set(links.tags)
    assert not re.search(r"url\(|@import", text)
    assert "&lt;b&gt;a_b&lt;/b&gt;" in text
    assert 'name="viewport"' in text

    markdown = (page.parent / "report.md").read_text()
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", markdown):
        assert (page.parent / picture).read_bytes().startswith(b"\x89PNG")
    with (page.parent / "cells.csv").open() as file:
        cells = list(csv.DictReader(file))
    assert len(cells) == 16
    assert float(cells[0]["score"]) == analysis["cells"][0]["score"]
    with (page.parent / "arms.csv").open() as file:
        assert [(row["domain"], row["arm"]) for row in csv.DictReader(file)][4] == ("text", "attention")
    assert json.loads((page.parent / "report.json").read_text())["domains"].keys() == {"vision", "text"}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_report_is_rebuilt_from_its_own_folder_byte_for_byte(make_study: Make, tmp_path: Path) -> None:
    study = make_study(large_study_data(3))
    session = {"started": "2026-01-01", "seconds": 60, "cpu_count": 2, "parallel": 2, "interrupted": False}
    sessions = [json.dumps({**session, "command": "python scripts/run_study.py run somewhere/simulated.yaml"})]
    analysis = {**analyse(study, simulated_rows(study)), "trials": [], "text": study.text, "sessions": sessions}
    page = write_report(analysis, tmp_path / "report")
    before = content(page.parent)
    assert {f"plots/{name}-images.png" for name in ("scores", "cost", "curves", "effects")} <= before.keys()
    assert {"plots/tasks-text.png", "plots/distance-probe-match.png", "plots/retained.png"} <= before.keys()
    assert b"--only images/pooling/seed-1" in before["cells.csv"]
    assert b"run_study.py run somewhere/simulated.yaml --only images/pooling/seed-1" in before["report.html"]
    assert len(before["report.json"]) < 500_000

    (page.parent / "report.md").write_text("of an older version")
    (page.parent / "plots" / "gone.png").write_text("of numbers that are gone")
    (page.parent / "notes.txt").write_text("of somebody else")
    build_report(page.parent)
    assert content(page.parent) == before | {"notes.txt": b"of somebody else"}


def test_reports_are_laid_side_by_side(make_study: Make, tmp_path: Path) -> None:
    for name, label in (("images", "CIFAR-10 images"), ("text", "text (GLUE)")):
        data = large_study_data(3)
        study = make_study({**data, "name": f"only_{name}", "domains": {name: data["domains"][name]}})
        analysis = {**analyse(study, simulated_rows(study)), "text": study.text, "sessions": []}
        assert label in write_report(analysis, tmp_path / name).read_text()
    with pytest.raises(ValueError, match="name one with --output"):
        build_report(tmp_path / "images", tmp_path / "text")
    page = build_report(tmp_path / "images", tmp_path / "text", output=tmp_path / "both").read_text()
    assert "Rank agreement" in page or "rank agreement" in page
    assert "run only_text.yaml --only text/pooling/seed-0" in page
    before = content(tmp_path / "both")
    build_report(tmp_path / "both")
    assert content(tmp_path / "both") == before


def test_a_folder_with_something_else_is_not_written_over(make_study: Make, tmp_path: Path) -> None:
    study = make_study(large_study_data(2))
    analysis = {**analyse(study, simulated_rows(study)), "text": study.text, "sessions": []}
    write_report(analysis, tmp_path / "report")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something else than a report"):
        build_report(tmp_path / "report", output=tmp_path / "mine")


def test_a_report_of_nothing_and_of_one_cell(study_data: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    study = make_study(study_data)
    write_json(tmp_path / "study.json", {"study": study_to_mapping(study), "text": study.text})
    assert "0 of 16 cells are finished" in build_report(tmp_path).read_text()
    scores = {"validation/accuracy": 0.5, "validation/topic": 0.5, "validation/order": 0.5}
    write_outcome(tmp_path, study.cells()[0], None, result={"metrics": scores})
    assert "1 of 16 cells are finished" in build_report(tmp_path).read_text()
    arm = analyse_folders([tmp_path])["domains"]["vision"]["arms"][0]
    assert (arm["score"]["value"], arm["total"]) == (0.5, None), "what the result does not tell is not made up"


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder of a study"):
        build_report(tmp_path)
