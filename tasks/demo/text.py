"""The tab for sentences: the words that masked language models put in, and the answers of text classifiers."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
import torch

from tasks.demo.choice import model_choice
from tasks.demo.models import Models, Opened
from tasks.demo.words import bars, card, cards, sentence, telling
from tasks.images.checkpoints import class_names
from tasks.text.encoding import inputs_of

__all__ = ["build", "build_classes", "build_filling", "classified", "filled", "readable_tokens"]

MASK = "[MASK]"
TOP = 5
MOST_MASKS = 6
MOST_LETTERS = 20_000
FILL = """
Write **[MASK]** where a word is missing. Each model says which words it expects there. One that was trained for a
minute on the documentation of Python knows its phrases, and little else.
"""
CLASSIFY = "Each model says to which of its classes the text belongs. A model of sentence pairs needs both texts."
SENTENCES = [
    "Return the [MASK] of the list.",
    "If the file does not [MASK], an error is raised.",
    "This is the same as [MASK] the method.",
]
TEXTS = ["The socket is closed when the connection to the server is lost.", "Return a list the of names."]


def build(models: Models) -> None:
    """Adds the components of the tab."""
    with gr.Tab("Missing words"):
        build_filling(models)
    with gr.Tab("Classes"):
        build_classes(models)


def build_filling(models: Models) -> None:
    """The half for masked language models."""
    gr.Markdown(FILL)
    choice = model_choice(models, "masked_lm", label="Models")
    text = gr.Textbox(SENTENCES[0], label="Text", lines=2, max_lines=8, elem_id="sentence")
    gr.Examples(SENTENCES, text, label="Examples")
    button, result = gr.Button("Fill in", variant="primary"), gr.HTML(elem_id="filled")
    _wire(button, [text], partial(filled, models), [choice, text], result)


def build_classes(models: Models) -> None:
    """The half for classifiers."""
    gr.Markdown(CLASSIFY)
    choice = model_choice(models, "text_classifier", label="Models")
    first = gr.Textbox(TEXTS[0], label="Text", lines=2, max_lines=8, elem_id="text")
    second = gr.Textbox("", label="Second text, for pairs", lines=1, max_lines=8)
    gr.Examples(TEXTS, first, label="Examples")
    button, result = gr.Button("Classify", variant="primary"), gr.HTML(elem_id="classified")
    _wire(button, [first, second], partial(classified, models), [choice, first, second], result)


def _wire(button: gr.Button, boxes: list[gr.Textbox], function: Any, inputs: list[Any], result: gr.HTML) -> None:
    gr.on(
        [button.click, *(box.submit for box in boxes)], function, inputs, result, show_progress="minimal",
        api_visibility="private",
    )  # fmt: skip


@telling
def filled(models: Models, names: list[str] | None, text: str | None) -> str:
    """The likeliest words at each ``[MASK]`` of the text, by each model, side by side, as HTML."""
    text = _checked(text)
    masks = text.count(MASK)
    if not masks:
        return sentence(f"The text has no {MASK}. Write {MASK} in place of the word that is to be guessed.")
    if masks > MOST_MASKS:
        return sentence(f"The text has {masks} {MASK}; up to {MOST_MASKS} are filled in at once.")
    if not names:
        return sentence("Choose a model. Where there is none, the tab Models trains one in about a minute.")
    return cards(*(card(name, _filled(models, name, text)) for name in names))


@telling
@torch.inference_mode()
def _filled(models: Models, name: str, text: str) -> str:
    """The words of one model; its error takes the place of its own result alone."""
    opened = models.open(name, "masked_lm")
    tokenizer: Any = opened.tokenizer
    if tokenizer.mask_token is None:
        return sentence("Its tokenizer has no token for a missing word.")
    batch, note = _encoded(opened, text.replace(MASK, tokenizer.mask_token))
    places = (batch["input_ids"][0] == tokenizer.mask_token_id).nonzero()[:, 0]
    if not len(places):
        return sentence(f"{MASK} comes after the part that the model can read. Write a shorter text.")
    shares = opened.model(**batch).logits[0, places].softmax(-1)
    best = shares.topk(min(TOP, shares.shape[-1]))
    made = [note]
    for number, (values, ids) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True), 1):
        heading = f"<h4>{MASK} {number}</h4>" if len(places) > 1 else ""
        words = [tokenizer.decode([token]).strip() or tokenizer.convert_ids_to_tokens(token) for token in ids]
        made.append(heading + bars(list(zip(words, values, strict=True))))
    return "".join(made)


@telling
def classified(models: Models, names: list[str] | None, text: str | None, second: str | None = None) -> str:
    """The classes of the text, or of a pair of texts, by each model, side by side, as HTML."""
    text, second = _checked(text), _checked(second) if second and second.strip() else None
    if not names:
        return sentence("Choose a model. Where there is none, the tab Models trains one in about half a minute.")
    return cards(*(card(name, _classified(models, name, text, second)) for name in names))


@telling
@torch.inference_mode()
def _classified(models: Models, name: str, text: str, second: str | None) -> str:
    opened = models.open(name, "text_classifier")
    batch, note = _encoded(opened, text, second)
    logits = opened.model(**batch).logits[0]
    if logits.numel() == 1:  # a model of a number, such as STS-B's
        return f"{note}<p><b>{float(logits):.3f}</b></p>"
    rows = list(zip(class_names(opened.model), logits.softmax(0).tolist(), strict=True))
    return note + bars(sorted(rows, key=lambda row: -row[1])[:TOP])


def _checked(text: str | None) -> str:
    """The text without blanks around it; ValueError for an empty one, or one that is too long to read."""
    text = (text or "").strip()
    if not text:
        raise ValueError("Write a text first, or take one of the examples.")
    if len(text) > MOST_LETTERS:
        raise ValueError(f"The text has {len(text):,} letters; up to {MOST_LETTERS:,} are read.")
    return text.encode("utf-8", "replace").decode("utf-8")  # half of a surrogate pair is no character


def readable_tokens(opened: Opened) -> int:
    """How many tokens of a text the model reads at most."""
    tokenizer: Any = opened.tokenizer
    return int(min(tokenizer.model_max_length, getattr(opened.model.config, "max_position_embeddings", 512)))


def _encoded(opened: Opened, text: str, second: str | None = None) -> tuple[dict[str, Any], str]:
    """What the model takes, (1, L) each; and, where not all of the text fits, a sentence that says so."""
    tokenizer: Any = opened.tokenizer
    longest = readable_tokens(opened)
    given = {"truncation": True, "max_length": longest, "return_tensors": "pt", "return_token_type_ids": True}
    batch = tokenizer(text, second, **given)
    whole = len(tokenizer(text, second, verbose=False)["input_ids"])
    note = ""
    if whole > longest:
        note = sentence(f"The model reads {longest:,} tokens; the text has {whole:,}, and its end is left out.")
    return {name: batch[name] for name in inputs_of(opened.model)}, note
