"""Label maps drawn over their picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from tasks.segmentation.ade20k import IGNORE
from vision.images import Picture

STRENGTH = 0.6  # of a colour over the picture
LEAST_SIDE = 256  # pixels; smaller pictures are enlarged
NAMED = 12  # classes in the legend
LINE = 14  # pixels of the height of one


def draw(picture: Picture, maps: Sequence[np.ndarray], names: Sequence[str]) -> Image.Image:
    """The picture, and beside it each label map (H, W) laid over it, with a legend of the largest classes below.

    A class has the same colour in every picture; ignored pixels are black.
    """
    pixels = np.asarray(picture)
    palette = colours()
    panels = [pixels, *((1 - STRENGTH) * pixels + STRENGTH * palette[labels] for labels in maps)]
    row = Image.fromarray(np.concatenate(panels, axis=1).astype(np.uint8))
    factor = max(1, -(-LEAST_SIDE // min(pixels.shape[:2])))
    row = row.resize((row.width * factor, row.height * factor), Image.Resampling.NEAREST)
    counts = np.bincount(np.stack(maps).ravel(), minlength=IGNORE + 1)[:IGNORE]
    largest = [label for label in np.argsort(-counts, kind="stable")[:NAMED].tolist() if counts[label]]
    image = Image.new("RGB", (row.width, row.height + LINE * len(largest)), "white")
    image.paste(row, (0, 0))
    pen = ImageDraw.Draw(image)
    for line, label in enumerate(largest):
        top = row.height + LINE * line
        pen.rectangle((2, top + 2, LINE - 2, top + LINE - 2), fill=tuple(palette[label].tolist()))
        pen.text((LINE + 2, top), names[label], fill="black")
    return image


def colours() -> np.ndarray:
    """(256, 3) uint8, hues far apart for neighbours; the ignored label is black."""
    hues = [
        colorsys.hsv_to_rgb(label * 0.618 % 1, (1.0, 0.6)[label // 2 % 2], (1.0, 0.8)[label % 2])
        for label in range(256)
    ]
    palette = (255 * np.array(hues)).astype(np.uint8)
    palette[IGNORE] = 0
    return palette
