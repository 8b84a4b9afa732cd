"""A trained image classifier as a program: pixels (B, 3, S, S) float32 -> logits (B, K), any B; S is the model's."""

from __future__ import annotations

from dataclasses import asdict

import torch

from metaformer_nlp.config.names import split_names
from metaformer_nlp.config.plugins import import_plugins
from tasks.export.options import ImageExportConfig as Config
from tasks.export.program import Exportable, output_paths, write
from tasks.images.checkpoints import Logits, class_names, eval_transform, open_checkpoint
from vision import ImageClassifier, preprocessing

BATCHES = (2, 1, 5)
"""Batch sizes at which an exported program is compared with the model."""


def exportable(model: ImageClassifier, size: int) -> Exportable:
    """The classifier as it is exported for images of ``size`` pixels."""
    seeded = [(batch, torch.Generator().manual_seed(batch)) for batch in BATCHES]
    return Exportable(
        function=Logits(model).eval(),
        outputs=("logits",),
        shapes={"pixel_values": {0: torch.export.Dim("batch", min=1)}},
        samples=[{"pixel_values": torch.randn(batch, 3, size, size, generator=seed)} for batch, seed in seeded],
        described={"preprocessing": asdict(preprocessing(model)), "classes": class_names(model)},
    )


def run(config: Config) -> dict[str, float]:
    """Write the files, each with a .json beside it that says how to feed it; returns file -> difference.

    Raises:
        ValueError: no such checkpoint, a file of no known kind, or a program that is not the model.
    """
    import_plugins(config.plugins)
    paths = output_paths(split_names(config.output))
    model = open_checkpoint(config.checkpoint, config.image_size)
    size = eval_transform(preprocessing(model), config.checkpoint).size
    return write(exportable(model, size), paths, config.opset)
