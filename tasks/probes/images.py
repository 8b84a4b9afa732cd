"""Probes on the image model: the abilities of :mod:`tasks.probes.abilities`, asked of pictures.

Each cell of the grid is a patch of 4 x 4 pixels: plain background, a grey shape that means nothing, or a coloured ring.
With patches of that size which do not overlap, a token sees one cell, and the mixer is the only way for tokens to meet.
Copying is left out: an image classifier answers once for the whole picture, from a mean.

Shapes: B pictures, h x w cells, S pixels of a side, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from metaformer_nlp.config.plugins import import_plugins
from tasks.images.model import ModelConfig
from tasks.probes.abilities import NUM_FILLERS, Ints
from tasks.probes.task import ProbeConfig, ProbeTask, planned_cost
from tasks.training import TrainingConfig, train
from vision import macs

__all__ = ["DISTANCES", "Config", "ImageProbe", "cost", "draw", "looks_of", "run"]

DISTANCES = {"order": [1, 2, 3], "agreement": [1, 2, 4, 5, 7], "matching": [1, 2, 4, 6], "counting": [2, 4, 8]}
"""Where each probe is asked if data.distances does not say it."""
CELL = 4
"""Pixels of a cell's side."""
_GREY_SHAPES = ("#..#/.##./.##./#..#", "####/####/..../....")
_RING = "####/#..#/#..#/####"
_COLOURS = ((230, 40, 40), (40, 90, 240), (40, 200, 70), (240, 210, 40), (220, 60, 220), (60, 210, 220))
_GREY = (110, 110, 110)


@dataclass(frozen=True)
class DataConfig(ProbeConfig):
    """The probe, and the pictures it is asked on."""

    cells: int = 8
    """Cells of a picture's side, of 4 pixels each."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Train and evaluate an image model on a probe."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)


class ImageProbe(ProbeTask):
    """The engine's Task for one :class:`Config`."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.data, (config.data.cells, config.data.cells), DISTANCES)
        self.config = config
        self._looks = looks_of(len(self.symbols))

    def build_model(self) -> nn.Module:
        """The classifier, its weights drawn from torch's generator."""
        classes = [str(number) for number in range(self.probe.num_labels)]
        model = self.config.model.build(classes, image_size=CELL * self.config.data.cells)
        self._macs = macs(model)
        return model

    def inputs(self, symbols: Ints, segments: Ints) -> dict[str, Tensor]:
        """``pixel_values`` (B, 3, S, S) from -1 to 1."""
        pictures = draw(symbols, self._looks).transpose(0, 3, 1, 2)
        return {"pixel_values": torch.from_numpy(np.ascontiguousarray(pictures)).float() / 127.5 - 1}

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(B, K)"""
        logits: Tensor = model(pixel_values=batch["pixel_values"]).logits
        return logits

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """The model, as the Auto classes read it."""
        model.save_pretrained(folder)  # type: ignore[operator]


def looks_of(count: int) -> NDArray[np.uint8]:
    """(count, 4, 4, 3) what symbols 0..count-1 look like: most fillers are background, all black; the last are grey."""
    rings = [(_RING, colour) for colour in _COLOURS]
    shown = [*((shape, _GREY) for shape in _GREY_SHAPES), *rings][: count - NUM_FILLERS + len(_GREY_SHAPES)]
    looks = np.zeros((count, CELL, CELL, 3), np.uint8)
    for number, (shape, colour) in enumerate(shown, start=NUM_FILLERS - len(_GREY_SHAPES)):
        looks[number][np.array([list(row) for row in shape.split("/")]) == "#"] = colour
    return looks


def draw(symbols: Ints, looks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(B, h, w) symbols -> (B, 4h, 4w, 3) pictures."""
    batch, height, width = symbols.shape
    return looks[symbols].transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * CELL, width * CELL, 3)


def cost(config: Config) -> dict[str, Any]:
    """What ``run`` will take, without training, under the names of the result."""
    import_plugins(config.plugins)
    return planned_cost(ImageProbe(config), config.run, config.optim, config.schedule)


def run(config: Config) -> dict[str, Any]:
    """Train, evaluate and save; returns what the run folder's result.json holds."""
    return train(ImageProbe, config)
