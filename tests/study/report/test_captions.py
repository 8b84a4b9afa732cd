"""Pictures' words and names: what is drawn is explained, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from metaformer_nlp.study.analysis.analyse import analyse
from metaformer_nlp.study.analysis.results import Analysis
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.figures import drawings
from metaformer_nlp.study.report.figures.first import _draw_wall
from metaformer_nlp.study.report.figures.style import Drawing
from metaformer_nlp.study.report.names import distance_pictures
from tests.study.simulated import large_study_data, planted_rows, simulated_rows, small_study_data

Make = Callable[[dict[str, Any]], Study]


def drawn(analysis: Analysis) -> dict[str, Drawing]:
    return {name: drawing for name, drawing in drawings(analysis) if drawing}


def test_where_the_whole_panel_is_chance_no_arrow_points_away() -> None:
    axes = Figure().add_subplot()
    axes.set_xlim(-0.2, 2.3)
    _draw_wall(axes, -1.5, (-0.2, 2.3))
    (note,) = (text for text in axes.texts if text.get_text())
    assert note.get_text() == "chance"
    _draw_wall(axes, 5.0, (-0.2, 2.3))
    assert axes.texts[-1].get_text().startswith("chance: 5")


def test_a_domain_shows_its_own_distances_alone(make_study: Make) -> None:
    """Not those of a domain whose name begins with its own."""
    study = make_study(large_study_data(3))
    probe = analyse(study, simulated_rows(study)).domains["probe"]
    names = {name: distance_pictures(replace(probe, name=name)) for name in ("order", "order-long")}
    assert names["order"] == {"match": "distance-order-match"}
    assert not set(names["order"].values()) & set(names["order-long"].values())


def test_captions_explain_what_is_drawn(make_study: Make) -> None:
    """A single run has no bar, and a study without variants no half filled mark."""
    study = make_study(small_study_data(1))
    pictures = drawn(analyse(study, planted_rows(study, dict.fromkeys((arm.name for arm in study.arms), 0.6))))
    assert "A mark without a bar has no interval" in pictures["first"].caption
    assert "half filled marks are variants" in pictures["scores-vision"].caption
    mixers = small_study_data(3)
    mixers["arms"] = {name: arm for name, arm in mixers["arms"].items() if arm["kind"] == "mixer"}
    study = make_study(mixers)
    pictures = drawn(analyse(study, planted_rows(study, dict.fromkeys(mixers["arms"], 0.6))))
    assert pictures["scores-vision"].caption.endswith("Filled marks are token mixers.")
