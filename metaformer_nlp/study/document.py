"""A document of headings, paragraphs, lists, tables and pictures, as Markdown or as one self-contained HTML page.

The content is built once, so that both forms say the same. The page needs nothing but itself: pictures are embedded,
styles are inline, there is no script and no address to fetch from.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem 1.25rem 4rem; background: #fff; color: #1a1a1a;
  font: 1.0625rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 1.2rem 0 .6rem; }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid #ddd; }
h3 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
p, ul { margin: .6rem 0; max-width: 46rem; }
li { margin: .25rem 0; }
.lead { font-size: 1.2rem; line-height: 1.45; border-left: 4px solid #332288; padding: .3rem 0 .3rem .9rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .7rem .32rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid #e4e4e4; }
th { border-bottom: 2px solid #888; font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
td.text { text-align: left; white-space: normal; min-width: 16rem; }
figure { margin: 1rem 0 1.4rem; }
figure img { display: block; width: 100%; max-width: 44rem; height: auto; }
figcaption { font-size: .92rem; color: #444; max-width: 46rem; margin-top: .3rem; }
pre { background: #f6f6f6; padding: .7rem .9rem; overflow-x: auto; font-size: .82rem; line-height: 1.4; }
summary { cursor: pointer; }
@media (max-width: 40rem) { body { padding: .5rem .9rem 3rem; font-size: 1rem; } h1 { font-size: 1.5rem; } }
@media print { body { max-width: none; font-size: 10pt; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; }
  .scroll, pre { overflow: visible; } pre { white-space: pre-wrap; } table { font-size: 8.5pt; } }
"""


@dataclass
class Document:
    """Blocks in order; each method adds one. Texts are plain: no markup is read in them."""

    title: str
    _blocks: list[tuple[str, str]] = field(default_factory=list)  # (Markdown, HTML)

    def heading(self, text: str, level: int = 2) -> None:
        self._add(f"{'#' * level} {_escape(text)}", f"<h{level}>{html.escape(text)}</h{level}>")

    def paragraph(self, text: str, lead: bool = False) -> None:
        kind = ' class="lead"' if lead else ""
        self._add(f"**{_escape(text)}**" if lead else _escape(text), f"<p{kind}>{html.escape(text)}</p>")

    def bullets(self, items: Sequence[str]) -> None:
        if items:
            rows = "\n".join(f"<li>{html.escape(item)}</li>" for item in items)
            self._add("\n".join(f"- {_escape(item)}" for item in items), f"<ul>\n{rows}\n</ul>")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: Sequence[int] = ()) -> None:
        """Numbers are aligned to the right; the first column and `text_columns` to the left."""
        left = {0, *text_columns}
        marks = ["---" if index in left else "---:" for index in range(len(header))]
        lines = [header, marks, *rows]
        markdown = "\n".join(
            f"| {' | '.join(cell if cells is marks else _escape(cell, table=True) for cell in cells)} |"
            for cells in lines
        )
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "\n".join(
            "<tr>"
            + "".join(
                f"<td{' class=text' if index in text_columns else ''}>{html.escape(cell)}</td>"
                for index, cell in enumerate(row)
            )
            + "</tr>"
            for row in rows
        )
        table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        self._add(markdown, f'<div class="scroll">{table}</div>')

    def picture(self, path: Path, relative: str, alternative: str, caption: str) -> None:
        """A PNG: linked by its `relative` path in Markdown, embedded in HTML."""
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        image = f'<img alt="{html.escape(alternative)}" src="data:image/png;base64,{data}">'
        self._add(
            f"![{_escape(alternative)}]({relative})\n\n{_escape(caption)}",
            f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>",
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
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
        )

    def _add(self, markdown: str, page: str) -> None:
        self._blocks.append((markdown, page))


def _escape(text: str, table: bool = False) -> str:
    """Markdown that shows `text` as it is."""
    for mark in "\\*_`<|" if table else "\\*_`<":
        text = text.replace(mark, "\\" + mark)
    return text.replace("\n", " ")
