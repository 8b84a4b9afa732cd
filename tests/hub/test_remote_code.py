"""A saved folder opens in a process that lacks this package, and says so where it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.dynamic_module_utils import get_imports, get_relative_imports

import vision
from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.core import MIXERS
from metaformer_nlp.hub.remote_code import flat_code
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextForMaskedLM
from tests.loaded import assert_close_outputs, assert_same_weights
from tests.mixers import IMAGE_MIXERS, TEXT_MIXERS

# Runs a program as somebody who never heard of this project.
STRANGER = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("metaformer_nlp", "vision", "tasks"):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Missing())
"""
MIXER = """
import math
from torch import Tensor
from metaformer_nlp.core import TokenMixer, register_mixer

@register_mixer("{name}")
class {name_class}(TokenMixer):
    def forward(self, x: Tensor, segment_ids: object = None) -> Tensor:
        return x * math.pi
"""


def run(program: str, folder: Path) -> list[str]:
    """The lines that a program prints; ``folder`` is where it runs and keeps its cache of code."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(folder / "modules")}
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def text_model(token_mixer: Any) -> MetaFormerTextForMaskedLM:
    config = MetaFormerTextConfig(
        vocab_size=61,
        hidden_size=32,
        num_hidden_layers=len(token_mixer),
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=136,
        token_mixer=token_mixer,
        initializer_range=0.3,
    )
    return MetaFormerTextForMaskedLM(config).eval()


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Registers a mixer from a file of the user's; it is forgotten after the test."""
    names: list[str] = []

    def write(name: str, more: str = "") -> str:
        path = tmp_path / f"{name}_plugin.py"
        path.write_text(MIXER.format(name=name, name_class=name.title()) + more)
        import_plugins([str(path)])
        names.append(name)
        return name

    yield write
    for name in names:
        del MIXERS._entries[name], sys.modules[f"{name}_plugin"]


def test_text_opens_without_the_package(tmp_path: Path, plugin: Callable[..., str]) -> None:
    model = text_model([*TEXT_MIXERS, plugin("times_pi")])
    folder = tmp_path / "my.model-v1.0"  # neither sign may stand in a module's name
    model.save_pretrained(folder)
    tokens = torch.randint(1, 61, (3, 130))  # long enough for attention with a window to cut rows into blocks
    mask = torch.ones_like(tokens)
    mask[1, 9:] = 0
    torch.save((tokens, mask), tmp_path / "inputs.pt")
    program = """
import torch, transformers
tokens, mask = torch.load("inputs.pt")
logits = []
for folder in ("./my.model-v1.0", "again"):
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True).eval()
    assert type(model.config) is type(config) is model.config_class
    with torch.no_grad():
        logits.append(model(tokens, attention_mask=mask).logits)
    model.save_pretrained("again")
torch.save((model.state_dict(), logits), "found.pt")
for name in sorted(config.auto_map):
    opened = getattr(transformers, name).from_pretrained("again", trust_remote_code=True)
    print(name, type(opened).__name__)
"""
    kinds = {
        "AutoConfig": "Config", "AutoModel": "Model", "AutoModelForMaskedLM": "ForMaskedLM",
        "AutoModelForMultipleChoice": "ForMultipleChoice", "AutoModelForPreTraining": "ForMaskedLM",
        "AutoModelForQuestionAnswering": "ForQuestionAnswering",
        "AutoModelForSequenceClassification": "ForSequenceClassification",
        "AutoModelForTokenClassification": "ForTokenClassification",
    }  # fmt: skip
    assert run(STRANGER + program, tmp_path) == [f"{name} MetaFormerText{kind}" for name, kind in kinds.items()]
    weights, logits = torch.load(tmp_path / "found.pt")
    assert_same_weights(weights, model.state_dict())
    with torch.no_grad():
        assert_close_outputs(logits, [model(tokens, attention_mask=mask).logits] * 2)


def test_images_open_without_the_package(tmp_path: Path) -> None:
    mixers = [IMAGE_MIXERS[i % len(IMAGE_MIXERS)] for i in range(4 * -(-len(IMAGE_MIXERS) // 4))]
    models, pixels = {}, torch.randn(2, 3, 32, 32)
    torch.save(pixels, tmp_path / "pixels.pt")
    for number, chosen in enumerate(zip(*[iter(mixers)] * 4, strict=True)):
        model = vision.create_model("poolformer_nano", num_labels=3, token_mixer=list(chosen), initializer_range=0.3)
        models[str(number)] = model.eval()
        model.save_pretrained(tmp_path / str(number))
        vision.image_processor(model.config).save_pretrained(tmp_path / str(number))
    program = """
import pathlib, torch
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification, pipeline
pixels, found = torch.load("pixels.pt"), {}
for file in sorted(pathlib.Path().glob("*/config.json")):
    model = AutoModelForImageClassification.from_pretrained(f"./{file.parent}", trust_remote_code=True).eval()
    with torch.no_grad():
        found[str(file.parent)] = model.state_dict(), model(pixels).logits
torch.save(found, "found.pt")
AutoModel.from_pretrained(f"./{file.parent}", trust_remote_code=True)
print(AutoImageProcessor.from_pretrained(f"./{file.parent}").crop_size["height"])
pipeline("image-classification", model=f"./{file.parent}", trust_remote_code=True)
"""
    assert run(STRANGER + program, tmp_path) == ["32"]
    found = torch.load(tmp_path / "found.pt")
    assert found.keys() == models.keys()
    for name, model in models.items():
        weights, logits = found[name]
        assert_same_weights(weights, model.state_dict())
        with torch.no_grad():
            assert_close_outputs(logits, model(pixels).logits)


def test_both_kinds_live_side_by_side(tmp_path: Path) -> None:
    """The folder's own code first, then the package in the same process: neither disturbs the other."""
    text_model(["pooling", "attention"]).save_pretrained(tmp_path / "model")
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from transformers import AutoModelForMaskedLM
theirs = AutoModelForMaskedLM.from_pretrained("./model", trust_remote_code=True)
import metaformer_nlp
ours = [AutoModelForMaskedLM.from_pretrained("./model", trust_remote_code=trust) for trust in (True, None)]
again = type(theirs).from_pretrained("./model")
for model in (theirs, *ours, again):
    print(type(model).__module__.partition(".")[0])
"""
    ours, theirs = "metaformer_nlp", "transformers_modules"
    assert run(program, tmp_path) == [theirs, ours, ours, theirs]


def test_the_file_is_self_contained(tmp_path: Path) -> None:
    text_model(["pooling"]).save_pretrained(tmp_path)
    file = tmp_path / "modeling_metaformer_text.py"
    assert get_relative_imports(file) == []
    assert set(get_imports(file)) <= {"torch", "transformers", "huggingface_hub"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "def build_mixer(): ...",
            r"build_mixer is one thing in metaformer_nlp\.core\.mixers\.spec and another in odd_",
        ),
        ("import metaformer_nlp.core", "line 10: in one file `import metaformer_nlp.core` means nothing"),
        ("from metaformer_nlp.core import build_norm as norm", "as norm` means nothing"),
        ("import odd_helpers", "odd_helpers is a file of your own"),
    ],
)
def test_a_mixer_that_fits_no_file(tmp_path: Path, plugin: Callable[..., str], more: str, message: str) -> None:
    """Saving goes on, says why, and leaves no older code behind; the folder opens where the mixer is known."""
    text_model(["pooling"]).save_pretrained(tmp_path / "model")
    sys.modules["odd_helpers"] = sys.modules[__name__]
    try:
        model = text_model([plugin("odd", more)])
    finally:
        del sys.modules["odd_helpers"]
    with pytest.raises(ValueError, match=message):
        model.config.code()
    model.save_pretrained(tmp_path / "model")
    assert not list((tmp_path / "model").glob("*.py"))
    assert "auto_map" not in json.loads((tmp_path / "model/config.json").read_text())
    MetaFormerTextForMaskedLM.from_pretrained(tmp_path / "model")


def test_code_needs_its_source() -> None:
    sys.modules["sourceless"] = type(sys)("sourceless")
    try:
        with pytest.raises(ValueError, match="source of module sourceless is not at hand"):
            flat_code(("sourceless",), frozenset({"metaformer_nlp"}))
    finally:
        del sys.modules["sourceless"]
