"""The picture of the first screen: what every change to one architecture costs, in up to three domains on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaformer_nlp.study.analysis.results import Analysis, Domain
from metaformer_nlp.study.analysis.statistics import Estimate
from metaformer_nlp.study.report.figures.looks import Looks
from metaformer_nlp.study.report.figures.style import (
    GREY,
    WIDTH,
    Drawing,
    brief,
    draw_estimate,
    limits_of,
    name_rows,
    scaled,
    title_of,
)
from metaformer_nlp.study.words import points

_LONGEST = 26  # characters of a row's name in one line


def centre_of(analysis: Analysis) -> str:
    """The arm that the others are measured from, the same as in the table below the picture."""
    return analysis.centre


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
    centre, labels = centre_of(analysis), _labels(analysis)
    costs = {name: costs_of(analysis.domains[name], centre) for name in analysis.first}
    domains = [analysis.domains[name] for name, its in costs.items() if its]
    if not domains:
        return None
    arms = sorted(
        {arm for its in costs.values() for arm in its},
        key=lambda arm: (fmean(its[arm].value or 0.0 for its in costs.values() if arm in its), arm),
    )
    names = [fill(labels[arm], _LONGEST) for arm in arms]
    height = 0.2 if all("\n" not in name for name in names) else 0.25
    figure = Figure(figsize=(WIDTH, height * len(arms) + 1.05), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)  # type: ignore[union-attr, call-arg]
    panels = figure.subplots(1, len(domains), sharex=True, sharey=True, squeeze=False)[0]
    limits = _limits([cost for its in costs.values() for cost in its.values()], domains, centre)
    for axes, domain in zip(panels, domains, strict=True):
        for place, arm in enumerate(arms):
            if cost := costs[domain.name].get(arm):
                draw_estimate(axes, cost, place, looks[arm], limits)
                number = points((cost.value or 0.0) / 100)
                axes.annotate(
                    number, (1, place), (2, 0), ("axes fraction", "data"), "offset points", va="center", size=8
                )
        axes.axvline(0, color="#000000", linewidth=1.2, zorder=2)
        axes.set_xlim(*limits)
        _draw_wall(axes, _wall(domain, centre), limits)
        axes.set_title(fill(brief(title_of(domain), 44 // len(domains)), 44 // len(domains)), pad=14, fontsize=10)
        name_rows(axes, names, fontsize=9)
        axes.tick_params(axis="x", labelsize=8.5)
        axes.xaxis.set_major_formatter(
            lambda value, _: f"0\n{labels[centre]}" if value == 0 else points(value / 100)[:-2]
        )
    figure.supxlabel(f"points below {labels[centre]}, with 95 % intervals", fontsize=9.5)
    said = " ".join(_sentence(domain, costs[domain.name], labels, _wall(domain, centre)) for domain in domains)
    return Drawing(
        figure,
        f"Points below {labels[centre]}. {said}",
        f"Each row is one change to {labels[centre]}. A filled mark is another token mixer, an open mark a part that is "
        "taken out, a half filled mark a part that is swapped. A mark is the mean over seeds, its bar the 95 % interval; "
        "an arrow head says that the interval goes on. Marks to the right of the line score less than "
        f"{labels[centre]}, marks to the left more. The hatched wall is chance: nothing can be lost beyond it. "
        "A row without a mark was not run there.",
    )


def _labels(analysis: Analysis) -> dict[str, str]:
    labels = {name: brief(label, _LONGEST) for name, label in analysis.labels().items()}
    control = analysis.study.control
    if control and "no mixing" not in labels[control]:
        labels[control] = f"no mixing ({labels[control]})"
    return labels


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
    order = sorted(costs, key=lambda arm: costs[arm].value or 0.0)
    most, least = (f"{labels[arm]}, {_beside(costs[arm].value or 0.0)}" for arm in (order[-1], order[0]))
    chance = "" if wall is None else f"; chance lies {_beside(wall)}"
    if len(order) == 1:
        return f"In {domain.label} the one row is {most}{chance}."
    return f"In {domain.label} the largest loss is {most}, and the highest score {least}{chance}."


def _beside(cost: float) -> str:
    return f"{points(abs(cost) / 100)} {'below' if cost >= 0 else 'above'}"
