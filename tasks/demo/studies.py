"""The tab for studies: a study's report as it was written, and its curves, of the arms that are chosen."""

from __future__ import annotations

import base64
import io
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import gradio as gr
import matplotlib as mpl
from matplotlib.figure import Figure

from metaformer_nlp.errors import reading
from metaformer_nlp.study.analysis.analyse import analyse_folders
from metaformer_nlp.study.analysis.results import Analysis, Domain
from metaformer_nlp.study.report.figures.curves import distance_curves, learning_curves
from metaformer_nlp.study.report.figures.looks import arm_looks
from metaformer_nlp.study.report.figures.scores import draw_scores
from metaformer_nlp.study.report.figures.style import GREY, STYLE, metric_of, title_of, value_of
from metaformer_nlp.study.report.names import arm_titles, axis_tasks
from metaformer_nlp.study.report.render import page
from metaformer_nlp.study.report.write import report_folder
from tasks.demo.folders import inside, refuse_links
from tasks.demo.words import escape, sentence, telling

__all__ = ["Studies", "build", "drawn", "report"]

DEEPEST = 3  # folders below a given one that are looked into
SCORES = "scores"
STEPS = "learning curves"
NONE_GIVEN = "No study was given. Start the page with the folder of one, such as --studies docs/results in a checkout."
HELP = """
A study trains the same mixers in the same architecture over several seeds and answers by stated rules. Its report is
shown as it was written. Beside it, scores and curves can be drawn for the arms that you choose: each has its colour in
all studies.
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_drawing = threading.Lock()  # matplotlib's settings belong to the process


@dataclass(frozen=True)
class Studies:
    """The studies and reports below the given folders, by the names that the page calls them.

    Raises:
        ValueError: a given path that is no folder.
    """

    roots: Mapping[str, Path]

    def __post_init__(self) -> None:
        for label, root in self.roots.items():
            if not root.is_dir():
                raise ValueError(f"studies {label}: no such folder (looked in {Path.cwd()})")

    def names(self) -> list[str]:
        """In the order of the folders."""
        found = []
        for label, root in self.roots.items():
            for place, folders, files in os.walk(root):
                below = Path(place).relative_to(root)
                if "study.json" in files or "report.json" in files:
                    found.append(label if below == Path() else f"{label}/{below.as_posix()}")
                    folders.clear()
                elif len(below.parts) >= DEEPEST:
                    folders.clear()
                folders.sort()
        return found

    def folder(self, name: str | None) -> Path:
        """The folder of the study of this name.

        Raises:
            ValueError: there is none, or the name leads out of the given folders.
        """
        if not name:
            raise ValueError("Choose a study." if self.roots else NONE_GIVEN)
        label, folder = inside(name, self.roots)
        refuse_links(folder, self.roots[label])
        if not any((folder / file).is_file() for file in ("study.json", "report.json")):
            raise ValueError(f"{name} is no folder of a study: it has neither a study.json nor a report.json.")
        return folder


def build(studies: Studies) -> None:
    """Adds the components of the tab."""
    names = studies.names()
    gr.Markdown(HELP)
    study = gr.Dropdown(names, value=next(iter(names), None), label="Study", elem_id="study", filterable=False)
    with gr.Tab("Report"):
        gr.HTML(partial(report, studies), inputs=[study], elem_id="report")
    with gr.Tab("Curves") as curves:
        with gr.Row():
            domain = gr.Dropdown([], label="Domain", filterable=False, min_width=260)
            kind = gr.Dropdown([], label="Picture", filterable=False, min_width=260)
        arms = gr.CheckboxGroup([], label="Arms", elem_id="arms")
        picture = gr.HTML(elem_id="curves")
    shown: dict[str, Any] = {
        "outputs": [domain, kind, arms, picture], "show_progress": "minimal", "api_visibility": "private"
    }  # fmt: skip
    study.change(partial(offered, studies), study, **shown)  # all arms: those of another study have other names
    gr.on(
        [curves.select, domain.input, kind.input, arms.input],
        partial(offered, studies),
        [study, domain, kind, arms],
        **shown,
    )


@telling
def report(studies: Studies, name: str | None) -> str:
    """A study's report in a frame of its own, in which nothing is run and nothing is asked of the network."""
    folder = report_folder(studies.folder(name))
    with reading(folder, "the report of a study"):
        if (folder / "report.html").is_file():
            text = (folder / "report.html").read_text(encoding="utf-8")
        elif (folder / "report.md").is_file():
            text = page((folder / "report.md").read_text(encoding="utf-8"), folder)
        else:
            raise ValueError(f"{name} has no report yet: python scripts/run_study.py report FOLDER writes it.")
    text = text.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}">', 1)
    return f'<iframe class="report" sandbox="" title="{escape(f"Report of {name}")}" srcdoc="{escape(text)}"></iframe>'


def offered(
    studies: Studies,
    name: str | None,
    domain: str | None = None,
    kind: str | None = None,
    arms: Sequence[str] | None = None,
) -> tuple[Any, Any, Any, str]:
    """What can be chosen in this study, what of it is chosen, and the picture of that: at first of all arms."""
    nothing = gr.update(choices=[], value=None)
    try:
        analysis = analysed(studies.folder(name))
        domains = {one.name: one for one in analysis.domains.values() if one.runs}
        if not domains:
            raise ValueError(f"{name} has no finished run yet.")
        chosen = domains.get(domain or "") or next(iter(domains.values()))
        kinds = pictures(chosen)
        kind = kind if kind in kinds else next(iter(kinds))
        titles = arm_titles(analysis.study)
        known = [(titles[arm.name], arm.name) for arm in chosen.runs]
        names = [arm for _, arm in known]
        taken = [arm for arm in names if arm in (arms or ())] or names
        shown = drawn(analysis, chosen.name, kind, taken)
    except ValueError as error:
        return nothing, nothing, gr.update(choices=[], value=[]), sentence(error)
    return (
        gr.update(choices=[(title_of(one), one.name) for one in domains.values()], value=chosen.name),
        gr.update(choices=list(kinds), value=kind),
        gr.update(choices=known, value=taken),
        shown,
    )


def pictures(domain: Domain) -> dict[str, Callable[[], Mapping[str, Any]]]:
    """The pictures that a domain has numbers for, by what they show, with their curves by arm."""
    found: dict[str, Callable[[], Mapping[str, Any]]] = {}
    if learning_curves(domain):
        found[STEPS] = partial(learning_curves, domain)
    for ability, tasks in axis_tasks(domain).items():
        found[f"over the {domain.axis}{f', {ability}' if ability else ''}"] = partial(distance_curves, domain, tasks)
    return {**found, SCORES: dict}


@telling
def drawn(analysis: Analysis, name: str, kind: str, arms: Sequence[str]) -> str:
    """A picture of the chosen arms of a domain, in the colours that they have in all reports, as HTML."""
    domain, looks, titles = analysis.domains[name], arm_looks(analysis.study), arm_titles(analysis.study)
    with _drawing, mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        if kind == SCORES:
            kept = {arm: domain.arms[arm] for arm in domain.arms if arm in {*arms, analysis.study.baseline}}
            made = draw_scores(replace(domain, arms=kept), titles, looks, analysis.study.baseline)
            return _shown(made.figure, made.alt, made.caption)
        figure = Figure(figsize=(5.6, 4.8), layout="constrained")
        axes = figure.add_subplot()
        for arm, curve in pictures(domain)[kind]().items():
            if arm in arms:
                points, look = list(curve.values()), {**looks[arm], "markersize": looks[arm]["markersize"] * 0.7}
                axes.plot(list(curve), [value_of(point) for point in points], linewidth=2, label=titles[arm], **look)
                ends = [
                    (value_of(p) if p.low is None else p.low, value_of(p) if p.high is None else p.high) for p in points
                ]
                low, high = zip(*ends, strict=True)
                axes.fill_between(list(curve), low, high, color=look["color"], alpha=0.12, lw=0)
        if domain.chance is not None and kind == STEPS:
            axes.axhline(100 * domain.chance, color=GREY, linewidth=1, linestyle=":", label="chance")
        axes.grid(True)
        axes.set(title=title_of(domain), ylabel=f"{metric_of(domain)}, points of 100")
        axes.set_xlabel("steps" if kind == STEPS else domain.axis or "distance")
        figure.legend(fontsize=8.5, ncols=2, loc="outside lower center")
        alt = f"{kind} of {len(arms)} arms in {title_of(domain)}"
        return _shown(figure, alt, "Lines are means over seeds, in the band of their 95 % intervals.")


def _shown(figure: Figure, alt: str, caption: str) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="svg")
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<figure class="plot"><img src="data:image/svg+xml;base64,{data}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def analysed(folder: Path) -> Analysis:
    """The numbers of a study, computed once for each state of its folder."""
    files = [
        folder / "report.json",
        folder / "study.json",
        *folder.glob("cells/**/result.json"),  # of a study that goes on
        *folder.glob("cells/**/error.txt"),
    ]
    return _analysed(folder, tuple(sorted(file.stat().st_mtime_ns for file in files if file.is_file())))


@lru_cache(maxsize=4)
def _analysed(folder: Path, changed: tuple[int, ...]) -> Analysis:
    with reading(folder, "the folder of a study", KeyError, TypeError, AttributeError):
        return analyse_folders([folder])
