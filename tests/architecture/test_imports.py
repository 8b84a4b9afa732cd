"""Imports run down only: who may know whom, checked over the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CORE, TEXT, ENGINE, HUB = (f"metaformer_nlp.{name}" for name in ("core", "text", "engine", "hub"))
STARTUP, ERRORS, CONFIG, MAIN = (f"metaformer_nlp.{name}" for name in ("startup", "errors", "config", "__main__"))
WORDS, COMMANDS, PROTOCOL, RUNNER, ANALYSIS, REPORT, PREVIEW = (
    f"metaformer_nlp.study.{name}"
    for name in ("words", "command_line", "protocol", "runner", "analysis", "report", "preview")
)
TRAINING, CACHE, CONTENT, CARD, COST, NAMES = (
    f"tasks.{name}" for name in ("training", "cache", "content", "card", "planned_cost", "experiments")
)
IMAGES, TEXTS, GLUE, SQUAD, PROBES, DETECTION, SEGMENTATION, PREDICTION, BENCHMARK, EXPORT, DEVICE, DEMO, FIELD = (
    f"tasks.{name}"
    for name in (
        "images", "text", "glue", "squad", "probes", "detection", "segmentation", "prediction", "benchmark", "export",
        "device", "demo", "receptive_field",
    )
)  # fmt: skip
OURS = ("metaformer_nlp", "vision", "tasks", "scripts", "tests")
SHARED = {STARTUP, ERRORS, CONFIG}
MODELS = {*SHARED, CORE, HUB, TEXT, ENGINE, "vision"}
BASE = {*MODELS, TRAINING, CACHE, CONTENT, CARD, COST}
STUDY = {*SHARED, CORE, ENGINE}
ALLOWED: dict[str, set[str]] = {
    STARTUP: set(),
    ERRORS: set(),
    CONFIG: {ERRORS},
    MAIN: {CONFIG},
    CORE: set(),
    HUB: {CORE, STARTUP},
    ENGINE: {STARTUP, ERRORS, CONFIG},
    TEXT: {CORE, HUB, STARTUP, ERRORS},
    "vision": {CORE, HUB, STARTUP, ERRORS},
    WORDS: set(),
    COMMANDS: {*STUDY, WORDS, PROTOCOL, RUNNER},
    PROTOCOL: {*STUDY, WORDS},
    RUNNER: {*STUDY, WORDS, PROTOCOL},
    ANALYSIS: {*STUDY, WORDS, PROTOCOL, RUNNER},
    REPORT: {*STUDY, WORDS, PROTOCOL, RUNNER, ANALYSIS},
    PREVIEW: {*STUDY, WORDS, PROTOCOL, RUNNER, ANALYSIS},
    NAMES: set(),
    CACHE: MODELS,
    CONTENT: {*MODELS, CACHE},
    CARD: MODELS,
    COST: MODELS,
    TRAINING: MODELS,
    IMAGES: BASE,
    TEXTS: BASE,
    GLUE: {*BASE, IMAGES, TEXTS},
    SQUAD: {*BASE, TEXTS},
    PROBES: {*BASE, IMAGES, TEXTS},
    DETECTION: {*BASE, IMAGES},
    SEGMENTATION: {*BASE, IMAGES},
    PREDICTION: {*BASE, IMAGES, DETECTION, SEGMENTATION},
    BENCHMARK: {*BASE, IMAGES, TEXTS, GLUE, PROBES, DETECTION},
    EXPORT: {*BASE, IMAGES, TEXTS, GLUE, PROBES, DETECTION, DEMO},
    DEVICE: {*BASE, TEXTS, BENCHMARK},
    FIELD: {*BASE, REPORT},
    DEMO: {*BASE, IMAGES, TEXTS, PREDICTION, FIELD, WORDS, ANALYSIS, REPORT},
    "scripts": {
        *BASE,
        NAMES,
        COMMANDS,
        PROTOCOL,
        RUNNER,
        ANALYSIS,
        REPORT,
        PREVIEW,
        IMAGES,
        TEXTS,
        GLUE,
        SQUAD,
        PROBES,
        DETECTION,
        SEGMENTATION,
        PREDICTION,
        BENCHMARK,
        EXPORT,
        DEVICE,
        DEMO,
    },
}
"""Who may import whom; drawn in docs/architecture.md. A house of rooms within rooms names those it has inside."""
INSIDE = ("metaformer_nlp", "metaformer_nlp.study", "tasks")
MOST_FILES = 20  # in a folder: what still can be taken in at a glance


def room(module: str) -> str | None:
    """The room a module of ours lies in; None for other people's modules and for packages that have rooms inside."""
    parts = module.split(".")
    if parts[0] not in OURS or module in INSIDE:
        return None
    for size in range(len(parts), 0, -1):
        name = ".".join(parts[:size])
        if ".".join(parts[: size - 1]) in INSIDE or (size == 1 and name not in INSIDE):
            return name
    raise AssertionError(module)


def imports(path: Path) -> set[str]:
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            home = ".".join([*base, *([node.module] if node.module else [])])
            modules = {f"{home}.{alias.name}" for alias in node.names if is_module(f"{home}.{alias.name}")}
            found |= modules or {home}
    return found


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


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


def test_no_circle() -> None:
    """What is allowed has a bottom: rooms can be taken away one after another."""
    left = {name: targets - {name} for name, targets in ALLOWED.items()}
    while left:
        bottom = [name for name, targets in left.items() if not targets & left.keys()]
        assert bottom, f"a circle among {sorted(left)}"
        for name in bottom:
            del left[name]


def test_no_circle_of_modules() -> None:
    """Within rooms, too."""
    paths = {path for name in ALLOWED for path in files(name)}
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    left = {name: imports(path) & modules.keys() - {name} for name, path in modules.items()}
    while left:
        bottom = [name for name, targets in left.items() if not targets & left.keys()]
        assert bottom, f"a circle among {sorted(left)}"
        for name in bottom:
            del left[name]


def test_every_file_is_in_a_room() -> None:
    found = [path for top in ("metaformer_nlp", "vision", "tasks", "scripts") for path in (ROOT / top).rglob("*.py")]
    housed = {path for name in ALLOWED for path in files(name)}
    packages = {ROOT / name.replace(".", "/") / "__init__.py" for name in INSIDE}
    assert not {str(path.relative_to(ROOT)) for path in found} - {
        str(path.relative_to(ROOT)) for path in housed | packages
    }


def test_no_folder_is_a_hall() -> None:
    """scripts/ aside, whose names are commands."""
    folders = {
        path.parent for top in ("metaformer_nlp", "vision", "tasks", "tests") for path in (ROOT / top).rglob("*.py")
    }
    counts = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert not {name: count for name, count in counts.items() if count > MOST_FILES}


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


def test_every_library_is_a_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    named = {canonicalize_name(Requirement(line).name) for line in needed}
    packages = packages_distributions()
    missing: dict[str, set[str]] = {}
    for path in [path for folder in ("metaformer_nlp", "vision", "tasks", "scripts") for path in files(folder)]:
        for library in {name.partition(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - set(OURS):
            if not named & {canonicalize_name(name) for name in packages.get(library, ())}:
                missing.setdefault(library, set()).add(str(path.relative_to(ROOT)))
    assert not missing


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
