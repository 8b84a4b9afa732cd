"""The report's text, in Markdown and on the page: what is asked, said and folded, and that numbers turn it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaformer_nlp.study.analysis.analyse import QUESTIONS, analyse
from metaformer_nlp.study.analysis.results import Analysis
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report import figures
from metaformer_nlp.study.report.figures import Picture
from metaformer_nlp.study.report.figures.first import draw_first
from metaformer_nlp.study.report.figures.looks import arm_looks
from metaformer_nlp.study.report.render import ASKED, LONGEST, conclusion, markdown, page, rules_text
from metaformer_nlp.study.report.tables import Tables
from metaformer_nlp.study.report.wording import table
from metaformer_nlp.study.words import count, exact_percent, interval, listed, p_value, percent, points, ratio
from tests.study.simulated import (
    MIXERS,
    PARTS,
    large_study_data,
    planted_rows,
    simulated_rows,
    small_study_data,
    without_result,
)

Make = Callable[[dict[str, Any]], Study]
SECTIONS = (
    "Answers",
    "Known answers",
    "Every arm",
    "Removals and swaps, pair by pair",
    "With a larger budget",
    "Other settings, and whether domains agree",
    "What this study cannot show",
    "Runs without a result",
    "Protocol and files",
)
TRUTH = dict.fromkeys((*MIXERS, *PARTS, "batch_norm"), 0.66) | {"identity": 0.6, "no_norm": 0.4, "no_residual": 0.3}


def seen(html: str) -> str:
    """A page as people read it."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def test_texts_of_the_study_file_are_shown_as_they_are(make_study: Make, tmp_path: Path) -> None:
    odd = "a|b <i>c</i> [d](e) *f* `g` _h_ &lt; x_y_z \\ ](i [j"
    data = small_study_data(2, ("vision", "text"))
    data["domains"]["vision"]["label"] = f"V {odd}"
    data["arms"]["conv"]["label"] = f"C {odd}"
    data["arms"]["no_norm"]["label"] = f"N {odd}"
    known = {"arm": "conv", "reference": "pooling", "sign": "higher", "source": f"S {odd}"}
    study = make_study({**data, "question": f"Q {odd}?", "limits": [f"L {odd}"], "expected": [known]})
    rows = without_result(planted_rows(study, {**TRUTH, "conv": 0.9}, 0.001), "fourier", [1])
    rows[0] |= {"problem": f"P {odd}", "status": "failed", "score": None}
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "p.png").write_bytes(b"")
    alt = Picture(tmp_path / "plots" / "p.png", f"A {odd}", f"K {odd}")
    html = page(markdown(analyse(study, rows, text=f"{study.text}# <b> {odd}\n# ```"), {"first": alt}), tmp_path)
    text = seen(html)
    for name in "VCNSQLPK":
        assert f"{name} {odd}" in text, name
    assert f'alt="A {odd}"' in unescape(html).replace("\n", " ")
    assert f"# <b> {odd} # ```" in text
    assert not re.search(r"<i>|<em>f|href=\"[ei]\"", html)
    assert len({row.count("<td") + row.count("<th") for row in re.findall(r"<tr>.*?</tr>", html, re.DOTALL)}) < 12


def test_numbers_are_written_for_people() -> None:
    class Its:
        def __init__(self, value: float | None, low: float | None = None, high: float | None = None) -> None:
            self.value, self.low, self.high = value, low, high

    assert (points(0.8714), points(-0.0001, signed=True), points(None)) == ("87.1", "0.0", "–")
    assert points(-0.05, signed=True) == "\N{MINUS SIGN}5.0"
    assert interval(Its(0.5, 0.4, 0.6)) == "50.0 [40.0,\N{NO-BREAK SPACE}60.0]"
    assert interval(Its(0.5)) == "50.0"
    assert percent(0.5, (-0.05, float("inf"))) == "50\N{NO-BREAK SPACE}% [\N{MINUS SIGN}5,\N{NO-BREAK SPACE}…]"
    assert percent(None) == "–"
    assert exact_percent(0.975) == "97.5\N{NO-BREAK SPACE}%"
    assert ratio(Its(-0.001, -0.5, 1.0)) == "0.00 [\N{MINUS SIGN}0.50,\N{NO-BREAK SPACE}1.00]"
    assert (count(999), count(1_234_000), count(None)) == ("999", "1.23\N{NO-BREAK SPACE}M", "–")
    assert (p_value(0.0312), p_value(0.0001), p_value(None)) == ("0.031", "<\N{NO-BREAK SPACE}0.001", "–")
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("a", "a, b and c")


def test_a_conclusion_has_at_most_sixty_words_and_says_something(make_study: Make) -> None:
    rng = np.random.default_rng(0)
    known = {"arm": "conv", "reference": "fourier", "sign": "higher", "source": "Table 5"}
    long = "a mixer whose label is as long as a whole sentence and then some"
    for number in range(30):
        names = [f"domain number {place} of a long name" for place in range(1 + number % 5)]
        data = small_study_data(2 + number % 3, [f"d{place}" for place in range(len(names))], expected=[known])
        for domain, name in zip(data["domains"].values(), names, strict=True):
            domain["label"] = name
        if number % 2:
            data["arms"]["pooling"]["label"] = long
        if number % 3 == 0:
            data |= {"control": None, "claim": None}
        study = make_study(data)
        truth = {arm.name: {name: float(rng.choice([0.1, 0.3, 0.6])) for name in data["domains"]} for arm in study.arms}
        analysis = analyse(study, planted_rows(study, truth, 0.02, number))
        assert 5 <= len(conclusion(analysis).split()) <= LONGEST
        assert conclusion(analysis).endswith(".")


@pytest.mark.parametrize("control", ["identity", None])
def test_there_is_a_report_whatever_has_run(make_study: Make, control: str | None) -> None:
    """One arm after the other has runs, parts first."""
    claim = {"arm": "pooling", "gain": 0.5} if control else None
    study = make_study(small_study_data(2, ("vision", "text"), control=control, claim=claim))
    rows = planted_rows(study, TRUTH)
    arms = [arm.name for arm in study.arms][::-1]
    for number in range(len(arms) + 1):
        ran = [row for row in rows if row["arm"] in arms[:number]]
        missing = [{key: row[key] for key in ("domain", "arm", "seed")} for row in rows if row not in ran]
        text = markdown(analyse(study, ran + missing), {})
        assert [*re.findall(r"<summary><h2>(.*?)</h2>", text)] == list(SECTIONS), "the same order in every report"
        assert conclusion(analyse(study, ran + missing)) in text


def test_every_question_has_its_rule(make_study: Make) -> None:
    rules = set(re.findall(r"^## (\w+)$", rules_text(), re.MULTILINE))
    assert {*ASKED, "trend", "tests"} == rules
    assert {*QUESTIONS, "agreement"} == set(ASKED)
    asked = dict(re.findall(r"^## (\w+)\n\n\*\*(.*?)\*\*", rules_text(), re.MULTILINE | re.DOTALL))
    own = {name: " ".join(text.split()) for name, text in asked.items()}
    for name, question in ASKED.items():
        assert name == "claim" or own[name] == question, "the same wording"
    known = {"arm": "conv", "reference": "fourier", "sign": "higher", "source": "Table 5"}
    sizes = {name: 2**place for place, name in enumerate("abc")}
    scale = [{"axis": "tokens", "domains": sizes}]
    study = make_study(small_study_data(3, [*sizes, "d", "e"], expected=[known], scale=scale))
    analysis = analyse(study, planted_rows(study, TRUTH))
    assert {question.name for question in analysis.questions} == set(ASKED), "each is asked"
    report = markdown(analysis, {})
    linked = set(re.findall(r"\]\(rules\.md(#\w+)?\)", report))
    assert linked == {"", *(f"#{name}" for name in rules)}
    html = page(report, Path("unused"))
    anchors = set(re.findall(r'id="([^"]*)"', html))
    assert set(re.findall(r'href="#([^"]*)"', html)) == anchors == {"rules", *(f"rules-{name}" for name in rules)}


def test_the_first_table_has_short_names_and_tells_missing_from_failed(make_study: Make) -> None:
    data = small_study_data(3)
    data["arms"]["attention"]["label"] = "attention (rotary)"
    data["arms"]["bare_attention"] = {**data["arms"]["no_residual"], "of": "attention", "label": "no residual"}
    study = make_study(data)
    rows = planted_rows(study, {**TRUTH, "bare_attention": 0.3})

    def told(status: str, *arms: str) -> tuple[str, str]:
        gone = [{**row, "status": status, "score": None} if row["arm"] in arms else row for row in rows]
        first, _, rest = str(markdown(analyse(study, gone), {})).partition("<details>")
        return first, rest

    parts = [arm.name for arm in study.arms if arm.kind == "architecture"]
    table, rest = told("missing", "no_residual")
    assert "| attention adds to no mixing (identity) |" in table
    assert "| size of attention (rotary), training |" in table
    assert "lost from pooling without its residual | not run yet |" in table
    assert "\nNot run yet: pooling, no residual.\n" in rest
    assert "| attention, no residual | 3 of 3 |" in rest
    assert "| pooling, no residual | 0 of 3 |" not in rest
    assert "no part was taken out yet" not in table
    table, rest = told("failed", "no_residual")
    assert "| lost from pooling without its residual | no finished run (3 of 3 failed) |" in table
    assert "Not run yet" not in rest
    assert "| pooling, no residual | 0 of 3 |" in rest
    assert "; a part costs more than any change of the mixer | not run yet |" in told("missing", *parts)[0]


def test_the_table_the_picture_and_the_conclusion_turn_with_the_numbers(make_study: Make) -> None:
    """The cells' scores alone are altered."""
    study = make_study(small_study_data(5))

    def told(truth: Mapping[str, float]) -> tuple[str, str, str]:
        analysis = analyse(study, planted_rows(study, truth))
        drawing = draw_first(analysis, arm_looks(study))
        assert drawing
        text = markdown(analysis, {}).partition("<details>")[0]
        return text.partition("| points")[2], drawing.alt, conclusion(analysis)

    table, alt, said = told(TRUTH)
    assert re.search(r"\| attention adds to no mixing \(identity\) \| \+[5-7]\.\d \[.*: yes \|", table)
    assert re.search(r"\| pooling keeps of that gain \(at least 50.%\?\) \| \d+.% .*\]: yes \|", table)
    assert re.search(r"\| lost from pooling without its residual \| \+3[56]\.", table)
    assert re.search(r"any change of the mixer \| 8 of 8 pairs \(8 shown\): yes \|", table)
    assert "of the rows, the lowest score is no residual" in alt
    mixing = r"In vision attention adds [5-7]\.\d points; pooling keeps at least 50.% of that\. "
    parts = r"Taken out of pooling, parts cost 2\d\.\d to 3\d\.\d points and the mixer [5-7]\.\d \(vision\)\. "
    assert re.match(f"{mixing}{parts}Each part that", said)
    turned = {name: 0.9 - score for name, score in TRUTH.items()}
    table, alt, said = told(turned)
    assert re.search(r"\| attention adds to no mixing \(identity\) \| −[5-7]\.\d \[.*: no \|", table)
    assert "keeps of that gain (at least 50\N{NO-BREAK SPACE}%?) | open: no gain is shown |" in table
    assert re.search(r"\| lost from pooling without its residual \| −3[56]\.", table)
    assert re.search(r"any change of the mixer \| 0 of 8 pairs \(0 shown, the opposite in 8\): no \|", table)
    assert "the highest no residual" in alt
    assert said.startswith("In vision mixing costs ")
    assert "Not every part costs more" in said


def test_many_domains_are_told_in_one_sentence(make_study: Make) -> None:
    domains = ["a", "b", "c", "d"]
    study = make_study(small_study_data(5, domains))
    pooling = {"pooling": {"a": 0.66, "b": 0.6, "c": 0.66, "d": 0.63}}
    analysis = analyse(study, planted_rows(study, {**TRUTH, **pooling}))
    assert conclusion(analysis).startswith(
        "Of what attention adds to no mixing, pooling keeps at least 50\N{NO-BREAK SPACE}% in a and c, and less in b; "
        "d leaves it open. Taking out a part costs more than taking out the mixer in a, c and d."
    )
    cheap = analyse(study, planted_rows(study, {**TRUTH, **pooling, "no_norm": dict.fromkeys(domains, 0.645)}))
    assert "Taking out at least one part costs less than taking out the mixer in a" in conclusion(cheap)
    retained = make_study(small_study_data(5, domains, claim={"arm": "pooling", "retains": 0.9}))
    again = conclusion(analyse(retained, planted_rows(retained, {**TRUTH, **pooling})))
    assert again == conclusion(analysis), "the gain is judged at one half where the file names no share of it"
    rows = planted_rows(study, {**TRUTH, **pooling})
    for part in PARTS:
        rows = without_result(rows, part, range(5), "missing")
    assert conclusion(analyse(study, rows)).endswith("No part of the architecture was taken out yet.")


def test_a_trend_is_told_of_its_own_model_alone(make_study: Make) -> None:
    data = small_study_data(5, ("other", "same", "short", "long"))
    data["domains"]["other"]["set"] = {"model.depths": [1, 1]}
    for name, label in (("short", "one epoch"), ("long", "two epochs")):
        data["domains"][name] |= {"label": label, "set": {"schedule.epochs": 1}}
    study = make_study({**data, "scale": [{"axis": "epochs", "domains": {"short": 1, "long": 2}}]})
    first = str(markdown(analyse(study, planted_rows(study, TRUTH)), {})).partition("<details>")[0]
    head = next(line for line in first.splitlines() if line.startswith("| points"))
    row = next(line for line in first.splitlines() if line.startswith("| gap to attention with more epochs"))
    told = dict(zip(head.split(" | ")[1:], row.split(" | ")[1:], strict=True))
    assert told["Other"] == "–"
    assert told["Same |"].startswith("pooling: ")


def test_every_picture_is_shown_where_its_numbers_are(make_study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of two scales of one axis."""
    data = large_study_data(3)
    for domain in data["domains"].values():
        domain["metric"] = "validation/accuracy"
    several = {name: {**data["domains"]["images"], "label": name} for name in "abc"}
    scale = [
        {"axis": "tokens", "domains": {name: 2**place for place, name in enumerate(names)}} for names in ("ab", "bc")
    ]
    scale.append({"axis": "epochs", "domains": {"a": 1, "c": 2}})
    study = make_study({**data, "domains": several, "scale": scale})
    analysis = analyse(study, planted_rows(study, dict.fromkeys(data["arms"], 0.5)))
    for name in [name for name in dir(figures) if name.startswith("draw_") and name != "draw_all"]:
        monkeypatch.setattr(figures, name, lambda *_: None)
    names = [name for name, _ in figures.drawings(analysis)]
    assert {"first", "trend-tokens-1", "trend-tokens-2", "trend-epochs", "scores-a", "curves-c"} <= set(names)
    text = markdown(analysis, {name: Picture(Path(f"{name}.png"), name, "a picture") for name in names})
    assert re.findall(r"!\[.*?\]\(plots/(.*?)\.png\)", text) == names, "in the order in which they are drawn"


def test_broken_runs_are_named_with_their_rate(make_study: Make) -> None:
    study = make_study(small_study_data(5))
    rows = without_result(planted_rows(study, TRUTH), "pooling", [3])
    rows = without_result(rows, "conv", [0, 1], "missing")
    rows = [row | {"score": 0.12} if (row["arm"], row["seed"]) == ("fourier", 2) else row for row in rows]
    text = markdown(analyse(study, rows), {})
    assert "- Pooling: no score with seed 3 (1 of 5 runs failed, which is a rate of 1" in text
    assert "- Conv: no score with seeds 0 and 1." in text
    assert "- Fourier: hardly learned with seed 2." in text
    assert "| vision/pooling/seed-3 | diverged |" in text
    assert "Not run yet (2): vision/conv/seed-0 and vision/conv/seed-1." in text
    assert (
        "- vision: **open** (yes without the runs that failed, diverged or are missing, open with them)"
        in text.replace("Vision", "vision")
    )


def test_open_questions_are_said_to_be_not_known(make_study: Make) -> None:
    study = make_study(small_study_data(2, ("vision", "text")))
    text = markdown(analyse(study, planted_rows(study, TRUTH, 0.2)), {})
    assert re.search(
        r"^Not known: .*whether parts cost more than the mixer.* and what happens with longer training\.", text, re.M
    )
    assert "±" not in text


def test_old_large_studies_are_told_too(make_study: Make) -> None:
    """Without a control or known answers."""
    study = make_study(large_study_data(3))
    analysis: Analysis = analyse(study, simulated_rows(study))
    text = markdown(analysis, {})
    assert conclusion(analysis).startswith("In CIFAR-10 images some mixers differ; depthwise conv scores most (")
    assert "gain kept" not in text.replace("keeps", "")
    assert "The study file lists none." in text


def test_a_mean_over_tasks_is_shown_where_tasks_are_a_sample_of_tasks(make_study: Make) -> None:
    study = make_study(large_study_data(4))
    analysis = analyse(study, simulated_rows(study))
    tables = Tables(analysis, table)
    head, _, *rows = str(tables.tasks(analysis.domains["text"])).splitlines()
    assert head.endswith("| mean, minus attention (over tasks and seeds) |")
    assert rows[0].endswith("| – |")
    assert rows[1].replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ").endswith("| -8.5 [-9.1, -7.9] |")
    assert "over tasks" not in str(tables.tasks(analysis.domains["probe"])), "distances are all that are asked for"
