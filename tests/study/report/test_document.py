"""Texts, tables and numbers as the report shows them, in Markdown and on the page."""

from __future__ import annotations

from metaformer_nlp.study.report.document import Document
from metaformer_nlp.study.words import count, interval, listed, p_value, percent, points, ratio


def test_texts_are_shown_as_they_are() -> None:
    document = Document("a < b")
    document.table(["x"], [["a|b_c"]])
    document.code("<x> ~~~", "what")
    assert "| a\\|b\\_c |" in document.markdown()
    assert "<td>a|b_c</td>" in document.html()
    assert "&lt;x&gt; ~~~" in document.html()
    assert "<title>a &lt; b</title>" in document.html()


def test_a_folded_table_is_in_both_forms() -> None:
    document = Document("report")
    document.table(["a|b", "n"], [["x", "1"], ["y", "2"]], fold="All 2 of <them>")
    document.paragraph("Below.")
    head = "<details><summary>All 2 of &lt;them&gt;</summary>"
    table = "| a\\|b | n |\n| --- | ---: |\n| x | 1 |\n| y | 2 |"
    assert f"\n\n{head}\n\n{table}\n\n</details>\n\nBelow." in document.markdown(), "GitHub needs the empty lines"
    page = document.html()
    assert page.index(head) < page.index("<td>y</td><td>2</td>") < page.index("</details>")


def test_numbers_are_written_for_people() -> None:
    assert points(0.8714) == "87.1"
    assert points(-0.05, signed=True) == "\N{MINUS SIGN}5.0"
    assert points(-0.0001, signed=True) == "0.0"
    assert points(None) == "–"
    its = {"value": 0.5, "low": 0.4, "high": 0.6}
    none = {"value": 0.5, "low": None, "high": None}
    assert interval(its) == "50.0 [40.0,\N{NO-BREAK SPACE}60.0]"
    assert interval(none) == "50.0"
    assert (percent(its), percent(none)) == ("50 [40,\N{NO-BREAK SPACE}60]", "50")
    assert percent({"value": -0.001, "low": -0.05, "high": 1.2}) == "0 [\N{MINUS SIGN}5,\N{NO-BREAK SPACE}120]"
    assert ratio({"value": -0.001, "low": -0.5, "high": 1.0}) == "0.00 [\N{MINUS SIGN}0.50,\N{NO-BREAK SPACE}1.00]"
    assert (count(999), count(1_234_000), count(None)) == ("999", "1.23\N{NO-BREAK SPACE}M", "–")
    assert (p_value(0.0312), p_value(0.0001), p_value(None)) == ("0.031", "<\N{NO-BREAK SPACE}0.001", "–")
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("a", "a, b and c")
