"""The component from which people take models."""

from __future__ import annotations

from typing import Any

import gradio as gr

from tasks.demo.models import Kind, Models

__all__ = ["current_choices", "model_choice"]

MOST = 4  # models side by side


def model_choice(models: Models, *kinds: Kind, label: str, most: int = MOST, chosen: int = 2) -> gr.Dropdown:
    """A list of the models of ``kinds``, of which up to ``most`` can be taken; the first ``chosen`` are at first.

    With ``most`` 1 its value is a name or None, else a list of names.
    """
    names = models.names(*kinds)
    several = most > 1
    value: Any = names[:chosen] if several else next(iter(names), None)
    choice = gr.Dropdown(
        names, value=value, multiselect=several, max_choices=most if several else None, label=label, filterable=False
    )
    models.choices.append((choice, kinds, chosen))
    return choice


def current_choices(models: Models, *taken: Any) -> list[Any]:
    """Updates of all components: the models that are there now. What was taken stays; where nothing was, the first
    models are taken."""
    made = []
    for (choice, kinds, chosen), value in zip(models.choices, taken, strict=True):
        names = models.names(*kinds)
        if choice.multiselect:
            kept: Any = [name for name in value or [] if name in names] or names[:chosen]
        else:
            kept = value if value in names else next(iter(names), None)
        made.append(gr.update(choices=names, value=kept))
    return made
