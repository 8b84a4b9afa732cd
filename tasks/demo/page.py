"""The frame of the page: its head, its tabs, and what keeps their lists of models current."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr

from tasks.demo.choice import current_choices
from tasks.demo.models import Models

__all__ = ["CSS", "HEAD", "make_page", "theme"]

CSS = Path(__file__).with_name("page.css")
TABS = {"Images": "images", "Text": "text", "Mixing": "mixing", "Studies": "studies", "Models": "training"}
"""The title of a tab, and the module whose ``build`` fills it."""
HEAD = """
# MetaFormers
Try models on pictures and sentences, see how far a token mixer reaches, and look into studies.
Nothing leaves this machine.
"""


def theme() -> gr.themes.Base:
    """Fonts of the machine alone: gradio's own themes ask a server for theirs."""
    letters = ["system-ui", "sans-serif"]
    return gr.themes.Base(font=letters, font_mono=["ui-monospace", "monospace"], radius_size="sm")


def make_page(models: Models) -> gr.Blocks:
    """The page, which is not yet served."""
    with gr.Blocks(title="MetaFormers", analytics_enabled=False, delete_cache=(600, 600)) as page:
        gr.Markdown(HEAD)
        opened: list[Any] = []
        for title, name in TABS.items():
            if find_spec(f"tasks.demo.{name}") is None:
                continue
            build: Callable[[Models], None] = import_module(f"tasks.demo.{name}").build
            with gr.Tab(title, id=name) as tab:
                build(models)
            opened.append(tab.select)
        if models.choices:
            lists = [choice for choice, _, _ in models.choices]
            gr.on(
                [page.load, *opened], partial(current_choices, models), lists, lists, show_progress="hidden",
                queue=False, api_visibility="private",
            )  # fmt: skip
    return page
