"""Receptive fields: where they end, as theory says for each mixer, and how strong an influence is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metaformer_nlp.core import MIXERS, MetaFormerBlock
from metaformer_nlp.core.norms import build_norm
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextForMaskedLM
from tasks.receptive_field.influence import _with_constant_statistics, mixes_by_norm, receptive_fields
from tasks.receptive_field.models import image_model, text_model, word_ids
from tests.mixers import TEXT_MIXERS, mixer_id
from vision import MetaFormerVisionConfig, MetaFormerVisionForImageClassification

ALL_PATCHES, ALL_WORDS = 256, 21
MIDDLE = (8, 8)  # of 16 x 16 patches
STEP = 1e-2  # some mixers compute in float32
IMAGES: dict[str, list[int]] = {
    "identity": [1, 1, 1],
    "pooling": [9, 25, 49],
    "depthwise_conv": [9, 25, 49],
    "shift": [5, 13, 25],  # one step up, down, left or right a layer
    "separable_conv": [49, 169, ALL_PATCHES],  # 7 x 7, 13 x 13, 19 x 19
    "window_mlp": [49, 14 * 14, ALL_PATCHES],  # windows of 7 x 7, in every second layer half a window on
    "decaying_sum": [16 + 15, ALL_PATCHES, ALL_PATCHES],  # its row and its column
    **dict.fromkeys(
        ["attention", "fourier", "random", "spatial_gating", "spatial_mlp", "spatial_reduction_attention"],
        [ALL_PATCHES] * 3,
    ),
}
TEXTS: dict[str, list[int]] = {
    "identity": [1, 1, 1],
    "pooling": [3, 5, 7],
    "depthwise_conv": [3, 5, 7],
    "shift": [3, 5, 7],
    "separable_conv": [7, 13, 19],
    **dict.fromkeys(
        ["attention", "decaying_sum", "fourier", "ponet", "random", "spatial_gating", "spatial_mlp"], [ALL_WORDS] * 3
    ),
}


def image(size: int = 64) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(1, 3, size, size)}


def text() -> dict[str, Tensor]:
    return {"input_ids": word_ids([str(place) for place in range(ALL_WORDS)])}


def test_the_tables_name_all_mixers() -> None:
    assert IMAGES.keys() == {name for name in MIXERS if 2 in MIXERS[name].ranks}
    assert TEXTS.keys() == {name for name in MIXERS if 1 in MIXERS[name].ranks}


@pytest.mark.parametrize("mixer", IMAGES)
def test_the_reach_in_an_image(mixer: str) -> None:
    fields = receptive_fields(image_model(mixer, 3), image(), MIDDLE)
    assert [field.name for field in fields] == ["layer 1", "layer 2", "layer 3"]
    assert [field.count for field in fields] == IMAGES[mixer]
    for field in fields:
        assert field.exact
        assert field.reached[MIDDLE]
        assert torch.equal(field.influence > 0, field.reached)
        assert (field.own_share == 1) == (mixer == "identity")


@pytest.mark.parametrize("mixer", TEXTS)
def test_the_reach_in_a_text(mixer: str) -> None:
    fields = receptive_fields(text_model(mixer, 3, ALL_WORDS), text(), (10,))
    assert [field.count for field in fields] == TEXTS[mixer]


def places(reached: Tensor) -> list[list[int]]:
    return reached.nonzero().tolist()


def test_a_window_ends_with_the_map() -> None:
    """In a corner two layers of pooling reach 3 x 3 patches of the 5 x 5."""
    (_, field) = receptive_fields(image_model("pooling", 2), image(), (0, 15))
    assert places(field.reached) == [[row, column] for row in range(3) for column in (13, 14, 15)]


@pytest.mark.parametrize(
    ("mixer", "reached"),
    [
        ({"name": "pooling", "pool_size": "left:2"}, range(6, 11)),
        ({"name": "pooling", "pool_size": "right:1"}, range(10, 13)),
        ({"name": "pooling", "pool_size": 5}, range(6, 15)),
        ({"name": "pooling", "pool_size": [3, "global"]}, range(ALL_WORDS)),
        ({"name": "shift", "offsets": ["left:3"]}, (4, 7, 10)),
        ({"name": "attention", "window": 4}, range(2, 19)),
        (["pooling", "attention"], range(ALL_WORDS)),
    ],
    ids=str,
)
def test_the_reach_of_options(mixer: Any, reached: Any) -> None:
    (_, field) = receptive_fields(text_model(mixer, 2, ALL_WORDS), text(), (10,))
    assert places(field.reached) == [[place] for place in reached]


CASES = [
    *(pytest.param(image_model, mixer, id=f"image-{mixer}") for mixer in IMAGES),
    *(pytest.param(text_model, mixer, id=f"text-{mixer_id(mixer)}") for mixer in TEXT_MIXERS),
]


def built(kind: Any, mixer: Any, layers: int) -> tuple[nn.Module, dict[str, Tensor], tuple[int, ...]]:
    """A model, what it gets, and a place of that; the distances between its blocks' places are small."""
    if kind is image_model:
        return image_model(mixer, layers), image(), MIDDLE
    return text_model(mixer, layers, ALL_WORDS), text(), (10,)


def token_after(model: nn.Module, inputs: dict[str, Tensor], place: tuple[int, ...], change: Tensor) -> Tensor:
    """(C,): the token at ``place`` after the last block, if ``change`` (*S, C) is added to what the first one gets."""
    blocks = [module for module in model.modules() if isinstance(module, MetaFormerBlock)]
    seen: list[Tensor] = []
    hooks = [
        blocks[0].register_forward_pre_hook(lambda block, given: (given[0] + change, *given[1:])),
        blocks[-1].register_forward_hook(lambda block, given, output: seen.append(output)),
    ]
    with torch.no_grad():
        model(**inputs)
    for hook in hooks:
        hook.remove()
    return seen[0][(0, *place)]


@pytest.mark.parametrize(("kind", "mixer"), CASES)
def test_influence_is_a_finite_difference(kind: Any, mixer: Any) -> None:
    model, inputs, place = built(kind, mixer, 2)
    field = receptive_fields(model, inputs, place)[-1]
    model = model.double()
    inputs = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in inputs.items()}
    for distance in (0, 1, 4):
        source = (*place[:-1], place[-1] - distance)
        columns = []
        for channel in range(16):
            change = torch.zeros(*field.influence.shape, 16, dtype=torch.float64)
            change[(*source, channel)] = STEP
            ahead, behind = (token_after(model, inputs, place, sign * change) for sign in (1, -1))
            columns.append((ahead - behind) / (2 * STEP))
        expected = torch.stack(columns).norm()
        torch.testing.assert_close(field.influence[source], expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(("kind", "mixer"), CASES)
def test_nothing_comes_from_where_the_reach_has_ended(kind: Any, mixer: Any) -> None:
    """Whatever stands there: the token stays the same to the bit, and changes with what is in reach."""
    model, inputs, place = built(kind, mixer, 2)
    reached = receptive_fields(model, inputs, place)[-1].reached
    before = token_after(model, inputs, place, torch.zeros(*reached.shape, 16))
    for out_of_reach in (True, False):
        changed = (reached != out_of_reach).unsqueeze(-1)
        after = token_after(model, inputs, place, torch.randn(*reached.shape, 16) * changed)
        assert torch.equal(before, after) == out_of_reach


def test_few_directions_are_an_unbiased_estimate() -> None:
    """Of the squares: their mean over many places is that of the exact ones, and zeros stay zeros."""
    model, inputs = image_model("attention", 1), image()
    (exact,) = receptive_fields(model, inputs, MIDDLE)
    (rough,) = receptive_fields(model, inputs, MIDDLE, most_tokens=4 * ALL_PATCHES)
    assert (exact.exact, rough.exact) == (True, False)
    others = exact.reached.clone()
    others[MIDDLE] = False
    ratio = rough.influence[others].square().mean() / exact.influence[others].square().mean()
    assert 0.5 < ratio < 2
    (zeros,) = receptive_fields(image_model("pooling", 1), inputs, MIDDLE, most_tokens=1)
    assert zeros.count == 9


def test_the_stages_of_a_trained_model() -> None:
    """A stage's token covers the place; the convolution between stages widens the reach, whatever the mixer."""
    config = MetaFormerVisionConfig(
        image_size=64, depths=[1, 0, 2], hidden_sizes=[8, 12, 16], patch_sizes=[7, 3, 3], strides=[4, 2, 2],
        padding=[2, 1, 1], norm="layer_norm", token_mixer="identity", num_labels=3,
    )  # fmt: skip
    model = MetaFormerVisionForImageClassification(config).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second, third = receptive_fields(model, image(), (9, 6))
    assert [layer.name for layer in (first, second, third)] == [
        "stage 1, block 1",
        "stage 3, block 1",
        "stage 3, block 2",
    ]
    assert (first.place, second.place, third.place) == ((9, 6), (2, 1), (2, 1))
    assert first.count == 1
    assert places(second.reached)[0] == [5, 1]  # 4 * place - 3, and 7 x 7 patches: two convolutions of 3 x 3, by 2 each
    assert second.count == third.count == 49
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_norm_over_all_tokens_reaches_everything() -> None:
    for norm, reach in (("group_norm", ALL_WORDS), ("batch_norm", 1), ("rms_norm", 1)):
        config = MetaFormerTextConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=1, intermediate_size=32, max_position_embeddings=ALL_WORDS,
            token_mixer="identity", norm=norm,
        )  # fmt: skip
        model = MetaFormerTextForMaskedLM(config)
        assert mixes_by_norm(model) == (norm == "group_norm")
        assert receptive_fields(model, text(), (3,))[0].count == reach
        assert receptive_fields(model, text(), (3,), hold_statistics=True)[0].count == 1


def test_a_norm_with_constant_statistics() -> None:
    """With these of the same text: a layer norm whose mean and variance are those numbers, in closed form."""
    norm = build_norm("group_norm", 16).double()
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(1, 5, 16, dtype=torch.float64, requires_grad=True)
    output = norm(x)
    torch.testing.assert_close(_with_constant_statistics(norm, (x,), output), output)
    (gradient,) = torch.autograd.grad(_with_constant_statistics(norm, (x,), output)[0, 2].sum(), x)
    assert gradient[0, [0, 1, 3, 4]].count_nonzero() == 0
    expected = norm.weight / (x.var(correction=0) + norm.eps).sqrt()
    torch.testing.assert_close(gradient[0, 2], expected.detach())


def test_what_is_wrong_is_said() -> None:
    model = image_model("pooling", 1)
    for place in ((16, 0), (0, -1), (3,)):
        with pytest.raises(ValueError, match=r"no token \(.*\) on a grid of 16 x 16 tokens"):
            receptive_fields(model, image(), place)
    with pytest.raises(ValueError, match="a batch of one"):
        receptive_fields(model, {"pixel_values": torch.randn(2, 3, 64, 64)}, MIDDLE)
    with pytest.raises(ValueError, match="Linear is no MetaFormer of this project"):
        receptive_fields(nn.Linear(2, 2), {}, (0,))
