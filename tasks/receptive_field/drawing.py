"""Receptive fields as pictures: of an image a row of maps for each model, of a text a panel of strips; a layer each.

The scale is logarithmic, from the strongest influence of a layer down to `FLOOR` of it. Exact zeros are hatched paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from metaformer_nlp.study.report.figures.looks import mixer_looks
from metaformer_nlp.study.report.figures.style import GREY, STYLE, WIDTH, Drawing
from tasks.receptive_field.influence import LayerField

__all__ = ["MARK", "Fields", "draw_image", "draw_text", "share_text"]

FLOOR = 1e-4
SCALE = LogNorm(FLOOR, 1.0, clip=True)
MARK = "#D55E00"  # the token that was asked for; no mixer has this colour
LEAST_MAPS = 4  # a single one is as large as four side by side
MOST_STRIPS = 6  # of a model that has another one beside it
FOOT = 0.75  # inches for the scale
LETTERS = 10.5  # points
LONGEST_WORD = 14  # characters
CAPTION = (
    "Where the marked token got its value from, after each layer: the darker, the stronger the influence, on a "
    "logarithmic scale. Hatched: exactly none. Below: the number of tokens in reach, and the token's own share."
)

Fields = Mapping[str, Sequence[LayerField]]
"""The name of a model, of its mixer where it has random weights -> its layers."""


def draw_image(fields: Fields) -> Drawing:
    """For each model a row of maps of the input's tokens, one for each layer; up to six are legible on a phone."""
    columns = max(LEAST_MAPS, *map(len, fields.values()))
    height = WIDTH / columns + 1.0
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, len(fields) * height + FOOT), layout="constrained")
        *rows, foot = _parts(figure, [height] * len(fields) + [FOOT])
        for (name, layers), colours, row in zip(fields.items(), _colours(fields).values(), rows, strict=True):
            row.suptitle(_plain(name), x=0.01, ha="left", fontsize=12, fontweight="bold", color=colours(1.0))
            grid = row.subplots(1, columns, squeeze=False).ravel()
            for axes, layer in zip(grid, layers, strict=False):
                _draw_map(axes, _relative(layer), layer.reached.numpy(), colours)
                _mark(axes, *layer.source)
                axes.set_title(layer.name.replace(", ", "\n"), fontsize=LETTERS, fontweight="normal", color=GREY, pad=3)
                of = "\nof" if columns > LEAST_MAPS else " of"  # maps are narrow
                label = f"{layer.count}{of} {layer.reached.numel()}\nown {share_text(layer)}"
                axes.set_xlabel(label, fontsize=LETTERS, labelpad=3)
            for axes in grid[len(layers) :]:
                axes.axis("off")
        _draw_scale(foot)
    return Drawing(figure, _alt(fields), CAPTION)


def draw_text(fields: Fields, words: Mapping[str, Sequence[str]]) -> Drawing:
    """For each model a panel with its ``words``, the tokens as people read them, and for each layer a strip of them."""
    columns = 2 if max(map(len, fields.values())) <= MOST_STRIPS and len(fields) > 1 else 1
    lines = -(-len(fields) // columns)
    height = 0.2 * max(map(len, words.values())) + 1.1
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, lines * height + FOOT), layout="constrained")
        body, foot = _parts(figure, [lines * height, FOOT])
        grid = body.subplots(lines, columns, squeeze=False).ravel()
        for axes, (name, layers), colours in zip(grid, fields.items(), _colours(fields).values(), strict=False):
            influence = np.stack([_relative(layer) for layer in layers], axis=1)
            _draw_map(axes, influence, np.stack([layer.reached.numpy() for layer in layers], axis=1), colours)
            axes.set_aspect("auto")
            for number, layer in enumerate(layers):
                _mark(axes, layer.source[0], number)
                if number:
                    axes.axvline(number - 0.5, color="white", linewidth=2)
            axes.set_title(_plain(name), color=colours(1.0))
            axes.set_yticks(
                range(len(words[name])), [_plain(word, LONGEST_WORD) for word in words[name]], fontsize=LETTERS
            )
            marked = layers[0].source[0]
            axes.get_yticklabels()[marked].set(color=MARK, fontweight="bold")
            numbers = [
                f"{number}\n{layer.count}\n{share_text(layer).removesuffix(' %')}"
                for number, layer in enumerate(layers, 1)
            ]
            axes.set_xticks(range(len(layers)), numbers, fontsize=LETTERS)
            axes.annotate(
                "layer\nreach\nown %", (0, 0), (-4, -3.5), xycoords="axes fraction", textcoords="offset points",
                ha="right", va="top", fontsize=LETTERS, color=GREY, linespacing=1.2,
            )  # fmt: skip
        for axes in grid[len(fields) :]:
            axes.axis("off")
        _draw_scale(foot)
    return Drawing(figure, _alt(fields), CAPTION)


def _parts(figure: Figure, heights: Sequence[float]) -> list[SubFigure]:
    """Parts of the figure, one below the other; ``heights`` in inches."""
    return list(np.ravel(np.asarray(figure.subfigures(len(heights), 1, height_ratios=list(heights)))))


def _plain(text: str, most: int = 60) -> str:
    """At most ``most`` characters of a text, with dollar signs that are no beginning of a formula."""
    return (text if len(text) <= most else f"{text[: most - 1]}…").replace("$", r"\$")


def share_text(layer: LayerField) -> str:
    """The token's own share; 0 and 100 % only where they are exact."""
    percent = 100 * layer.own_share
    if layer.count > 1 and percent > 99.5:
        return ">99 %"
    return "<1 %" if 0 < percent < 0.5 else f"{percent:.0f} %"


def _colours(fields: Fields) -> dict[str, Colormap]:
    """From a tint, which is not paper yet, to the colour that the mixer has in all pictures of studies."""
    found: dict[str, Colormap] = {}
    for name, look in mixer_looks(list(fields)).items():
        dark = np.array(to_rgb(look["color"]))
        found[name] = LinearSegmentedColormap.from_list(name, [1 - 0.14 * (1 - dark), dark])
    return found


def _relative(layer: LayerField) -> np.ndarray:
    return (layer.influence / layer.influence.max()).numpy()


def _draw_map(axes: Axes, relative: np.ndarray, reached: np.ndarray, colours: Colormap) -> None:
    """A field of squares on hatched paper: (h, w) influences over the strongest, and where there are any."""
    axes.imshow(np.ma.array(relative, mask=~reached), cmap=colours, norm=SCALE, interpolation="nearest")
    _hatch(axes)


def _hatch(axes: Axes) -> None:
    """Bare paper, without axes."""
    sheet = Rectangle((0, 0), 1, 1, transform=axes.transAxes, zorder=-1)
    sheet.set(facecolor="white", edgecolor=STYLE["hatch.color"], hatch="////")
    axes.add_patch(sheet)
    axes.set(xticks=[], yticks=[])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _mark(axes: Axes, row: float, column: float) -> None:
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=MARK, linewidth=1.6, zorder=3))


def _draw_scale(figure: SubFigure) -> None:
    """In greys, since each model has a colour of its own."""
    axes, hatched = figure.subplots(1, 2, width_ratios=[4, 1])
    greys = LinearSegmentedColormap.from_list("greys", ["#dcdcdc", "#000000"])
    bar = figure.colorbar(ScalarMappable(SCALE, greys), cax=axes, orientation="horizontal")
    bar.set_ticks([1e-4, 1e-3, 1e-2, 1e-1, 1], labels=["1/10,000\nor less", "1/1,000", "1/100", "1/10", "strongest"])
    bar.ax.tick_params(labelsize=LETTERS, length=0, which="both")
    bar.outline.set_visible(False)
    _hatch(hatched)
    hatched.set_xticks([0.5], ["none at all"], fontsize=LETTERS)


def _alt(fields: Fields) -> str:
    rows = [
        f"{name}: {', '.join(str(layer.count) for layer in layers)} of {layers[0].reached.numel()} tokens"
        for name, layers in fields.items()
    ]
    return f"How many tokens are in reach after each layer. {'; '.join(rows)}."
