"""Weight files: what is read, and what is refused with which reason."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vision import MetaFormerVisionForImageClassification, convert_state_dict, create_model, load_weights
from vision.weights import detect_source

TINY: dict[str, Any] = {"depths": (1, 1, 1, 1), "hidden_sizes": (8, 16, 24, 32), "num_labels": 3}


def tiny(**changes: Any) -> MetaFormerVisionForImageClassification:
    return create_model("poolformer_nano", **{**TINY, **changes})


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return {name: torch.randn_like(x) for name, x in tiny().state_dict().items()}


@pytest.mark.parametrize("kind", ["safetensors", "pt", "nested.pth.tar", "ddp.pt", "folder"])
def test_files_of_ours(kind: str, weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(weights, path)
    elif kind == "folder":
        path.mkdir()
        save_file(weights, path / "model.safetensors")
    elif kind == "ddp.pt":
        torch.save({"model": {f"module.{name}": x for name, x in weights.items()}}, path)
    else:
        torch.save({"state_dict": weights, "epoch": 3} if "nested" in kind else weights, path)
    model = load_weights(tiny(), path)
    assert all(torch.equal(model.state_dict()[name], x) for name, x in weights.items())


def test_a_new_head(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    model = tiny(num_labels=7)
    own = model.classifier.weight.clone()
    with pytest.raises(ValueError, match=r"classifier.weight: \(3, 32\) in the file, \(7, 32\) in the model"):
        load_weights(model, tmp_path / "w.safetensors")
    load_weights(model, tmp_path / "w.safetensors", keep_head=False)
    assert torch.equal(model.classifier.weight, own)
    assert torch.equal(model.norm.weight, weights["norm.weight"])


def test_missing_and_left_over_names(weights: dict[str, Tensor], tmp_path: Path) -> None:
    del weights["norm.bias"]
    weights["teacher.weight"] = torch.zeros(1)
    save_file(weights, tmp_path / "w.safetensors")
    model = tiny()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"lacks norm.bias.*no teacher.weight"):
        load_weights(model, tmp_path / "w.safetensors")
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())


def test_another_variant_is_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="shapes differ"):
        load_weights(tiny(hidden_sizes=(8, 16, 24, 40)), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"lacks metaformer.stages.2.blocks.1"):
        load_weights(tiny(depths=(1, 1, 2, 1)), tmp_path / "w.safetensors")


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no known MetaFormer.*layer1.0.conv1.weight"):
        convert_state_dict({"layer1.0.conv1.weight": torch.zeros(1), "fc.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"no place for stages.0.blocks.0.attn"):
        convert_state_dict({"stem.conv.weight": torch.zeros(1), "stages.0.blocks.0.attn.qkv": torch.zeros(1)})
    with pytest.raises(ValueError, match="no state dict"):
        convert_state_dict({"epoch": 3})
    with pytest.raises(ValueError, match=r"sail-sg, timm, transformers"):
        convert_state_dict({"a": torch.zeros(1)}, source="torchvision")


def test_position_embeddings_of_the_authors_hybrids_shift_the_numbers() -> None:
    """They are entries of `network`: what follows must not be taken for another stage."""
    names = ["patch_embed.proj.weight", "network.0.0.norm1.weight", "network.1.proj.weight", "network.2.0.norm1.weight"]
    official = {name: torch.zeros(1) for name in names}
    assert "metaformer.stages.1.blocks.0.norm1.weight" in convert_state_dict(official)
    shifted = {name.replace("network.2", "network.3"): x for name, x in official.items()}
    embedding = torch.randn(1, 5, 2, 3)
    converted = convert_state_dict({**shifted, "network.2.pos_embed": embedding})
    assert "metaformer.stages.1.blocks.0.norm1.weight" in converted
    assert torch.equal(converted["metaformer.stages.1.position_embedding"], embedding[0].permute(1, 2, 0))


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    file, trap = tmp_path / "w.pth", tmp_path / "ran"
    if zipped:
        torch.save({"state_dict": Malicious(trap)}, file)
    else:
        file.write_bytes(pickle.dumps({"state_dict": Malicious(trap)}))
    with pytest.raises(ValueError, match="refused"):
        load_weights(tiny(), file)
    assert not trap.exists()


def test_a_checkpoint_with_other_objects_is_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": weights, "args": argparse.Namespace(lr=1.0)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="bare state dict"):
        load_weights(tiny(), tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", None])
def test_damaged_files_are_named(name: str, content: bytes | None, weights: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / name
    if content is None:  # cut off in the middle
        save_file(weights, file) if name.endswith("safetensors") else torch.save(weights, file)
        content = file.read_bytes()[: file.stat().st_size // 2]
    file.write_bytes(content)
    with pytest.raises(ValueError, match=name):
        load_weights(tiny(), file)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"folder .* holds no model.*model.safetensors"):
        load_weights(tiny(), tmp_path)


def test_detection(weights: dict[str, Tensor]) -> None:
    assert detect_source(weights) == "metaformer"
    bare = {name.removeprefix("metaformer."): x for name, x in weights.items()}
    assert convert_state_dict(bare).keys() == weights.keys()
