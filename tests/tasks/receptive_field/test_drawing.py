"""Receptive fields as colours: nothing where nothing comes from, the colours of the studies, and numbers in words."""

from __future__ import annotations

import pytest
import torch
from matplotlib.colors import to_hex

from metaformer_nlp.study.report.figures.looks import MIXERS
from tasks.receptive_field.drawing import MARK, coloured, colours, in_words, share_text
from tasks.receptive_field.influence import LayerField


def field(influence: list[list[float]] | list[float], source: tuple[int, ...], name: str = "layer 1") -> LayerField:
    values = torch.tensor(influence, dtype=torch.float64)
    return LayerField(name, source, source, values, values > 0, True)


CROSS = field([[0.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 1e-9, 1e-2]], (1, 1))


def test_the_stronger_the_darker_and_nothing_at_exact_zeros() -> None:
    drawn = coloured(CROSS, "#0072b2")
    assert drawn.shape == (3, 3, 4)
    assert (drawn[..., 3] == 255 * CROSS.reached.numpy()).all()
    assert to_hex(drawn[1, 1, :3] / 255) == "#0072b2", "the strongest has the mixer's own colour"
    red = drawn[..., 0].astype(int)
    assert red[1, 1] < red[0, 1] < red[2, 2] < red[2, 1] < 250, "the weakest is a tint, and no paper"
    halves = coloured(field([1.0, 1e-2, 1e-4], (0,)), "#000000")[:, 0].astype(int)
    assert halves[1] - halves[0] == pytest.approx(halves[2] - halves[1], abs=1), "logarithmic"


def test_a_token_that_nothing_reaches() -> None:
    nothing = field([0.0, 0.0], (0,))
    assert not coloured(nothing, "#000000")[:, 3].any()
    assert share_text(nothing) == "0 %"


def test_the_reach_in_words() -> None:
    told = in_words({"pooling": [CROSS, CROSS], "$own$": [CROSS]})
    assert told.endswith("pooling: 5, 5 of 9 tokens; $own$: 5 of 9 tokens.")


@pytest.mark.parametrize(
    ("influence", "text"),
    [
        ([1.0, 0.0], "100 %"),
        ([1.0, 1e-9], ">99 %"),
        ([1.0, 1.0], "50 %"),
        ([1e-3, 1.0], "<1 %"),
        ([1e-200, 0.0], "100 %"),
    ],
)
def test_shares(influence: list[float], text: str) -> None:
    assert share_text(field(influence, (0,))) == text


def test_mixers_keep_their_colours_and_strangers_get_others() -> None:
    found = colours(["runs/mine", "attention", "pooling", "window_mlp"])
    assert (found["attention"], found["pooling"]) == (MIXERS["attention"][0], MIXERS["pooling"][0])
    assert len({*found.values(), MARK}) == 5
