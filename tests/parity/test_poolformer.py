"""PoolFormer is the same function as transformers' (logits) and timm's (trunk), its weights converted to ours.

All weights are redrawn first: with fresh ones (std 0.02, layer scale 1e-5) every comparison would pass.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from transformers import PoolFormerConfig, PoolFormerForImageClassification

from vision import MetaFormerVisionForImageClassification, convert_state_dict, create_model

ROWS = ["poolformer_s12", "poolformer_m36"]


@torch.no_grad()
def redraw(module: nn.Module, seed: int = 0) -> nn.Module:
    """All parameters of order one in effect: every path through the model shows in its output."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(noise / math.sqrt(parameter[0].numel()))
        elif name.endswith("bias"):
            parameter.copy_(0.3 * noise)
        else:  # norms' weights and layer scales
            parameter.copy_(1 + 0.3 * noise)
    return module.eval()


def transformers_model(name: str, **changes: Any) -> PoolFormerForImageClassification:
    config = create_model(name, num_labels=11, **changes).config
    theirs = PoolFormerConfig(
        depths=list(config.depths),
        hidden_sizes=list(config.hidden_sizes),
        patch_sizes=list(config.patch_sizes),
        strides=list(config.strides),
        padding=list(config.padding),
        num_encoder_blocks=len(config.depths),
        pool_size=config.pool_size,
        num_labels=11,
    )
    return redraw(PoolFormerForImageClassification(theirs))  # type: ignore[return-value]


def ours(name: str, weights: dict[str, Tensor], **changes: Any) -> MetaFormerVisionForImageClassification:
    model = create_model(name, num_labels=11, **changes).eval()
    model.load_state_dict(weights)
    return model


def logits(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).logits


@pytest.mark.parametrize(
    ("name", "size", "changes"),
    [
        ("poolformer_s12", (224, 224), {}),
        ("poolformer_s12", (97, 130), {}),  # sides that no stride divides
        ("poolformer_s12", (64, 64), {"pool_size": 7}),
        ("poolformer_m36", (64, 64), {}),
        ("poolformer_xxs", (32, 32), {"layer_scale_init_value": 1.0}),
    ],
)
def test_logits_and_hidden_states_of_transformers(name: str, size: tuple[int, int], changes: dict[str, Any]) -> None:
    theirs = transformers_model(name, **changes)
    model = ours(name, convert_state_dict(theirs.state_dict(), source="transformers"), **changes)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected, got = theirs(images, output_hidden_states=True), model(images, output_hidden_states=True)
    assert expected.logits.std() > 0.1
    torch.testing.assert_close(got.logits, expected.logits, atol=1e-4, rtol=1e-4)
    assert len(got.hidden_states) == len(expected.hidden_states)
    for mine, other in zip(got.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)

    unmixed = ours(name, model.state_dict(), token_mixer="identity", **changes)
    assert (logits(unmixed, images) - expected.logits).abs().max() > 1e-2, "mixing must show, or parity proves nothing"


@pytest.mark.parametrize("name", ROWS)
def test_trunk_features_of_timm(name: str) -> None:
    theirs = redraw(timm.create_model(name, num_classes=11))
    model = ours(name, convert_state_dict(theirs.state_dict(), source="timm"))
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected, got = theirs.forward_features(images), model.metaformer(images).last_hidden_state
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_timm_head_is_another_function() -> None:
    """timm takes the mean before the norm. Should this ever pass, its weights could be compared by logits too."""
    theirs = redraw(timm.create_model("poolformer_s12", num_classes=11))
    model = ours("poolformer_s12", convert_state_dict(theirs.state_dict()))
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert (theirs(images) - model(images).logits).abs().max() > 1e-2


def sail_sg_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names as the authors write them (the table of which tensor is which is from their code)."""
    renamed = {}
    for name, tensor in weights.items():
        name = name.removeprefix("poolformer.encoder.")
        part = name.split(".")
        if part[0] == "patch_embeddings":
            stage = int(part[1])
            start = "patch_embed.proj" if stage == 0 else f"network.{2 * stage - 1}.proj"
            name = f"{start}.{part[3]}"
        elif part[0] == "block":
            tail = ".".join(part[3:])
            for theirs, official in [
                ("before_norm", "norm1"),
                ("after_norm", "norm2"),
                ("output.conv1", "mlp.fc1"),
                ("output.conv2", "mlp.fc2"),
            ]:
                tail = tail.replace(theirs, official)
            name = f"network.{2 * int(part[1])}.{part[2]}.{tail}"
        renamed[name.replace("classifier.", "head.")] = tensor
    return renamed


@pytest.mark.parametrize("nesting", ["bare", "state_dict", "model"])
def test_authors_names(nesting: str) -> None:
    theirs = transformers_model("poolformer_s12")
    official: dict[str, Any] = sail_sg_names(theirs.state_dict())
    assert official["network.6.1.mlp.fc2.weight"].shape == (512, 2048, 1, 1)
    assert len(official) == 132
    weights = official if nesting == "bare" else {nesting: official, "epoch": 3}
    images = torch.randn(2, 3, 64, 64)
    model = ours("poolformer_s12", convert_state_dict(weights, source="sail-sg"))
    torch.testing.assert_close(logits(model, images), logits(theirs, images), atol=1e-4, rtol=1e-4)
    detected = convert_state_dict(weights)
    assert all(torch.equal(detected[name], tensor) for name, tensor in model.state_dict().items())
