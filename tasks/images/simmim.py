"""Self-supervised pre-training of image models: hide patches of an image and learn to paint them in (SimMIM).

What is hidden of an image is a function of (seed, epoch, index); in evaluation of the index alone, so that losses can
be compared. The trunk that is saved starts a classifier: ``scripts/train_vision.py --model.checkpoint RUN/model``.

Shapes: B batch, S pixels of a side, G = S / masking.patch_size squares of a side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metaformer_nlp.engine import Dataset, Task
from tasks.images.data import ImageSource, fingerprint, load_sources
from tasks.images.options import MaskedImageModelingConfig as Config
from tasks.training import train
from vision import MetaFormerVisionConfig, MetaFormerVisionForMaskedImageModeling, image_processor
from vision.masked_image_modeling import painting_error, pixel_mask
from vision.transforms import EvalTransform, Prepared, Transform, train_transform

_EVAL_MASKS = 12  # sets these random choices apart from others


class MaskedImages:
    """A source seen through a transform, and what is hidden of each image: the engine's map-style data."""

    def __init__(self, source: ImageSource, transform: Transform, grid: int, ratio: float) -> None:
        self.source, self.transform, self.grid = source, transform, grid
        self.count = math.ceil(ratio * grid**2)

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> tuple[Prepared, Tensor]:
        """The prepared picture and (G, G) of bool, True where hidden."""
        pixels = self.transform.prepare(self.source.load(index, rng, lazy=self.transform.lazy), rng)
        draw = np.random.default_rng([_EVAL_MASKS, index]) if rng is None else rng
        hidden = np.zeros(self.grid**2, dtype=bool)
        hidden[draw.permutation(self.grid**2)[: self.count]] = True
        return pixels, torch.from_numpy(hidden.reshape(self.grid, self.grid))


class MaskedImageModeling(Task):
    """The engine's Task for one :class:`Config`."""

    def __init__(self, config: Config) -> None:
        if config.model.checkpoint is not None:
            raise ValueError("model.checkpoint: pre-training starts from fresh weights; leave it null")
        self.config = config
        row = config.model.describe(
            num_labels=0, **config.data.model_fields()
        )  # checks the options before any data is read
        if not isinstance(row, MetaFormerVisionConfig):
            raise ValueError(f"model.name {config.model.name}: only this project's own models can be pre-trained here")
        config.masking.check(row)
        self._model_config = row
        height, width = row.image_height_width
        if height != width:
            raise ValueError(f"data.image_size: images are square here, not {height} x {width}")
        train, validation = load_sources(config.data, height)
        self._sources = {"train": train, "validation": validation}
        crop, masking = row.crop_pct, config.masking
        self._transform = train_transform(height, config.data.augment, crop)
        masks = height // masking.patch_size, masking.ratio
        self.train_data: Dataset = MaskedImages(train, self._transform, *masks)
        split = "validation" if config.data.held_out is None else "held_out"
        self.eval_data: Mapping[str, Dataset] = {split: MaskedImages(validation, EvalTransform(height, crop), *masks)}

    def collate(self, samples: list[tuple[Prepared, Tensor]]) -> dict[str, Tensor]:
        """``{"pixel_values": (B, 3, S, S), "bool_masked_pos": (B, G, G)}``."""
        pictures, hidden = zip(*samples, strict=True)
        return {"pixel_values": self._transform.batch(pictures), "bool_masked_pos": torch.stack(hidden)}

    def build_model(self) -> nn.Module:
        """Trunk and decoder, their weights drawn from torch's generator."""
        model = MetaFormerVisionForMaskedImageModeling(self._model_config)
        self._macs = model.macs()
        return model

    def macs(self) -> int:
        """Multiply-accumulates of one image; known once the model was built."""
        return self._macs

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of absolute errors over the channels of hidden pixels, and the number of these."""
        pixels, masks = batch["pixel_values"], batch["bool_masked_pos"]
        painted = model(pixel_values=pixels, bool_masked_pos=masks).reconstruction
        hidden = pixel_mask(masks, (pixels.shape[2], pixels.shape[3]))
        return painting_error(painted, pixels, hidden), hidden.sum() * pixels.shape[1]

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same sum and count."""
        total, count = self.loss(model, batch)
        return {"loss": total.double(), "count": count}

    def metric_names(self) -> list[str]:
        """What ``summarize`` gives."""
        return ["loss"]

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """``loss``: mean absolute error of a hidden pixel's channel, in standard deviations of ImageNet's pixels."""
        return {"loss": sum(float(one["loss"]) for one in results) / sum(float(one["count"]) for one in results)}

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """The model and its image processor, as the Auto classes read them."""
        model.save_pretrained(folder)  # type: ignore[operator]
        processor = image_processor(model.config, apply_exif=self.config.data.apply_exif)  # type: ignore[arg-type]
        processor.save_pretrained(folder)

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the data, part by part."""
        return {part: fingerprint(source) for part, source in self._sources.items()}


def run(config: Config) -> dict[str, Any]:
    """Train, evaluate and save; returns what the run folder's result.json holds."""
    return train(MaskedImageModeling, config)
