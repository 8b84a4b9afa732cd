"""Semantic segmentation: Semantic FPN over a trunk of :mod:`vision`, scored by one confusion matrix.

Shapes: B images, S pixels of a side of a crop. A batch is ``{"pixel_values": (B, 3, S, S), "labels": (B, S, S)}``; to
be measured, images come one by one, ``(1, 3, h, w)`` with the labels at their own size, ``(1, H, W)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.engine import Dataset, EvaluationTask, Task
from tasks.images.model import DEFAULT
from tasks.planned_cost import counted_once, parameters_of, planned_training, without_memory
from tasks.segmentation.augment import IMAGENET, EvalTransform, Normalize, TrainTransform
from tasks.segmentation.data import DataConfig, LabelSource, load_sources
from tasks.segmentation.metric import NAMES, confusion, records, scores
from tasks.segmentation.options import SegmentationConfig as Config
from tasks.training import train
from vision.dense import (
    MetaFormerVisionForSemanticSegmentation,
    create_segmenter,
    label_map,
    load_trunk,
    pixel_losses,
)
from vision.dense.processing import segmentation_processor


class SegmentationData:
    """A source as the engine's map-style data."""

    def __init__(self, source: LabelSource, config: DataConfig, normalize: Normalize) -> None:
        self.source = source
        self.train = TrainTransform(config.fit, config.crop, config.augment, normalize)
        self.evaluate = EvalTransform(config.fit, normalize)

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Pixels and labels; a function of the index and, in training, of ``rng``."""
        picture, labels = self.source.load(index, rng)
        if rng is None:
            return self.evaluate(picture), torch.from_numpy(labels)
        return self.train(picture, labels, rng)


class Scoring(EvaluationTask):
    """Label maps of a source, and their scores."""

    def __init__(self, source: LabelSource, config: DataConfig, normalize: Normalize = IMAGENET) -> None:
        self.source, self.num_classes = source, len(source.classes)
        self.eval_data: Mapping[str, Dataset] = {config.scenes.measured: SegmentationData(source, config, normalize)}

    def collate(self, samples: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Images of one size, or a single one."""
        pixels, labels = zip(*samples, strict=True)
        return {"pixel_values": torch.stack(pixels), "labels": torch.stack(labels)}

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :func:`tasks.segmentation.metric.records`."""
        labels = batch["labels"]
        height, width = labels.shape[1:]
        logits = model(pixel_values=batch["pixel_values"]).logits
        predicted = torch.stack([label_map(one, (height, width)) for one in logits])
        return records(labels, predicted, self.num_classes)

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """See :func:`tasks.segmentation.metric.scores`."""
        return scores(confusion(results, self.num_classes))


class SemanticSegmentation(Scoring, Task):
    """The engine's Task for one :class:`Config`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        train, measured = load_sources(config.data)
        super().__init__(measured, config.data)
        self._sources = {"train": train, config.data.scenes.measured: measured}
        self.train_data: Dataset = SegmentationData(train, config.data, IMAGENET)
        self._macs: int | None = None

    def build_model(self) -> nn.Module:
        """The segmenter, its weights drawn from torch's generator, its trunk's read from the checkpoint.

        The checkpoint is read once: at the end of a run of days, when a model is asked for only to be filled with the
        trained weights, it may be gone.
        """
        model = build(self.config, self.source)
        if self._macs is None:
            if self.config.model.checkpoint is not None:
                load_trunk(model, self.config.model.checkpoint)
            self._macs = macs(without_memory(lambda: build(self.config, self.source)), self.config.data.crop)
        if torch.distributed.is_initialized() and torch.cuda.is_available():
            return nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model

    def macs(self) -> int | None:
        """Multiply-accumulates of one crop; known once the model was built."""
        return self._macs

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the cross entropies of all labelled pixels, and their number."""
        return pixel_losses(model(pixel_values=batch["pixel_values"]).logits, batch["labels"])

    def metric_names(self) -> list[str]:
        """What ``summarize`` gives."""
        return list(NAMES)

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """The segmenter and its image processor, as the Auto classes and ``pipeline`` read them."""
        model.save_pretrained(folder)  # type: ignore[operator]
        segmentation_processor(model.config, self.config.data.fit[0]).save_pretrained(folder)  # type: ignore[arg-type]

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the data, part by part."""
        return {part: source.fingerprint() for part, source in self._sources.items()}


def build(config: Config, source: LabelSource) -> MetaFormerVisionForSemanticSegmentation:
    """A new segmenter of the source's classes.

    Raises:
        ValueError: unknown trunk, or options that do not fit.
    """
    names = dict(enumerate(source.classes))
    return create_segmenter(
        config.model.name or DEFAULT,
        trunk_options=config.model.overrides(),
        id2label=names,
        label2id={name: label for label, name in names.items()},
        **config.segmenter.fields(),
    )


def macs(model: nn.Module, size: int) -> int:
    """Multiply-accumulates of an image of ``size`` x ``size`` pixels by torch's counter; a model without memory."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(pixel_values=torch.empty(1, 3, size, size))
    return counter.get_total_flops() // 2


def cost(config: Config, start: Any = None) -> dict[str, Any]:
    """What ``run`` will take, without training: ``steps``, ``samples``, ``parameters``, ``macs`` of one crop and
    ``training_macs`` of all forward passes; see ``image_classification``.

    Raises:
        ValueError: as ``run`` does, for options that do not fit and data that is not there.
    """
    import_plugins(config.plugins)
    train_data, measured = counted_once(lambda: load_sources(config.data), config.data)
    model = without_memory(lambda: build(config, measured))
    training = planned_training(config.run, config.optim, config.schedule, len(train_data))
    one = macs(model, config.data.crop)
    total = {"training_macs": one * training["samples"]} if training else {}
    return {**training, "parameters": parameters_of(model), "macs": one, **total}


def run(config: Config) -> dict[str, Any]:
    """Train, evaluate and save; returns what the run folder's result.json holds."""
    return train(SemanticSegmentation, config)
