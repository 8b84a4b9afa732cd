"""Weights that a file left unaligned in memory are the same weights, whichever kernels the processor runs on them.

One image and one text: a batch of one is a matrix times a vector, whose kernels are the choosiest about addresses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vision
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextForSequenceClassification
from tests.loaded import assert_close_outputs, assert_same_weights, unaligned

MIXERS = ["attention", "pooling", "depthwise_conv"]
Case = tuple[nn.Module, dict[str, Tensor]]


def image_model() -> Case:
    model = vision.create_model(
        "caformer_s18", token_mixer=[*MIXERS, "attention"], num_labels=5, depths=(1, 2, 1, 1),
        hidden_sizes=(24, 32, 56, 64), image_size=64, drop_path_rate=0.0, initializer_range=0.1,
    )  # fmt: skip
    return model, {"pixel_values": torch.randn(1, 3, 64, 64), "labels": torch.tensor([2])}


def text_model() -> Case:
    config = MetaFormerTextConfig(
        vocab_size=61, hidden_size=56, num_hidden_layers=len(MIXERS), num_attention_heads=4, intermediate_size=97,
        max_position_embeddings=24, token_mixer=MIXERS, hidden_dropout_prob=0.0, initializer_range=0.2, num_labels=5,
    )  # fmt: skip
    mask = (torch.arange(19) < 11)[None].long()
    inputs = {"input_ids": torch.randint(5, 61, (1, 19)) * mask, "attention_mask": mask, "labels": torch.tensor([2])}
    return MetaFormerTextForSequenceClassification(config), inputs


def training_step(model: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
    """The training loss before and after one step, and the gradients."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002)
    before = model.train()(**inputs).loss
    before.backward()
    optimizer.step()
    with torch.no_grad():
        after = model(**inputs).loss
    assert after < before - 0.01
    return [before.detach(), after, *(parameter.grad for parameter in model.parameters())]


@pytest.mark.parametrize("case", [image_model, text_model])
def test_unaligned_weights_are_the_same_model(case: Any, tmp_path: Path) -> None:
    model, inputs = case()
    model.save_pretrained(tmp_path)
    again = unaligned(type(model).from_pretrained(tmp_path))
    addresses = {parameter.data_ptr() % 64 for parameter in again.parameters()}
    assert addresses == {4}, "the test needs weights that are not aligned"
    assert {parameter.data_ptr() % 64 for parameter in model.parameters()} == {0}
    assert_same_weights(again.state_dict(), model.state_dict())
    with torch.no_grad():
        given, expected = (each.eval()(**inputs, output_hidden_states=True) for each in (again, model))
    assert expected.logits.std() > 0.1
    assert_close_outputs(given, expected)
    assert_close_outputs(training_step(again, inputs), training_step(model, inputs))
