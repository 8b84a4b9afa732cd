"""Score against what it takes to get it: operations, parameters and seconds, each on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from metaformer_nlp.study.report.figures.style import WIDTH, Looks, limits_of, title_of, with_results
from metaformer_nlp.study.words import count

_COSTS = {
    "macs": "multiply-accumulate operations of one forward pass",
    "total": "parameters",
    "train_seconds": "seconds of training",
}


def costs_that_differ(domain: Mapping[str, Any]) -> list[str]:
    """The costs that are known of every arm with results and are not the same in all: only they are worth a picture."""
    found = []
    for cost in _COSTS:
        values = [arm[cost] for arm in with_results(domain)]
        if len(values) > 1 and all(value and value > 0 for value in values) and max(values) > 1.02 * min(values):
            found.append(cost)
    return found


def draw_cost(domain: Mapping[str, Any], looks: Looks) -> Figure:
    """Mean score with its interval over each cost, one panel a cost; arms of one cost stand side by side."""
    costs, arms = costs_that_differ(domain), list(with_results(domain))
    figure = Figure(figsize=(WIDTH, 2.35 * len(costs) + 1.5), layout="constrained")
    panels = figure.subplots(len(costs), 1, squeeze=False)[:, 0]
    ends = [end for arm in arms for end in (arm["score"]["low"], arm["score"]["high"])]
    limits = limits_of([arm["score"]["value"] for arm in arms], ends, [])
    for axes, cost in zip(panels, costs, strict=True):
        for arm, place in zip(arms, _places([arm[cost] for arm in arms]), strict=True):
            look, score = looks[arm["arm"]], arm["score"]
            if score["low"] is not None:
                reach = np.clip([100 * score["low"], 100 * score["high"]], *limits)
                axes.plot([place, place], reach, color=look["color"], linewidth=1.6, alpha=0.8, zorder=2)
            axes.plot([place], [100 * score["value"]], linestyle="none", zorder=3, label=arm["label"], **look)
        _log_axis(axes)
        axes.set_ylim(*limits)
        axes.set_ylabel("score")
        axes.set_xlabel(_COSTS[cost])
    panels[0].set_title(title_of(domain))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, handletextpad=0.3, columnspacing=1.4)
    return figure


def _places(values: Sequence[float]) -> list[float]:
    """The values, less what would hide one arm behind another: those that nearly agree are spread by a hair."""
    span = max(math.log10(max(values) / min(values)), 0.02)
    order = sorted(range(len(values)), key=lambda index: values[index])
    groups: list[list[int]] = []
    for index in order:
        if groups and math.log10(values[index] / values[groups[-1][0]]) < 0.012 * span:
            groups[-1].append(index)
        else:
            groups.append([index])
    places = list(values)
    for group in groups:
        for rank, index in enumerate(group):
            places[index] = values[index] * 10 ** (0.018 * span * (rank - (len(group) - 1) / 2))
    return places


def _log_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    decades = math.log10(high / low)
    steps = (1.0, 2.0, 5.0) if decades > 0.6 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=steps, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(True)


def _short(value: float) -> str:
    """A round number: 11.5 -> "11.5", 150000 -> "150,000", 2000000 -> "2 M"."""
    return count(value).replace(".00", "") if value >= 1000 else f"{value:g}"
