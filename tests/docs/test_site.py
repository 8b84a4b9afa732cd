"""The documentation as a site: it builds without a warning, every link leads somewhere, and nothing is fetched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

ROOT = Path(__file__).parents[2]


class Addresses(HTMLParser):
    """What a page links to, what it loads, and the anchors that it has."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attributes if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if "src" in given or tag == "link":
            self.loaded.add(given.get("src") or given["href"])
        elif "href" in given:
            self.links.add(given["href"])


@pytest.mark.parametrize(
    "package", ["metaformer_nlp", "metaformer_nlp.core", "metaformer_nlp.engine", "vision", "vision.dense"]
)
def test_every_public_name_is_on_a_page(package: str) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    shown = set(re.findall(rf"^::: {re.escape(package)}\.(\w+)$", pages, re.MULTILINE))
    assert shown == set(import_module(package).__all__)


@pytest.mark.slow
def test_the_site(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = {page: Addresses(page) for page in site.rglob("*.html")}
    broken, fetched = [], []
    for page, found in pages.items():
        for address in found.links | found.loaded:
            parts = urlsplit(address)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                if address in found.loaded:
                    fetched.append((page.name, address))
                continue
            path, anchor = urldefrag(address)
            if page.name == "404.html":  # may be shown at any address, so its links begin at the root
                path = path.removeprefix("/")
            target = (page.parent / unquote(path.partition("?")[0])).resolve() if path else page
            if target.is_dir():
                target /= "index.html"
            if not target.is_file() or (anchor and target in pages and unquote(anchor) not in pages[target].anchors):
                broken.append((str(page.relative_to(site)), address))
    assert not broken
    assert not fetched
    reports = {path.parent.name for path in (ROOT / "docs" / "results").glob("*/report.json")}
    assert {page.parent.name for page in site.glob("results/*/page.html")} == reports
    assert [path.name for path in (site / "cells").rglob("*")] == ["index.html"], "raw outcomes are no pages"
    assert "metaformer_nlp.core.MetaFormerBlock" in pages[site / "api" / "core.html"].anchors
