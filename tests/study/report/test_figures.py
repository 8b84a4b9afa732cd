"""What is drawn and what is not: pictures only of what there is, and no arm hidden behind another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from metaformer_nlp.study.analysis.analyse import analyse
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report import figures as plots
from metaformer_nlp.study.report.figures.cost import costs_that_differ, draw_cost
from metaformer_nlp.study.report.figures.curves import axis_tasks, draw_curves, draw_distance, learning_curves
from metaformer_nlp.study.report.figures.scores import effects_limits
from metaformer_nlp.study.report.figures.style import arm_looks, limits_of
from tests.study.simulated import DISTANCES, SKILLS, large_study_data, simulated_rows


@pytest.fixture
def analysis(make_study: Callable[[dict[str, Any]], Study]) -> dict[str, Any]:
    study = make_study(large_study_data(3))
    return analyse(study, simulated_rows(study))


def test_every_arm_looks_like_no_other(analysis: dict[str, Any]) -> None:
    arms = analysis["study"]["arms"]
    arms |= {f"more_{number}": {"kind": "mixer"} for number in range(3)}
    looks = arm_looks(analysis)
    assert len({(look["color"], look["marker"], look.get("markerfacecolor")) for look in looks.values()}) == len(arms)


def test_only_what_has_numbers_is_drawn(analysis: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in dir(plots) if name.startswith("draw_") and name != "draw_all"]:
        monkeypatch.setattr(plots, name, lambda *_: None)
    names = [name for name, _ in plots._figures(analysis)]
    assert {"curves-images", "cost-text", "tasks-text", "distance-probe-match", "retention-images-text"} <= set(names)
    assert "curves-probe" not in names, "it has no learning curves"
    assert "tasks-probe" not in names, "the distances are its tasks"
    assert "effects-images" in names
    analysis["domains"]["images"]["telling"] = False
    assert "effects-images" not in [name for name, _ in plots._figures(analysis)], "nothing is said of what costs more"
    for domain in analysis["domains"].values():
        for arm in domain["arms"]:
            arm["score"]["n"] = 0
    assert list(plots._figures(analysis)) == []


def test_costs_that_are_the_same_in_all_arms_are_left_out(analysis: dict[str, Any]) -> None:
    domain = analysis["domains"]["images"]
    assert costs_that_differ(domain) == ["macs", "total", "train_seconds"]
    for arm in domain["arms"]:
        arm["total"] = 1_000_000
    domain["arms"][0]["macs"] = None
    assert costs_that_differ(domain) == ["train_seconds"]


def test_arms_of_one_cost_stand_side_by_side(analysis: dict[str, Any]) -> None:
    domain = analysis["domains"]["images"]
    for arm in domain["arms"]:
        arm["macs"], arm["total"], arm["train_seconds"] = 4e7, None, None
    domain["arms"][0]["macs"] = 8e7
    with mpl.rc_context(plots.STYLE):
        axes = draw_cost(domain, arm_looks(analysis)).axes[0]
    places = [
        float(np.asarray(line.get_xdata())[0])
        for line in axes.get_lines()
        if line.get_marker() not in ("None", "", None)
    ]
    assert len(set(places)) == len(SKILLS)
    assert all(3.5e7 < place < 4.6e7 for place in places[1:])


def test_marks_of_an_axis_have_labels_of_their_own(analysis: dict[str, Any]) -> None:
    """Between 11 and 14.5 seconds there are marks at halves."""
    domain = analysis["domains"]["images"]
    for number, arm in enumerate(domain["arms"]):
        arm["macs"], arm["total"], arm["train_seconds"] = None, None, 11.0 + 3.5 * number / (len(SKILLS) - 1)
    with mpl.rc_context(plots.STYLE):
        figure = draw_cost(domain, arm_looks(analysis))
        figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert len(labels) > 2
    assert len(set(labels)) == len(labels)


def test_learning_curves_are_those_of_the_rows(analysis: dict[str, Any]) -> None:
    curves = learning_curves(analysis["domains"]["images"])
    assert list(curves) == list(SKILLS)
    steps, means, low, high = curves["pooling"]
    assert steps[-1] == 4000
    assert low[5] < means[5] < high[5]
    assert means[-1] == pytest.approx(0.1 + 0.9 * SKILLS["pooling"][0], abs=0.03)
    figure = draw_curves(analysis["domains"]["images"], arm_looks(analysis), "attention")
    assert [axes.get_title() for axes in figure.axes][:3] == ["attention", "pooling", "multi window"]


def test_tasks_on_an_axis_are_found_by_their_numbers(analysis: dict[str, Any]) -> None:
    domain = analysis["domains"]["probe"]
    assert axis_tasks(domain) == {"match": {f"match {d}": float(d) for d in DISTANCES}}
    domain["task_chance"] = dict.fromkeys(("8", "2", "copy_4", "copy_16", "alone_3", "none"))
    assert axis_tasks(domain) == {"": {"2": 2.0, "8": 8.0}, "copy": {"copy_4": 4.0, "copy_16": 16.0}}


def test_the_score_falls_with_the_distance(analysis: dict[str, Any]) -> None:
    domain = analysis["domains"]["probe"]
    figure = draw_distance(domain, axis_tasks(domain)["match"], arm_looks(analysis), "attention")
    panel = next(axes for axes in figure.axes if axes.get_title() == "pooling")
    own = next(line for line in panel.get_lines() if line.get_marker() == "o")
    places, scores = np.asarray(own.get_data())
    assert places.tolist() == list(DISTANCES)
    assert (np.diff(scores) < 0).all()


def test_means_that_are_not_drawn_do_not_widen_the_axis(analysis: dict[str, Any]) -> None:
    domain = analysis["domains"]["images"]
    before = effects_limits([domain])
    domain["effects"]["mixer"] |= {"low": -0.2, "high": 0.2}
    assert effects_limits([domain]) != before
    domain["learned"] = False
    assert effects_limits([domain]) == before


def test_wide_intervals_do_not_dwarf_the_values() -> None:
    low, high = limits_of([0.5, 0.6], [-3.0, 5.0, None], [])
    assert 40 < low < 50
    assert 60 < high < 70
