"""The tab for pictures: classes and where a classifier looks, objects of detectors, label maps of segmenters."""

from __future__ import annotations

import copy
import random
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, cast

import gradio as gr
import numpy as np
import torch
from gradio.utils import get_upload_folder
from PIL import Image, ImageChops

from tasks.demo import picture
from tasks.demo.choice import model_choice
from tasks.demo.models import Kind, Models, Opened
from tasks.demo.words import bars, card, cards, data_uri, escape, hint, scrolling, sentence, telling
from tasks.demo.words import picture as shown_picture
from tasks.images.explain import as_seen, heat_map
from tasks.images.readers.digits import CanvasConfig, DigitsOnCanvas
from tasks.images.readers.scenes import DigitScenes, SceneConfig
from tasks.prediction.prediction import predictor_of
from vision import ImageClassifier

__all__ = ["build", "predicted"]

KINDS: tuple[Kind, ...] = ("classifier", "detector", "segmenter")
TOP = 5
FIRST = "Drop a picture, or take one of the examples."
LONGEST = 1600  # pixels of a side; a larger picture is made smaller, since nobody sees more on the page
HELP = """
Drop a picture and take up to four models. A classifier shows its likeliest classes, and in warm colours the places that
speak for the first of them (Grad-CAM). A detector draws boxes and masks, a segmenter gives each pixel a class. The
embedded digits are scans of 8 x 8 pixels on a cluttered canvas; scenes hold several of them.
"""


def build(models: Models) -> None:
    """Adds the components of the tab."""
    gr.Markdown(HELP)
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            chosen = model_choice(models, *KINDS, label="Models")
            dropped = gr.File(label="Picture", height=140, elem_id="picture")
            with gr.Row():
                digit, scene = (gr.Button(label, size="sm", min_width=80) for label in ("A digit", "A scene"))
            threshold = gr.Slider(0, 1, 0.5, step=0.05, label="Detectors: least score of an object")
        with gr.Column(scale=3, min_width=280):
            result = gr.HTML(hint(FIRST), elem_id="predicted")
    given = gr.State()  # the file that is looked at: the place to drop one stays free for the next
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    dropped.upload(lambda path: (path, None), dropped, [given, dropped], **quiet)
    gr.on([dropped.upload, digit.click, scene.click], js=scrolling("predicted", "picture"), **quiet)
    for button, example in ((digit, example_digit), (scene, example_scene)):
        button.click(example, outputs=given, **quiet)
    gr.on(
        [given.change, chosen.change, threshold.release],
        partial(predicted, models),
        [chosen, given, threshold],
        result,
        show_progress="minimal",
        trigger_mode="always_last",
        api_visibility="private",
    )


@telling
def predicted(models: Models, names: list[str] | None, path: str | None, threshold: float = 0.5) -> str:
    """The predictions of the models on an uploaded picture, side by side, as HTML."""
    if not path:
        return hint(FIRST)
    image = picture.read(path)
    image.thumbnail((LONGEST, LONGEST))
    if not names:
        return sentence("Choose a model. Where there is none, the tab Models trains one in about a minute.")
    return cards(card(Path(path).name, shown_picture(image, "the picture")), *(
        card(name, _one(models, name, image, threshold)) for name in names
    ))  # fmt: skip


@telling
def _one(models: Models, name: str, image: Image.Image, threshold: float) -> str:
    """The prediction of one model; its error takes the place of its own result alone."""
    opened = models.open(name, *KINDS)
    with torch.inference_mode():
        found = predictor_of(cast(ImageClassifier, opened.model), opened.folder, threshold=threshold, top=TOP)(image)
    if opened.kind == "detector":
        rows = [(row["name"], row["score"]) for row in found.written["objects"]]
        note = "" if rows else sentence(f"No object has a score of {threshold:g} or more.")
        return shown_picture(found.drawn, f"the prediction of {name}") + note + bars(rows[:10])
    classes = found.written["classes"]
    if opened.kind == "segmenter":
        drawn, legend = map_alone(found.drawn, image)
        shown = (
            shown_picture(drawn, f"the prediction of {name}") + f'<img class="legend" src="{data_uri(legend)}" alt="">'
        )
        return shown + bars([(row["name"], row["share"]) for row in classes[:10]])
    return _seen(opened, image, classes[0]) + bars([(row["name"], row["score"]) for row in classes])


def _seen(opened: Opened, image: Image.Image, best: dict[str, Any]) -> str:
    """Grad-CAM of the likeliest class over what a classifier sees."""
    model = copy.deepcopy(cast(ImageClassifier, opened.model))  # it gets hooks, and other sessions use the model
    cut, pixels = as_seen(model, str(opened.folder), image)
    try:
        drawn = overlaid(cut, heat_map(model, pixels, best["label"]))
    except ValueError as error:
        return sentence(error)
    seen = f"where the model sees {best['name']}"
    return f'<img class="map" src="{data_uri(drawn)}" alt="{escape(seen)}">'


def map_alone(drawn: Image.Image, image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Of a drawing with the picture, beside it its label map, and below a legend: the map, and the legend.

    Apart they are as wide as the page has room for, and the legend's letters keep their size.
    """
    half, height = drawn.width // 2, drawn.width // 2 * image.height // image.width
    legend = drawn.crop((0, height, drawn.width, drawn.height))
    return drawn.crop((half, 0, drawn.width, height)), legend.crop(ImageChops.invert(legend).getbbox())


def overlaid(cut: np.ndarray, heat: np.ndarray) -> Image.Image:
    """A map in [0, 1], (S, S), in colours over the picture (S, S, 3), large enough to be looked at."""
    from matplotlib import colormaps

    colours, weights = colormaps["autumn_r"](heat)[..., :3] * 255, 0.65 * heat[..., None]
    mixed = Image.fromarray(np.rint((1 - weights) * cut + weights * colours).astype(np.uint8))
    factor = max(1, -(-224 // mixed.width))
    return mixed.resize((mixed.width * factor, mixed.height * factor), Image.Resampling.NEAREST)


def example_digit() -> str:
    """The file of a picture of the embedded digits, another one at each call; no model was trained on it."""
    digits = DigitsOnCanvas("validation", 28, CanvasConfig())
    return _written(digits.load(random.randrange(len(digits))), "digit.png")


def example_scene() -> str:
    """The file of a picture of the embedded scenes, another one at each call; no model was trained on it."""
    scenes = DigitScenes("validation", SceneConfig())
    return _written(scenes.load(random.randrange(len(scenes)), None).picture, "scene.png")


def _written(image: Any, name: str) -> str:
    file = Path(tempfile.mkdtemp(prefix="example-", dir=get_upload_folder())) / name
    Image.fromarray(np.asarray(image)).save(file)
    return str(file)
