"""From an analysis to Markdown and to one page: the wording is in ``templates/``, numbers come from `tables`.

The page is made of the same Markdown, so that both say the same. It needs nothing but itself: pictures are embedded,
styles are inline, there is no script and no address to fetch from.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from metaformer_nlp.study import words
from metaformer_nlp.study.analysis.answers import NOT_RUN
from metaformer_nlp.study.analysis.results import Analysis
from metaformer_nlp.study.analysis.statistics.estimates import LEVEL, student
from metaformer_nlp.study.report import protocol
from metaformer_nlp.study.report.tables import Tables

if TYPE_CHECKING:  # matplotlib: the runner and its cells do without
    from metaformer_nlp.study.report.figures.style import Picture

LONGEST = 60  # words of the conclusion
RULES = "rules.md"
_TEMPLATES = Path(__file__).parent / "templates"
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
    for sentence in _sentences("conclusion.j2", analysis):
        if len(sentence.split()) > left:
            break
        taken.append(sentence)
        left -= len(sentence.split())
    return " ".join(taken)


def markdown(analysis: Analysis, pictures: Pictures) -> str:
    """The report for reading in a repository; pictures are linked."""
    names = _names(analysis) | _values(analysis, pictures)
    text = _environment().get_template("report.md.j2").render(names)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def page(text: str, folder: Path) -> str:
    """A report's Markdown, whose pictures lie in `folder`, as one self-contained HTML page."""
    body = re.sub(rf'href="{re.escape(RULES)}(?:#(\w+))?"', _rule_on_the_page, _to_html(text))
    # In the HTML: the Markdown parser takes long over such an address.
    body = re.sub(r'src="plots/([^"/\\]+)"', lambda found: f'src="{_embedded(folder / "plots" / found[1])}"', body)
    rules = re.sub(r"^## (\w+)$", r'<h3 id="rules-\1">\1</h3>', rules_text(), flags=re.MULTILINE)
    rules = rules.replace("# How the words are chosen", "", 1)
    title = re.search(r"<h1>(.*?)</h1>", body)
    return _environment().get_template("page.html.j2").render(
        title=Markup(title[1] if title else "").striptags(),
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
        body=Markup(body),
        rules=Markup(_to_html(rules)),
    )  # fmt: skip


def rules_text() -> str:
    """The rules of the words, which every report has beside it."""
    return (_TEMPLATES / RULES).read_text(encoding="utf-8")


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
        "title": title_of(analysis),
        "conclusion": conclusion(analysis),
        "tables": Tables(analysis, table),
        "asked": ASKED,
        "still_open": still_open(analysis),
        "done": sum(row["status"] == "finished" for row in cells),
        "planned": len(cells),
        "limits": limits(analysis),
        "changes": protocol.changes(analysis),
        "questions": protocol.questions(analysis),
        "lines": [*protocol.times(analysis), *protocol.surroundings(cells)],
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


def still_open(analysis: Analysis) -> list[str]:
    """What the study does not know: its open questions, in a few words each."""
    short = {
        "known": "whether all published differences hold",
        "mixing": "whether mixing helps",
        "claim": "how much of the gain is kept",
        "removals": "whether parts cost more than the mixer",
        "parts": "whether parts cost more than any change of the mixer",
        "swaps": "whether mixers matter more than norms and activations",
        "mixers": "whether the mixer matters",
        "agreement": "whether the domains order mixers alike",
    }
    found = []
    for question in analysis.questions:
        if question.name in short and question.answer.word == "open":
            places = [
                words.without_brackets(analysis.domains[name].label)
                for name, its in question.domains.items()
                if its.word == "open"
            ]
            where = f" ({words.listed(places)})" if 0 < len(places) < len(question.domains) else ""
            found.append(f"{short[question.name]}{where}")
    trained = [trends for trends in analysis.trends if trends.scale.axis in ("tokens", "epochs")]
    settled = [
        trends
        for trends in trained
        if trends.lines.get(analysis.centre) and trends.lines[analysis.centre].trend != "open"
    ]
    return [*found, *([] if settled else ["what happens with longer training"])]


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
    return [*_sentences("limits.j2", analysis, values), *analysis.study.limits]


def _sentences(template: str, analysis: Analysis, values: Mapping[str, Any] = MappingProxyType({})) -> list[str]:
    """The lines of a template as plain text."""
    environment = _environment()
    environment.finalize, environment.autoescape = None, False
    text = environment.get_template(template).render(_names(analysis) | dict(values))
    return [line.strip() for line in text.split("\n") if line.strip()]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table in Markdown; columns whose cells start with a number are set to the right."""
    columns = list(zip(*rows, strict=True)) or [()] * len(head)
    marks = ["---" if place == 0 or not _numbers(column) else "---:" for place, column in enumerate(columns)]
    cells = [[_escape(str(cell)) for cell in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return Markup("\n".join([lines[0], f"| {' | '.join(marks)} |", *lines[1:]]))


def _numbers(column: Sequence[str]) -> bool:
    return all(re.match(r"[\d+<…–\N{MINUS SIGN}-]", str(cell)) for cell in column)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
        finalize=_finalize,
        keep_trailing_newline=True,
    )
    for name in (
        "points",
        "interval",
        "percent",
        "ratio",
        "count",
        "p_value",
        "listed",
        "capital",
        "setting",
        "without_brackets",
        "in_a_row",
    ):
        environment.filters[name] = getattr(words, name)
    environment.filters |= {
        "median": median,
        "table": table,
        "json": _json,
        "code": _code,
        "seeds": _seeds,
        "alt": _alt,
    }
    environment.globals |= {"fold": _fold, "inner_fold": _inner_fold, "rule_at": _rule_at}
    return environment


def _rule_at(name: str) -> Markup:
    """The address of a rule, or of all of them."""
    return Markup(f"{RULES}#{name}" if name else RULES)


def _finalize(value: Any) -> Any:
    """Text from a study file is shown as it is: no markup is read in it."""
    return value if isinstance(value, Markup) else Markup(_escape(str(value)))


def _escape(text: str) -> str:
    """Markdown that shows `text` as it is, in a table too; lone brackets and underscores in words are no markup."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return re.sub(r"([\\*`|]|(?<!\w)_|_(?!\w)|(?<=\])[(\[])", r"\\\1", text)


def _alt(text: str) -> Markup:
    """A picture's text, which a bracket without its other one would end."""
    return Markup(re.sub(r"(?<!\\)((?:\\\\)*)([\[\]])", r"\1\\\2", _escape(text)))


def _fold(title: str, caller: Callable[[], str]) -> Markup:
    return Markup(f"\n<details>\n<summary><h2>{_escape(title)}</h2></summary>\n\n{caller().strip()}\n\n</details>\n")


def _inner_fold(title: str, caller: Callable[[], str]) -> Markup:
    return Markup(f"\n<details>\n<summary>{_escape(title)}</summary>\n\n{caller().strip()}\n\n</details>\n")


def _code(text: str) -> Markup:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}\n{text.rstrip()}\n{fence}")


def _seeds(numbers: Sequence[int]) -> str:
    return f"{'seed' if len(numbers) == 1 else 'seeds'} {words.listed([str(number) for number in numbers])}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=dict)


def _first_line(text: str | None) -> str:
    return next(iter((text or "").splitlines()), "")
