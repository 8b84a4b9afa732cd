"""A Space: all that is in its folder, what no Space can be made of, and the page that it starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub.utils import validate_repo_id
from packaging.requirements import Requirement
from PIL import Image
from torch import nn
from transformers import PreTrainedTokenizerBase

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.core import MIXERS
from metaformer_nlp.text import (
    MetaFormerTextConfig,
    MetaFormerTextForMaskedLM,
    MetaFormerTextForTokenClassification,
)
from tasks.export import share as sharing
from tasks.export.space import REQUIREMENTS
from tasks.export.wheel import _again
from tasks.text.checkpoints import save_text_model
from vision import create_model
from vision.dense import create_segmenter

pytest.importorskip("gradio")
pytest.importorskip("hatchling")


def share(model: Path, **options: Any) -> str:
    return sharing.run(from_dict(sharing.Config, {"model": str(model), **options}))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerBase) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    names = {number: f"digit {number}" for number in range(10)}
    create_model("poolformer_nano", image_size=28, id2label=names).save_pretrained(folder / "my digits/model")
    torch.save({"weights": 1}, folder / "my digits/model/optimizer.pt")
    size = {"hidden_size": 16, "num_hidden_layers": 1, "max_position_embeddings": 32, "vocab_size": len(tokenizer)}
    config = MetaFormerTextConfig(pad_token_id=tokenizer.pad_token_id, **size)
    save_text_model(MetaFormerTextForMaskedLM(config), tokenizer, folder / "words")
    save_text_model(MetaFormerTextForTokenClassification(config), tokenizer, folder / "tags")
    return folder


@pytest.fixture(scope="module")
def space(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spaces") / "digits"
    assert share(runs / "my digits", space=str(folder)) == str(folder)
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_space_has_all_that_it_needs(space: Path) -> None:
    (wheel,) = (path.name for path in space.glob("metaformer_nlp-*-py3-none-any.whl"))
    model = {"README.md", "config.json", "model.safetensors"}
    model.add("modeling_metaformer_vision.py")  # for who takes the model out of the Space
    assert files(space) == {"README.md", "app.py", "requirements.txt", wheel, *(f"model/{name}" for name in model)}
    head = yaml.safe_load((space / "README.md").read_text().split("---")[1])
    assert head == {
        "title": "my-digits",
        "sdk": "gradio",
        "sdk_version": version("gradio"),
        "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "app_file": "app.py",
        "license": "apache-2.0",
        "tags": ["metaformer", "vision"],
    }
    needed = [Requirement(line) for line in (space / "requirements.txt").read_text().splitlines()]
    assert [one.name for one in needed] == list(REQUIREMENTS)
    assert all(one.specifier.contains(version(one.name)) for one in needed)


def test_the_wheel_has_the_page_the_scripts_and_the_recipes(space: Path) -> None:
    (path,) = space.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        assert {
            "metaformer_nlp/__init__.py", "metaformer_nlp/commands/share_model.py",
            "metaformer_nlp/commands/recipes/digits.yaml", "tasks/demo/page.css", "tasks/card.md.j2", "vision/rows.py",
        } <= names  # fmt: skip
        assert {name.split("/")[0].split("-")[0] for name in names} == {"metaformer_nlp", "tasks", "vision"}
        assert not [name for name in names if "__pycache__" in name or "direct_url" in name]


def test_an_installed_wheel_is_made_again(space: Path, tmp_path: Path) -> None:
    """Beside what an installer writes and what running leaves."""
    (path,) = space.glob("*.whl")
    site, made = tmp_path / "site", tmp_path / "made"
    made.mkdir()
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(site)
        expected = {name: wheel.read(name) for name in wheel.namelist()}
    (information,) = site.glob("*.dist-info")
    (information / "direct_url.json").write_text("{}")
    (site / "tasks/__pycache__").mkdir()
    (site / "tasks/__pycache__/card.pyc").write_text("")
    more = f"{information.name}/direct_url.json,,\n../../bin/metaformer,,\ntasks/__pycache__/card.pyc,,\n"
    with (information / "RECORD").open("a") as record:
        record.write(more)
    again = _again(Distribution.at(information), made)
    assert again.name == path.name
    with zipfile.ZipFile(again) as wheel:
        assert wheel.testzip() is None
        contents = {name: wheel.read(name) for name in wheel.namelist()}
    record_of = f"{information.name}/RECORD"
    assert sorted(contents.pop(record_of).split()) == sorted(expected.pop(record_of).split())
    assert contents == expected


def test_a_text_model_gets_a_page_of_its_own(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    share(runs / "words", space=str(tmp_path / "space"))
    assert {"model/tokenizer.json", "model/model.safetensors"} <= files(tmp_path / "space")
    card = (tmp_path / "space/README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["tags"] == ["metaformer", "text"]
    assert "Write a sentence with a [MASK]" in card
    capsys.readouterr()
    share(runs / "words", space=str(tmp_path / "none"), dry_run=True)
    assert not (tmp_path / "none").exists()
    assert "requirements.txt" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repository": "me/digits"}, "leave out --repository, --folder"),
        ({"folder": "shared"}, "leave out --repository, --folder"),
        ({"private": True}, "leave out --repository, --folder"),
        ({"space": "."}, "already and not empty"),
    ],
)
def test_what_does_not_go_with_a_space(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=message):
        share(runs / "words", **{"space": "space", **options})
    assert files(tmp_path) == {"file"}


def test_a_link_out_of_the_folder_is_not_followed(runs: Path, tmp_path: Path) -> None:
    """A folder of somebody's would otherwise have any file of this machine sent."""
    shutil.copytree(runs / "my digits/model", tmp_path / "model")
    (tmp_path / "secret").write_text("a secret")
    (tmp_path / "model/model.safetensors").unlink()
    (tmp_path / "model/model.safetensors").symlink_to(tmp_path / "secret")
    for target in ("space", "folder"):
        with pytest.raises(ValueError, match=r"model\.safetensors: a link out of the given folder is refused"):
            share(tmp_path / "model", **{target: str(tmp_path / "new")})
        assert not (tmp_path / "new").exists()


def test_weights_that_the_page_does_not_open_have_no_space(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "my digits/model", tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"model: damaged, or not the folder of a model"):
        share(tmp_path / "model", space=str(tmp_path / "space"))
    weights.rename(tmp_path / "model/pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no model\.safetensors; a pickle, which can run code, is not shared"):
        share(tmp_path / "model", space=str(tmp_path / "space"))
    assert not (tmp_path / "space").exists()


def test_all_can_read_what_is_written(space: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    assert {oct(path.stat().st_mode & 0o777) for path in [space, space / "model"]} == {oct(0o777 & ~umask)}
    assert {oct(path.stat().st_mode & 0o777) for path in space.rglob("*.*")} == {oct(0o666 & ~umask)}


@pytest.mark.parametrize("name", ["a--b..c", "Präfix (2)", "-x.git", "ü", "long" * 50, "a" * 95 + " b"])
def test_the_hub_takes_the_name(runs: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "my digits/model", tmp_path / "runs" / name / "model")
    share(tmp_path / "runs" / name, space="space", dry_run=True)
    (repository,) = re.findall(r"hf upload (\S+) ", capsys.readouterr().out)
    validate_repo_id(repository)


def test_a_library_of_the_page_is_missing(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.export.space.REQUIREMENTS", (*REQUIREMENTS, "library-of-nobody"))
    with pytest.raises(ValueError, match=r"and library-of-nobody is not: pip install 'metaformer-nlp\[demo,dense\]'"):
        share(runs / "words", space=str(tmp_path / "space"))


def test_a_model_without_a_tab_has_no_space(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"MetaFormerTextForTokenClassification\. The page shows"):
        share(runs / "tags", space=str(tmp_path / "space"))
    assert files(tmp_path) == set()


def test_a_mixer_of_the_users_own_has_no_space(tmp_path: Path) -> None:
    (tmp_path / "own_of_space.py").write_text(
        "from metaformer_nlp.core import TokenMixer, register_mixer\n"
        '@register_mixer("own_of_space")\nclass Own(TokenMixer):\n'
        "    def forward(self, x, segment_ids=None):\n        return x\n"
    )
    import_plugins([str(tmp_path / "own_of_space.py")])
    try:
        own = {"token_mixer": "own_of_space"}
        classifier: nn.Module = create_model("poolformer_nano", num_labels=2, **own)
        segmenter = create_segmenter("poolformer_nano", trunk_options=own, pyramid_channels=8, id2label={0: "a"})
        for model in (classifier, segmenter):
            model.save_pretrained(tmp_path / type(model).__name__)  # type: ignore[operator]
            with pytest.raises(ValueError, match="'own_of_space' is a plugin, and a Space runs this package alone"):
                share(tmp_path / type(model).__name__, space=str(tmp_path / "space"))
    finally:
        del MIXERS._entries["own_of_space"]


def libraries(names: list[str], folder: Path) -> None:
    """Links in ``folder`` to these distributions and to all that they require: as much as pip would install."""
    pending, known = [Requirement(name) for name in names], set[str]()
    while pending:
        wanted = pending.pop()
        key = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if key in known or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        known.add(key)
        found = distribution(wanted.name)
        pending += map(Requirement, found.requires or ())
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_it_starts_from_its_folder_and_answers(space: Path, tmp_path: Path) -> None:
    """In a process that sees its wheel and its requirements, and nothing else of what is installed."""
    from gradio_client import Client, handle_file

    (tmp_path / "site").mkdir()
    libraries((space / "requirements.txt").read_text().splitlines(), tmp_path / "site")
    assert not (tmp_path / "site/datasets").exists(), "the project needs it, the page does not"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GRADIO"))}
    environment |= {
        "PYTHONPATH": str(tmp_path / "site"),
        "GRADIO_SERVER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-S", "-u", "app.py"]
    process = subprocess.Popen(
        command, cwd=space, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        output = []
        for line in process.stdout:
            output.append(line)
            if found := re.search(r"The page is at (\S+)", line):
                break
        else:
            pytest.fail("".join(output))
        pixels = np.random.default_rng(0).integers(0, 255, (40, 52, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "picture.png")
        client = Client(found[1], verbose=False)
        classes = client.predict(handle_file(tmp_path / "picture.png"), api_name="/classify")["classes"]
        assert len(classes) == 5
        assert classes[0]["name"].startswith("digit ")
        (tmp_path / "secret.json").write_text(json.dumps({"a": "secret"}))
        with pytest.raises(Exception, match=r"secret\.json is no picture that can be read"):
            client.predict(handle_file(tmp_path / "secret.json"), api_name="/classify")
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0
        process.stdout.close()
