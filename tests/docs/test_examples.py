"""The examples of README.md, of the pages under docs/ and of the scripts: Python is run, commands are parsed.

Commands are read by the script's own parser, up to the point where it would start to work. Two blocks of Python are
files of the user's own, which other tests run in full.
"""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import vision
from metaformer_nlp import MetaFormerTextConfig, MetaFormerTextForMaskedLM, MetaFormerTextForQuestionAnswering
from metaformer_nlp.config import command_line
from metaformer_nlp.engine.items import write_items
from metaformer_nlp.study.command_line import study_parser
from metaformer_nlp.study.protocol.file import Names, load_study
from metaformer_nlp.text.tokenizer import train_tokenizer
from tasks.device.options import parse as parse_device
from tasks.experiments import EXPERIMENTS, FORMER_NAMES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs").glob("*/README.md"))]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = ("# my_mixer.py", "# ends.py")  # tests/config/test_plugins.py, tests/tasks/test_new_task_docs.py
COMMAND = re.compile(r"make |python scripts/|metaformer |accelerate launch ")


def python_blocks() -> list[Any]:
    return [
        pytest.param(code, id=f"{page.name}:{number}")
        for page in PAGES
        for number, (kind, code) in enumerate(FENCED.findall(page.read_text(encoding="utf-8")))
        if kind == "python" and not code.startswith(FILES)
    ]


def commands(path: Path) -> Iterator[str]:
    """The commands of a page: in blocks of code, a line each, and within sentences and tables."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        lines = re.sub(r"\\\\?\n", " ", text).split("\n")
        found = [
            line.strip() for line in lines if line.startswith(("    python ", "    accelerate ", "python scripts/"))
        ]
    else:
        blocks = [code for kind, code in FENCED.findall(text) if kind in ("", "bash")]
        found = [line.strip().removeprefix("$ ") for code in blocks for line in re.sub(r"\\\n", " ", code).split("\n")]
        found += re.findall(r"`([^`\n]+)`", FENCED.sub("", text))
    yield from (line for line in found if COMMAND.match(line) and not line.endswith("..."))


def test_what_make_is_asked_for_exists() -> None:
    asked = {
        word
        for page in PAGES
        for line in commands(page)
        for word in shlex.split(line, comments=True)[1:]
        if line.startswith("make ")
    }
    rules = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {word for word in asked if "=" not in word} <= set(rules)


def script_and_options(line: str) -> list[str]:
    """``scripts/train_vision.py --config ...`` of a command, however it is started; nothing if it starts no script."""
    words = shlex.split(line, comments=True)
    for place, word in enumerate(words):
        if word.startswith("scripts/") and word.endswith(".py"):
            return words[place:]
        if word in ("metaformer", "metaformer_nlp") and words[place + 1 :]:
            return [f"scripts/{words[place + 1]}.py", *words[place + 2 :]]
    return []


def is_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends with the script's own message if it does not take these words."""
    script, *options = words

    def only_parse(config_class: type, run: str, description: str | None) -> dict[str, Any]:
        assert (ROOT / run.partition(":")[0].replace(".", "/")).with_suffix(".py").is_file(), f"{script} runs {run}"
        command_line.parse(config_class, description=description)
        return {"broken": 0}

    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(command_line, "main", only_parse)
    if script == "scripts/run_study.py":
        given = study_parser(None).parse_args(options)
        if str(getattr(given, "file", "")).startswith(("recipe:", "scripts/")):
            load_study(given.file, Names(EXPERIMENTS, FORMER_NAMES))
    elif script == "scripts/verify_device.py":
        parse_device(None)
    else:
        runpy.run_path(str(ROOT / script), run_name="__main__")


@pytest.mark.parametrize("path", [*PAGES, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_are_understood(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (tmp_path / "my_recipe.yaml").write_text(
        "{run: {folder: runs/mine, batch_size: 8}, schedule: {steps: 9}}", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    for line in commands(path):
        words = script_and_options(line)
        if not words:
            continue
        try:
            is_understood(words, monkeypatch)
        except SystemExit as problem:
            if problem.code:
                pytest.fail(f"{path.name} says: {line}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the runs that the pages name: tiny models that were not trained."""
    monkeypatch.chdir(tmp_path)
    tokenizer = train_tokenizer(["Ada Lovelace wrote the first program, and a mill of numbers ran it."] * 9, 290)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = MetaFormerTextConfig(vocab_size=len(tokenizer), intermediate_size=16, max_position_embeddings=64, **sizes)
    for name in ("pretrain", "pretrain_tiny"):
        MetaFormerTextForMaskedLM(config).save_pretrained(f"runs/{name}/model")
        tokenizer.save_pretrained(f"runs/{name}/model")
    image = vision.create_model("poolformer_s12", depths=[1] * 4, hidden_sizes=[8] * 4, num_labels=10)
    image.save_pretrained("runs/digits/model")
    for name in ("poolformer_s12.pth.tar", "caformer_s18.pth"):
        torch.save(vision.create_model(name.partition(".")[0]).state_dict(), name)
    seed = tmp_path / "runs" / "quick" / "cells" / "vision" / "pooling" / "seed-0"
    seed.mkdir(parents=True)
    write_items(seed, {"validation/correct": torch.ones(9, dtype=torch.bool).numpy()})
    return tmp_path


@pytest.mark.parametrize("code", python_blocks())
def test_python_runs(code: str, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("runs/pretrain/model")
    config = MetaFormerTextConfig.from_pretrained("runs/pretrain/model")
    given = {"model": MetaFormerTextForQuestionAnswering(config).eval(), "tokenizer": tokenizer}
    exec(compile(code, "page", "exec"), given)
