"""From an analysis to Markdown and to one page: the wording is in ``templates/``, numbers come from `tables`.

The page is made of the same Markdown, so that both say the same. It needs nothing but itself: pictures are embedded,
styles are inline, there is no script and no address to fetch from.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from metaformer_nlp.study import words
from metaformer_nlp.study.analysis.answers import NOT_RUN
from metaformer_nlp.study.analysis.results import Analysis
from metaformer_nlp.study.analysis.statistics.estimates import LEVEL, student
from metaformer_nlp.study.report import protocol
from metaformer_nlp.study.report.names import distance_pictures
from metaformer_nlp.study.report.tables import Tables
from metaformer_nlp.study.report.wording import RULES, TEMPLATES, environment, sentences, table

if TYPE_CHECKING:  # matplotlib: the runner and its cells do without
    from metaformer_nlp.study.report.figures.style import Picture

LONGEST = 60  # words of the conclusion
Pictures = Mapping[str, "Picture"]

ASKED = {
    "known": "Does the study find what is known?",
    "mixing": "Does mixing tokens help at all here?",
    "claim": "Does the arm of the claim keep its share of what mixing gains?",
    "removals": "Does taking out a part of the architecture cost more than taking out the mixer?",
    "parts": "Does taking out a part cost more than any change of the mixer?",
    "swaps": "Does swapping the mixer change more than swapping the norm or the activation?",
    "mixers": "Does the choice of the mixer matter?",
    "agreement": "Do the domains order the mixers alike?",
}
"""The questions in words, by name; a test holds them to the headings of the rules."""


def conclusion(analysis: Analysis) -> str:
    """The conclusion by rule: the sentences of its template in their order, as many as 60 words allow."""
    taken, left = [], LONGEST
    for sentence in sentences("conclusion.j2", **_names(analysis)):
        if len(sentence.split()) > left:
            break
        taken.append(sentence)
        left -= len(sentence.split())
    return " ".join(taken)


def markdown(analysis: Analysis, pictures: Pictures) -> str:
    """The report for reading in a repository; pictures are linked."""
    names = _names(analysis) | _values(analysis, pictures)
    text = environment().get_template("report.md.j2").render(names)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def page(text: str, folder: Path) -> str:
    """A report's Markdown, whose pictures lie in `folder`, as one self-contained HTML page."""
    body = re.sub(rf'href="{re.escape(RULES)}(?:#(\w+))?"', _rule_on_the_page, _to_html(text))
    # In the HTML: the Markdown parser takes long over such an address.
    body = re.sub(r'src="plots/([^"/\\]+)"', lambda found: f'src="{_embedded(folder / "plots" / found[1])}"', body)
    rules = re.sub(r"^## (\w+)$", r'<h3 id="rules-\1">\1</h3>', rules_text(), flags=re.MULTILINE)
    rules = rules.replace("# How the words are chosen", "", 1)
    title = re.search(r"<h1>(.*?)</h1>", body)
    return environment().get_template("page.html.j2").render(
        title=Markup(title[1] if title else "").striptags(),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        body=Markup(body),
        rules=Markup(_to_html(rules)),
    )  # fmt: skip


def rules_text() -> str:
    """The rules of the words, which every report has beside it."""
    return (TEMPLATES / RULES).read_text(encoding="utf-8")


def title_of(analysis: Analysis) -> str:
    names = [f"“{name}”" for name, *_ in protocol.questions(analysis)]
    return f"{'Study' if len(names) == 1 else 'Studies'} {words.listed(names)}"


def _to_html(text: str) -> str:
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return html.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")


def _rule_on_the_page(link: re.Match[str]) -> str:
    return f'href="#rules-{link[1]}"' if link[1] else 'href="#rules"'


def _embedded(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def _values(analysis: Analysis, pictures: Pictures) -> dict[str, Any]:
    cells = analysis.cells
    return {
        "pictures": pictures,
        "distance_pictures": distance_pictures,
        "title": title_of(analysis),
        "conclusion": conclusion(analysis),
        "tables": Tables(analysis, table),
        "asked": ASKED,
        "still_open": sentences("still_open.j2", **_names(analysis)),
        "done": sum(row["status"] == "finished" for row in cells),
        "planned": len(cells),
        "limits": limits(analysis),
        "changes": protocol.changes(analysis),
        "questions": protocol.questions(analysis),
        "lines": sentences("records.j2", a=analysis, **protocol.records(analysis)),
        "budgets": protocol.budgets(analysis),
        "tuned": protocol.tuned(analysis),
        "failed": [(protocol.key_of(row), _first_line(row["problem"])) for row in cells if row["status"] == "failed"],
        "missing": [protocol.key_of(row) for row in cells if row["status"] == "missing"],
        "commands": protocol.commands(analysis),
    }


def _names(analysis: Analysis) -> dict[str, Any]:
    labels = analysis.labels()
    return {
        "a": analysis,
        "study": analysis.study,
        "labels": labels,
        "baseline": labels[analysis.study.baseline],
        "centre": labels[analysis.centre],
        "not_run": NOT_RUN,
    }


def limits(analysis: Analysis) -> list[str]:
    """What the study cannot show, from its numbers and from its file."""
    arms = [arm for domain in analysis.domains.values() for arm in domain.runs]
    items = {
        domain.label: [
            (its.high - its.low) / 2
            for arm in domain.runs
            if (its := arm.over_items) and its.low is not None and its.high is not None
        ]
        for domain in analysis.domains.values()
    }
    counts = sorted({len(arm.seeds) for arm in arms})
    values = {
        "counts": counts,
        "student": student(LEVEL, max(counts[0], 2) - 1) if counts else None,
        "unlike": [row for row in protocol.budgets(analysis) if row[3] == "no"],
        "items": [(label, halves) for label, halves in items.items() if halves],
    }
    return [*sentences("limits.j2", **_names(analysis), **values), *analysis.study.limits]


def _first_line(text: str | None) -> str:
    return next(iter((text or "").splitlines()), "")
