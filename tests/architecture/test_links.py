"""README.md and the pages under docs: links lead somewhere, paths in commands exist, and no script is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), RESULTS / "README.md"]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r'\]\(([^)\s]+)\)|src="([^"]+)"', prose(page)):
        path, _, fragment = "".join(target).partition("#")
        if path.startswith("http"):
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {path}"
        assert not fragment or fragment in anchors(file), f"{page.name} links to {path}, which has no #{fragment}"


@pytest.mark.parametrize("page", [*PAGES, *SCRIPTS], ids=lambda page: str(page.relative_to(ROOT)))
def test_scripts_and_recipes_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"\bscripts/[\w/]+\.(?:py|yaml)\b", text)
    recipes = re.findall(r"\brecipe:([\w/]+)", text)
    named += [f"scripts/recipes/{name}.yaml" for name in recipes if name.islower()]  # not NAME
    assert not {path for path in named if not (ROOT / path).exists()}


def test_the_index_and_the_table_of_scripts_are_complete() -> None:
    index, table = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("README.md", "scripts.md"))
    assert not {page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index} - {"README.md"}
    assert not {path.name for path in (ROOT / "scripts").glob("*.py") if f"`{path.name}`" not in table}
    results = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert not {path.name for path in RESULTS.iterdir() if path.is_dir() and f"({path.name}/report.md)" not in results}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
