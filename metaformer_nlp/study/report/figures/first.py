"""The picture of the first screen: what every change to one architecture costs, domain beside domain on one axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator

from metaformer_nlp.study.analysis.results import Analysis, Domain
from metaformer_nlp.study.analysis.statistics import Estimate
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.figures.looks import Looks
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
from metaformer_nlp.study.report.names import arm_titles
from metaformer_nlp.study.report.protocol import questions
from metaformer_nlp.study.words import points

Costs = Mapping[str, Mapping[str, Estimate]]  # domain -> arm -> points lost
_LONGEST = 26  # characters of a row's name in one line
_MOST_BESIDE = 3  # panels
_MANY = 16  # lines of all panels below each other, from which on they stand closer


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
    """Dots and intervals of all changes, a line each and a panel a domain, from what costs least to what costs most;
    None where there is nothing to draw. More than `_MOST_BESIDE` panels stand in rows, each with an axis of its own."""
    centre = analysis.centre
    labels = _labels(analysis.study, centre)
    costs = {name: its for name in analysis.first if (its := costs_of(analysis.domains[name], centre))}
    if not costs:
        return None
    groups = _rows_of(analysis, list(costs))
    lines = sum(len({arm for name in names for arm in costs[name]}) for names in groups)
    rows = [_Row(analysis, names, costs, labels, close=lines >= _MANY) for names in groups]
    heights = [row.height for row in rows]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)  # type: ignore[union-attr, call-arg]
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, row in zip(parts, rows, strict=True):
        row.draw(part, looks)
    parts[-1].supxlabel(
        f"points lost against {labels[centre]} (left of the line: gained), with 95 % intervals", fontsize=9.5
    )
    said = " ".join(
        _sentence(analysis.domains[name], its, labels, _wall(analysis.domains[name], centre))
        for name, its in costs.items()
    )
    return Drawing(
        figure,
        f"Points lost against {labels[centre]}. {said}",
        _caption(analysis, costs, labels[centre], [(name, row.limits) for row in rows for name in row.domains]),
    )


def _rows_of(analysis: Analysis, names: Sequence[str]) -> list[list[str]]:
    """Domains side by side: all of them if they are few, else study by study, in rows of about the same length."""
    if len(names) <= _MOST_BESIDE:
        return [list(names)]
    labels = {name: analysis.domains[name].label for name in names}
    found = []
    for *_, of_study in questions(analysis):
        its = [name for name in names if labels[name] in of_study]
        count = -(-len(its) // _MOST_BESIDE)  # rounded up
        found += [its[len(its) * row // count : len(its) * (row + 1) // count] for row in range(count)]
    return found


class _Row:
    """Panels side by side, with the same arms and the same axis."""

    def __init__(
        self, analysis: Analysis, names: Sequence[str], costs: Costs, labels: Mapping[str, str], close: bool
    ) -> None:
        self._centre, self._labels = analysis.centre, labels
        self._costs = {name: costs[name] for name in names}
        self.domains = {name: analysis.domains[name] for name in names}
        its = self._costs.values()
        self._arms = sorted(
            {arm for each in its for arm in each},
            key=lambda arm: (fmean(mean_of(each[arm]) for each in its if arm in each), arm),
        )
        self._names = [fill(labels[arm], _LONGEST) for arm in self._arms]
        wide = 42 // len(names)  # characters of a panel's title in one line
        self._titles = [fill(brief(title_of(domain), wide), wide) for domain in self.domains.values()]
        two_lines = any("\n" in name for name in self._names)
        self._size = (9.0 if not two_lines else 8.5) - 1.0 * close  # of the names, in points
        line = (0.23 if two_lines else 0.2) - 0.04 * close  # inches
        above = 0.16 * max(0, max(title.count("\n") for title in self._titles) - 1)  # for titles of more than two lines
        self.height = line * len(self._arms) + 0.85 + above
        self.limits = _limits([cost for each in its for cost in each.values()], self.domains.values(), self._centre)

    def draw(self, figure: FigureBase, looks: Looks) -> None:
        panels = figure.subplots(1, len(self.domains), sharex=True, sharey=True, squeeze=False)[0]
        under: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 8.5, "fontweight": "bold"}
        for axes, domain, title in zip(panels, self.domains.values(), self._titles, strict=True):
            for place, arm in enumerate(self._arms):
                if cost := self._costs[domain.name].get(arm):
                    look = {**looks[arm], "markersize": 0.72 * looks[arm]["markersize"]}  # so that short intervals show
                    draw_estimate(axes, cost, place, look, self.limits)
                    at: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
                    axes.annotate(points(mean_of(cost) / 100), (1, place), (2, 0), va="center", size=8, **at)
            axes.axvline(0, color="#000000", linewidth=1.2, zorder=2)
            axes.set_xlim(*self.limits)
            _draw_wall(axes, _wall(domain, self._centre), self.limits)
            axes.set_title(title, pad=14, fontsize=9.5)
            name_rows(axes, self._names, fontsize=self._size, linespacing=0.95)
            axes.tick_params(axis="x", labelsize=8.5)
            axes.xaxis.set_major_locator(MaxNLocator(7 - len(panels), steps=[1, 2, 5, 10]))
            centre = self._labels[self._centre]
            axes.annotate(centre, (0, 0), (0, -17), ("data", "axes fraction"), "offset points", **under)


def _caption(analysis: Analysis, costs: Costs, title: str, limits: Sequence[tuple[str, tuple[float, float]]]) -> str:
    """How to read the picture; marks that it does not have are not explained."""
    centre, shown = analysis.centre, {arm for its in costs.values() for arm in its}
    kinds = {arm.kind for arm in analysis.study.arms if arm.name in shown}
    marks = {
        "mixer": "A filled mark is another token mixer.",
        "architecture": "An open mark is a part that is taken out.",
        "variant": "A half filled mark is a part that is swapped.",
    }
    cut = False
    for name, its in limits:
        low, high = drawn_within(its)
        ends = [(cost.low, cost.high) for cost in costs[name].values()]
        cut |= any(a is not None and b is not None and (a < low or b > high) for a, b in ends)
    alike = f"Each row is another token mixer in the place of {title}."
    explained = [f"Each row is one change to {title}.", *(text for kind, text in marks.items() if kind in kinds)]
    lines = [
        *([alike] if kinds == {"mixer"} else explained),
        "A mark is the mean over seeds, its bar the 95 % interval"
        + ("; an arrow head says that the interval goes on." if cut else ".")
        + " Where no bar is seen, it is shorter than its mark.",
        f"Marks to the right of the line score less than {title}, marks to the left more.",
    ]
    walls = [(_wall(analysis.domains[name], centre), its[1]) for name, its in limits]
    if any(wall is not None and wall < end for wall, end in walls):
        lines.append("The hatched wall is chance.")
    if any(wall is not None and wall >= end for wall, end in walls):
        lines.append("An arrow says how far to the right chance lies where that is outside of the picture.")
    if len({its for _, its in limits}) > 1:
        lines.append("Each row of panels has an axis of its own.")
    if any(arm not in its for its in costs.values() for arm in shown):
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


def _limits(costs: Sequence[Estimate], domains: Iterable[Domain], centre: str) -> tuple[float, float]:
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


def _sentence(domain: Domain, costs: Mapping[str, Estimate], labels: Mapping[str, str], wall: float | None) -> str:
    order = sorted(costs, key=lambda arm: mean_of(costs[arm]))
    most, least = (f"{labels[arm]}, {_beside(mean_of(costs[arm]))}" for arm in (order[-1], order[0]))
    chance = "" if wall is None else f"; chance lies {_beside(wall)}"
    if len(order) == 1:
        return f"{title_of(domain)}: the one row is {most}{chance}."
    return f"{title_of(domain)}: of the rows, the lowest score is {most}, and the highest {least}{chance}."


def _beside(cost: float) -> str:
    return f"{points(abs(cost) / 100)} {'below' if cost >= 0 else 'above'}"
