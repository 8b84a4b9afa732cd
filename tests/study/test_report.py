"""The numbers, the sentences and the files of the report, from studies whose truth is known."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaformer_nlp.study.analysis import analyse, analyse_folder
from metaformer_nlp.study.cell import write_json, write_outcome
from metaformer_nlp.study.document import Document
from metaformer_nlp.study.findings import findings, interval, points
from metaformer_nlp.study.plan import Study
from metaformer_nlp.study.report import build_report, write_report
from metaformer_nlp.study.study_file import study_to_mapping

Make = Callable[[dict[str, Any]], Study]
TRUTH = {"attention": 0.9, "pooling": 0.85, "identity": 0.7, "no_residual": 0.3}


def rows(study: Study, truth: Mapping[str, float], noise: float = 0.01, seed: int = 0) -> list[dict[str, Any]]:
    """The rows that `read_row` would give, with scores of known mean."""
    rng = np.random.default_rng(seed)
    made = []
    for cell in study.cells():
        score = float(truth[cell.arm] + rng.normal(0, noise))
        made.append(
            {
                "domain": cell.domain,
                "arm": cell.arm,
                "seed": cell.seed,
                "status": "finished",
                "problem": None,
                "score": score,
                "chance": 0.1,
                "total": 1000,
                "trainable": 900,
                "macs": 5_000_000,
                "steps": 10,
                "train_seconds": 1.0,
                "cell_seconds": 2.0,
                "tasks": {name: {"score": score, "chance": 0.2} for name in ("topic", "order")}
                if cell.domain == "text"
                else {},
                "environment": None,
            }
        )
    return made


def test_effects_are_those_that_were_planted(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["seeds"] = list(range(30))
    study = make_study(study_data)
    domain = analyse(study, rows(study, TRUTH))["domains"]["vision"]
    effects = domain["effects"]
    assert effects["mixer"]["value"] == pytest.approx((0.05 + 0.2) / 2, abs=0.01)
    assert effects["architecture"]["value"] == pytest.approx(0.85 - 0.3, abs=0.01), "against pooling, not the baseline"
    assert effects["contrast"]["value"] == pytest.approx(0.55 - 0.125, abs=0.015)
    assert effects["contrast"]["low"] > 0
    assert effects["mixer_range"] == pytest.approx(0.2, abs=0.01)
    kept = {arm["arm"]: arm["retention"]["value"] for arm in domain["arms"]}
    assert kept["attention"] == 1.0
    assert kept["identity"] == pytest.approx(0.6 / 0.8, abs=0.01)


def test_the_sentences_follow_the_numbers(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["seeds"] = [0, 1, 2, 3, 4]
    study = make_study(study_data)

    def headline(truth: Mapping[str, float], noise: float = 0.01) -> str:
        return str(findings(analyse(study, rows(study, truth, noise)))["headline"])

    assert "in images and text, taking out a part of the architecture costs more" in headline(TRUTH).lower()
    assert "Clearly below attention: in images, pooling and identity; in text, pooling and identity." in headline(TRUTH)
    turned = {"attention": 0.9, "pooling": 0.5, "identity": 0.3, "no_residual": 0.49}
    assert "costs less, on average, than swapping" in headline(turned)
    assert "cannot tell whether" in headline(dict.fromkeys(TRUTH, 0.8)), "an A/A study"
    assert "in images, no mixer" in headline(dict.fromkeys(TRUTH, 0.8))
    assert "nothing can be concluded" in headline({**TRUTH, "attention": 0.1}), "the baseline has learned nothing"
    better = findings(analyse(study, rows(study, {**TRUTH, "pooling": 0.95})))["domains"]["vision"]
    assert any("above attention: pooling (+" in sentence for sentence in better)

    def parts(value: float) -> str:
        found = findings(analyse(study, rows(study, {**TRUTH, "no_residual": value})))
        return next(sentence for sentence in found["domains"]["text"] if "no residual" in sentence)

    assert parts(0.3).startswith("“no residual” costs 5")
    assert parts(0.95).startswith("“no residual” gains ")
    assert parts(0.85).startswith("“no residual” makes no distinguishable difference against pooling (cost ")


def test_a_study_of_mixers_alone_says_so(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["arms"] = {name: arm for name, arm in study_data["arms"].items() if arm["kind"] == "mixer"}
    study = make_study(study_data)
    truth = {name: value for name, value in TRUTH.items() if name in study_data["arms"]}
    headline = findings(analyse(study, rows(study, truth)))["headline"]
    assert headline.startswith("In images and text, only token mixers were compared")
    assert "Clearly below attention" in headline


def test_a_task_that_the_baseline_has_not_learned_is_named(study_data: dict[str, Any], make_study: Make) -> None:
    study = make_study(study_data)
    made = rows(study, TRUTH)
    for row in made:
        if row["domain"] == "text":
            row["tasks"]["order"]["score"] = 0.2
    sentences = findings(analyse(study, made))["domains"]["text"]
    assert any(s.startswith("Not even attention is clearly above chance in order (20.0") for s in sentences)
    assert not any("above chance in topic" in sentence for sentence in sentences)


def test_a_single_seed_judges_nothing(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["seeds"] = [0]
    study = make_study(study_data)
    found = findings(analyse(study, rows(study, TRUTH)))
    assert "nothing can be concluded" in found["headline"]
    assert any("single runs" in sentence for sentence in found["domains"]["vision"])
    assert any("One seed has no spread" in sentence for sentence in found["limits"])


def test_missing_cells_are_compared_by_the_seeds_there_are(study_data: dict[str, Any], make_study: Make) -> None:
    study_data["seeds"] = [0, 1, 2]
    study = make_study(study_data)
    made = rows(study, TRUTH)
    for row in made:
        if (row["domain"], row["arm"]) == ("vision", "pooling") and row["seed"] > 0:
            row |= {"status": "missing", "score": None, "tasks": {}}
        if (row["domain"], row["arm"]) == ("text", "attention"):
            row |= {"status": "failed", "score": None, "problem": "out of memory", "tasks": {}}
    analysis = analyse(study, made)
    pooling = analysis["domains"]["vision"]["arms"][1]
    assert (pooling["score"]["n"], pooling["planned"], pooling["difference"]["n"]) == (1, 3, 1)
    assert analysis["domains"]["vision"]["effects"]["contrast"]["n"] == 1, "only the seed that all arms have"
    assert "has no finished run yet" in findings(analysis)["domains"]["text"][0]
    assert "19 of 24 cells are finished and 3 have failed" in findings(analysis)["limits"][0]


class Links(HTMLParser):
    """Collects every address the page would fetch from or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_the_page_needs_nothing_but_itself_and_all_files_are_there(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    study_data["question"] = "Is <b>a_b</b> | *better*?"
    study = make_study(study_data)
    analysis = {**analyse(study, rows(study, TRUTH)), "text": study.text, "sessions": []}
    page = write_report(analysis, tmp_path / "report")
    text = page.read_text()
    links = Links()
    links.feed(text)
    assert len(links.addresses) == 5
    assert all(address.startswith("data:image/png;base64,") for address in links.addresses)
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

    # The same numbers, from the JSON file alone, give the same bytes.
    before = {path.name: path.read_bytes() for path in page.parent.rglob("*.*") if path.is_file()}
    write_report(json.loads(before["report.json"]), tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").rglob("*.*") if path.is_file()} == before


def test_a_report_of_nothing_and_of_one_cell(study_data: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    study = make_study(study_data)
    write_json(tmp_path / "study.json", {"study": study_to_mapping(study), "text": study.text})
    assert "0 of 16 cells are finished" in build_report(tmp_path).read_text()
    scores = {"validation/accuracy": 0.5, "validation/topic": 0.5, "validation/order": 0.5}
    write_outcome(tmp_path, study.cells()[0], None, result={"metrics": scores})
    assert "1 of 16 cells are finished" in build_report(tmp_path).read_text()
    arm = analyse_folder(tmp_path)["domains"]["vision"]["arms"][0]
    assert (arm["score"]["value"], arm["total"]) == (0.5, None), "what the result does not tell is not made up"


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder of a study"):
        build_report(tmp_path)


def test_numbers_are_written_for_people() -> None:
    assert points(0.8714) == "87.1"
    assert points(-0.05, signed=True) == "\N{MINUS SIGN}5.0"
    assert points(-0.0001, signed=True) == "0.0"
    assert points(None) == "–"
    assert interval({"value": 0.5, "low": 0.4, "high": 0.6}).replace("\N{NO-BREAK SPACE}", " ") == "50.0 [40.0, 60.0]"
    assert interval({"value": 0.5, "low": None, "high": None}) == "50.0"


def test_texts_are_shown_as_they_are() -> None:
    document = Document("a < b")
    document.table(["x"], [["a|b_c"]])
    document.code("<x> ~~~", "what")
    assert "| a\\|b\\_c |" in document.markdown()
    assert "<td>a|b_c</td>" in document.html()
    assert "&lt;x&gt; ~~~" in document.html()
    assert "<title>a &lt; b</title>" in document.html()
