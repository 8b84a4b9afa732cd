"""A classifier's answer, written into its picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

LEAST_SIDE = 256  # pixels; smaller pictures are enlarged first, or the words would cover them
LINE = 14  # pixels of the height of a line


def draw_classes(picture: Image.Image, classes: Sequence[dict[str, Any]]) -> Image.Image:
    """The picture, and below it a line and a bar for each class (``name``, ``score``)."""
    factor = max(1, -(-LEAST_SIDE // min(picture.size)))
    image = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    page = Image.new("RGB", (image.width, image.height + LINE * len(classes)), "white")
    page.paste(image, (0, 0))
    pen = ImageDraw.Draw(page)
    for line, entry in enumerate(classes):
        top = image.height + LINE * line
        pen.rectangle((0, top + 1, entry["score"] * page.width, top + LINE - 2), fill="#9ecae1")
        pen.text((4, top), f"{100 * entry['score']:.1f} %  {entry['name']}", fill="black")
    return page
