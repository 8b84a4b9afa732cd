"""What the site needs beside its pages: README.md as the home page, and links that lead where they lead on GitHub.

Pages link as files of the repository do. On the site README.md is the home page, docs/README.md is the page of
contents, and a file outside docs/ that a page links to is a page under files/. A study's report is there as one page,
too.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from metaformer_nlp.study.report import render

ROOT = Path(__file__).parents[1]
MOVED = {"README.md": "index.md", "docs/README.md": "contents.md"}
_LINK = re.compile(r'((?<=\[)[\w/]+\.md)?(\]\(|\bsrc=")(?!https?:|mailto:)([^)\s"#]+)')
_CODE = re.compile(r"^ *(`{3,})[^`\n]*\n.*?^ *\1 *$", re.MULTILINE | re.DOTALL)
_NESTED = re.compile(r"^( +)(?=- |\d+\. )", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the results to the navigation, before the code."""
    studies = [{path.parent.name: f"results/{path.parent.name}/report.md"} for path in _reports()]
    assert config.nav is not None
    config.nav.insert(-1, {"Results": ["results/README.md", *studies]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Moves the READMEs, and adds the files outside docs/ that pages link to and each report as one page."""
    contents = files.get_file_from_path("README.md")
    assert contents is not None
    files.remove(contents)
    for path, uri in MOVED.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for path in sorted({path for file in files.documentation_pages() for path in _linked(file)}):
        if files.get_file_from_path(site_uri(path)) is None:
            if not (ROOT / path).is_file():
                continue  # mkdocs warns of it
            files.append(File.generated(config, site_uri(path), content=_shown(path)))
    for report in _reports():
        text = render.page(report.read_text(encoding="utf-8"), report.parent)
        files.append(File.generated(config, f"results/{report.parent.name}/page.html", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """GitHub's Markdown as Python-Markdown reads it, with links to the places of the site."""
    here = page.file.src_uri
    folder = posixpath.dirname(repository_path(here))

    def link(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found[3]))
        target = files.get_file_from_path(site_uri(path))
        name = _title(target) if found[1] and target else found[1] or ""
        return name + found[2] + posixpath.relpath(site_uri(path), posixpath.dirname(here) or ".")

    def prose(text: str) -> str:
        text = _LINK.sub(link, text).replace("<details>", '<details markdown="1">')
        return _NESTED.sub(r"\1\1", text)

    text = "".join(_parts(markdown, prose))
    if here.startswith("results/") and here.endswith("/report.md"):
        title, _, rest = text.partition("\n")
        text = f"{title}\n\n[The same report as one page, to keep or to send](page.html)\n{rest}"
    return text


def site_uri(path: str) -> str:
    """Where a file of the repository is on the site; the addresses of the site are those of its sources."""
    if path in MOVED:
        return MOVED[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"files/{path}" if path.endswith(".md") else f"files/{path}.md"


def repository_path(uri: str) -> str:
    """The file of the repository that a page of the site comes from."""
    for path, moved in MOVED.items():
        if uri == moved:
            return path
    return uri.removeprefix("files/") if uri.startswith("files/") else f"docs/{uri}"


def _reports() -> list[Path]:
    return sorted((ROOT / "docs" / "results").glob("*/report.md"))


def _title(file: File) -> str:
    """A page's title, as the words of a link that names the page's file."""
    title = re.match(r"# (.+)", file.content_string)
    return title[1] if title else file.src_uri


def _linked(file: File) -> Iterator[str]:
    """The files outside docs/ that a page links to, from the root of the repository."""
    folder = posixpath.dirname(repository_path(file.src_uri))
    for part in _parts(file.content_string, lambda text: text):
        if not _CODE.fullmatch(part.strip("\n")):
            paths = (posixpath.normpath(posixpath.join(folder, link[3])) for link in _LINK.finditer(part))
            yield from (path for path in paths if not path.startswith("docs/"))


def _parts(markdown: str, change: Callable[[str], str]) -> Iterator[str]:
    """Markdown in pieces: blocks of code as they are, and what is between them, changed."""
    end = 0
    for code in _CODE.finditer(markdown):
        yield change(markdown[end : code.start()])
        yield code[0]
        end = code.end()
    yield change(markdown[end:])


def _shown(path: str) -> str:
    """A file of the repository as a page: Markdown as it is, all else as code."""
    text = (ROOT / path).read_text(encoding="utf-8")
    kind = {".yaml": "yaml", ".cff": "yaml", ".py": "python"}.get(Path(path).suffix, "text")
    return text if path.endswith(".md") else f"# {path}\n\n````{kind}\n{text}````\n"
