"""The pictures: what is drawn and what is not, that looks belong to names, and that words follow the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from metaformer_nlp.study.analysis.analyse import analyse
from metaformer_nlp.study.analysis.results import Analysis, Domain
from metaformer_nlp.study.analysis.statistics import Estimate
from metaformer_nlp.study.protocol.file import load_study
from metaformer_nlp.study.protocol.study import Arm, Study
from metaformer_nlp.study.report.figures import STYLE, draw_all, drawings
from metaformer_nlp.study.report.figures.cost import cost_that_differs, draw_cost
from metaformer_nlp.study.report.figures.curves import draw_curves, draw_distance, learning_curves
from metaformer_nlp.study.report.figures.first import costs_of, draw_first
from metaformer_nlp.study.report.figures.looks import APART, MIXERS, PARTS, arm_looks, known_name
from metaformer_nlp.study.report.figures.style import Drawing, limits_of, value_of
from metaformer_nlp.study.report.names import arm_titles, axis_tasks
from tests.study.simulated import (
    DISTANCES,
    SKILLS,
    large_study_data,
    planted_rows,
    simulated_rows,
    small_study_data,
)

MakeStudy = Callable[[dict[str, Any]], Study]
_BUDGETS = {"e1": 1.0, "e2": 2.0, "e4": 4.0}


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> MakeStudy:
    def make_study(data: dict[str, Any]) -> Study:
        path = tmp_path_factory.mktemp("study") / "study.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return load_study(path)

    return make_study


@pytest.fixture(scope="module")
def analysis(make: MakeStudy) -> Analysis:
    return analyse_data(make, {**large_study_data(3), "control": "identity"})


@pytest.fixture(scope="module")
def scaled(make: MakeStudy) -> Analysis:
    """One experiment at three budgets: pooling closes on attention, the convolution keeps its distance."""
    domain = {**large_study_data()["domains"]["images"], "tune": None, "equal": {}}
    domain = {key: value for key, value in domain.items() if value is not None}
    arms = {name: {"kind": "mixer", "set": {}} for name in ("attention", "pooling", "depthwise_conv", "identity")}
    data = {
        **large_study_data(),
        "control": "identity",
        "scale": [{"axis": "epochs", "domains": _BUDGETS, "margin": 0.02}],
        "domains": {name: {**domain, "label": f"{budget:g} epochs"} for name, budget in _BUDGETS.items()},
        "arms": arms,
    }
    study = make(data)
    gaps = {"attention": (0.0,) * 3, "pooling": (0.2, 0.1, 0.05), "depthwise_conv": (0.1,) * 3, "identity": (0.3,) * 3}
    truth = {name: {key: 0.6 - gap for key, gap in zip(_BUDGETS, its, strict=True)} for name, its in gaps.items()}
    return analyse(study, planted_rows(study, truth, noise=0.004))


def analyse_data(make: MakeStudy, data: dict[str, Any]) -> Analysis:
    study = make(data)
    return analyse(study, simulated_rows(study))


def drawn(analysis: Analysis) -> dict[str, Drawing]:
    return {name: drawing for name, drawing in drawings(analysis) if drawing}


def changed(analysis: Analysis, name: str, domain: Domain) -> Analysis:
    return replace(analysis, domains={**analysis.domains, name: domain})


def with_arms(domain: Domain, **fields: Any) -> Domain:
    return replace(domain, arms={name: replace(arm, **fields) for name, arm in domain.arms.items()})


# Looks


def test_known_colours_stay_apart_for_all_eyes_and_stand_out_from_white() -> None:
    colours = [to_rgb(colour) for colour, _ in (*MIXERS.values(), *PARTS.values())]
    for first, second in combinations(colours, 2):
        for name, matrix in _EYES.items():
            distance = np.linalg.norm(_cielab(matrix @ _linear(first)) - _cielab(matrix @ _linear(second)))
            assert distance >= APART, f"{first} and {second} are {distance:.1f} apart ({name})"
    for colour in colours:
        assert 1.05 / (float(_XYZ[1] @ _linear(colour)) + 0.05) >= 3, f"{colour} is too pale"


def test_cielab_is_that_of_the_standard() -> None:
    assert _cielab(_linear((1.0, 1.0, 1.0))) == pytest.approx([100, 0, 0], abs=0.02)
    assert _cielab(_linear((1.0, 0.0, 0.0))) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)


def test_a_look_belongs_to_a_name_whatever_the_order(analysis: Analysis) -> None:
    strangers = [Arm(name, "mixer", {"model.token_mixer": name}) for name in ("zeta", "alpha")]
    variants = [Arm(name, "variant", {"model.token_mixer": "attention"}, of="attention") for name in ("wide", "alibi")]
    arms = (*analysis.study.arms, *strangers, *variants)
    looks = arm_looks(replace(analysis.study, arms=arms))
    assert arm_looks(replace(analysis.study, arms=arms[::-1])) == looks
    fewer = replace(analysis.study, arms=(analysis.study.arm("fourier"), analysis.study.arm("no_residual")))
    assert arm_looks(fewer) == {name: looks[name] for name in ("fourier", "no_residual")}


def test_every_arm_looks_like_no_other(make: MakeStudy) -> None:
    data = large_study_data(3)
    data["arms"] |= {f"stranger_{number}": {"kind": "mixer", "set": {"x": number}} for number in range(20)}
    data["arms"] |= {
        f"of_attention_{number}": {"kind": "variant", "of": "attention", "set": {"model.token_mixer": "attention"}}
        for number in range(4)
    }
    looks = arm_looks(make(data))
    keys = ("color", "marker", "markerfacecolor", "fillstyle")
    assert len({tuple(look.get(key) for key in keys) for look in looks.values()}) == len(data["arms"])
    assert all(looks[f"of_attention_{number}"]["color"] == looks["attention"]["color"] for number in range(4))


@pytest.mark.parametrize(
    ("arm", "name"),
    [
        (Arm("ppaa", "mixer", {"model.token_mixer": ["pooling", "pooling", "attention", "attention"]}), "ppaa"),
        (Arm("mine", "mixer", {"model.token_mixer": {"name": "attention", "positions": "rotary"}}), "attention"),
        (Arm("pa", "mixer", {"model.token_mixer": ["pooling x 3", {"name": "attention"}]}), "pooling_attention"),
        (
            Arm("windows", "mixer", {"model.token_mixer": [{"name": "attention x 3"}, {"name": "attention"}]}),
            "attention",
        ),
        (Arm("there", "mixer", {}, set_in={"images": {"model.token_mixer": "shift"}}), "shift"),
        (Arm("attention_no_norm", "architecture", {"model.norm": "none"}, of="attention"), "no_norm"),
        (Arm("bare", "architecture", {"model.use_residual": False}, of="pooling"), "no_residual"),
        (Arm("new", "mixer", {"model.token_mixer": "brand_new"}), None),
        (Arm("no_positions", "architecture", {"model.token_mixer": "pooling"}, of="pooling"), None),
    ],
)
def test_looks_go_by_the_name_then_by_what_is_set(arm: Arm, name: str | None) -> None:
    assert known_name(arm) == name


def test_titles_say_what_the_control_is_and_whose_a_part_is(analysis: Analysis) -> None:
    titles = arm_titles(analysis.study)
    assert titles["identity"] == "no mixing (identity)"
    assert titles["no_channel_mlp"] == "pooling, no channel MLP"


# What is drawn


def test_every_picture_is_drawn_in_the_order_of_the_report(analysis: Analysis, scaled: Analysis) -> None:
    assert list(drawn(analysis)) == [
        "first",
        *("scores-images", "cost-images", "curves-images"),
        *("scores-text", "cost-text", "curves-text"),
        *("scores-probe", "cost-probe", "distance-probe-match"),
    ]
    assert list(drawn(scaled))[-1] == "trend-epochs"
    twice = drawn(replace(scaled, trends=scaled.trends * 2))
    assert list(twice)[-2:] == ["trend-epochs-1", "trend-epochs-2"]


def test_the_same_numbers_give_the_same_files(scaled: Analysis, tmp_path: Path) -> None:
    pictures = draw_all(scaled, tmp_path / "plots")
    assert list(pictures) == ["first", *(f"scores-{name}" for name in _BUDGETS), "trend-epochs"]
    mpl.rcParams["font.size"] = 20  # as a matplotlibrc might have it
    again = draw_all(scaled, tmp_path / "again")
    for name, picture in pictures.items():
        assert picture.path == tmp_path / "plots" / f"{name}.png"
        assert picture.path.read_bytes() == again[name].path.read_bytes()
        assert picture.alt.endswith(".")
        assert picture.caption.endswith(".")


def test_a_domain_without_runs_has_no_pictures(analysis: Analysis) -> None:
    empty = Estimate(None, 0)
    without = {name: with_arms(domain, seeds={}, against={}, score=empty) for name, domain in analysis.domains.items()}
    assert drawn(replace(analysis, domains=without)) == {}


def test_no_text_leaves_its_picture(make: MakeStudy, scaled: Analysis) -> None:
    data = {**large_study_data(3), "control": "identity"}
    data["arms"]["attention"]["label"] = "attention (rotary, windows of 4 and one global layer)"
    for name, below in (("hybrid", "pooling"), ("multi_window", "shift"), ("fourier", "identity")):
        data["arms"][name]["label"] = f"three layers of {below}, attention on top"
    for its in (analyse_data(make, data), scaled):
        for name, drawing in drawn(its).items():
            _assert_inside(name, drawing.figure)


def _assert_inside(name: str, figure: Figure) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = figure.bbox
    beyond = {  # labels of ticks outside of the limits exist, and are not drawn
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.majorTicks, *axis.minorTicks)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in beyond:
            box = text.get_window_extent(canvas.get_renderer())
            inside = min(box.x0, box.y0) >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1
            assert inside, f"{name}: {text.get_text()!r} at {box} leaves {page}"


# The first picture


def test_the_first_picture_has_all_changes_to_one_arm_sorted_by_size(analysis: Analysis) -> None:
    assert analysis.centre == "pooling"
    figure = drawn(analysis)["first"].figure
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(rows) == len(SKILLS) - 1, "all but pooling"
    assert rows[0] in ("attention", "hybrid")
    assert "no mixing (identity)" in rows
    means = {
        arm: np.mean([costs_of(domain, "pooling")[arm].value or 0 for domain in analysis.domains.values()])
        for arm in SKILLS
        if arm != "pooling"
    }
    assert rows[-1] == analysis.labels()[max(means, key=lambda arm: means[arm])]
    limits = {(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}
    assert len(limits) == 1, "one axis"
    assert all("pooling" in [text.get_text() for text in axes.texts] for axes in figure.axes), "the zero is named"


def test_many_domains_stand_in_rows_with_axes_of_their_own(make: MakeStudy) -> None:
    study = make(small_study_data(4, ("a", "b", "c", "d", "e")))
    truth = {"attention": 0.66, "pooling": 0.6, "identity": {"a": 0.2, "b": 0.2, "c": 0.2, "d": 0.58, "e": 0.58}}
    analysis = analyse(study, planted_rows(study, dict.fromkeys([arm.name for arm in study.arms], 0.59) | truth))
    drawing = draw_first(analysis, arm_looks(study))
    assert drawing is not None
    panels = [axes for part in drawing.figure.subfigs for axes in part.axes]
    assert [axes.get_title(loc="left") for axes in panels] == ["A", "B", "C", "D", "E"]
    widths = [axes.get_xlim()[1] - axes.get_xlim()[0] for axes in panels]
    assert widths[0] == widths[1]
    assert widths[2] == widths[3] == widths[4]
    assert len(drawing.figure.subfigs) == 2
    assert "Each row of panels has an axis of its own." in drawing.caption


def test_costs_are_points_below_the_centre(analysis: Analysis) -> None:
    domain = analysis.domains["images"]
    cost = costs_of(domain, "pooling")["no_residual"]
    scores = [100 * (domain.arms[arm].score.value or 0) for arm in ("pooling", "no_residual")]
    assert cost.value == pytest.approx(scores[0] - scores[1])
    assert cost.low is not None
    assert cost.high is not None
    assert cost.low < value_of(cost) < cost.high


def test_chance_is_a_wall_and_named(analysis: Analysis) -> None:
    for domain, axes in zip(analysis.domains.values(), drawn(analysis)["first"].figure.axes, strict=True):
        wall = next(patch for patch in axes.patches if patch.get_hatch())
        above = 100 * ((domain.arms["pooling"].score.value or 0) - (domain.chance or 0))
        assert wall.get_extents().transformed(axes.transData.inverted()).x0 == pytest.approx(above)
        assert any(text.get_text().startswith("chance") for text in axes.texts)


def test_rows_that_a_domain_lacks_stay_empty(analysis: Analysis) -> None:
    domain = analysis.domains["text"]
    without = replace(domain, arms={name: arm for name, arm in domain.arms.items() if name != "fourier"})
    panels = drawn(changed(analysis, "text", without))["first"].figure.axes
    assert [sum(line.get_marker() != "None" for line in axes.get_lines()) for axes in panels] == [10, 9, 10]


# Words


def test_words_follow_the_numbers(analysis: Analysis) -> None:
    before = {name: drawing.alt for name, drawing in drawn(analysis).items()}
    skills = {**SKILLS, "random": (0.05, 0.05, 0.01)}
    rows = simulated_rows(analysis.study, skills)
    after = {name: drawing.alt for name, drawing in drawn(analyse(analysis.study, rows)).items()}
    turned = {name for name in before if before[name] != after[name]}
    assert {"first", "scores-images", "curves-images", "scores-text", "distance-probe-match"} <= turned
    assert "the lowest score is random" in after["first"]
    assert "the lowest score is random" not in before["first"].split("In text")[0]


def test_the_words_of_a_trend_follow_its_numbers(scaled: Analysis) -> None:
    (trends,) = scaled.trends
    alt = drawn(scaled)["trend-epochs"].alt
    assert f"Pooling: {trends.lines['pooling'].gaps[0].value:.2f} to" in alt
    assert trends.lines["pooling"].trend == "closes"
    assert "closes." in alt
    figure = drawn(scaled)["trend-epochs"].figure
    titles = [axes.get_title("left") for axes in figure.axes]
    assert "pooling\ncloses" in titles
    assert "not judged" in [text.get_text() for text in figure.axes[0].texts]


# Costs and curves


def test_costs_that_are_the_same_in_all_arms_are_left_out(analysis: Analysis) -> None:
    domain = analysis.domains["images"]
    assert cost_that_differs(domain.runs) == "macs"
    assert cost_that_differs(with_arms(domain, macs=4e7).runs) == "total"
    same = with_arms(domain, macs=None, total=1e6)
    assert cost_that_differs(same.runs) is None
    assert draw_cost(same, arm_titles(analysis.study), arm_looks(analysis.study), "pooling") is None


def test_points_are_where_their_costs_are_and_the_legend_goes_by_score(analysis: Analysis) -> None:
    domain = with_arms(analysis.domains["images"], macs=4e7)
    domain = replace(domain, arms={**domain.arms, "attention": replace(domain.arms["attention"], macs=8e7)})
    drawing = draw_cost(domain, arm_titles(analysis.study), arm_looks(analysis.study), "pooling")
    assert drawing is not None
    lines = [line for line in drawing.figure.axes[0].get_lines() if line.get_marker() != "None"]
    places = {str(line.get_label()): float(np.asarray(line.get_xdata())[0]) for line in lines}
    assert set(places.values()) == {4e7, 8e7}
    scores = [float(np.asarray(line.get_ydata())[0]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert list(places) == [text.get_text() for text in drawing.figure.legends[0].get_texts()]


@pytest.mark.parametrize("most", [1.4, 3.0, 5e5])
def test_marks_of_a_cost_axis_have_labels_of_their_own_that_do_not_touch(analysis: Analysis, most: float) -> None:
    domain = analysis.domains["images"]
    steps = np.geomspace(250, 250 * most, len(domain.arms))
    arms = {name: replace(arm, macs=float(cost)) for cost, (name, arm) in zip(steps, domain.arms.items(), strict=True)}
    drawing = draw_cost(replace(domain, arms=arms), arm_titles(analysis.study), arm_looks(analysis.study), "pooling")
    assert drawing is not None
    canvas = FigureCanvasAgg(drawing.figure)
    canvas.draw()
    axes = drawing.figure.axes[0]
    low, high = axes.get_xlim()
    ticks = [tick.label1 for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    labels = [label.get_text() for label in ticks]
    assert len(labels) > 1
    assert len(set(labels)) == len(labels)
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in ticks]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_learning_curves_are_those_of_the_rows(analysis: Analysis) -> None:
    domain = analysis.domains["images"]
    curves = learning_curves(domain)
    assert list(curves) == list(SKILLS)
    assert max(curves["pooling"]) == 4000
    assert curves["pooling"][4000].value == pytest.approx(100 * (0.1 + 0.9 * SKILLS["pooling"][0]), abs=3)
    drawing = draw_curves(domain, arm_titles(analysis.study), arm_looks(analysis.study), "attention")
    assert drawing is not None
    assert [axes.get_title("left") for axes in drawing.figure.axes][:3] == ["attention", "pooling", "multi window"]
    assert {axes._left_title.get_color() for axes in drawing.figure.axes} == {"black"}  # type: ignore[attr-defined]


def test_tasks_on_an_axis_are_found_by_their_numbers(analysis: Analysis) -> None:
    domain = analysis.domains["probe"]
    assert axis_tasks(domain) == {"match": {f"match {d}": float(d) for d in DISTANCES}}
    named = replace(domain, task_chance=dict.fromkeys(("8", "2", "copy_4", "copy_16", "alone_3", "none")))
    assert axis_tasks(named) == {"": {"2": 2.0, "8": 8.0}, "copy": {"copy_4": 4.0, "copy_16": 16.0}}
    assert axis_tasks(replace(domain, axis=None)) == {}


def test_the_score_falls_with_the_distance(analysis: Analysis) -> None:
    domain, titles = analysis.domains["probe"], arm_titles(analysis.study)
    tasks = axis_tasks(domain)["match"]
    drawing = draw_distance(domain, "match", tasks, titles, arm_looks(analysis.study), "attention")
    assert drawing is not None
    panel = next(axes for axes in drawing.figure.axes if axes.get_title("left") == "pooling")
    own = next(line for line in panel.get_lines() if line.get_marker() == "o" and len(np.asarray(line.get_xdata())) > 1)
    places, scores = np.asarray(own.get_data())
    assert places.tolist() == list(DISTANCES)
    assert (np.diff(scores) < 0).all()


def test_wide_intervals_do_not_dwarf_the_values() -> None:
    estimates = [Estimate(50.0, 3, None, -300.0, 500.0), Estimate(60.0, 3, None, None, None), Estimate(None, 0)]
    low, high = limits_of(estimates)
    assert 40 < low < 50
    assert 60 < high < 70


# Colour vision: sRGB (IEC 61966-2-1) to CIELAB under D65; deficiencies after Machado, Oliveira and Fernandes, A
# physiologically-based model for simulation of color vision deficiency, IEEE TVCG 15, 2009, at severity 1.0.

_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_EYES = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def _linear(colour: tuple[float, float, float]) -> np.ndarray:
    value = np.array(colour)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _cielab(linear: np.ndarray) -> np.ndarray:
    t = (_XYZ @ np.clip(linear, 0, 1)) / _XYZ.sum(axis=1)
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
