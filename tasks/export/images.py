"""A trained classifier or segmenter as a program: pixels (B, 3, S, S) float32 -> logits, any B; S is the model's.

Logits are (B, K), of a segmenter (B, K, S / 4, S / 4).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from metaformer_nlp.config.names import split_names
from metaformer_nlp.config.plugins import import_plugins
from tasks.export.options import ImageExportConfig as Config
from tasks.export.program import Exportable, output_paths, write
from tasks.images.checkpoints import Logits, class_names, eval_transform, open_checkpoint
from vision import preprocessing
from vision.dense import MetaFormerVisionForSemanticSegmentation
from vision.dense.checkpoints import is_dense, load_dense_model
from vision.dense.processing import short_side
from vision.loading import model_folder

BATCHES = (2, 1, 5)
"""Batch sizes at which an exported program is compared with the model."""


def exportable(model: PreTrainedModel, size: int, seen: dict[str, Any]) -> Exportable:
    """The model as it is exported for images of ``size`` pixels; ``seen``: what they go through before."""
    seeded = [(batch, torch.Generator().manual_seed(batch)) for batch in BATCHES]
    return Exportable(
        function=Logits(model).eval(),
        outputs=("logits",),
        shapes={"pixel_values": {0: torch.export.Dim("batch", min=1)}},
        samples=[{"pixel_values": torch.randn(batch, 3, size, size, generator=seed)} for batch, seed in seeded],
        described={"preprocessing": seen, "classes": class_names(model)},
    )


def exportable_segmenter(folder: Path, image_size: int | None) -> Exportable:
    """The saved segmenter for square images of so many pixels; default: the short side that it was trained for.

    Raises:
        ValueError: a detector, or a side that its maps do not divide.
    """
    model = load_dense_model(folder)
    if not isinstance(model, MetaFormerVisionForSemanticSegmentation):
        raise ValueError(
            f"checkpoint {folder}: holds a detector, whose outputs' shapes depend on what is found: torchvision's "
            "detectors fail in the exporter (pytorch/vision #9462). Predict with scripts/predict.py"
        )
    size = image_size or short_side(folder)
    if size % 32:
        raise ValueError(f"image_size {size}: must be a multiple of 32, the stride of the coarsest map")
    seen = {"image_size": (size, size), "mean": model.config.image_mean, "std": model.config.image_std}
    return exportable(model.eval(), size, seen)


def run(config: Config) -> dict[str, float]:
    """Write the files, each with a .json beside it that says how to feed it; returns file -> difference.

    Raises:
        ValueError: no such checkpoint, a file of no known kind, or a program that is not the model.
    """
    import_plugins(config.plugins)
    paths = output_paths(split_names(config.output))
    folder = model_folder(Path(config.checkpoint).expanduser())
    if is_dense(folder):
        return write(exportable_segmenter(folder, config.image_size), paths, config.opset)
    model = open_checkpoint(config.checkpoint, config.image_size)
    seen = preprocessing(model)
    size = eval_transform(seen, config.checkpoint).size
    return write(exportable(model, size, asdict(seen)), paths, config.opset)
