"""The tab for token mixers: how far the influence on one patch or word reaches, layer by layer, mixer beside mixer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from metaformer_nlp.study.words import listed
from tasks.demo import picture
from tasks.demo.choice import model_choice
from tasks.demo.models import Kind, Models
from tasks.demo.reach import maps, strips
from tasks.demo.text import readable_tokens
from tasks.demo.words import hint, scrolling, sentence, telling
from tasks.receptive_field.drawing import MARK
from tasks.receptive_field.influence import LayerField, mixes_by_norm, receptive_fields, token_grid, trunk_of
from tasks.receptive_field.models import image_model, mixers_of, text_model, word_ids
from vision import preprocessing

__all__ = ["HELP", "build", "build_picture", "build_text"]

DEFAULTS = ("pooling", "attention", "depthwise_conv", "shift", "identity")
MOST_LAYERS = 6
MOST_WORDS = 40
SIDE = 448  # pixels of the picture to click on
PATCHES = 16  # along a side, in the models with random weights
TEXT = "The old keeper of the lighthouse could not find the small key that opened the door to the garden."
HELP = """
A token is a patch of a picture or a word of a text. Click on one. Each mixer then shows from which tokens the value of
this one comes, after each layer. Hatched paper is out of reach: nothing that stands there can change the token.
The models have random weights and norms of single tokens, so that the mixers alone carry anything from place to place.
Trained models can be asked as well.
"""
BY_NORM = (
    "{names}: group norm takes its mean and variance over all tokens. Through these every token reaches every other, "
    "whatever the mixer. Hold the statistics fixed to see the reach of the mixer."
)
ESTIMATED = "{names}: so many tokens that the strengths are estimates, from random directions. Their zeros are exact."
OPTIONS = "Mixers, layers, trained models"
Place = tuple[float, ...]


def build(models: Models) -> None:
    """Adds the components of the tab."""
    gr.Markdown(HELP)
    with gr.Tabs():
        with gr.Tab("A picture"):
            build_picture(models)
        with gr.Tab("A text"):
            build_text(models)


def build_picture(models: Models, chosen: int = 0) -> None:
    """The half for pictures; the first ``chosen`` trained models are asked unless somebody says otherwise."""
    place = gr.State(())
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            shown = gr.Image(
                marked(None, ()), label="Click on a place", interactive=False, buttons=[], elem_id="mixing-picture",
                height=None, format="png",
            )  # fmt: skip
            with gr.Accordion(OPTIONS, open=False):
                dropped = gr.File(label="Another picture", height=140)
                asked = _choices(models, 2, chosen, "classifier")
        with gr.Column(scale=2, min_width=280):
            result = gr.HTML(hint("Click on a place in the picture."), elem_id="reach-picture", padding=False)
    shown.select(_clicked, outputs=place, show_progress="hidden", api_visibility="private")
    shown.select(js=scrolling("reach-picture", "mixing-picture"), show_progress="hidden", api_visibility="private")
    changes = [dropped.change, place.change]
    gr.on(changes, marked, [dropped, place], shown, show_progress="hidden", api_visibility="private")
    _answer(partial(of_picture, models), [dropped, place], asked, changes, result)


def build_text(models: Models, chosen: int = 0) -> None:
    """The half for texts."""
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            text = gr.Textbox(TEXT, label="Text", lines=3, elem_id="mixing-text")
            place = gr.Radio(_word_choices(TEXT), label="Click on a word", type="value", elem_id="mixing-words")
            with gr.Accordion(OPTIONS, open=False):
                asked = _choices(models, 1, chosen, "masked_lm", "text_classifier")
        with gr.Column(scale=2, min_width=280):
            result = gr.HTML(hint("Click on a word."), elem_id="reach-text", padding=False)
    text.change(
        lambda given: gr.update(choices=_word_choices(given), value=None), text, place, show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip
    place.input(js=scrolling("reach-text", "mixing-words"), show_progress="hidden", api_visibility="private")
    _answer(partial(of_text, models), [text, place], asked, [place.change], result)


def _choices(models: Models, rank: int, chosen: int, *kinds: Kind) -> list[Any]:
    """What to ask: mixers, layers, trained models, and how to treat the norms of these."""
    mixers = mixers_of(rank)
    return [
        gr.CheckboxGroup(mixers, value=[name for name in DEFAULTS if name in mixers], label="Mixers, random weights"),
        gr.Slider(1, MOST_LAYERS, 4, step=1, label="Layers of these"),
        model_choice(models, *kinds, label="Trained models", chosen=chosen),
        gr.Checkbox(False, label="Trained models: hold the statistics of group norm fixed"),
    ]


def _answer(
    function: Callable[..., str], inputs: list[Any], asked: list[Any], events: list[Any], result: gr.HTML
) -> None:
    mixers, layers, trained, held = asked
    gr.on(
        [*events, mixers.change, layers.release, trained.change, held.change], function, [*inputs, *asked], result,
        show_progress="minimal", trigger_mode="always_last", api_visibility="private",
    )  # fmt: skip


def _clicked(event: gr.SelectData) -> Place:
    """(row, column) of the click, as shares of the picture's sides."""
    column, row = event.index
    return row / SIDE, column / SIDE


def marked(path: str | None, place: Place) -> Image.Image | None:
    """The picture as a square, with a frame around the patch at ``place``; None where it cannot be read."""
    try:
        image = _square(path, SIDE)
    except ValueError:
        return None  # the result says why
    if place:
        patch = SIDE // PATCHES
        top, left = (patch * _at(share, PATCHES) for share in place)
        ImageDraw.Draw(image).rectangle((left - 2, top - 2, left + patch + 1, top + patch + 1), outline=MARK, width=4)
    return image


@telling
def of_picture(
    models: Models, path: str | None, place: Place, mixers: list[str], layers: int, trained: list[str], held: bool
) -> str:
    """The receptive fields of the patch at ``place`` of a picture, in all models, as HTML."""
    if path is not None:
        picture.read(path)  # whatever is wrong with it is said before a place is asked for
    if not place:
        return hint("Click on a place in the picture.")
    fields: dict[str, list[LayerField]] = {}
    for name in mixers:
        model = image_model(name, int(layers))
        fields[name] = _of_image(model, path, place, ((0.5,) * 3, (0.5,) * 3))

    def ask(name: str) -> nn.Module:
        opened = models.open(name, "classifier").model
        seen = preprocessing(opened)
        fields[name] = _of_image(opened, path, place, (seen.mean, seen.std), held)
        return opened

    notes = _asked(ask, trained or [], fields, held)
    return (maps(fields) if fields else sentence("Choose a mixer.")) + notes


@telling
def of_text(
    models: Models, text: str, place: int | None, mixers: list[str], layers: int, trained: list[str], held: bool
) -> str:
    """The receptive fields of a word of a text, in all models, as HTML; ``place`` counts the words."""
    spans = split(text)
    words = [text[start:end] for start, end in spans]
    if place is None or place >= len(words):
        return hint("Click on a word.")
    fields: dict[str, list[LayerField]] = {}
    shown: dict[str, list[str]] = {}
    for name in mixers:
        fields[name] = receptive_fields(
            text_model(name, int(layers), len(words)), {"input_ids": word_ids(words)}, (place,)
        )
        shown[name] = words

    def ask(name: str) -> nn.Module:
        opened = models.open(name, "masked_lm", "text_classifier")
        longest = readable_tokens(opened)
        encoded = opened.tokenizer(  # type: ignore[misc]
            text, return_offsets_mapping=True, truncation=True, max_length=longest
        )
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        start, end = spans[place]
        token = next((at for at, (first, last) in enumerate(offsets) if first < end and last > start), None)
        if token is None:
            raise ValueError(
                f"{name} has no token of {words[place]!r}: it reads {longest:,} tokens from the beginning on."
            )
        pieces = opened.tokenizer.convert_ids_to_tokens(ids)  # type: ignore[union-attr]
        shown[name] = [text[first:last].strip() or piece for (first, last), piece in zip(offsets, pieces, strict=True)]
        inputs = {"input_ids": torch.tensor([ids])}
        fields[name] = receptive_fields(
            opened.model, inputs, (token,), hold_statistics=held, most_layers=2 * MOST_LAYERS
        )
        return opened.model

    notes = _asked(ask, trained or [], fields, held)
    return (strips(fields, shown) if fields else sentence("Choose a mixer.")) + notes


def split(text: str) -> list[tuple[int, int]]:
    """Where the words and punctuation marks of a text begin and end.

    Raises:
        ValueError: a text without words, or with too many for a picture.
    """
    spans = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
    if not spans:
        raise ValueError("Give a text of at least one word.")
    if len(spans) > MOST_WORDS:
        raise ValueError(f"The text has {len(spans)} words and marks; at most {MOST_WORDS} can be shown. Shorten it.")
    return spans


def _word_choices(text: str) -> list[tuple[str, int]]:
    try:
        return [(text[start:end], number) for number, (start, end) in enumerate(split(text))]
    except ValueError:
        return []  # the result says why


def _asked(
    ask: Callable[[str], nn.Module], names: Sequence[str], fields: dict[str, list[LayerField]], held: bool
) -> str:
    """Asks the trained models; returns what has to be said of them, as HTML."""
    problems: list[str] = []
    by_norm: list[str] = []
    for name in names:
        try:
            if mixes_by_norm(ask(name)) and not held:
                by_norm.append(name)
        except ValueError as error:
            problems.append(str(error))
    estimated = [name for name in names if name in fields and not all(layer.exact for layer in fields[name])]
    notes = [note.format(names=listed(found)) for note, found in ((BY_NORM, by_norm), (ESTIMATED, estimated)) if found]
    return "".join([*map(sentence, problems), *map(hint, notes)])


def _of_image(
    model: nn.Module, path: str | None, place: Place, scale: tuple[Sequence[float], Sequence[float]], held: bool = False
) -> list[LayerField]:
    """The fields of the patch at ``place``, on the model's own grid."""
    height, width = trunk_of(model).config.image_height_width
    image = np.asarray(_square(path, SIDE).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    mean, deviation = (np.asarray(values, dtype=np.float32) for values in scale)
    inputs = {"pixel_values": torch.from_numpy((image - mean) / deviation).permute(2, 0, 1)[None]}
    grid, _ = token_grid(model, inputs)
    at = tuple(_at(share, size) for share, size in zip(place, grid, strict=True))
    return receptive_fields(model, inputs, at, hold_statistics=held, most_layers=MOST_LAYERS)


def _at(share: float, size: int) -> int:
    return min(max(int(share * size), 0), size - 1)


def _square(path: str | None, side: int) -> Image.Image:
    """The uploaded picture, or the photograph of a temple that scikit-learn has, pressed into a square."""
    if path is None:
        from sklearn.datasets import load_sample_image

        image = Image.fromarray(load_sample_image("china.jpg"))
    else:
        image = picture.read(path)
    return image.resize((side, side), Image.Resampling.BICUBIC)
