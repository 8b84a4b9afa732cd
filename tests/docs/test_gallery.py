"""The gallery shows every script, and its pictures are there and small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.gallery.entries import ENTRIES
from docs.gallery.make import MOST_BYTES, PAGE, PICTURES, cleaned, read_sections, shortened

ROOT = Path(__file__).parents[2]
SCRIPTS = {path.name for path in (ROOT / "scripts").glob("*.py")}


def test_every_script_is_shown_as_it_would_be_made_now() -> None:
    sections = read_sections()
    assert set(sections) == SCRIPTS == {entry.script for entry in ENTRIES}
    for entry in ENTRIES:
        assert f"$ python scripts/{entry.script} {entry.command}\n" in sections[entry.script], entry.script
        assert entry.shows in sections[entry.script]


def test_pictures_are_there_and_small() -> None:
    named = set(re.findall(r"\]\(gallery/([^)]+)\)", PAGE.read_text(encoding="utf-8")))
    kept = {path.name: path.stat().st_size for path in PICTURES.glob("*.png")}
    assert named == set(kept)
    assert max(kept.values()) <= MOST_BYTES
    assert sum(kept.values()) <= 1_000_000


def test_the_page_names_no_machine() -> None:
    assert not re.findall(r"(?<![\w.])/(?:work|tmp|root|home|usr)\b[^\s`]*", PAGE.read_text(encoding="utf-8"))


def test_output_is_cleaned(tmp_path: Path) -> None:
    text = (
        f"\x1b[31mred\x1b[0m\n 1 %\r 50 %\r100 %\nReport: file://{tmp_path}/runs/a.html\n\nsaved in {tmp_path}/model\n"
    )
    assert cleaned(text, tmp_path) == ["red", "100 %", "Report: runs/a.html", "saved in model"]


@pytest.mark.parametrize(("count", "shown"), [(3, "0\n1\n2\n"), (4, "0\n1\n2\n3\n"), (9, "0\n1\n... (6 lines)\n8\n")])
def test_long_output_is_shortened(count: int, shown: str) -> None:
    assert shortened([str(number) for number in range(count)], head=2, tail=1) == shown
