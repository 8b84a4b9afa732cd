"""Numbers from outside, of users and of experiments: what is let in is finite and plain Python, as JSON can hold it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

__all__ = ["LARGEST", "is_finite", "number", "plain_data"]

LARGEST = 1e100


def number(value: Any) -> int | float | None:
    """`value` as a finite number of plain Python, one of numpy or torch too; None if it is none.

    Truth values and texts are no numbers, and neither is what is too large to compute with, squares and sums.
    """
    if not isinstance(value, int | float) and callable(getattr(value, "item", None)):
        try:
            value = value.item()
        except (TypeError, ValueError, RuntimeError):  # several numbers
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
        return None
    if abs(value) > LARGEST:
        return None
    return int(value) if isinstance(value, int) else float(value)


def is_finite(value: Any) -> bool:
    """Whether all numbers in a value are, those in its lists and mappings too."""
    if isinstance(value, Mapping):
        return all(map(is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    try:
        return not isinstance(value, int | float) or math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def plain_data(value: Any) -> Any:
    """`value` as JSON can hold it: numbers and arrays of libraries as plain ones, other objects as their text.

    A number that is not finite becomes None: JSON has none.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, Mapping):
        return {str(key): plain_data(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | AbstractSet):
        return [plain_data(inner) for inner in value]
    return plain_data(value.tolist()) if callable(getattr(value, "tolist", None)) else str(value)
