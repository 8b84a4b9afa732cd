"""Numbers and lists as people read them; every sentence and table of the report is worded with these."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

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


def interval(estimate: Mapping[str, Any], signed: bool = False) -> str:
    """An estimate with its interval: "87.1 [85.0, 89.2]"; only the number where there is no interval."""
    text = points(estimate["value"], signed)
    if estimate["value"] is None or estimate["low"] is None:
        return text
    return f"{text} [{points(estimate['low'], signed)},{_SPACE}{points(estimate['high'], signed)}]"


def percent(estimate: Mapping[str, Any]) -> str:
    """A share with its interval in whole percent: "93 [88, 99]"."""
    if estimate["value"] is None:
        return "–"
    value, low, high = (
        None if estimate[key] is None else f"{round(100 * estimate[key])}".replace("-", _MINUS)
        for key in ("value", "low", "high")
    )
    return f"{value} [{low},{_SPACE}{high}]" if low is not None else f"{value}"


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


def capital(text: str) -> str:
    """`text` with a capital first letter; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def ratio(estimate: Mapping[str, Any]) -> str:
    """A plain number with its interval: "0.62 [0.14, 0.90]"."""
    value, low, high = (
        None if estimate[key] is None else f"{estimate[key]:.2f}".replace("-0.00", "0.00").replace("-", _MINUS)
        for key in ("value", "low", "high")
    )
    if value is None:
        return "–"
    return f"{value} [{low},{_SPACE}{high}]" if low is not None else value


def share_of(part: Mapping[str, Any]) -> dict[str, Any]:
    """The share of a component of the variance, as an estimate."""
    return {"value": part["share"], "low": part["share_low"], "high": part["share_high"]}
