"""The report's pictures, drawn from the analysis alone. An arm has one colour and one mark in all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl

from metaformer_nlp.study.analysis.results import Analysis
from metaformer_nlp.study.report.figures.cost import draw_cost
from metaformer_nlp.study.report.figures.curves import draw_curves, draw_distance
from metaformer_nlp.study.report.figures.first import draw_first
from metaformer_nlp.study.report.figures.looks import arm_looks
from metaformer_nlp.study.report.figures.scores import draw_scores
from metaformer_nlp.study.report.figures.style import STYLE, Drawing, Picture, save
from metaformer_nlp.study.report.figures.trend import draw_trend
from metaformer_nlp.study.report.names import arm_titles, axis_tasks, distance_pictures

__all__ = ["DRAWN_WITH", "Picture", "draw_all"]

DRAWN_WITH = f"matplotlib {mpl.__version__}"  # another version draws the same numbers in other bytes


def draw_all(analysis: Analysis, folder: Path) -> dict[str, Picture]:
    """Draws every picture that the analysis has numbers for, into PNG files of their names in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context():
        mpl.rcdefaults()  # not what a matplotlibrc says: the same numbers give the same pictures everywhere
        mpl.rcParams.update(STYLE)
        return {name: save(drawing, folder / f"{name}.png") for name, drawing in drawings(analysis) if drawing}


def drawings(analysis: Analysis) -> Iterator[tuple[str, Drawing | None]]:
    """The name and the drawing of each picture, None where there is nothing to draw, in the order of the report."""
    study = analysis.study
    looks, titles, baseline = arm_looks(study), arm_titles(study), study.baseline
    yield "first", draw_first(analysis, looks)
    for name, domain in analysis.domains.items():
        if not domain.runs:
            continue
        yield f"scores-{name}", draw_scores(domain, titles, looks, baseline)
        yield f"cost-{name}", draw_cost(domain, titles, looks, analysis.centre)
        yield f"curves-{name}", draw_curves(domain, titles, looks, baseline)
        names = distance_pictures(domain)
        for ability, tasks in axis_tasks(domain).items():
            yield names[ability], draw_distance(domain, ability, tasks, titles, looks, baseline)
    axes = [trends.scale.axis for trends in analysis.trends]
    for number, trends in enumerate(analysis.trends):
        axis = trends.scale.axis
        several = f"-{axes[: number + 1].count(axis)}" if axes.count(axis) > 1 else ""
        yield f"trend-{axis}{several}", draw_trend(analysis, trends, looks)
