"""The picture of the first screen: what every change to one architecture costs, in up to three domains on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metaformer_nlp.study.analysis.results import Analysis, Domain
from metaformer_nlp.study.analysis.statistics import Estimate
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.figures.looks import Looks, arm_titles
from metaformer_nlp.study.report.figures.style import (
    GREY,
    WIDTH,
    Drawing,
    brief,
    draw_estimate,
    drawn_within,
    limits_of,
    mean_of,
    name_rows,
    scaled,
    title_of,
)
from metaformer_nlp.study.words import points

_LONGEST = 26  # characters of a row's name in one line


def costs_of(domain: Domain, centre: str) -> dict[str, Estimate]:
    """Points below the centre: of every other mixer, and of every part that is taken out of the centre or swapped."""
    wanted = [arm.name for arm in domain.arms.values() if arm.kind == "mixer"]
    wanted += [removal.arm for removal in domain.removals if removal.of == centre]
    wanted += [swap.arm for swap in domain.swaps if swap.of == centre and not swap.mixer]
    found = {name: domain.arms[name].against.get(centre) for name in dict.fromkeys(wanted)}
    return {
        name: scaled(difference.estimate, -100)
        for name, difference in found.items()
        if difference and difference.estimate.value is not None
    }


def draw_first(analysis: Analysis, looks: Looks) -> Drawing | None:
    """Dots and intervals of all changes, a row each and a panel a domain, from what costs least to what costs most;
    None where there is nothing to draw."""
    centre = analysis.centre
    labels = _labels(analysis.study, centre)
    costs = {name: costs_of(analysis.domains[name], centre) for name in analysis.first}
    domains = [analysis.domains[name] for name, its in costs.items() if its]
    if not domains:
        return None
    arms = sorted(
        {arm for its in costs.values() for arm in its},
        key=lambda arm: (fmean(mean_of(its[arm]) for its in costs.values() if arm in its), arm),
    )
    names = [fill(labels[arm], _LONGEST) for arm in arms]
    height, size = (0.23, 8.5) if any("\n" in name for name in names) else (0.2, 9)
    wide = 42 // len(domains)  # characters of a panel's title in one line
    titles = [fill(brief(title_of(domain), wide), wide) for domain in domains]
    above = 0.16 * max(0, max(title.count("\n") for title in titles) - 1)  # inches, for titles of more than two lines
    figure = Figure(figsize=(WIDTH, height * len(arms) + 1.05 + above), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)  # type: ignore[union-attr, call-arg]
    panels = figure.subplots(1, len(domains), sharex=True, sharey=True, squeeze=False)[0]
    limits = _limits([cost for its in costs.values() for cost in its.values()], domains, centre)
    under: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 8.5, "fontweight": "bold"}
    for axes, domain, title in zip(panels, domains, titles, strict=True):
        for place, arm in enumerate(arms):
            if cost := costs[domain.name].get(arm):
                look = {**looks[arm], "markersize": 0.72 * looks[arm]["markersize"]}  # so that short intervals show
                draw_estimate(axes, cost, place, look, limits)
                number = points(mean_of(cost) / 100)
                axes.annotate(
                    number, (1, place), (2, 0), ("axes fraction", "data"), "offset points", va="center", size=8
                )
        axes.axvline(0, color="#000000", linewidth=1.2, zorder=2)
        axes.set_xlim(*limits)
        _draw_wall(axes, _wall(domain, centre), limits)
        axes.set_title(title, pad=14, fontsize=9.5)
        name_rows(axes, names, fontsize=size, linespacing=0.95)
        axes.tick_params(axis="x", labelsize=8.5 if len(domains) < 4 else 7)
        axes.xaxis.set_major_locator(MaxNLocator(7 - len(domains), steps=[1, 2, 5, 10]))
        axes.annotate(labels[centre], (0, 0), (0, -17), ("data", "axes fraction"), "offset points", **under)
    figure.supxlabel(
        f"points lost against {labels[centre]} (left of the line: gained), with 95 % intervals", fontsize=9.5
    )
    said = " ".join(_sentence(domain, costs[domain.name], labels, _wall(domain, centre)) for domain in domains)
    return Drawing(
        figure,
        f"Points lost against {labels[centre]}. {said}",
        _caption(analysis, costs, labels[centre], limits),
    )


def _caption(
    analysis: Analysis, costs: dict[str, dict[str, Estimate]], centre: str, limits: tuple[float, float]
) -> str:
    """How to read the picture; marks that it does not have are not explained."""
    shown = {arm for its in costs.values() for arm in its}
    kinds = {arm.kind for arm in analysis.study.arms if arm.name in shown}
    marks = {
        "mixer": "A filled mark is another token mixer.",
        "architecture": "An open mark is a part that is taken out.",
        "variant": "A half filled mark is a part that is swapped.",
    }
    low, high = drawn_within(limits)
    intervals = [(cost.low, cost.high) for its in costs.values() for cost in its.values()]
    cut = any(a is not None and b is not None and (a < low or b > high) for a, b in intervals)
    alike = f"Each row is another token mixer in the place of {centre}."
    explained = [f"Each row is one change to {centre}.", *(text for kind, text in marks.items() if kind in kinds)]
    lines = [
        *([alike] if kinds == {"mixer"} else explained),
        "A mark is the mean over seeds, its bar the 95 % interval"
        + ("; an arrow head says that the interval goes on." if cut else "."),
        f"Marks to the right of the line score less than {centre}, marks to the left more.",
    ]
    if any(analysis.domains[name].chance is not None for name, its in costs.items() if its):
        lines.append("The hatched wall is chance.")
    if any(arm not in its for its in costs.values() if its for arm in shown):
        lines.append("An empty row was not run there.")
    return " ".join(lines)


def _labels(study: Study, centre: str) -> dict[str, str]:
    """Parts need not say whose they are: all are the centre's."""
    titles = arm_titles(study)
    return {arm.name: brief(arm.title if arm.of == centre else titles[arm.name], _LONGEST) for arm in study.arms}


def _wall(domain: Domain, centre: str) -> float | None:
    """How many points the centre stands above chance."""
    score = domain.arms[centre].score.value
    return None if score is None or domain.chance is None else 100 * (score - domain.chance)


def _limits(costs: Sequence[Estimate], domains: Sequence[Domain], centre: str) -> tuple[float, float]:
    """Limits that hold all costs, and every wall that is near enough to leave them room."""
    low, high = limits_of(costs, [0.0])
    walls = [wall for domain in domains if (wall := _wall(domain, centre)) is not None]
    near = [wall for wall in walls if low < wall < high + 0.3 * (high - low)]
    return limits_of(costs, [0.0, *(wall + 0.08 * (high - low) for wall in near)])


def _draw_wall(axes: Axes, wall: float | None, limits: tuple[float, float]) -> None:
    if wall is None:
        return
    axes.axvspan(
        wall, max(wall, limits[1]) + 1, facecolor="#f0f0f0", hatch="////", linewidth=0, zorder=0.5, label="chance"
    )
    axes.axvline(wall, color=GREY, linewidth=1.5, zorder=2)
    inside = limits[0] <= wall < limits[1]
    part = (wall - limits[0]) / (limits[1] - limits[0])
    axes.annotate(
        "chance" if inside else f"chance: {wall:.0f} \N{RIGHTWARDS ARROW}",
        (part if inside else 1, 1),
        (0, 2),
        "axes fraction",
        "offset points",
        ha="right" if part > 0.7 else "left" if part < 0.3 else "center",
        va="bottom",
        color=GREY,
        fontsize=8.5,
    )


def _sentence(domain: Domain, costs: dict[str, Estimate], labels: dict[str, str], wall: float | None) -> str:
    order = sorted(costs, key=lambda arm: mean_of(costs[arm]))
    most, least = (f"{labels[arm]}, {_beside(mean_of(costs[arm]))}" for arm in (order[-1], order[0]))
    chance = "" if wall is None else f"; chance lies {_beside(wall)}"
    if len(order) == 1:
        return f"{title_of(domain)}: the one row is {most}{chance}."
    return f"{title_of(domain)}: the lowest score is {most}, and the highest {least}{chance}."


def _beside(cost: float) -> str:
    return f"{points(abs(cost) / 100)} {'below' if cost >= 0 else 'above'}"
