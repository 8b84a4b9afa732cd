"""The report's pictures, drawn from the analysis alone. Each arm has one colour, one mark and one place in all of them.

Narrow figures with large type, so that they can be read on a phone; colours after Paul Tol's "muted" scheme, which can
be told apart with any colour vision. Filled marks are mixers, open marks are parts taken out of the architecture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_MIXER_COLOURS = ("#332288", "#3FA7D6", "#117733", "#CC6677", "#999933", "#AA4499", "#44AA99", "#882255", "#DDCC77")
_MIXER_MARKS = "osD^vP<Xph>"
_PART_COLOURS = ("#D55E00", "#7F4A00", "#E69F00", "#5C5C5C")
_PART_MARKS = "sD^vo<>"
_WIDTH = 5.8  # inches
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.axisbelow": True,
    "grid.color": "#e2e2e2",
    "legend.frameon": False,
    "savefig.dpi": 200,
}


def draw_all(analysis: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Draws every picture that the analysis has numbers for; the paths of the PNG files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):  # a picture of numbers that are gone must not stay
        old.unlink()
    domains = list(analysis["domains"].values())
    looks = arm_looks(analysis)
    pictures: dict[str, Path] = {}
    with mpl.rc_context(_STYLE):
        for domain in domains:
            if any(arm["score"]["n"] for arm in domain["arms"]):
                figure = draw_scores(domain, looks, analysis["study"]["baseline"])
                pictures[f"scores-{domain['name']}"] = _save(figure, folder / f"scores-{domain['name']}.png")
            if domain["task_chance"] and any(arm["score"]["n"] for arm in domain["arms"]):
                figure = draw_tasks(domain)
                pictures[f"tasks-{domain['name']}"] = _save(figure, folder / f"tasks-{domain['name']}.png")
        if any(domain["effects"]["costs"] for domain in domains):
            pictures["effects"] = _save(draw_effects(domains, looks), folder / "effects.png")
        if len(domains) == 2 and len(_retained(domains)) > 1:
            pictures["retention"] = _save(draw_retention(domains, looks), folder / "retention.png")
    return pictures


def arm_looks(analysis: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Colour and mark of each arm: black for the baseline, then in the order of the study file."""
    looks: dict[str, dict[str, Any]] = {}
    mixers = parts = 0
    for name, arm in analysis["study"]["arms"].items():
        if name == analysis["study"]["baseline"]:
            looks[name] = {"color": "#000000", "marker": "*", "markersize": 11}
        elif arm["kind"] == "mixer":
            colour = _MIXER_COLOURS[mixers % len(_MIXER_COLOURS)]
            looks[name] = {"color": colour, "marker": _MIXER_MARKS[mixers % len(_MIXER_MARKS)], "markersize": 7}
            mixers += 1
        else:
            colour = _PART_COLOURS[parts % len(_PART_COLOURS)]
            mark = _PART_MARKS[parts % len(_PART_MARKS)]
            looks[name] = {"color": colour, "marker": mark, "markersize": 7, "markerfacecolor": "white"}
            looks[name]["markeredgewidth"] = 1.8
            parts += 1
    return looks


def draw_scores(domain: Mapping[str, Any], looks: Mapping[str, dict[str, Any]], baseline: str) -> Figure:
    """Mean score of each arm with its interval, every seed as a dot, and lines at chance and at the baseline."""
    arms = domain["arms"]
    figure, axes = _figure(len(arms))
    seeds = [score for arm in arms for score in arm["seeds"].values()]
    ends = [end for arm in arms for end in (arm["score"]["low"], arm["score"]["high"]) if end is not None]
    base = next(arm for arm in arms if arm["arm"] == baseline)
    known = {"chance": domain["chance"], base["label"]: base["score"]["value"]}
    lines = {name: value for name, value in known.items() if value is not None}
    limits = _limits(seeds, ends, list(lines.values()))
    for place, arm in enumerate(arms):
        if not arm["score"]["n"]:
            axes.annotate(
                " no finished run",
                (0, place),
                xycoords=("axes fraction", "data"),
                va="center",
                color="#666666",
                backgroundcolor="white",
                zorder=5,
            )
            continue
        _estimate(axes, arm["score"], place, looks[arm["arm"]], limits)
        _dots(axes, list(arm["seeds"].values()), place)
    for name, value in lines.items():
        axes.axvline(100 * value, color="#444444", linewidth=1, linestyle=":" if name == "chance" else "--", zorder=1)
    _top_labels(axes, lines, limits)
    _rows(axes, [arm["label"] for arm in arms])
    axes.set_xlim(*limits)
    axes.set_xlabel(f"{domain['metric']}, points of 100")
    axes.set_title(_title(domain), pad=20)
    return figure


def draw_effects(domains: Sequence[Mapping[str, Any]], looks: Mapping[str, dict[str, Any]]) -> Figure:
    """What each mixer swap and each missing part costs, with intervals; a diamond is the mean of its group."""
    domains = [domain for domain in domains if domain["effects"]["costs"]]
    heights = [len(domain["effects"]["costs"]) + 2 for domain in domains]
    figure = Figure(figsize=(_WIDTH, 0.36 * sum(heights) + 0.95 * len(domains)), layout="constrained")
    panels = figure.subplots(len(domains), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    values = [v for domain in domains for cost in domain["effects"]["costs"] for v in cost["seeds"].values()]
    ends = [
        end
        for domain in domains
        for item in (*domain["effects"]["costs"], domain["effects"]["mixer"], domain["effects"]["architecture"])
        for end in (item["low"], item["high"])
        if end is not None
    ]
    limits = _limits(values, ends, [0.0])
    for axes, domain in zip(panels, domains, strict=True):
        effects, labels, place = domain["effects"], [], 0
        names = {arm["arm"]: arm["label"] for arm in domain["arms"]}
        for kind, title in (("mixer", "mean of mixer swaps"), ("architecture", "mean of parts taken out")):
            group = [cost for cost in effects["costs"] if cost["kind"] == kind]
            for cost in group:
                _estimate(axes, cost, place, looks[cost["arm"]], limits)
                _dots(axes, list(cost["seeds"].values()), place)
                labels.append(cost["label"] if kind == "mixer" else f"{cost['label']} (of {names[cost['reference']]})")
                place += 1
            if group and effects[kind]["value"] is not None:
                axes.axhspan(place - 0.45, place + 0.45, color="#f1f1f1", zorder=0)
                _estimate(axes, effects[kind], place, {"color": "#000000", "marker": "d", "markersize": 9}, limits)
                labels.append(title)
                place += 1
        axes.axvline(0, color="#444444", linewidth=1, zorder=1)
        _rows(axes, labels)
        axes.set_xlim(*limits)
        axes.set_title(_title(domain))
    panels[-1].set_xlabel("points lost (to the right) or gained (to the left)")
    return figure


def draw_retention(domains: Sequence[Mapping[str, Any]], looks: Mapping[str, dict[str, Any]]) -> Figure:
    """What each arm retains of the baseline's score above chance, one domain against the other."""
    figure = Figure(figsize=(_WIDTH, 6.3), layout="constrained")
    axes = figure.add_subplot()
    arms = _retained(domains)
    low, high = _limits([arm["retention"]["value"] for pair in arms.values() for arm in pair], [], [0.0, 1.0])
    low, high = max(low - 8, -60.0), min(high + 8, 220.0)
    axes.plot([low, high], [low, high], color="#bbbbbb", linewidth=1, zorder=1)
    axes.axvline(100, color="#444444", linewidth=1, linestyle="--", zorder=1)
    axes.axhline(100, color="#444444", linewidth=1, linestyle="--", zorder=1)
    axes.axvline(0, color="#444444", linewidth=1, linestyle=":", zorder=1)
    axes.axhline(0, color="#444444", linewidth=1, linestyle=":", zorder=1)
    for name, (across, up) in arms.items():
        x, y = 100 * across["retention"]["value"], 100 * up["retention"]["value"]
        colour = looks[name]["color"]
        for item, horizontal in ((across["retention"], True), (up["retention"], False)):
            if item["low"] is not None:
                ends = np.clip([100 * item["low"], 100 * item["high"]], low, high)
                line = (ends, [y, y]) if horizontal else ([x, x], ends)
                axes.plot(*line, color=colour, linewidth=1.4, alpha=0.75, zorder=2)
        axes.plot([x], [y], linestyle="none", label=across["label"], zorder=3, **looks[name])
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.grid(True)
    axes.set_xlabel(f"{_title(domains[0])}: % of the baseline's score above chance")
    axes.set_ylabel(f"{_title(domains[1])}: the same, %")
    figure.legend(loc="outside lower center", ncols=3, handletextpad=0.3, columnspacing=1.4)
    return figure


def draw_tasks(domain: Mapping[str, Any]) -> Figure:
    """Mean score of each arm in each task; the colour runs from chance (0 if unknown) to 100."""
    arms = [arm for arm in domain["arms"] if arm["score"]["n"]]
    tasks, chances = list(domain["task_chance"]), list(domain["task_chance"].values())
    scores = np.array([[100 * arm["tasks"][task]["value"] for task in tasks] for arm in arms])
    floors = np.array([100 * (chance or 0.0) for chance in chances])
    shades = np.clip((scores - floors) / np.maximum(100 - floors, 1e-9), 0, 1)
    figure = Figure(figsize=(_WIDTH, 0.42 * len(arms) + 1.25), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shades, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*scores.shape):
        colour = "white" if shades[row, column] < 0.5 else "black"
        axes.text(column, row, f"{scores[row, column]:.1f}", ha="center", va="center", color=colour)
    heads = [
        task if chance is None else f"{task}\nchance {100 * chance:.1f}"
        for task, chance in zip(tasks, chances, strict=True)
    ]
    axes.set_xticks(range(len(tasks)), heads)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(arms)), [arm["label"] for arm in arms])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axes, ticks=[0, 1], pad=0.02, aspect=30)
    bar.ax.set_yticklabels(["chance", "100"])
    bar.outline.set_visible(False)
    axes.set_title(_title(domain), pad=12)
    return figure


def _retained(domains: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Arms whose retention is known in every domain."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for domain in domains:
        for arm in domain["arms"]:
            if arm["score"]["n"] and arm["retention"]["value"] is not None:
                found.setdefault(arm["arm"], []).append(arm)
    return {name: arms for name, arms in found.items() if len(arms) == len(domains)}


def _title(domain: Mapping[str, Any]) -> str:
    return domain["label"][:1].upper() + domain["label"][1:]


def _figure(rows: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, 0.4 * rows + 1.3), layout="constrained")
    return figure, figure.add_subplot()


def _limits(values: Sequence[float], ends: Sequence[float], lines: Sequence[float]) -> tuple[float, float]:
    """Axis limits in points: all values and lines, and the intervals as far as they do not dwarf them."""
    inner = [100 * value for value in (*values, *lines)]
    low, high = min(inner), max(inner)
    span = max(high - low, 5.0)
    low = min([low, *(max(100 * end, low - 0.35 * span) for end in ends)])
    high = max([high, *(min(100 * end, high + 0.35 * span) for end in ends)])
    return low - 0.04 * span, high + 0.04 * span


def _estimate(
    axes: Axes, item: Mapping[str, Any], place: int, look: Mapping[str, Any], limits: tuple[float, float]
) -> None:
    """A mark with its interval in the row `place`; an arrow head where the interval leaves the picture."""
    if item["low"] is not None:
        inset = 0.014 * (limits[1] - limits[0])  # so that arrow heads keep off the labels
        low, high = limits[0] + inset, limits[1] - inset
        ends = np.clip([100 * item["low"], 100 * item["high"]], low, high)
        axes.plot(ends, [place, place], color=look["color"], linewidth=2, solid_capstyle="butt", zorder=3)
        for end, mark, beyond in ((low, "<", 100 * item["low"] < low), (high, ">", 100 * item["high"] > high)):
            if beyond:
                axes.plot([end], [place], mark, color=look["color"], markersize=7, zorder=3)
    axes.plot([100 * item["value"]], [place], linestyle="none", zorder=4, **look)


def _dots(axes: Axes, values: Sequence[float], place: int) -> None:
    """The seeds, a little below the estimate."""
    axes.plot(
        [100 * value for value in values],
        [place + 0.27] * len(values),
        "o",
        color="#555555",
        markersize=3,
        alpha=0.8,
        markeredgewidth=0,
        zorder=3,
    )


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")


def _top_labels(axes: Axes, lines: Mapping[str, float], limits: tuple[float, float]) -> None:
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
            color="#444444",
            fontsize=9,
        )


def _save(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure)
    figure.savefig(path, metadata={"Software": None})  # the same numbers give the same file
    return path
