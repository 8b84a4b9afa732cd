"""The component from which people take models."""

from __future__ import annotations

from typing import Any

import gradio as gr

from tasks.demo.models import Kind, Models

__all__ = ["current_choices", "model_choice"]

MOST = 4  # models side by side
NONE_YET = "There is none yet. The tab Models trains one in about a minute."


def model_choice(models: Models, *kinds: Kind, label: str, chosen: int = 2) -> gr.Dropdown:
    """A list of the models of ``kinds``, of which up to `MOST` can be taken; the first ``chosen`` are at first."""
    names = models.names(*kinds)
    choice = gr.Dropdown(
        names, value=names[:chosen], multiselect=True, max_choices=MOST, label=label, filterable=False,
        info=None if names else NONE_YET,
    )  # fmt: skip
    models.choices.append((choice, kinds, chosen))
    return choice


def current_choices(models: Models, *taken: Any) -> list[Any]:
    """Updates of all components: the models that are there now. What was taken stays; where nothing was, the first
    models are taken."""
    made, found = [], models.found()
    for (_, kinds, chosen), value in zip(models.choices, taken, strict=True):
        names = [one.name for one in found if one.kind in kinds]
        kept = [name for name in value or [] if name in names] or names[:chosen]
        made.append(gr.update(choices=names, value=kept, info=None if names else NONE_YET))
    return made
