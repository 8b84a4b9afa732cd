"""A document of headings, paragraphs, lists, tables and pictures, as Markdown or as one self-contained HTML page.

The content is built once, so that both forms say the same. The page needs nothing but itself: pictures are embedded,
styles are inline, there is no script and no address to fetch from.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem 1.25rem 4rem; background: #fff; color: #1a1a1a;
  font: 1.0625rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 1.2rem 0 .6rem; }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid #ddd; }
h3 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
p, ul { margin: .6rem 0; max-width: 46rem; }
ul { padding-left: 1.4rem; } li { margin: .25rem 0; }
a { color: #332288; }
nav { font-size: .95rem; line-height: 1.9; margin: 1.2rem 0; }
nav a { margin-right: 1.1rem; white-space: nowrap; }
.lead { font-size: 1.15rem; }
.answer { border-left: .4rem solid #777; background: #f7f7f7; padding: .6rem .9rem; margin: .9rem 0; max-width: 46rem; }
.answer p { margin: .2rem 0; }
.answer .label { font-weight: 700; }
.answer .rule { font-size: .88rem; color: #444; line-height: 1.45; }
.answer.supported { border-color: #117733; } .answer.supported .label { color: #0c5a26; }
.answer.not-supported { border-color: #b3401f; } .answer.not-supported .label { color: #9a3214; }
/* A shadow at the right as long as there is more to scroll to: its cover moves along with the table. */
.scroll { overflow-x: auto; margin: .8rem 0; background:
  linear-gradient(to left, #fff 40%, #fff0) right / 3.5rem 100% no-repeat local,
  linear-gradient(to left, #0006, #0000) right / 1.1rem 100% no-repeat scroll; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .32rem .8rem .32rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid #e4e4e4; }
th { border-bottom: 2px solid #888; font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
.text { text-align: left; white-space: normal; } td.text:last-child { min-width: 14rem; }
.plus { color: #0b4f8a; } .minus { color: #9a3214; } .same { color: #0c5a26; } .open { color: #555; }
.plus, .minus { font-weight: 600; }
figure { margin: 1rem 0 1.4rem; }
figure img { display: block; width: 100%; max-width: 44rem; height: auto; }
figcaption { font-size: .92rem; color: #444; max-width: 46rem; margin-top: .3rem; }
pre { background: #f6f6f6; padding: .7rem .9rem; overflow-x: auto; font-size: .82rem; line-height: 1.4;
  overflow-wrap: normal; }
details { margin: .6rem 0; }
summary { cursor: pointer; }
@media (max-width: 40rem) { body { padding: .5rem .9rem 3rem; font-size: 1rem; } h1 { font-size: 1.5rem; }
  th:first-child, td:first-child { min-width: 6.5rem; white-space: normal; } }
@page { margin: 14mm; }
@media print { html { font-size: 9pt; } body { max-width: none; padding: 0; } nav { display: none; }
  h2, h3 { break-after: avoid; } figure, tr, .answer { break-inside: avoid; } figure img { width: auto;
  max-width: 12cm; max-height: 11.5cm; }
  p, ul, .answer, figcaption { max-width: none; }
  .scroll, pre { overflow: visible; } .scroll { background: none; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 7pt; }
  table { font-size: 7.5pt; } th, td { white-space: normal; padding-right: .5rem; } td.text:last-child { min-width: 0; }
  th:first-child, td:first-child { position: static; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""


@dataclass
class Document:
    """Blocks in order; each method adds one. Texts are plain: no markup is read in them."""

    title: str
    _blocks: list[tuple[str, str]] = field(default_factory=list)  # (Markdown, HTML)
    _sections: list[str] = field(default_factory=list)

    def heading(self, text: str, level: int = 2) -> None:
        """A heading; those of the second level are listed at the head of the page."""
        anchor = ""
        if level == 2:
            self._sections.append(text)
            anchor = f' id="s{len(self._sections)}"'
        self._add(f"{'#' * level} {_escape(text)}", f"<h{level}{anchor}>{html.escape(text)}</h{level}>")

    def paragraph(self, text: str, lead: bool = False) -> None:
        kind = ' class="lead"' if lead else ""
        self._add(f"**{_escape(text)}**" if lead else _escape(text), f"<p{kind}>{html.escape(text)}</p>")

    def answer(self, statement: str, label: str, sentence: str, rule: str, details: Sequence[str] = ()) -> None:
        """A verdict: what was asked, the answer, its `details` as a list, and the rule that made it."""
        markdown, page = _list(details) if details else ("", "")
        below = f"\n\n{markdown}" if details else ""
        self._add(
            f"**{_escape(statement)}: {_escape(label)}**\n\n{_escape(sentence)}{below}\n\n*Rule: {_escape(rule)}*",
            f'<div class="answer {html.escape(label.replace(" ", "-"))}"><p>{html.escape(statement)}: '
            f'<span class="label">{html.escape(label)}</span></p><p>{html.escape(sentence)}</p>{page}'
            f'<p class="rule">Rule: {html.escape(rule)}</p></div>',
        )

    def bullets(self, items: Sequence[str]) -> None:
        if items:
            self._add(*_list(items))

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        text_columns: Sequence[int] = (),
        tones: Mapping[str, str] = MappingProxyType({}),
        fold: str = "",
    ) -> None:
        """Numbers are aligned to the right; the first column and `text_columns` to the left.

        `tones` gives cells that begin with a word the style class of this word. With `fold`, its summary, the table is
        folded: in Markdown by the same HTML, which GitHub shows, with the table between empty lines.
        """
        left = {0, *text_columns}
        marks = ["---" if index in left else "---:" for index in range(len(header))]
        markdown = "\n".join(
            f"| {' | '.join(cell if cells is marks else _escape(cell, table=True) for cell in cells)} |"
            for cells in (header, marks, *rows)
        )

        def row_of(kind: str, cells: Sequence[str]) -> str:
            parts = []
            for index, cell in enumerate(cells):
                classes = ["text"] if index in text_columns else []
                classes += [tone for word, tone in tones.items() if cell.startswith(word)][:1] if index else []
                of_class = f' class="{" ".join(classes)}"' if classes else ""
                parts.append(f"<{kind}{of_class}>{html.escape(cell)}</{kind}>")
            return f"<tr>{''.join(parts)}</tr>"

        body = "\n".join(row_of("td", row) for row in rows)
        table = f"<table>\n<thead>{row_of('th', header)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        page = f'<div class="scroll">{table}</div>'
        if fold:
            head = f"<details><summary>{html.escape(fold)}</summary>"
            markdown, page = f"{head}\n\n{markdown}\n\n</details>", f"{head}{page}</details>"
        self._add(markdown, page)

    def picture(self, path: Path, relative: str, alternative: str, caption: str) -> None:
        """A PNG: linked by its `relative` path in Markdown, embedded in HTML."""
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        image = f'<img alt="{html.escape(alternative)}" src="data:image/png;base64,{data}">'
        below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        self._add(
            f"![{_escape(alternative)}]({relative})\n\n{_escape(caption)}".rstrip(), f"<figure>{image}{below}</figure>"
        )

    def code(self, text: str, summary: str = "") -> None:
        """Preformatted text; with a `summary` it is folded on the page."""
        body = f"<pre>{html.escape(text.rstrip())}</pre>"
        if summary:
            body = f"<details><summary>{html.escape(summary)}</summary>{body}</details>"
        fence = "~~~~"
        self._add(f"{_escape(summary)}\n\n{fence}\n{text.rstrip()}\n{fence}".lstrip(), body)

    def markdown(self) -> str:
        return f"# {_escape(self.title)}\n\n" + "\n\n".join(block[0] for block in self._blocks) + "\n"

    def html(self) -> str:
        title = html.escape(self.title)
        body = "\n".join(block[1] for block in self._blocks)
        links = [f'<a href="#s{number}">{html.escape(text)}</a>' for number, text in enumerate(self._sections, 1)]
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
            f"<nav>{' '.join(links)}</nav>\n{body}\n</body>\n</html>\n"
        )

    def _add(self, markdown: str, page: str) -> None:
        self._blocks.append((markdown, page))


def _list(items: Sequence[str]) -> tuple[str, str]:
    rows = "\n".join(f"<li>{html.escape(item)}</li>" for item in items)
    return "\n".join(f"- {_escape(item)}" for item in items), f"<ul>\n{rows}\n</ul>"


def _escape(text: str, table: bool = False) -> str:
    """Markdown that shows `text` as it is."""
    for mark in "\\*_`<|" if table else "\\*_`<":
        text = text.replace(mark, "\\" + mark)
    return text.replace("\n", " ")
