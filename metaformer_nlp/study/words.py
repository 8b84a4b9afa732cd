"""Numbers, durations and lists as people read them: for plans, runs, reports and the demo."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from math import isfinite
from typing import Any, Protocol

_MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NO-BREAK SPACE}"  # within brackets: an interval is read in one go
PERCENT = f"{_SPACE}%"


def points(value: float | None, signed: bool = False) -> str:
    """A score or difference as points of a hundred: 0.871 -> "87.1", with the true minus sign."""
    if value is None:
        return "–"
    text = f"{100 * value:{'+' if signed else ''}.1f}"
    return ("0.0" if text in ("-0.0", "+0.0") else text).replace("-", _MINUS)


def deviation(share: float) -> str:
    """By how much something differs, in per cent: -0.5 -> "−50 %"."""
    return f"{100 * share:+.3g} %".replace("-", _MINUS)


def setting(value: Any) -> str:
    """The value of a setting, of whatever kind, as short as it can be: 0.001, layer_norm, {"name": "pooling"}."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class Interval(Protocol):
    """A number with its interval, whose ends are None where there is none."""

    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def interval(estimate: Interval, signed: bool = False) -> str:
    """An estimate with its interval: "87.1 [85.0, 89.2]"; only the number where there is no interval."""
    text = points(estimate.value, signed)
    if estimate.value is None or estimate.low is None:
        return text
    return f"{text} [{points(estimate.low, signed)},{_SPACE}{points(estimate.high, signed)}]"


def exact_percent(share: float) -> str:
    """A share that somebody wrote down, unrounded: "50 %", "97.5 %"."""
    return f"{100 * share:g}{PERCENT}"


def percent(value: float | None, interval: Sequence[float] | None = None) -> str:
    """A share with its interval in whole percent: "93 % [88, 99]"; an end that is not known is "…"."""
    if value is None:
        return "–"
    text = f"{round(100 * value)}{PERCENT}".replace("-", _MINUS)
    if interval is None:
        return text
    ends = (f"{round(100 * end)}".replace("-", _MINUS) if isfinite(end) else "…" for end in interval)
    return f"{text} [{f',{_SPACE}'.join(ends)}]"


def count(value: float | None) -> str:
    """A number of parameters or operations: exact up to a million, then 12.3 M, 4.5 G."""
    if value is None:
        return "–"
    for size, sign in ((1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:,.2f}{_SPACE}{sign}"
    return f"{value:,.0f}"


def p_value(p: float | None) -> str:
    """A p value: "0.034", "< 0.001"."""
    if p is None:
        return "–"
    return f"{p:.3f}" if p >= 0.001 else f"<{_SPACE}0.001"


def duration(seconds: float) -> str:
    """A time for people: "45 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def listed(items: Sequence[str]) -> str:
    """Words of a list: "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def without_brackets(text: str) -> str:
    """A label without what it says in brackets: "CIFAR-10 (JPEG copy), one stage" -> "CIFAR-10, one stage"."""
    return re.sub(r" \([^)]*\)", "", text)


def in_a_row(text: str) -> str:
    """A label that can stand in a list: "CIFAR-10 (JPEG copy), one stage" -> "CIFAR-10 (one stage)"."""
    name, comma, rest = without_brackets(text).partition(", ")
    return f"{name} ({rest})" if comma else name


def capital(text: str) -> str:
    """`text` with a capital first letter; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def ratio(estimate: Interval, signed: bool = False) -> str:
    """A plain number with its interval: "0.62 [0.14, 0.90]"."""
    plus = "+" if signed else ""
    value, low, high = (
        None if end is None else f"{end:{plus}.2f}".replace("-0.00", "0.00").replace("-", _MINUS)
        for end in (estimate.value, estimate.low, estimate.high)
    )
    if value is None:
        return "–"
    return f"{value} [{low},{_SPACE}{high}]" if low is not None else value
