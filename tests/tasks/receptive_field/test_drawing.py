"""Pictures of receptive fields: paper where nothing comes from, colours of the studies, and numbers below."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from metaformer_nlp.study.report.figures.looks import MIXERS, mixer_looks
from metaformer_nlp.study.report.figures.style import save
from tasks.receptive_field.drawing import draw_image, draw_text, share_text
from tasks.receptive_field.influence import LayerField


def field(influence: list[list[float]] | list[float], source: tuple[int, ...], name: str = "layer 1") -> LayerField:
    values = torch.tensor(influence, dtype=torch.float64)
    return LayerField(name, source, source, values, values > 0, True)


CROSS = field([[0.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 1e-9, 0.0]], (1, 1))


def texts(figure: object) -> set[str]:
    return {text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text"))}  # type: ignore[attr-defined]


def test_maps_of_an_image(tmp_path: Path) -> None:
    drawing = draw_image({"pooling": [CROSS, CROSS], "$own$": [CROSS]})
    assert drawing.alt.endswith("pooling: 4, 4 of 9 tokens; $own$: 4 of 9 tokens.")
    assert {"4 of 9\nown 67 %", "layer 1", r"\$own\$"} <= texts(drawing.figure)
    maps = [axes.images[0] for part in drawing.figure.subfigs[:2] for axes in part.axes if axes.images]
    assert len(maps) == 3
    shown = maps[0].get_array()
    assert shown.mask.tolist() == (CROSS.reached == False).tolist()  # noqa: E712
    colours = maps[0].to_rgba(shown)
    assert np.allclose(colours[1, 1, :3], matplotlib.colors.to_rgb(MIXERS["pooling"][0]), atol=0.01)
    assert colours[2, 1, :3].min() < 0.95, "the weakest influence is a tint, and no paper"
    path = save(drawing, tmp_path / "maps.png").path
    assert (matplotlib.image.imread(path)[..., :3].min(-1) < 0.99).any()


def test_strips_of_a_text() -> None:
    strip = field([0.0, 1.0, 0.25], (1,))
    words = ["a", "$b", "c" * 30]
    drawing = draw_text({"shift": [strip], "attention": [strip]}, {"shift": words, "attention": words})
    assert {"1\n2\n94", r"\$b", "c" * 13 + "…"} <= texts(drawing.figure)


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
    looks = mixer_looks(["runs/mine", "attention", "pooling", "window_mlp"])
    assert (looks["attention"]["color"], looks["pooling"]["color"]) == (MIXERS["attention"][0], MIXERS["pooling"][0])
    assert len({look["color"] for look in looks.values()}) == 4
