"""Pieces of HTML that the tabs put together, and errors as sentences of the page."""

from __future__ import annotations

import base64
import functools
import io
import logging
from collections.abc import Callable
from html import escape as escaped
from typing import ParamSpec

from PIL import Image

__all__ = ["bars", "card", "cards", "data_uri", "escape", "hint", "picture", "scrolling", "sentence", "telling"]

P = ParamSpec("P")
logger = logging.getLogger(__name__)


def escape(text: object) -> str:
    """Text as HTML; gradio's templates, which see it afterwards, find no ``${`` and no ``{{`` in it."""
    return escaped(str(text)).replace("{", "&#123;").replace("}", "&#125;").replace("$", "&#36;")


def sentence(problem: object) -> str:
    """A sentence in place of a result."""
    return f'<div class="problem" role="alert">{escape(problem)}</div>'


def hint(text: object) -> str:
    """What to do next, where there is no result yet."""
    return f'<div class="hint">{escape(text)}</div>'


def scrolling(result: str, top: str) -> str:
    """JavaScript: where the element ``result`` begins far down in the window or below it, as on a phone, ``top`` moves
    to the top. So a result is seen when it comes."""
    return f"""() => {{
        const at = (name) => document.getElementById(name);
        if (at("{result}").getBoundingClientRect().top > 0.6 * innerHeight) at("{top}").scrollIntoView();
    }}"""


def telling(function: Callable[P, str]) -> Callable[P, str]:
    """``function``, which makes HTML, with the sentence of its ``ValueError`` in place of a result.

    An error that nobody has foreseen is written to the log, and the page says so.
    """

    @functools.wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            return sentence(error)
        except Exception as error:
            logger.exception("%s failed", function.__name__)
            return sentence(f"This did not work ({type(error).__name__}). The terminal of the page has the details.")

    return told


def data_uri(image: Image.Image) -> str:
    """A picture as PNG inside an address."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def picture(image: Image.Image, alt: str) -> str:
    """A picture with what is seen in it; small ones are enlarged with sharp pixels."""
    small = ' class="pixels"' if max(image.size) < 200 else ""
    return f'<img{small} src="{data_uri(image)}" alt="{escape(alt)}">'


def card(title: str, body: str) -> str:
    """A result with the name of its model; ``body`` is HTML."""
    return f'<section class="card"><h3>{escape(title)}</h3>{body}</section>'


def cards(*made: str) -> str:
    """Cards side by side, as far as they fit."""
    return f'<div class="cards">{"".join(made)}</div>'


def bars(rows: list[tuple[str, float]]) -> str:
    """Names with their shares, each with a bar."""
    return '<ul class="bars">{}</ul>'.format(
        "".join(
            f'<li style="--share: {share:.4f}"><span>{escape(name)}</span><b>{100 * share:.1f} %</b></li>'
            for name, share in rows
        )
    )
