"""The page of one model, without training and studies: what a Hugging Face Space serves (scripts/share_model.py).

Programs ask it through gradio_client. The endpoint is called as what the model does, such as ``/classify``. It takes a
picture or a text and returns JSON.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.demo.options import DemoConfig
from tasks.demo.serve import prepare, serve

if TYPE_CHECKING:
    import gradio as gr

    from tasks.demo.models import Models, Opened

__all__ = ["make_page", "run"]

ENDPOINTS = {
    "classifier": "classify",
    "detector": "detect",
    "segmenter": "segment",
    "masked_lm": "fill",
    "text_classifier": "classify",
}
HUB = "https://huggingface.co"  # shows Spaces inside its own pages


def run(folder: Path, title: str) -> None:
    """Serve the model in ``folder``, which the page calls ``title``, until the process is asked to stop.

    The address comes from gradio's variables, which the hub sets: ``GRADIO_SERVER_NAME``, ``GRADIO_SERVER_PORT``.

    Raises:
        ValueError: no model there that has a page, or the port is taken.
    """
    values = os.environ.get
    config = DemoConfig(
        host=values("GRADIO_SERVER_NAME", DemoConfig.host), port=int(values("GRADIO_SERVER_PORT", DemoConfig.port))
    )
    with ExitStack() as stack:
        prepare(stack)
        from tasks.demo.models import Models

        serve(make_page(Models({title: folder}), title), config, HUB)


def make_page(models: Models, title: str) -> gr.Blocks:
    """The page of the only model of ``models``: the tabs that fit it, and the endpoint."""
    import gradio as gr

    from tasks.demo import images, mixing, text

    (found,) = models.found()
    if found.kind is None:
        raise ValueError(f"{found.folder}: {found.problem}")
    opened = models.open(found.name, found.kind)
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(600, 600)) as page:
        gr.Markdown(f"# {title}")
        with gr.Tabs():
            if found.kind in images.KINDS:
                with gr.Tab("Images"):
                    images.build(models)
            else:
                with gr.Tab("Text"):
                    (text.build_filling if found.kind == "masked_lm" else text.build_classes)(models)
            if found.kind not in ("detector", "segmenter"):
                with gr.Tab("Mixing"):
                    gr.Markdown(mixing.HELP)
                    (mixing.build_picture if found.kind == "classifier" else mixing.build_text)(models, chosen=1)
        asked = gr.File(visible=False) if found.kind in images.KINDS else gr.Textbox(visible=False)
        answer = gr.JSON(visible=False)
        gr.Button(visible=False).click(
            _answering(opened), asked, answer, api_name=ENDPOINTS[found.kind], show_progress="hidden"
        )
    return page


def _answering(opened: Opened) -> Callable[[str], Any]:
    """What the endpoint does: a picture's file, or a text, to JSON."""
    import gradio as gr
    import torch
    from transformers import pipeline

    from tasks.demo import picture
    from tasks.prediction.prediction import predictor_of

    if opened.tokenizer is None:
        predict = predictor_of(opened.model, opened.folder, threshold=0.5, top=5)  # type: ignore[arg-type]

        def ask(given: str) -> Any:
            return predict(picture.read(given)).written
    else:
        task, options = ("fill-mask", {}) if opened.kind == "masked_lm" else ("text-classification", {"top_k": None})
        ask = pipeline(task, model=opened.model, tokenizer=opened.tokenizer, **options)  # type: ignore[call-overload]

    @torch.inference_mode()
    def answer(given: str) -> Any:
        try:
            return ask(given)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return answer
