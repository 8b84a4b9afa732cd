"""docs/architecture.md shows the imports as they are."""

from __future__ import annotations

import pytest

from tests.architecture.drawing import PAGE, PICTURE, floors, page, picture


def test_the_page_is_current() -> None:
    kept = [path.read_text(encoding="utf-8") for path in (PAGE, PICTURE)]
    current = kept == [page(), picture()]
    assert current, "docs/architecture.md is stale; draw it again: python -m tests.architecture.drawing"


def test_a_circle_is_refused() -> None:
    assert floors({"top": {"middle", "low"}, "middle": {"low"}, "low": set()}) == [["top"], ["middle"], ["low"]]
    with pytest.raises(ValueError, match="circle"):
        floors({"one": {"two"}, "two": {"one"}, "low": set()})
