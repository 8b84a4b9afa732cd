"""Heat maps: each arm's score in each task, and what it retains in each domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from metaformer_nlp.study.report.figures.style import WIDTH, title_of, with_results


def draw_tasks(domain: Mapping[str, Any]) -> Figure:
    """Mean score of each arm in each task, chance in the last row; colours run from chance (or 0) to 100."""
    arms = list(with_results(domain))
    tasks, chances = list(domain["task_chance"]), list(domain["task_chance"].values())
    scores = np.array([[100 * arm["tasks"][task]["value"] for task in tasks] for arm in arms])
    floors = np.array([100 * (chance or 0.0) for chance in chances])
    shades = np.clip((scores - floors) / np.maximum(100 - floors, 1e-9), 0, 1)
    cells = [[f"{score:.1f}" for score in row] for row in scores]
    labels = [arm["label"] for arm in arms]
    if any(chance is not None for chance in chances):
        cells.append(["–" if chance is None else f"{100 * chance:.1f}" for chance in chances])
        shades = np.vstack([shades, np.zeros(len(tasks))])
        labels.append("chance")
    return _heat_map(cells, shades, labels, tasks, ("chance", "100"), title_of(domain))


def draw_retained(domains: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> Figure:
    """Percent of the baseline's score above chance that each arm keeps in each domain, if known; darker is less."""
    kept = [
        {arm["arm"]: arm["retention"]["value"] if domain["learned"] else None for arm in domain["arms"]}
        for domain in domains
    ]
    arms = [name for name in labels if any(its.get(name) is not None for its in kept)]
    values = np.array([[np.nan if (v := its.get(name)) is None else 100 * v for its in kept] for name in arms])
    cells = [["–" if np.isnan(value) else f"{round(value)}" for value in row] for row in values]
    shades = np.clip(values / 120, 0, 1)  # an arm may well keep more than 100 %
    room = _room([labels[name] for name in arms]) // len(domains)
    heads = [fill(title_of(domain), max(9, room)) for domain in domains]
    title = "Retained of the baseline's score above chance, %"
    return _heat_map(cells, shades, [labels[name] for name in arms], heads, ("0", "≥ 120"), title)


def _heat_map(
    cells: Sequence[Sequence[str]],
    shades: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    ends: tuple[str, str],
    title: str,
) -> Figure:
    lines = max(head.count("\n") for head in columns)
    crowded = max(len(part) for head in columns for part in head.split("\n")) * len(columns) > _room(rows)
    if crowded:
        columns = [head.replace("\n", " ") for head in columns]
    above = 0.2 + 0.055 * max(map(len, columns)) if crowded else 0.16 * lines  # the heads, in inches
    figure = Figure(figsize=(WIDTH, 0.42 * len(rows) + 1.1 + above), layout="constrained")
    axes = figure.add_subplot(facecolor="#f0f0f0")  # seen where a shade is not known
    image = axes.imshow(shades, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*shades.shape):
        colour = "white" if shades[row, column] < 0.5 else "black"  # black where it is not known
        size = 8.5 if crowded else 10
        axes.text(column, row, cells[row][column], ha="center", va="center", color=colour, fontsize=size)
    axes.xaxis.tick_top()  # before the heads are turned, since others are shown from then on
    axes.set_xticks(range(len(columns)), columns)
    if crowded:  # side by side the heads would run into one another
        for label in axes.get_xticklabels():
            label.set(rotation=50, ha="left", rotation_mode="anchor", fontsize=8.5)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    # Turned heads reach beyond the last column; a bar beside them would leave the map little room.
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=30, location="bottom" if crowded else "right")
    bar.set_ticks([0, 1], labels=ends)
    bar.outline.set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _room(rows: Sequence[str]) -> int:
    """How many characters the heads of all columns may have side by side, beside these names of rows."""
    return max(20, 56 - max(map(len, rows)))
