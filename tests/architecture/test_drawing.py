"""docs/architecture.md shows the imports as they are."""

from __future__ import annotations

import pytest

from tests.architecture.drawing import PAGE, floors, page


def test_the_page_is_current() -> None:
    current = PAGE.read_text(encoding="utf-8") == page()
    assert current, "docs/architecture.md is stale; draw it again: python -m tests.architecture.drawing"


def test_a_circle_is_refused() -> None:
    assert floors({"top": {"middle", "low"}, "middle": {"low"}, "low": set()}) == [["top"], ["middle"], ["low"]]
    with pytest.raises(ValueError, match="circle"):
        floors({"one": {"two"}, "two": {"one"}, "low": set()})
