"""A study's report and its curves on the page."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.report.figures.looks import MIXERS
from tasks.demo.studies import Studies, analysed, drawn, offered, report

RESULTS = Path(__file__).parents[3] / "docs/results"


@pytest.fixture(scope="module")
def studies() -> Studies:
    return Studies({"results": RESULTS, "one": RESULTS / "images"})


def picture(html: str) -> str:
    found = re.search(r"base64,([\w+/=]+)", html)
    assert found, html[:300]
    return base64.b64decode(found[1]).decode()


def test_reports_are_found(studies: Studies) -> None:
    assert {"results/quick", "results/images", "one"} <= set(studies.names())
    with pytest.raises(ValueError, match="no such folder"):
        Studies({"none": Path("none")})


def test_a_report_is_shown_with_its_pictures_where_nothing_runs(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "images", tmp_path / "study")
    (tmp_path / "study/report.html").unlink(missing_ok=True)
    html = report(Studies({"study": tmp_path / "study"}), "study")
    assert html.startswith('<iframe class="report" sandbox="" ')
    assert "default-src &#x27;none&#x27;" in html
    assert "data:image/png;base64," in html
    assert "plots/" not in html, "each picture is in the page"
    (tmp_path / "study/report.html").write_text("<html><head></head><body>{{as}} it is</body></html>")
    assert "&#123;&#123;as&#125;&#125; it is" in report(Studies({"study": tmp_path / "study"}), "study")


def test_curves_of_the_chosen_arms_in_their_own_colours(studies: Studies) -> None:
    domain, kind, arms, html = offered(studies, "results/images", None, None, None)
    assert (domain["value"], kind["value"]) == ("four_stages", "learning curves")
    assert {"pooling", "attention"} <= set(arms["value"])
    assert MIXERS["pooling"][0].lower() in picture(html)
    *_, arms, html = offered(studies, "results/images", "four_stages", "learning curves", ["attention"])
    assert arms["value"] == ["attention"]
    assert MIXERS["pooling"][0].lower() not in picture(html)


def test_another_study_begins_with_all_its_arms(studies: Studies) -> None:
    for name in ("results/dense", "results/robustness"):
        *_, arms, _ = offered(studies, name)
        assert arms["value"] == [arm for _, arm in arms["choices"]]


def test_a_study_that_goes_on_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[tuple[int, ...]] = []
    monkeypatch.setattr("tasks.demo.studies._analysed", lambda _, changed: states.append(changed))
    (tmp_path / "study.json").write_text("{}")
    analysed(tmp_path)
    analysed(tmp_path)
    (tmp_path / "cells/digits/pooling/seed-0").mkdir(parents=True)
    (tmp_path / "cells/digits/pooling/seed-0/result.json").write_text("{}")
    analysed(tmp_path)
    assert states[0] == states[1] != states[2]


def test_every_kind_of_picture_is_drawn(studies: Studies) -> None:
    _, kind, arms, _ = offered(studies, "results/probes_text", "copying", None, None)
    assert kind["choices"] == ["learning curves", "over the distance", "scores"]
    analysis = analysed(RESULTS / "probes_text")
    for name in kind["choices"]:
        assert "<svg" in picture(drawn(analysis, "copying", name, arms["value"]))


def test_what_is_no_study_gets_a_sentence(studies: Studies, tmp_path: Path) -> None:
    def shown(name: str | None, given: Studies = studies) -> str:
        other: Any = offered(given, name, None, None, None)[3]
        assert 'class="problem"' in other
        return report(given, name)

    assert "a path with .. is refused" in shown("results/../../secret")
    assert "an absolute path is refused" in shown("/etc")
    assert "no such folder below" in shown("results/none")
    assert "is no folder of a study" in shown("results/quick/plots")
    assert "Choose a study" in shown(None)
    assert "Start the page with the folder of one" in shown(None, Studies({}))
    (tmp_path / "given").mkdir()
    (tmp_path / "given/linked").symlink_to(RESULTS / "quick")
    assert "a link out of the given folder" in shown("linked", Studies({"given": tmp_path / "given"}))
    (tmp_path / "given/cells/cells/one").mkdir(parents=True)
    (tmp_path / "given/cells/study.json").write_text("{}")
    (tmp_path / "given/cells/cells/one/result.json").symlink_to(RESULTS / "quick/report.json")
    assert "result.json: a link out of the given folder" in shown("cells", Studies({"given": tmp_path / "given"}))
    (tmp_path / "given/study").mkdir()
    (tmp_path / "given/study/report.json").write_text("{")
    assert "has no report yet" in shown("study", Studies({"given": tmp_path / "given"}))
