"""Scores along a line: over the steps of training, and over the distance that a task bridges. One panel an arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from metaformer_nlp.study.analysis.results import Domain
from metaformer_nlp.study.analysis.statistics import Estimate
from metaformer_nlp.study.report.figures.looks import Looks
from metaformer_nlp.study.report.figures.style import (
    GREY,
    Drawing,
    extremes,
    scaled,
    small_multiples,
    title_of,
    value_of,
)
from metaformer_nlp.study.report.wording import picture_text
from metaformer_nlp.study.words import count

Curve = Mapping[float, Estimate]  # in points, by place


def learning_curves(domain: Domain) -> dict[str, Curve]:
    """Mean score and its interval at the steps that all seeds of an arm have; by arm."""
    return {
        arm.name: {
            step: scaled(Estimate(mean, int(n or 0), None, low, high))
            for step, mean, low, high, n in arm.curve
            if step is not None
        }
        for arm in domain.arms.values()
        if len(arm.curve) > 1
    }


def distance_curves(domain: Domain, tasks: Mapping[str, float]) -> dict[str, Curve]:
    """Mean score and its interval at the distances of the tasks; by arm."""
    found: dict[str, Curve] = {}
    for arm in domain.runs:
        curve = {place: scaled(arm.tasks[task]) for task, place in tasks.items() if arm.tasks[task].value is not None}
        if len(curve) > 1:
            found[arm.name] = curve
    return found


def draw_curves(domain: Domain, titles: Mapping[str, str], looks: Looks, baseline: str) -> Drawing | None:
    """Score over the steps of training; None where no arm has a curve."""

    def steps_axis(axes: Axes) -> None:
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))

    curves = learning_curves(domain)
    return _draw(domain, curves, titles, looks, baseline, domain.chance, "steps", steps_axis) if curves else None


def draw_distance(
    domain: Domain, ability: str, tasks: Mapping[str, float], titles: Mapping[str, str], looks: Looks, baseline: str
) -> Drawing | None:
    """Score over the distance of the tasks; None where no arm has scores at two distances."""
    chances = [chance for task in tasks if (chance := domain.task_chance[task]) is not None]
    places = list(tasks.values())

    def distance_axis(axes: Axes) -> None:
        if min(places) > 0 and max(places) >= 8 * min(places):
            axes.set_xscale("log", base=2)
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.xaxis.set_minor_locator(NullLocator())

    curves, chance, axis = (
        distance_curves(domain, tasks),
        fmean(chances) if chances else None,
        domain.axis or "distance",
    )
    return _draw(domain, curves, titles, looks, baseline, chance, axis, distance_axis, ability) if curves else None


def _draw(
    domain: Domain,
    curves: Mapping[str, Curve],
    titles: Mapping[str, str],
    looks: Looks,
    baseline: str,
    chance: float | None,
    axis: str,
    prepare: Callable[[Axes], None],
    ability: str | None = None,
) -> Drawing:
    """A panel an arm: its line and band, the baseline's line in black, the other arms' in grey, dots at chance.

    Curves over distances (`ability` is not None) have marks, as there are few.
    """
    figure, panels = small_multiples(list(curves), titles, looks)
    middle = [value_of(point) for curve in curves.values() for point in curve.values()]
    middle += [] if chance is None else [100 * chance]
    span = max(max(middle) - min(middle), 5.0)
    for axes, arm in zip(panels, curves, strict=True):
        for other, curve in curves.items():
            if other != arm:
                look: dict[str, Any] = {"color": "#000000", "linewidth": 1.1, "zorder": 3, "linestyle": (0, (4, 2))}
                if other != baseline:
                    look = {"color": "#d4d4d4", "linewidth": 0.9, "zorder": 1}
                axes.plot(list(curve), [value_of(point) for point in curve.values()], **look)
        own, places = looks[arm], list(curves[arm])
        means, low, high = zip(*(_band(point) for point in curves[arm].values()), strict=True)
        axes.fill_between(places, low, high, color=own["color"], alpha=0.25, lw=0)
        style = {"color": own["color"]} if ability is None else {**own, "markersize": own["markersize"] * 0.55}
        axes.plot(places, means, linewidth=2, zorder=4, **style)
        if chance is not None:
            axes.axhline(100 * chance, color=GREY, linewidth=1, linestyle=":", zorder=2)
        axes.set_ylim(min(middle) - 0.06 * span, max(middle) + 0.06 * span)
        prepare(axes)
    figure.supxlabel(axis, fontsize=10)
    figure.supylabel("score", fontsize=10)
    title = title_of(domain) + (f": {ability}" if ability else "")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    lasts = {arm: max(curve) for arm, curve in curves.items()}
    best, worst = extremes({arm: value_of(curve[lasts[arm]]) for arm, curve in curves.items()})
    ends = {arm: value_of(curves[arm][lasts[arm]]) for arm in (best, worst)}
    alt = picture_text(
        "curves_alt",
        title=title,
        axis=axis,
        arms=len(curves),
        last=max(lasts.values()),
        one_end=len(set(lasts.values())) == 1,
        ability=ability,
        best=titles[best],
        most=ends[best],
        worst=titles[worst],
        least=ends[worst],
    )
    return Drawing(figure, alt, picture_text("curves_caption", chance=chance is not None))


def _band(point: Estimate) -> tuple[float, float, float]:
    """The mean and the ends of its interval; where there is none, the mean itself."""
    mean = value_of(point)
    return mean, mean if point.low is None else point.low, mean if point.high is None else point.high
