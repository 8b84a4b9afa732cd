"""What all pictures share: each arm's colour and mark, the figure's size and type, and how estimates are drawn.

Narrow figures with large type, so that they can be read on a phone; colours after Paul Tol's "muted" scheme, which can
be told apart with any colour vision, and no two arms share both colour and mark. Filled marks are mixers, open marks
are parts taken out of the architecture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_MIXER_COLOURS = ("#332288", "#3FA7D6", "#117733", "#CC6677", "#999933", "#AA4499", "#44AA99", "#882255", "#C9A227")
_MIXER_MARKS = "osD^vP<Xph>"
_PART_COLOURS = ("#D55E00", "#7F4A00", "#E69F00", "#5C5C5C")
_PART_MARKS = "sD^vo<>"
WIDTH = 5.2  # inches
GREY = "#444444"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.axisbelow": True,
    "grid.color": "#e2e2e2",
    "legend.frameon": False,
    "savefig.dpi": 160,
}

Looks = Mapping[str, dict[str, Any]]


def arm_looks(analysis: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Colour and mark of each arm: black for the baseline, then in the order of the study file."""
    looks: dict[str, dict[str, Any]] = {}
    mixers = parts = 0
    for name, arm in analysis["study"]["arms"].items():
        if name == analysis["study"]["baseline"]:
            looks[name] = {"color": "#000000", "marker": "*", "markersize": 11}
        elif arm["kind"] == "mixer":
            colour = _MIXER_COLOURS[mixers % len(_MIXER_COLOURS)]
            looks[name] = {"color": colour, "marker": _MIXER_MARKS[mixers % len(_MIXER_MARKS)], "markersize": 7}
            mixers += 1
        else:
            colour = _PART_COLOURS[parts % len(_PART_COLOURS)]
            mark = _PART_MARKS[parts % len(_PART_MARKS)]
            looks[name] = {"color": colour, "marker": mark, "markersize": 7, "markerfacecolor": "white"}
            looks[name]["markeredgewidth"] = 1.8
            parts += 1
    return looks


def save(figure: Figure, path: Path) -> Path:
    """Writes the picture; the same numbers give the same file."""
    FigureCanvasAgg(figure)
    figure.savefig(path, metadata={"Software": None})
    return path


def limits_of(values: Iterable[float], ends: Iterable[float | None], lines: Iterable[float]) -> tuple[float, float]:
    """Axis limits in points: all values and lines, and the intervals as far as they do not dwarf them."""
    inner = [100 * value for value in (*values, *lines)]
    low, high = min(inner), max(inner)
    span = max(high - low, 5.0)
    known = [100 * end for end in ends if end is not None]
    low = min([low, *(max(end, low - 0.35 * span) for end in known)])
    high = max([high, *(min(end, high + 0.35 * span) for end in known)])
    return low - 0.04 * span, high + 0.04 * span


def draw_estimate(
    axes: Axes, item: Mapping[str, Any], place: float, look: Mapping[str, Any], limits: tuple[float, float]
) -> None:
    """A mark with its interval in the row `place`; an arrow head where the interval leaves the picture."""
    if item["low"] is not None:
        inset = 0.014 * (limits[1] - limits[0])  # so that arrow heads keep off the labels
        low, high = limits[0] + inset, limits[1] - inset
        ends = np.clip([100 * item["low"], 100 * item["high"]], low, high)
        axes.plot(ends, [place, place], color=look["color"], linewidth=2, solid_capstyle="butt", zorder=3)
        for end, mark, beyond in ((low, "<", 100 * item["low"] < low), (high, ">", 100 * item["high"] > high)):
            if beyond:
                axes.plot([end], [place], mark, color=look["color"], markersize=7, zorder=3)
    axes.plot([100 * item["value"]], [place], linestyle="none", zorder=4, **look)


def draw_dots(axes: Axes, values: Iterable[float], place: float) -> None:
    """The seeds, a little below the estimate."""
    scores = [100 * value for value in values]
    places = [place + 0.27] * len(scores)
    axes.plot(scores, places, "o", color="#555555", markersize=3, alpha=0.8, markeredgewidth=0, zorder=3)


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """One row a label, from the top down."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")


def small_multiples(arms: Sequence[Mapping[str, Any]], looks: Looks, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """One small panel an arm, all with the same axes and the arm's name in its colour: any number stays legible."""
    columns = min(columns, len(arms))
    rows = -(-len(arms) // columns)
    figure = Figure(figsize=(WIDTH, 1.5 * rows + 0.8), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[len(arms) :]:
        axes.remove()
    for axes, arm in zip(grid, arms, strict=False):
        axes.set_title(fill(arm["label"], 16), fontsize=9.5, color=looks[arm["arm"]]["color"], pad=3)
        axes.grid(True)
        axes.tick_params(labelsize=8.5)
    for axes in grid[max(len(arms) - columns, 0) : len(arms)]:
        axes.tick_params(labelbottom=True)  # the lowest panel of each column, the last row being short or not
    return figure, list(grid[: len(arms)])


def title_of(domain: Mapping[str, Any]) -> str:
    """The domain's label with a capital first letter."""
    return str(domain["label"][:1].upper() + domain["label"][1:])


def with_results(domain: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The domain's arms that have a finished run."""
    return (arm for arm in domain["arms"] if arm["score"]["n"])


from dataclasses import dataclass
@dataclass(frozen=True)
class Picture:
    path: Path
    alt: str
    caption: str
