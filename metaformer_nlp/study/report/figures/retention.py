"""One domain against another: what each arm retains in both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from metaformer_nlp.study.report.figures.style import GREY, WIDTH, Looks, limits_of, title_of, with_results


def retained_in_both(
    across: Mapping[str, Any], up: Mapping[str, Any]
) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The pair of an arm's entries, for the arms whose retention is known in both domains."""
    known = [
        {arm["arm"]: arm for arm in with_results(domain) if arm["retention"]["value"] is not None}
        for domain in (across, up)
    ]
    return {name: (known[0][name], known[1][name]) for name in known[0] if name in known[1]}


def draw_retention(across: Mapping[str, Any], up: Mapping[str, Any], looks: Looks) -> Figure:
    """What each arm retains of the baseline's score above chance, one domain against the other."""
    figure = Figure(figsize=(WIDTH, 6.3), layout="constrained")
    axes = figure.add_subplot()
    arms = retained_in_both(across, up)
    low, high = limits_of([arm["retention"]["value"] for pair in arms.values() for arm in pair], [], [0.0, 1.0])
    low, high = max(low - 8, -100.0), min(high + 8, 1000.0)  # bars may end at the border, points should not
    axes.plot([low, high], [low, high], color="#bbbbbb", linewidth=1, zorder=1)
    for line, style in ((100, "--"), (0, ":")):
        axes.axvline(line, color=GREY, linewidth=1, linestyle=style, zorder=1)
        axes.axhline(line, color=GREY, linewidth=1, linestyle=style, zorder=1)
    for name, pair in arms.items():
        x, y = (100 * arm["retention"]["value"] for arm in pair)
        for arm, horizontal in zip(pair, (True, False), strict=True):
            item = arm["retention"]
            if item["low"] is not None:
                ends = np.clip([100 * item["low"], 100 * item["high"]], low, high)
                line_of = (ends, [y, y]) if horizontal else ([x, x], ends)
                axes.plot(*line_of, color=looks[name]["color"], linewidth=1.4, alpha=0.75, zorder=2)
        axes.plot([x], [y], linestyle="none", label=pair[0]["label"], zorder=3, **looks[name])
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.grid(True)
    axes.set_xlabel(f"{title_of(across)}: % of the baseline's score above chance")
    axes.set_ylabel(f"{title_of(up)}: the same, %")
    figure.legend(loc="outside lower center", ncols=3, handletextpad=0.3, columnspacing=1.4)
    return figure
