"""The report's pictures, drawn from the analysis alone: an arm has one colour, one mark and one place in all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from metaformer_nlp.study.report.figures.cost import costs_that_differ, draw_cost
from metaformer_nlp.study.report.figures.curves import axis_tasks, draw_curves, draw_distance, learning_curves
from metaformer_nlp.study.report.figures.retention import draw_retention, retained_in_both
from metaformer_nlp.study.report.figures.scores import draw_effects, draw_scores, effects_limits
from metaformer_nlp.study.report.figures.style import STYLE, arm_looks, save, with_results
from metaformer_nlp.study.report.figures.tasks import draw_retained, draw_tasks

# Beyond this many domains, a picture of every pair would bury the rest; the heat map of all domains says the same.
_MOST_PAIRED = 3
DRAWN_WITH = f"matplotlib {mpl.__version__}"  # another version draws the same numbers in other bytes


def draw_all(analysis: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Draws every picture that the analysis has numbers for; the paths of the PNG files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context():
        mpl.rcdefaults()  # not what a matplotlibrc says: the same numbers give the same pictures everywhere
        mpl.rcParams.update(STYLE)
        return {name: save(figure, folder / f"{name}.png") for name, figure in _figures(analysis)}


def _figures(analysis: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    looks, baseline = arm_looks(analysis), analysis["study"]["baseline"]
    domains = [domain for domain in analysis["domains"].values() if any(with_results(domain))]
    for domain in domains:
        name = domain["name"]
        yield f"scores-{name}", draw_scores(domain, looks, baseline)
        if costs_that_differ(domain):
            yield f"cost-{name}", draw_cost(domain, looks)
        if learning_curves(domain):
            yield f"curves-{name}", draw_curves(domain, looks, baseline)
        if domain["task_chance"] and not domain["axis"]:
            yield f"tasks-{name}", draw_tasks(domain)
        if domain["axis"]:
            for ability, tasks in axis_tasks(domain).items():
                yield (
                    f"distance-{name}{f'-{ability}' if ability else ''}",
                    draw_distance(domain, tasks, looks, baseline),
                )
    costly = [domain for domain in domains if domain["telling"] and domain["effects"]["costs"]]
    for domain in costly:
        yield f"effects-{domain['name']}", draw_effects(domain, looks, effects_limits(costly))
    with_retention = [
        domain for domain in domains if any(arm["retention"]["value"] is not None for arm in domain["arms"])
    ]
    if len(with_retention) > 1 and any(domain["learned"] for domain in with_retention):
        labels = {arm["arm"]: arm["label"] for domain in with_retention for arm in domain["arms"]}
        ordered = {name: labels[name] for name in analysis["study"]["arms"] if name in labels}
        yield "retained", draw_retained(with_retention, ordered)
    if len(with_retention) <= _MOST_PAIRED:
        for across, up in combinations(with_retention, 2):
            if len(retained_in_both(across, up)) > 1:
                yield f"retention-{across['name']}-{up['name']}", draw_retention(across, up, looks)
