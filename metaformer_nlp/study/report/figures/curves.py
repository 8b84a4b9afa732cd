"""Scores along a line: over the steps of training, and over the distance that a task bridges. One panel an arm."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from metaformer_nlp.study.report.figures.style import GREY, Looks, small_multiples, title_of, with_results
from metaformer_nlp.study.words import count

Curve = tuple[list[float], list[float], list[float], list[float]]  # places, means, low ends, high ends
_POINT = re.compile(r"(.*?)[ _-]*(\d+(?:\.\d+)?)")


def learning_curves(domain: Mapping[str, Any]) -> dict[str, Curve]:
    """Mean score and its interval at the steps that all seeds of an arm have; by arm."""
    found: dict[str, Curve] = {}
    for arm in domain["arms"]:
        if len(arm["curve"]) > 1:
            steps, means, low, high, _ = (list(column) for column in zip(*arm["curve"], strict=True))
            found[arm["arm"]] = (steps, means, _filled(low, means), _filled(high, means))
    return found


def axis_tasks(domain: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """{ability: {task: distance}} of tasks whose names end in a number, as far as an ability has several distances."""
    found: dict[str, dict[str, float]] = {}
    for task in domain["task_chance"]:
        if match := _POINT.fullmatch(task):
            found.setdefault(match[1], {})[task] = float(match[2])
    return {
        ability: dict(sorted(tasks.items(), key=lambda item: item[1]))
        for ability, tasks in found.items()
        if len(tasks) > 1
    }


def draw_curves(domain: Mapping[str, Any], looks: Looks, baseline: str) -> Figure:
    """Score over the steps of training: the mean over seeds in the band of its 95 % interval."""
    curves = learning_curves(domain)
    return _draw(domain, curves, looks, baseline, domain["chance"], "steps", _steps_axis)


def draw_distance(domain: Mapping[str, Any], tasks: Mapping[str, float], looks: Looks, baseline: str) -> Figure:
    """Score over the distance of the tasks: the mean over seeds in the band of its 95 % interval."""
    curves: dict[str, Curve] = {}
    for arm in with_results(domain):
        points = {place: arm["tasks"][task] for task, place in tasks.items() if arm["tasks"][task]["value"] is not None}
        if len(points) > 1:
            means, low, high = ([point[key] for point in points.values()] for key in ("value", "low", "high"))
            curves[arm["arm"]] = (list(points), means, _filled(low, means), _filled(high, means))
    chances = [chance for task in tasks if (chance := domain["task_chance"][task]) is not None]
    places = list(tasks.values())

    def distance_axis(axes: Axes) -> None:
        if min(places) > 0 and max(places) >= 8 * min(places):
            axes.set_xscale("log", base=2)
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.xaxis.set_minor_locator(NullLocator())

    chance = fmean(chances) if chances else None
    return _draw(domain, curves, looks, baseline, chance, domain["axis"] or "distance", distance_axis, marks=True)


def _filled(ends: Sequence[float | None], means: Sequence[float]) -> list[float]:
    """The ends of intervals; where there is none, the mean itself."""
    return [mean if end is None else end for end, mean in zip(ends, means, strict=True)]


def _draw(
    domain: Mapping[str, Any],
    curves: Mapping[str, Curve],
    looks: Looks,
    baseline: str,
    chance: float | None,
    axis: str,
    prepare: Any,
    marks: bool = False,
) -> Figure:
    """A panel an arm: its line and band, the baseline's line in black, the other arms' in grey, dots at chance."""
    arms = [arm for arm in domain["arms"] if arm["arm"] in curves]
    figure, panels = small_multiples(arms, looks)
    middle = [mean for _, means, _, _ in curves.values() for mean in means] + ([] if chance is None else [chance])
    span = max(max(middle) - min(middle), 0.05)
    for axes, arm in zip(panels, arms, strict=True):
        for other, (places, means, _, _) in curves.items():
            if other != arm["arm"]:
                look: dict[str, Any] = {"color": "#000000", "linewidth": 1.1, "zorder": 3, "linestyle": (0, (4, 2))}
                if other != baseline:
                    look = {"color": "#d4d4d4", "linewidth": 0.9, "zorder": 1}
                axes.plot(places, 100 * np.array(means), **look)
        places, means, low, high = curves[arm["arm"]]
        own = looks[arm["arm"]]
        axes.fill_between(places, 100 * np.array(low), 100 * np.array(high), color=own["color"], alpha=0.25, lw=0)
        style = {**own, "markersize": own["markersize"] * 0.55} if marks else {"color": own["color"]}
        axes.plot(places, 100 * np.array(means), linewidth=2, zorder=4, **style)
        if chance is not None:
            axes.axhline(100 * chance, color=GREY, linewidth=1, linestyle=":", zorder=2)
        axes.set_ylim(100 * (min(middle) - 0.06 * span), 100 * (max(middle) + 0.06 * span))
        prepare(axes)
    figure.supxlabel(axis, fontsize=10)
    figure.supylabel("score", fontsize=10)
    figure.suptitle(title_of(domain), x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _steps_axis(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
