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
    name_rows,
    scaled,
    title_of,
    value_of,
)
from metaformer_nlp.study.report.names import arm_titles
from metaformer_nlp.study.report.protocol import questions
from metaformer_nlp.study.report.wording import picture_text
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
    alt = picture_text(
        "first_alt",
        centre=labels[centre],
        domains=[_seen(analysis.domains[name], its, labels, centre) for name, its in costs.items()],
    )
    return Drawing(figure, alt, _caption(analysis, costs, labels[centre], rows))


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
            key=lambda arm: (fmean(value_of(each[arm]) for each in its if arm in each), arm),
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
                    axes.annotate(points(value_of(cost) / 100), (1, place), (2, 0), va="center", size=8, **at)
            axes.axvline(0, color="#000000", linewidth=1.2, zorder=2)
            axes.set_xlim(*self.limits)
            _draw_wall(axes, _wall(domain, self._centre), self.limits)
            axes.set_title(title, pad=14, fontsize=9.5)
            name_rows(axes, self._names, fontsize=self._size, linespacing=0.95)
            axes.tick_params(axis="x", labelsize=8.5)
            axes.xaxis.set_major_locator(MaxNLocator(7 - len(panels), steps=[1, 2, 5, 10]))
            centre = self._labels[self._centre]
            axes.annotate(centre, (0, 0), (0, -17), ("data", "axes fraction"), "offset points", **under)


def _caption(analysis: Analysis, costs: Costs, title: str, rows: Sequence[_Row]) -> str:
    """How to read the picture; marks that it does not have are not explained."""
    shown = {arm for its in costs.values() for arm in its}
    limits = {name: row.limits for row in rows for name in row.domains}
    cut = False
    for name, its in limits.items():
        low, high = drawn_within(its)
        ends = [(cost.low, cost.high) for cost in costs[name].values()]
        cut |= any(a is not None and b is not None and (a < low or b > high) for a, b in ends)
    ends_of = [(_wall(analysis.domains[name], analysis.centre), its[1]) for name, its in limits.items()]
    inside = [wall < end for wall, end in ends_of if wall is not None]  # or to the left: all of the panel is chance
    return picture_text(
        "first_caption",
        centre=title,
        kinds=sorted({arm.kind for arm in analysis.study.arms if arm.name in shown}),
        cut=cut,
        single_runs=any(cost.low is None for its in costs.values() for cost in its.values()),
        chance_inside=any(inside),
        chance_outside=not all(inside),
        several_axes=len(set(limits.values())) > 1,
        empty_rows=any(arm not in its for its in costs.values() for arm in shown),
    )


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
    inside = wall < limits[1]
    part = max(0.0, wall - limits[0]) / (limits[1] - limits[0])
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


def _seen(domain: Domain, costs: Mapping[str, Estimate], labels: Mapping[str, str], centre: str) -> dict[str, Any]:
    """The ends of a panel, for the words about it."""
    order = sorted(costs, key=lambda arm: value_of(costs[arm]))
    return {
        "title": title_of(domain),
        "rows": len(order),
        "lowest": labels[order[-1]],
        "most": value_of(costs[order[-1]]),
        "highest": labels[order[0]],
        "least": value_of(costs[order[0]]),
        "chance": _wall(domain, centre),
    }
