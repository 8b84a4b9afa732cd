"""The gap of each arm to the baseline over budgets: does it close, stay or widen? One panel an arm."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from metaformer_nlp.study.analysis.results import Analysis, Trends
from metaformer_nlp.study.analysis.statistics import Estimate, Scaling
from metaformer_nlp.study.analysis.statistics.moderated import Contrast
from metaformer_nlp.study.report.figures.looks import Look, Looks
from metaformer_nlp.study.report.figures.style import Drawing, brief, limits_of, small_multiples, value_of
from metaformer_nlp.study.report.names import arm_titles
from metaformer_nlp.study.report.wording import picture_text
from metaformer_nlp.study.words import ratio

_UNITS = {
    "tokens": "tokens",
    "epochs": "epochs",
    "parameters": "parameters",
    "macs": "operations",
    "seconds": "seconds",
}


def draw_trend(analysis: Analysis, trends: Trends, looks: Looks) -> Drawing | None:
    """Gaps in logits with intervals, the fitted line within the budgets, and in grey what may lie beyond them; None
    where no arm has a gap."""
    lines = {arm: line for arm, line in trends.lines.items() if line.gaps}
    if not lines:
        return None
    labels, axis = arm_titles(analysis.study), _UNITS[trends.scale.axis]
    baseline = brief(labels[analysis.study.baseline], 20)
    titles = {arm: f"{labels[arm]}\n{line.trend}" for arm, line in lines.items()}
    figure, panels = small_multiples(list(lines), titles, looks, same_scale=False)
    gaps = {arm: [_estimate(gap) for gap in line.gaps] for arm, line in lines.items()}
    budgets = list(trends.scale.domains.values())
    for axes, (arm, line) in zip(panels, lines.items(), strict=True):
        axes.axhline(0, color="#000000", linewidth=1, zorder=2)
        _draw_line(axes, line, gaps[arm], looks[arm], trends.margin)
        if beyond := trends.beyond.get(arm):
            axes.fill_between(beyond.budgets, beyond.low, beyond.high, color="#e4e4e4", lw=0, zorder=1)
            for end in (beyond.low, beyond.high):
                axes.plot(beyond.budgets, end, color="#8a8a8a", linewidth=1, linestyle="--", zorder=1.5)
            where = {"transform": axes.transAxes, "ha": "right", "va": "bottom", "color": "#555555"}
            axes.text(0.99, 0.08, "not judged", fontsize=7.5, **where)  # type: ignore[arg-type]
        axes.set_xscale("log", base=2)
        axes.set_xticks(budgets, [_short(budget) for budget in budgets])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(*limits_of(gaps[arm], [0.0], least=0.5))
    figure.supxlabel(f"{axis} (logarithmic)", fontsize=10)
    figure.supylabel("gap in logits", fontsize=10)
    figure.suptitle(f"Gap to {baseline} over {axis}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    left = [labels[arm] for arm in trends.lines if arm not in lines]
    arms = [(labels[arm], _ratio(line.gaps[0]), _ratio(line.gaps[-1]), line.trend) for arm, line in lines.items()]
    return Drawing(
        figure,
        picture_text("trend_alt", baseline=baseline, axis=axis, arms=arms),
        picture_text("trend_caption", baseline=baseline, margin=trends.margin, beyond=trends.beyond, left=left),
    )


def _draw_line(axes: Axes, line: Scaling, gaps: list[Estimate], look: Look, margin: float | None) -> None:
    """The gaps with their intervals, and the line through their mean with the slopes that count as steady around it."""
    for budget, gap in zip(line.budgets, gaps, strict=True):
        if gap.low is not None and gap.high is not None:
            axes.plot([budget, budget], [gap.low, gap.high], color=look["color"], linewidth=1.4, zorder=3)
    style = {**look, "markersize": 0.7 * look["markersize"]}
    axes.plot(line.budgets, [value_of(gap) for gap in gaps], linestyle="none", zorder=4, **style)
    if line.slope.value is None or line.mean.value is None:
        return
    x = np.log2(line.budgets)
    places = np.array([x[0], x.mean(), x[-1]])
    off = places - x.mean()
    if margin is not None:
        low, high = line.mean.value - margin * np.abs(off), line.mean.value + margin * np.abs(off)
        axes.fill_between(2**places, low, high, color="#d9d9d9", lw=0, zorder=1)
    axes.plot(2**places, line.mean.value + line.slope.value * off, color=look["color"], linewidth=1.6, zorder=3)


def _estimate(gap: Contrast) -> Estimate:
    low, high = gap.interval() or (None, None)
    return Estimate(gap.value, gap.n, None, low, high)


def _ratio(gap: Contrast) -> str:
    return ratio(Estimate(gap.value, gap.n))


def _short(value: float) -> str:
    """500000 -> "0.5 M"."""
    for size, sign in ((1e9, "G"), (1e5, "M")):
        if value >= size:
            return f"{value / (1e9 if sign == 'G' else 1e6):g}\N{NO-BREAK SPACE}{sign}"
    return f"{value:g}"
