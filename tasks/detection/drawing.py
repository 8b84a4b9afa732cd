"""What a detector found, drawn over its picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor, ImageDraw

if TYPE_CHECKING:
    from vision.images import Picture

COLOURS = ("#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c", "#008080")
"""Of labels, again from the first after the last."""
LEAST_SIDE = 320  # pixels; smaller pictures are enlarged first, or names would cover them


def draw(
    picture: Picture,
    boxes: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    scores: Sequence[float] | None = None,
    masks: np.ndarray | None = None,
) -> Image.Image:
    """The picture with its n objects, best first: boxes (n, 4) as corners, labels, and perhaps masks (n, H, W)."""
    colours = [COLOURS[label % len(COLOURS)] for label in labels]
    pixels = np.array(picture)
    for mask, colour in reversed(list(zip(masks if masks is not None else [], colours, strict=False))):
        half = np.array(picture)[mask > 0] // 2 + np.array(ImageColor.getrgb(colour), dtype=np.uint8) // 2
        pixels[mask > 0] = half  # where two overlap, the first is seen
    image = Image.fromarray(pixels)
    factor = max(1, -(-LEAST_SIDE // min(image.size)))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(image)
    for row, (box, label, colour) in enumerate(zip(np.asarray(boxes).reshape(-1, 4), labels, colours, strict=True)):
        left, top, right, bottom = (factor * box).tolist()
        text = names[label] if scores is None else f"{names[label]} {scores[row]:.2f}"
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=2)
        place = max(0.0, left), max(0.0, top - 12)
        pen.rectangle(pen.textbbox(place, text), fill=colour)
        pen.text(place, text, fill="black")
    return image
