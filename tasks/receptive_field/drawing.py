"""Receptive fields as colours and words, whatever they are drawn with.

The scale is logarithmic, from the strongest influence of a layer down to `FLOOR` of it. Exact zeros have no colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import to_rgb

from metaformer_nlp.study.report.figures.looks import mixer_looks
from tasks.receptive_field.influence import LayerField

__all__ = ["CAPTION", "MARK", "Fields", "coloured", "colours", "in_words", "share_text"]

FLOOR = 1e-4
TINT = 0.14  # of a mixer's colour: the weakest influence, which is not paper yet
MARK = "#D55E00"  # the token that was asked for; no mixer has this colour
CAPTION = (
    "Where the marked token got its value from, after each layer: the darker, the stronger the influence, on a "
    "logarithmic scale. Hatched: exactly none. Below: the number of tokens in reach, and the token's own share."
)

Fields = Mapping[str, Sequence[LayerField]]
"""The name of a model, of its mixer where it has random weights -> its layers."""


def colours(names: Sequence[str]) -> dict[str, str]:
    """The colour that each mixer has in all pictures of studies; a model of another name gets one that is free."""
    return {name: str(look["color"]) for name, look in mixer_looks(names).items()}


def coloured(layer: LayerField, colour: str) -> np.ndarray:
    """(*S, 4) uint8, red, green, blue and alpha: from a tint of ``colour`` to itself; transparent at exact zeros."""
    relative = (layer.influence / layer.influence.max().clamp_min(np.finfo(float).tiny)).numpy()
    strength = TINT + (1 - TINT) * (1 - np.log(np.clip(relative, FLOOR, 1)) / np.log(FLOOR))
    inks = 1 - strength[..., None] * (1 - np.array(to_rgb(colour)))
    return np.rint(255 * np.concatenate([inks, layer.reached.numpy()[..., None]], axis=-1)).astype(np.uint8)


def share_text(layer: LayerField) -> str:
    """The token's own share; 0 and 100 % only where they are exact."""
    percent = 100 * layer.own_share
    if layer.count > 1 and percent > 99.5:
        return ">99 %"
    return "<1 %" if 0 < percent < 0.5 else f"{percent:.0f} %"


def in_words(fields: Fields) -> str:
    """How far each model reaches, for those who do not see the colours."""
    rows = [
        f"{name}: {', '.join(str(layer.count) for layer in layers)} of {layers[0].reached.numel()} tokens"
        for name, layers in fields.items()
    ]
    return f"How many tokens are in reach after each layer. {'; '.join(rows)}."
