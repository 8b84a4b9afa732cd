"""What all pictures share: the figure's size and type, and how estimates are drawn.

Narrow figures with large type, so that they can be read on a phone. Scores are drawn in points of a hundred.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from metaformer_nlp.study.analysis.results import Domain
from metaformer_nlp.study.analysis.statistics import Estimate
from metaformer_nlp.study.report.figures.looks import Look, Looks
from metaformer_nlp.study.words import capital, without_brackets

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
    "hatch.color": "#b0b0b0",
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
    "savefig.dpi": 160,
}


@dataclass(frozen=True)
class Drawing:
    """A picture that is no file yet, with what is seen in it (`alt`) and how to read it (`caption`)."""

    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True)
class Picture:
    """A picture's PNG file, what is seen in it (`alt`) and how to read it (`caption`)."""

    path: Path
    alt: str
    caption: str


def save(drawing: Drawing, path: Path) -> Picture:
    """Writes the picture; the same numbers give the same file."""
    FigureCanvasAgg(drawing.figure)
    drawing.figure.savefig(path, metadata={"Software": None})
    return Picture(path, drawing.alt, drawing.caption)


def scaled(estimate: Estimate, factor: float = 100.0) -> Estimate:
    """`estimate` times `factor`: in points of a hundred, and turned round where `factor` is negative."""
    value, *ends = (
        None if number is None else factor * number for number in (estimate.value, estimate.low, estimate.high)
    )
    low, high = ends if factor > 0 else reversed(ends)
    return Estimate(value, estimate.n, None, low, high)


def value_of(estimate: Estimate) -> float:
    """The value of an estimate that has one."""
    assert estimate.value is not None
    return estimate.value


def limits_of(estimates: Iterable[Estimate], others: Iterable[float] = (), least: float = 5.0) -> tuple[float, float]:
    """Limits of an axis: all values and `others`, and the intervals as far as they do not dwarf them.

    `least` is the smallest span, so that noise does not fill the picture.
    """
    drawn = [estimate for estimate in estimates if estimate.value is not None]
    inner = [*map(value_of, drawn), *others]
    low, high = min(inner), max(inner)
    span = max(high - low, least)
    low = min([low, *(max(one.low, low - 0.35 * span) for one in drawn if one.low is not None)])
    high = max([high, *(min(one.high, high + 0.35 * span) for one in drawn if one.high is not None)])
    return low - 0.04 * span, high + 0.04 * span


def drawn_within(limits: tuple[float, float]) -> tuple[float, float]:
    """Where intervals end in an arrow head: a little inside the limits, so that arrow heads keep off the labels."""
    inset = 0.014 * (limits[1] - limits[0])
    return limits[0] + inset, limits[1] - inset


def draw_estimate(axes: Axes, estimate: Estimate, place: float, look: Look, limits: tuple[float, float]) -> None:
    """A mark with its interval in the row `place`; an arrow head where the interval leaves the picture."""
    if estimate.low is not None and estimate.high is not None:
        low, high = drawn_within(limits)
        ends = np.clip([estimate.low, estimate.high], low, high)
        axes.plot(ends, [place, place], color=look["color"], linewidth=2, solid_capstyle="butt", zorder=3)
        for end, mark, beyond in ((low, "<", estimate.low < low), (high, ">", estimate.high > high)):
            if beyond:
                axes.plot([end], [place], mark, color=look["color"], markersize=7, zorder=3)
    axes.plot([value_of(estimate)], [place], linestyle="none", zorder=4, **look)


def name_rows(axes: Axes, labels: Sequence[str], **style: Any) -> None:
    """One row a label, from the top down."""
    axes.set_yticks(range(len(labels)), labels, **style)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")


def small_multiples(
    arms: Sequence[str], titles: Mapping[str, str], looks: Looks, same_scale: bool = True
) -> tuple[Figure, list[Axes]]:
    """One small panel an arm, with its mark beside its title, all with the same axes: any number stays legible."""
    columns = min(3, len(arms))
    rows = -(-len(arms) // columns)
    figure = Figure(figsize=(WIDTH, 1.5 * rows + 0.8), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=same_scale, squeeze=False).ravel()
    for axes in grid[len(arms) :]:
        axes.remove()
    for axes, arm in zip(grid, arms, strict=False):
        text = "\n".join(fill(brief(line, 30), 16) for line in titles[arm].split("\n"))
        axes.set_title(text, fontsize=9.5, fontweight="normal", pad=3, x=0.1)
        above = ScaledTranslation(4 / 72, (8 + 12 * text.count("\n")) / 72, figure.dpi_scale_trans)
        style = {**looks[arm], "markersize": 0.8 * looks[arm]["markersize"], "clip_on": False}
        axes.plot([0], [1], transform=axes.transAxes + above, **style)
        axes.grid(True)
        axes.tick_params(labelsize=8.5)
    for axes in grid[max(len(arms) - columns, 0) : len(arms)]:
        axes.tick_params(labelbottom=True)  # the lowest panel of each column, the last row being short or not
    return figure, list(grid[: len(arms)])


def brief(label: str, most: int) -> str:
    """A label without what stands in brackets if it has more than `most` characters."""
    return label if len(label) <= most else without_brackets(label)


def title_of(domain: Domain) -> str:
    return capital(domain.label)


def metric_of(domain: Domain) -> str:
    """ "validation/mask_accuracy" -> "mask accuracy"."""
    return domain.metric.rsplit("/", 1)[-1].replace("_", " ")


def extremes(values: Mapping[str, float]) -> tuple[str, str]:
    """The names of the highest and the lowest value, two names where all are equal."""
    order = sorted(values, key=lambda name: -values[name])
    return order[0], order[-1]
