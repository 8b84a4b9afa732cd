"""Score against what it takes to get it: operations, or parameters where all take the same operations."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from metaformer_nlp.study.analysis.results import Arm, Domain
from metaformer_nlp.study.report.figures.looks import Looks
from metaformer_nlp.study.report.figures.style import (
    WIDTH,
    Drawing,
    brief,
    limits_of,
    metric_of,
    scaled,
    title_of,
    value_of,
)
from metaformer_nlp.study.report.wording import picture_text
from metaformer_nlp.study.words import count

_COSTS = {"macs": "multiply-accumulate operations of one forward pass", "total": "parameters"}


def cost_that_differs(arms: Collection[Arm]) -> str | None:
    """The first cost that is known of all arms and not the same in all; None if there is none."""
    for cost in _COSTS:
        values = [getattr(arm, cost) or 0.0 for arm in arms]
        if len(values) > 1 and min(values) > 0 and max(values) > 1.02 * min(values):
            return cost
    return None


def draw_cost(domain: Domain, titles: Mapping[str, str], looks: Looks, centre: str) -> Drawing | None:
    """Mean score with its interval over the cost of the mixers, and of the centre without its parts; None where all
    cost the same. No point is moved: arms of one cost stand above each other."""
    arms = sorted(
        (arm for arm in domain.runs if arm.kind == "mixer" or (arm.kind == "architecture" and arm.of == centre)),
        key=lambda arm: (-value_of(arm.score), arm.name),
    )
    cost = cost_that_differs(arms)
    if cost is None:
        return None
    costs = {arm.name: float(getattr(arm, cost)) for arm in arms}
    names = {arm.name: fill(brief(titles[arm.name], 26), 26) for arm in arms}
    lines = sum(1 + name.count("\n") for name in names.values())
    figure = Figure(figsize=(WIDTH, 3.1 + 0.2 * math.ceil(lines / 2)), layout="constrained")
    axes = figure.add_subplot()
    scores = {arm.name: scaled(arm.score) for arm in arms}
    limits = limits_of(scores.values())
    for arm in arms:
        score, look, place = scores[arm.name], looks[arm.name], costs[arm.name]
        if score.low is not None and score.high is not None:
            reach = np.clip([score.low, score.high], *limits)
            axes.plot([place, place], reach, color=look["color"], linewidth=1.6, alpha=0.8, zorder=2)
        axes.plot([place], [value_of(score)], linestyle="none", zorder=3, label=names[arm.name], **look)
    _log_axis(axes)
    axes.set_ylim(*limits)
    axes.set_ylabel(f"{metric_of(domain)}, points of 100")
    axes.set_xlabel(_COSTS[cost])
    axes.set_title(title_of(domain))
    figure.legend(loc="outside lower center", ncols=2, handletextpad=0.3, columnspacing=1.4, fontsize=9)
    least, most = min(arms, key=lambda arm: costs[arm.name]), max(arms, key=lambda arm: costs[arm.name])
    ends = [
        (word, titles[arm.name], costs[arm.name], arm.score.value) for word, arm in (("least", least), ("most", most))
    ]
    return Drawing(
        figure,
        picture_text("cost_alt", label=domain.label, cost=_COSTS[cost], ends=ends),
        picture_text("cost_caption"),
    )


def _log_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    decades = math.log10(high / low)
    steps = (1.0,) if decades > 2.5 else (1.0, 2.0, 5.0) if decades > 0.6 else (1.0, 1.5, *range(2, 9))
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=steps, numticks=8 if decades > 2.5 else 12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(True)


def _short(value: float) -> str:
    """A round number: 11.5 -> "11.5", 150000 -> "150,000", 2000000 -> "2 M"."""
    return count(value).replace(".00", "") if value >= 1000 else f"{value:g}"
