"""How weights start, and that they do in every way a model is made; in both families."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from metaformer_nlp.core import MIXERS, TokenMixer, register_mixer
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextModel
from vision import MetaFormerVisionConfig, MetaFormerVisionModel


def text(token_mixer: str) -> PreTrainedModel:
    sizes = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return MetaFormerTextModel(MetaFormerTextConfig(**sizes, token_mixer=token_mixer, initializer_range=0.5))


def images(token_mixer: str) -> PreTrainedModel:
    stage: dict[str, Any] = {name: [3] for name in ("patch_sizes", "strides")}
    sizes = {"depths": [1], "hidden_sizes": [8], "padding": [1], "image_size": 16, **stage}
    return MetaFormerVisionModel(MetaFormerVisionConfig(**sizes, token_mixer=token_mixer, initializer_range=0.5))


both = pytest.mark.parametrize("build", [text, images])


class Scaled(TokenMixer):
    """Tensors of its own, a layer of torch, and torch's attention, whose reset has another name."""

    def __init__(self, dim: int, token_shape: tuple[int, ...]) -> None:
        super().__init__(dim, token_shape)
        self.scale = nn.Parameter(torch.empty(dim))
        self.register_buffer("shift", torch.empty(dim))
        self.linear = nn.Linear(dim, dim)
        self.attention = nn.MultiheadAttention(dim, 2)

    def forward(self, x: Tensor, segment_ids: object = None) -> Tensor:
        return x


class Reset(Scaled):
    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.scale.copy_(torch.full_like(self.scale, 2.0))  # not by torch.nn.init, which spares loaded tensors
            self.shift.copy_(torch.full_like(self.shift, 3.0))


@pytest.fixture
def mixers() -> Iterator[Callable[[type[TokenMixer]], str]]:
    names: list[str] = []

    def add(mixer: type[TokenMixer]) -> str:
        names.append(mixer.__name__.lower())
        register_mixer(names[-1])(mixer)
        return names[-1]

    yield add
    for name in names:
        del MIXERS._entries[name]


@both
def test_tensors_without_a_reset_are_refused(
    build: Callable[[str], PreTrainedModel], mixers: Callable[[type[TokenMixer]], str]
) -> None:
    with pytest.raises(
        ValueError, match=r"token mixer Scaled has tensors of its own \(scale, shift\) but no reset_par"
    ):
        build(mixers(Scaled))


@both
def test_what_a_checkpoint_lacks_is_reset_and_nothing_else(
    build: Callable[[str], PreTrainedModel], mixers: Callable[[type[TokenMixer]], str], tmp_path: Path
) -> None:
    model = build(mixers(Reset))
    mixer = next(module for module in model.modules() if isinstance(module, Reset))
    assert mixer.scale.unique().tolist() == [2.0]
    assert 0.3 < mixer.linear.weight.std() < 0.7  # the family's, not torch's
    assert not mixer.linear.bias.any()
    assert mixer.attention.in_proj_weight.abs().max() < 1  # torch's
    with torch.no_grad():
        mixer.shift.fill_(7.0)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    names = [name for name in weights if name.endswith((".scale", "in_proj_weight"))]
    save_file({name: tensor for name, tensor in weights.items() if name not in names}, file, {"format": "pt"})
    again = AutoModel.from_pretrained(tmp_path)
    found = again.state_dict()
    assert len(names) == 2
    for name, tensor in model.state_dict().items():
        if name.endswith("in_proj_weight"):
            assert 0 < found[name].abs().max() < 1
        else:
            assert torch.equal(found[name], tensor), name
