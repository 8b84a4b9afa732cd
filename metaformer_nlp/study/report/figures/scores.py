"""The score of each arm: a row of estimates with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaformer_nlp.study.analysis.results import Domain
from metaformer_nlp.study.analysis.statistics import Estimate
from metaformer_nlp.study.report.figures.looks import Looks
from metaformer_nlp.study.report.figures.style import (
    GREY,
    WIDTH,
    Drawing,
    brief,
    draw_estimate,
    extremes,
    limits_of,
    metric_of,
    name_rows,
    scaled,
    title_of,
)
from metaformer_nlp.study.report.wording import picture_text


def draw_scores(domain: Domain, titles: Mapping[str, str], looks: Looks, baseline: str) -> Drawing:
    """Mean score of each arm that has run, with its interval, every seed as a dot, and lines at chance and at the
    baseline."""
    arms = [arm for arm in domain.arms.values() if arm.began]
    figure = Figure(figsize=(WIDTH, 0.36 * len(arms) + 1.3), layout="constrained")
    axes = figure.add_subplot()
    known = {"chance": domain.chance, brief(titles[baseline], 24): domain.arms[baseline].score.value}
    lines = {name: 100 * value for name, value in known.items() if value is not None}
    seeds = {arm.name: [100 * score for score in arm.seeds.values()] for arm in arms}
    scores: dict[str, Estimate] = {arm.name: scaled(arm.score) for arm in arms}
    limits = limits_of(scores.values(), [*lines.values(), *(score for its in seeds.values() for score in its)])
    for place, arm in enumerate(arms):
        if arm.seeds:
            draw_estimate(axes, scores[arm.name], place, looks[arm.name], limits)
            below = [place + 0.27] * len(arm.seeds)  # a little below the estimate
            axes.plot(
                seeds[arm.name], below, "o", color="#555555", markersize=3, alpha=0.8, markeredgewidth=0, zorder=3
            )
        else:
            _absent(axes, place)
    for name, value in lines.items():
        axes.axvline(value, color=GREY, linewidth=1, linestyle=":" if name == "chance" else "--", zorder=1)
    _name_lines(axes, lines, limits)
    name_rows(axes, [fill(brief(titles[arm.name], 30), 30) for arm in arms])
    axes.set_xlim(*limits)
    axes.set_xlabel(f"{metric_of(domain)}, points of 100")
    axes.set_title(title_of(domain), pad=20)
    best, worst = extremes({arm.name: arm.score.value for arm in domain.runs if arm.score.value is not None})
    ends = [
        (word, titles[name], domain.arms[name].score.value) for word, name in (("highest", best), ("lowest", worst))
    ]
    return Drawing(
        figure,
        picture_text("scores_alt", label=domain.label, arms=len(domain.runs), ends=ends, lines=lines),
        picture_text("scores_caption", lines=len(lines), kinds={arm.kind for arm in arms}),
    )


def _absent(axes: Axes, place: int) -> None:
    where = ("axes fraction", "data")
    style: dict[str, Any] = {"va": "center", "color": "#666666", "backgroundcolor": "white", "zorder": 5}
    axes.annotate(" no finished run", (0, place), xycoords=where, **style)


def _name_lines(axes: Axes, lines: Mapping[str, float], limits: tuple[float, float]) -> None:
    """Names the vertical lines above the plot, each turned away from the other and kept inside the picture."""
    span = limits[1] - limits[0]
    order = sorted(lines, key=lambda name: lines[name])
    close = len(order) == 2 and abs(lines[order[1]] - lines[order[0]]) < 0.35 * span
    for index, name in enumerate(order):
        part = (lines[name] - limits[0]) / span
        side = ("right", "left")[index] if close else "left" if part < 0.15 else "right" if part > 0.85 else "center"
        axes.annotate(
            f"{name} {lines[name]:.1f}",
            (lines[name], 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha=side,
            va="bottom",
            color=GREY,
            fontsize=9,
        )
