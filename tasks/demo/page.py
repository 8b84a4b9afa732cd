"""The frame of the page: its head, its tabs, and what keeps their lists of models current."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import gradio as gr

from tasks.demo import images, mixing, studies, text, training
from tasks.demo.choice import current_choices
from tasks.demo.models import Models
from tasks.demo.studies import Studies
from tasks.demo.trainer import Trainer

__all__ = ["CSS", "make_page", "theme"]

CSS = Path(__file__).with_name("page.css")
HEAD = """
# MetaFormers
Try models on pictures and sentences, see how far a token mixer reaches, and look into studies.
Nothing leaves this machine.
"""


def theme() -> gr.themes.Base:
    """Fonts of the machine alone: gradio's own themes ask a server for theirs."""
    letters = ["system-ui", "sans-serif"]
    return gr.themes.Base(font=letters, font_mono=["ui-monospace", "monospace"], radius_size="sm")


def make_page(models: Models, studies_given: Studies, trainer: Trainer) -> gr.Blocks:
    """The page, which is not yet served. Without models it opens where they are trained."""
    first = "images" if models.names(*images.KINDS) else "text" if models.found() else "models"
    with gr.Blocks(title="MetaFormers", analytics_enabled=False, delete_cache=(600, 600)) as page:
        gr.Markdown(HEAD)
        with gr.Tabs(selected=first, overflow_behavior="wrap"):  # a menu would hide tabs from newcomers
            with gr.Tab("Images", id="images"):
                images.build(models)
            with gr.Tab("Text", id="text"):
                text.build(models)
            with gr.Tab("Mixing", id="mixing"):
                mixing.build(models)
            with gr.Tab("Studies", id="studies"):
                studies.build(studies_given)
            with gr.Tab("Models", id="models"):
                changed = training.build(models, trainer)
        lists = [choice for choice, _, _ in models.choices]
        gr.on(
            [page.load, changed.change], partial(current_choices, models), lists, lists, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip
    return page
