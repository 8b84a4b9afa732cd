"""Imports run down only: who may know whom, checked over the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE, TEXT, ENGINE, STUDY = (f"metaformer_nlp.{name}" for name in ("core", "text", "engine", "study"))
STARTUP, ERRORS, CONFIG = (f"metaformer_nlp.{name}" for name in ("startup", "errors", "config"))
OURS = ("metaformer_nlp", "vision", "tasks", "scripts", "tests")
ALLOWED: dict[str, set[str]] = {
    STARTUP: set(),
    ERRORS: set(),
    CONFIG: set(),
    CORE: set(),
    ENGINE: {STARTUP, ERRORS},
    TEXT: {CORE},
    STUDY: {CORE, ENGINE, CONFIG},
    "vision": {CORE, STARTUP},
    "tasks": {CORE, ENGINE, TEXT, "vision", ERRORS, CONFIG},
    "scripts": {CORE, ENGINE, TEXT, STUDY, "vision", "tasks"},
}


def room(module: str) -> str | None:
    """The room a module of ours lies in; None for other people's modules and the top-level package."""
    parts = module.split(".")
    if parts[0] not in OURS or module == "metaformer_nlp":
        return None
    return ".".join(parts[:2]) if parts[0] == "metaformer_nlp" else parts[0]


def imports(path: Path) -> set[str]:
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            found.add(".".join([*base, *([node.module] if node.module else [])]))
    return found


def files(name: str) -> list[Path]:
    path = ROOT / name.replace(".", "/")
    return sorted(path.rglob("*.py")) or [path.with_suffix(".py")]


@pytest.mark.parametrize("name", list(ALLOWED))
def test_arrows_run_down_only(name: str) -> None:
    assert files(name), f"no files in {name}"
    wrong = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files(name)
        for module in imports(path)
        if (target := room(module)) is not None and target not in ALLOWED[name] | {name}
    }
    assert not wrong


def test_core_needs_torch_only() -> None:
    standard = set(sys.stdlib_module_names) | {"torch", "metaformer_nlp"}
    wrong = {(path.name, m) for path in files(CORE) for m in imports(path) if m.split(".")[0] not in standard}
    assert not wrong


def test_core_imports_without_the_rest() -> None:
    """In a process where nothing but torch can be imported."""
    program = (
        "import sys\n"
        "for name in ('transformers', 'accelerate', 'timm', 'datasets', 'scipy', 'sklearn'): sys.modules[name] = None\n"
        "from metaformer_nlp.core import MIXERS, register_mixer, MetaFormerBlock\n"
        "assert 'pooling' in MIXERS\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_nobody_imports_scripts_or_tests() -> None:
    everywhere = [path for name in ALLOWED for path in files(name)]
    wrong = {(str(path), m) for path in everywhere for m in imports(path) if m.split(".")[0] in ("scripts", "tests")}
    assert not wrong


def test_generic_names_are_ours() -> None:
    import tasks
    import vision

    for module in (vision, tasks):
        assert module.__file__ is not None
        assert Path(module.__file__).parents[1] == ROOT


def test_scripts_stay_short() -> None:
    long = {path.name: count for path in files("scripts") if (count := len(path.read_text().splitlines())) > 60}
    assert not long


def test_the_loop_fits_150_lines() -> None:
    assert len((ROOT / "metaformer_nlp/engine/loop.py").read_text().splitlines()) <= 150
