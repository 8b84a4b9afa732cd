"""The tab for models: which there are, which folders hold none and why, and small ones that are trained in a minute."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import gradio as gr

from tasks.demo.models import Models, words
from tasks.demo.trainer import MIXERS, RUNS, Trainer
from tasks.demo.words import escape, sentence, telling

__all__ = ["build", "looked_at", "overview", "train"]

HELP = """
A small model can be trained here on data that is embedded, in about a minute of one core. Take another mixer, train
again, and the other tabs show both side by side. The page may be closed meanwhile: the training goes on.
"""
FOLDER = """
The lists hold what the page found below the given folders. Load the page again to find a run that was made since; a
folder that lies deeper can be named here.
"""


def build(models: Models, trainer: Trainer) -> gr.HTML:
    """Adds the components of the tab; the one that changes when there are other models than before."""
    with gr.Row():
        with gr.Column(min_width=280):
            gr.Markdown("### Train a model\n" + HELP)
            what = gr.Dropdown([(run.label, name) for name, run in RUNS.items()], value="digits", label="Model")
            mixer = gr.Dropdown(list(MIXERS), value=MIXERS[0], label="Token mixer")
            button = gr.Button("Train for a minute", variant="primary", elem_id="train")
            trained = gr.HTML(elem_id="trained")
        with gr.Column(min_width=280):
            gr.Markdown("### Models of this page")
            listed = gr.HTML(lambda: overview(models), elem_id="models")
            gr.Markdown(FOLDER)
            name = gr.Textbox(label="Folder", placeholder="runs/digits", max_lines=1, elem_id="folder")
            look = gr.Button("Open", size="sm", elem_id="look")
            found = gr.HTML(elem_id="found")
    button.click(
        partial(train, trainer), [what, mixer], trained, concurrency_limit=None, api_visibility="private"
    ).then(lambda: overview(models), outputs=listed, api_visibility="private", show_progress="hidden")
    gr.on(
        [look.click, name.submit], partial(looked_at, models), name, found, api_visibility="private",
        show_progress="hidden",
    ).then(lambda: overview(models), outputs=listed, api_visibility="private", show_progress="hidden")  # fmt: skip
    return listed


@telling
def train(trainer: Trainer, what: str, mixer: str, progress: gr.Progress | None = gr.Progress()) -> str:  # noqa: B008 (gradio's way)
    """Train the short run, and say what came out."""
    for stand in trainer.run(what, mixer):
        loss = "starting" if stand.loss is None else f"loss {stand.loss:.3f}"
        if progress is not None:
            progress((stand.step, stand.steps), desc=f"{RUNS[what].label}, {mixer}: {loss}", unit="steps")
    return _result(trainer.run_folder(what, mixer))


def _result(folder: Path) -> str:
    metrics = json.loads((folder / "result.json").read_text(encoding="utf-8"))["metrics"]
    shown = {name.removeprefix("validation/"): value for name, value in metrics.items() if name.startswith("valid")}
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{value:.3f}</td></tr>" for name, value in list(shown.items())[:8])
    return f'<div class="done">Trained. It is in the lists of the other tabs now.<table>{rows}</table></div>'


@telling
def overview(models: Models) -> str:
    """All that was found, with its kind, or with why it is no model, as HTML."""
    rows = []
    for one in models.found():
        name = escape(one.name).replace("/", "/<wbr>")  # where a line may end
        rows.append(f"<tr><td>{name}</td><td>{escape(words(one.kind) if one.kind else one.problem)}</td></tr>")
    if not rows:
        return sentence("There is no model yet. Train one, or start the page with --models.")
    return f'<table class="models"><tbody>{"".join(rows)}</tbody></table>'


@telling
def looked_at(models: Models, name: str | None) -> str:
    """What is in the folder of this name; a model joins the lists."""
    name = (name or "").strip()
    return f'<div class="done">{escape(name)} is a {escape(words(models.add(name)))}, and in the lists now.</div>'
