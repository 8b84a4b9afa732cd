"""The wheel: installed without a checkout, in a folder elsewhere, it trains and plans."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
Run = Callable[..., subprocess.CompletedProcess[str]]

MODEL = """
import metaformer_nlp, tasks, vision
from transformers import AutoModel

for package in (metaformer_nlp, tasks, vision):
    assert package.__file__.startswith({folder!r}), package.__file__
print(type(AutoModel.from_pretrained("runs/digits/model")).__name__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A fresh environment with the wheel and, beside it, the libraries of this one; what runs a program of it there."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, cwd=folder, timeout=300)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    wheel = next(folder.glob("*.whl"))
    install = [*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, timeout=300)
    # A .pth file adds a folder, but does not read the .pth files therein, such as that of an editable install.
    libraries = next((folder / "venv/lib").glob("python*/site-packages")) / "libraries.pth"
    libraries.write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(folder / "venv/bin" / program), *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)

    return folder, run


def test_it_trains_and_its_model_opens(installed: tuple[Path, Run]) -> None:
    folder, run = installed
    trained = run("metaformer", "train_vision", "--config", "recipe:digits", "--schedule.steps", "20")
    assert trained.returncode == 0, trained.stderr[-2000:]
    opened = run("python", "-c", MODEL.format(folder=str(folder)))
    assert opened.stdout.strip() == "MetaFormerVisionModel", opened.stderr[-2000:]


def test_it_plans_a_study(installed: tuple[Path, Run]) -> None:
    _, run = installed
    planned = run("metaformer", "run_study", "plan", "recipe:studies/quick")
    assert planned.returncode == 0, planned.stderr[-2000:]
    assert planned.stdout.startswith("Study quick")


def test_what_is_wrong_is_a_line(installed: tuple[Path, Run]) -> None:
    _, run = installed
    assert run("python", "-m", "metaformer_nlp").stdout == run("metaformer").stdout  # `accelerate launch -m` needs it
    for command, message in (
        (("train_visoin",), "error: there is no command 'train_visoin'; did you mean 'train_vision'?"),
        (("train_vision", "--optim.lrr", "1"), "error: unknown option --optim.lrr; the nearest is --optim.lr"),
        (("run_study", "plan", "recipe:studies/quik"), "error: there is no recipe 'studies/quik'; did you mean"),
    ):
        done = run("metaformer", *command)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(message)
        assert "Traceback" not in done.stderr
