"""The second paper's models and the first paper's hybrids are the functions of their sources, weights converted.

timm has PoolFormerV2, ConvFormer and CAFormer. For the rest timm's frame is given the missing mixers, written here from
the papers. All weights are redrawn first: with fresh ones every comparison would pass.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import metaformer as reference
from torch import Tensor, nn

from tests.parity.test_poolformer import redraw
from vision import MetaFormerVisionForImageClassification, convert_state_dict, create_model, load_model

LABELS = 11


def sail_sg_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's names and shapes as sail-sg/metaformer writes them (the table is from its code and timm's filter)."""
    renamed = {}
    for name, tensor in weights.items():
        for pattern, official in [
            (r"stem\.conv", "downsample_layers.0.conv"),
            (r"stem\.norm", "downsample_layers.0.post_norm"),
            (r"stages\.(\d)\.downsample\.norm", r"downsample_layers.\1.pre_norm"),
            (r"stages\.(\d)\.downsample\.conv", r"downsample_layers.\1.conv"),
            (r"stages\.(\d)\.blocks", r"stages.\1"),
            (r"head\.norm", "norm"),
            (r"head\.fc", "head"),
        ]:
            name = re.sub(rf"^{pattern}\.", f"{official}.", name)
        is_linear = name.startswith("stages") and tensor.shape[2:] == (1, 1)
        renamed[name] = tensor[:, :, 0, 0] if is_linear else tensor
    return renamed


def timm_model(name: str) -> nn.Module:
    theirs = redraw(timm.create_model(name, num_classes=LABELS))
    if "conv" in name or "ca" in name:
        theirs.head.fc.norm.eps = 1e-5  # the authors' and ours; timm has 1e-6, which moves logits by 3e-4
        with torch.no_grad():  # small numbers before that norm, so that its eps shows
            for parameter in theirs.head.fc.fc1.parameters():
                parameter.mul_(0.1)
    return theirs


def agree(theirs: nn.Module, ours: MetaFormerVisionForImageClassification, size: int = 64) -> None:
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        features, logits = theirs.forward_features(images), theirs(images)
        got = ours.eval().metaformer(images).last_hidden_state
        assert logits.std() > 0.05
        assert (features - got).abs().max() <= 1e-4 * features.std()
        torch.testing.assert_close(ours(images).logits, logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["poolformerv2_s12", "convformer_s18", "caformer_s18"])
def test_logits_of_timm_and_of_the_authors_names(name: str, tmp_path: Path) -> None:
    theirs = timm_model(name)
    weights = theirs.state_dict()
    ours = create_model(name, num_labels=LABELS)
    ours.load_state_dict(convert_state_dict(weights))
    agree(theirs, ours)
    official = convert_state_dict(sail_sg_names(weights))
    assert all(torch.equal(official[key], tensor) for key, tensor in ours.state_dict().items())
    if name == "caformer_s18":  # and the way a user goes, whose file says by its shapes which model it is
        torch.save(sail_sg_names(weights), tmp_path / "caformer_s18.pth")
        agree(theirs, load_model(tmp_path / "caformer_s18.pth"), size=96)


class Identity(nn.Module):
    def __init__(self, dim: int, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


def matrix_mixer(num_tokens: int, name: str) -> type[nn.Module]:
    """Token i of the result is row i of a matrix times the tokens; timm's frame hands over (B, C, h, w)."""

    class Matrix(nn.Module):
        def __init__(self, dim: int, **kwargs: Any) -> None:
            super().__init__()
            if name == "random_matrix":
                self.random_matrix = nn.Parameter(torch.rand(num_tokens, num_tokens).softmax(-1), requires_grad=False)
            else:
                self.fc = nn.Linear(num_tokens, num_tokens, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            rows = self.random_matrix if name == "random_matrix" else self.fc.weight
            return torch.einsum("mn,bcn->bcm", rows, x.flatten(2)).view_as(x)

    return Matrix


@pytest.mark.parametrize("name", ["identityformer_s12", "randformer_s12"])
def test_families_that_timm_lacks(name: str) -> None:
    random = [matrix_mixer(16, "random_matrix"), matrix_mixer(4, "random_matrix")]  # maps of 64 x 64 pixels
    theirs = reference.MetaFormer(
        num_classes=LABELS,
        token_mixers=[Identity, Identity, *(random if name.startswith("rand") else (Identity, Identity))],
        norm_layers=reference.GroupNorm1NoBias,
        use_mlp_head=False,
    )
    drawn = {key: x.clone() for key, x in theirs.state_dict().items() if "random" in key}
    redraw(theirs).load_state_dict(drawn, strict=False)
    ours = create_model(name, num_labels=LABELS, image_size=64)
    ours.load_state_dict(convert_state_dict(sail_sg_names(theirs.state_dict())))
    agree(theirs, ours)


class ReferenceHybrid(nn.Module):
    """The first paper's frame: no norm beside the convolutions, position embeddings, the map's norm before its mean."""

    def __init__(self, mixers: str, positions: dict[int, int], grid: int) -> None:
        super().__init__()
        attention = type("Attention", (reference.Attention,), {"__init__": partial_init})
        kinds = {"p": reference.Pooling, "a": attention}
        tokens = [(grid // 2**stage) ** 2 for stage in range(4)]
        per_channel = partial(timm.layers.LayerNorm2d, eps=1e-5)
        norms = {"p": per_channel, "a": partial(nn.LayerNorm, eps=1e-5)} if "a" in mixers else {}
        self.frame = reference.MetaFormer(
            num_classes=LABELS,
            token_mixers=[kinds.get(m) or matrix_mixer(tokens[stage], "fc") for stage, m in enumerate(mixers)],
            mlp_act=nn.GELU,
            mlp_bias=True,
            downsample_norm=None,
            norm_layers=[norms.get(m, timm.layers.GroupNorm1) for m in mixers],
            layer_scale_init_values=1e-5,
            res_scale_init_values=None,
            output_norm=per_channel if "a" in mixers else timm.layers.GroupNorm1,
            use_mlp_head=False,
        )
        self.positions = nn.ParameterDict(
            {
                str(stage): nn.Parameter(torch.zeros(1, dim, grid // 2**stage, grid // 2**stage))
                for stage, dim in positions.items()
            }
        )

    def forward_features(self, images: Tensor) -> Tensor:
        x = self.frame.stem(images)
        for index, stage in enumerate(self.frame.stages):
            x = stage.downsample(x)
            if str(index) in self.positions:
                x = x + self.positions[str(index)]
            tokens = x if stage.use_nchw else x.flatten(2).transpose(1, 2)
            x = stage.blocks(tokens) if stage.use_nchw else stage.blocks(tokens).transpose(1, 2).view_as(x)
        return x

    def forward(self, images: Tensor) -> Tensor:
        return self.frame.head.fc(self.frame.head.norm(self.forward_features(images)).mean((2, 3)))

    def official_weights(self) -> dict[str, Tensor]:
        """Names of sail-sg/poolformer: entries of `network` are numbered through, position embeddings among them."""
        weights, number = self.frame.state_dict(), 0
        named = {f"patch_embed.proj.{part}": weights[f"stem.conv.{part}"] for part in ("weight", "bias")}
        for stage in range(4):
            if stage:
                for part in ("weight", "bias"):
                    named[f"network.{number}.proj.{part}"] = weights[f"stages.{stage}.downsample.conv.{part}"]
                number += 1
            if str(stage) in self.positions:
                named[f"network.{number}.pos_embed"] = self.positions[str(stage)].detach()
                number += 1
            for key, tensor in weights.items():
                if key.startswith(f"stages.{stage}.blocks."):
                    tail = re.sub(r"layer_scale(\d)\.scale", r"layer_scale_\1", key.split(".", 3)[3])
                    linear = ".mlp." in key and tensor.ndim == 2
                    named[f"network.{number}.{tail}"] = tensor[:, :, None, None] if linear else tensor
            number += 1
        for part in ("weight", "bias"):
            named |= {f"norm.{part}": weights[f"head.norm.{part}"], f"head.{part}": weights[f"head.fc.{part}"]}
        return named


def partial_init(self: reference.Attention, dim: int, **kwargs: Any) -> None:
    """timm's attention has no bias after its heads; the first paper's has."""
    reference.Attention.__init__(self, dim, **{**kwargs, "proj_bias": True})


@pytest.mark.parametrize(
    ("name", "mixers", "positions"),
    [
        ("metaformer_pppa_s12", "pppa", {3: 512}),
        ("metaformer_ppaa_s12", "ppaa", {2: 320}),
        ("metaformer_ppff_s12", "ppff", {}),
    ],
)
def test_hybrids_of_the_first_paper(name: str, mixers: str, positions: dict[int, int], tmp_path: Path) -> None:
    theirs = redraw(ReferenceHybrid(mixers, positions, grid=16))
    official = theirs.official_weights()
    torch.save(official, tmp_path / "weights.pth.tar")
    agree(theirs, load_model(tmp_path / "weights.pth.tar", name, image_size=64))
