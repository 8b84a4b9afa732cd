"""A start in under a second: help and imports that load none of the libraries that take seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py"))
COMMANDS = [*([name] for name in SCRIPTS), *(["run_study.py", command] for command in ("plan", "run", "report"))]

# No exception that anybody catches: whoever tries to import one of them ends the process.
WITHOUT = """
import runpy, sys

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "transformers", "datasets", "sklearn", "scipy", "timm", "pandas", "matplotlib"):
            raise SystemExit(f"{name} is imported")

sys.meta_path.insert(0, Slow())
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT + program, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_needs_no_library(command: list[str]) -> None:
    program = "sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    done = run(program, f"scripts/{command[0]}", *command[1:], "--help")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("usage: ")


def test_the_command_lists_the_scripts_and_runs_them() -> None:
    program = "runpy.run_module('metaformer_nlp', run_name='__main__')"
    listed = run(program).stdout
    assert run(program, "--help").stdout == listed
    lines = [line.split(maxsplit=1) for line in listed.splitlines() if line.startswith("  ")]
    assert [f"{name}.py" for name, _ in lines] == SCRIPTS
    assert all(purpose.endswith(".") for _, purpose in lines)
    done = run(program, "train_vision", "--help")
    assert done.stdout.startswith("usage: metaformer train_vision [--config"), done.stderr[-2000:]


def test_a_wrong_option_needs_no_library() -> None:
    program = "sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    done = run(program, "scripts/train_vision.py", "--optim.lrr", "1")
    assert (done.returncode, "the nearest is --optim.lr" in done.stderr) == (2, True), done.stderr[-2000:]


@pytest.mark.parametrize(
    "options",
    [
        ("train_detection", "--config", "recipe:scenes_retinanet"),
        ("evaluate_detection", "--checkpoint", "runs/none", "--output", "runs/none"),
        ("verify_data", "--data.name", "coco", "--data.root", "."),
    ],
    ids=lambda options: options[0],
)
def test_a_library_that_only_detection_needs_is_named(options: tuple[str, ...], tmp_path: Path) -> None:
    program = "sys.modules['pycocotools'] = None; runpy.run_module('metaformer_nlp', run_name='__main__')"
    command = [sys.executable, "-c", f"import runpy, sys; {program}", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "error: detection needs the package pycocotools: pip install 'metaformer-nlp[dense]'\n"


@pytest.mark.parametrize(
    "package", ["metaformer_nlp", "metaformer_nlp.engine", "metaformer_nlp.study", "vision", "vision.dense", "tasks"]
)
def test_packages_load_no_library(package: str) -> None:
    done = run(f"import {package}\nfrom metaformer_nlp.engine import OptimConfig, RunConfig, ScheduleConfig")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("package", ["metaformer_nlp", "metaformer_nlp.engine", "vision", "vision.dense"])
def test_every_public_name_is_there(package: str) -> None:
    module = __import__(package, fromlist=["*"])
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'MetaFormer'"):
        _ = module.MetaFormer
