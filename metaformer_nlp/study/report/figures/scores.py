"""The score of each arm, and what each change costs: rows of estimates with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaformer_nlp.study.report.figures.style import (
    GREY,
    WIDTH,
    Looks,
    draw_dots,
    draw_estimate,
    limits_of,
    name_rows,
    title_of,
)


def draw_scores(domain: Mapping[str, Any], looks: Looks, baseline: str) -> Figure:
    """Mean score of each arm with its interval, every seed as a dot, and lines at chance and at the baseline."""
    arms = domain["arms"]
    figure = Figure(figsize=(WIDTH, 0.4 * len(arms) + 1.3), layout="constrained")
    axes = figure.add_subplot()
    base = next(arm for arm in arms if arm["arm"] == baseline)
    known = {"chance": domain["chance"], base["label"]: base["score"]["value"]}
    lines = {name: value for name, value in known.items() if value is not None}
    limits = limits_of(
        [score for arm in arms for score in arm["seeds"].values()],
        [end for arm in arms for end in (arm["score"]["low"], arm["score"]["high"])],
        lines.values(),
    )
    for place, arm in enumerate(arms):
        if arm["score"]["n"]:
            draw_estimate(axes, arm["score"], place, looks[arm["arm"]], limits)
            draw_dots(axes, arm["seeds"].values(), place)
        else:
            _absent(axes, place)
    for name, value in lines.items():
        axes.axvline(100 * value, color=GREY, linewidth=1, linestyle=":" if name == "chance" else "--", zorder=1)
    _name_lines(axes, lines, limits)
    name_rows(axes, [arm["label"] for arm in arms])
    axes.set_xlim(*limits)
    axes.set_xlabel(f"{domain['metric']}, points of 100")
    axes.set_title(title_of(domain), pad=20)
    return figure


_MEANS = {"mixer": "mean of mixer swaps", "architecture": "mean of parts taken out"}


def effects_limits(domains: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The same axis for the effects of all domains, so that their pictures can be compared."""
    drawn = [cost for domain in domains for cost in domain["effects"]["costs"]]
    drawn += [domain["effects"][kind] for domain in domains for kind in _MEANS if domain["learned"]]
    return limits_of(
        [value for domain in domains for cost in domain["effects"]["costs"] for value in cost["seeds"].values()],
        [end for item in drawn for end in (item["low"], item["high"])],
        [0.0],
    )


def draw_effects(domain: Mapping[str, Any], looks: Looks, limits: tuple[float, float]) -> Figure:
    """What each mixer swap and each missing part costs, with intervals; a diamond is the mean of its group.

    There are none where the baseline is not above chance: nothing is said of what it costs to change it there.
    """
    effects = domain["effects"]
    figure = Figure(figsize=(WIDTH, 0.36 * (len(effects["costs"]) + 2) + 1.0), layout="constrained")
    axes = figure.add_subplot()
    labels: list[str] = []
    names = {arm["arm"]: arm["label"] for arm in domain["arms"]}
    mean_look = {"color": "#000000", "marker": "d", "markersize": 9}
    for kind, title in _MEANS.items():
        group = [cost for cost in effects["costs"] if cost["kind"] == kind]
        for cost in group:
            draw_estimate(axes, cost, len(labels), looks[cost["arm"]], limits)
            draw_dots(axes, cost["seeds"].values(), len(labels))
            labels.append(cost["label"] if kind == "mixer" else f"{cost['label']} (of {names[cost['reference']]})")
        if group and domain["learned"] and effects[kind]["value"] is not None:
            axes.axhspan(len(labels) - 0.45, len(labels) + 0.45, color="#f1f1f1", zorder=0)
            draw_estimate(axes, effects[kind], len(labels), mean_look, limits)
            labels.append(title)
    axes.axvline(0, color=GREY, linewidth=1, zorder=1)
    name_rows(axes, labels)
    axes.set_xlim(*limits)
    axes.set_title(title_of(domain))
    axes.set_xlabel("points lost (to the right) or gained (to the left)")
    return figure


def _absent(axes: Axes, place: int) -> None:
    where = ("axes fraction", "data")
    style: dict[str, Any] = {"va": "center", "color": "#666666", "backgroundcolor": "white", "zorder": 5}
    axes.annotate(" no finished run", (0, place), xycoords=where, **style)


def _name_lines(axes: Axes, lines: Mapping[str, float], limits: tuple[float, float]) -> None:
    """Names the vertical lines above the plot, each turned away from the other and kept inside the picture."""
    span = limits[1] - limits[0]
    order = sorted(lines, key=lambda name: lines[name])
    close = len(order) == 2 and 100 * abs(lines[order[1]] - lines[order[0]]) < 0.35 * span
    for index, name in enumerate(order):
        part = (100 * lines[name] - limits[0]) / span
        side = ("right", "left")[index] if close else "left" if part < 0.15 else "right" if part > 0.85 else "center"
        axes.annotate(
            f"{name} {100 * lines[name]:.1f}",
            (100 * lines[name], 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha=side,
            va="bottom",
            color=GREY,
            fontsize=9,
        )
