"""The wording of reports: the templates' environment, how Markdown is kept plain, and sentences without markup."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from metaformer_nlp.study import words

TEMPLATES = Path(__file__).parent / "templates"
RULES = "rules.md"


def sentences(template: str, **values: Any) -> list[str]:
    """The lines of a template as plain text."""
    text = _plain().get_template(template).render(values)
    return [line.strip() for line in text.split("\n") if line.strip()]


def picture_text(macro: str, **values: Any) -> str:
    """What a macro of ``pictures.j2`` says, in one line."""
    text = getattr(_plain().get_template("pictures.j2").module, macro)(**values)
    return " ".join(line.strip() for line in text.split("\n") if line.strip())


@lru_cache(maxsize=1)
def _plain() -> Environment:
    plain = environment()
    plain.finalize, plain.autoescape = None, False
    return plain


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table in Markdown; columns whose cells start with a number are set to the right."""
    columns = list(zip(*rows, strict=True)) or [()] * len(head)
    marks = ["---" if place == 0 or not _numbers(column) else "---:" for place, column in enumerate(columns)]
    cells = [[_escape(str(cell)) for cell in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return Markup("\n".join([lines[0], f"| {' | '.join(marks)} |", *lines[1:]]))


def _numbers(column: Sequence[str]) -> bool:
    return all(re.match(r"[\d+<…–\N{MINUS SIGN}-]", str(cell)) for cell in column)


def environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
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
        "exact_percent",
        "ratio",
        "count",
        "duration",
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
