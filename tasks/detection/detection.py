"""Object detection: RetinaNet or Mask R-CNN over a trunk of :mod:`vision`, scored as COCO does.

A batch is ``{"images": [(3, H, W) uint8, ...], "index": (B,)}``, in training with ``"targets": [{"boxes": (n, 4),
"labels": (n,), "masks": (n, H, W)}, ...]``. Sizes differ: the model resizes, normalises and pads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.engine import Dataset, EvaluationTask, Task
from tasks.detection.data import DetectionData, ObjectSource, load_sources
from tasks.detection.metric import NAMES, PREFIXES, Kind, coco_scores, records, results
from tasks.detection.options import DetectionConfig as Config
from tasks.images.model import DEFAULT
from tasks.planned_cost import counted_once, parameters_of, planned_training, without_memory
from tasks.training import train
from vision.dense import MetaFormerVisionForObjectDetection, create_detector, load_checkpoint


class Scoring(EvaluationTask):
    """What is found in a source, and its scores."""

    def __init__(self, source: ObjectSource, split: str, folder: Path | None = None) -> None:
        """``folder``: where results are written in COCO's format."""
        self.source, self.folder = source, folder
        self.eval_data: Mapping[str, Dataset] = {split: DetectionData(source)}

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Lists, since sizes differ."""
        targets = [{key: sample[key] for key in sample.keys() - {"image", "index"}} for sample in samples]
        index = torch.tensor([sample["index"] for sample in samples])
        return {"images": [sample["image"] for sample in samples], "targets": targets, "index": index}

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """See :func:`tasks.detection.metric.records`."""
        return records(batch["index"], model(batch["images"]))

    def summarize(self, split: str, results_: list[dict[str, Tensor]]) -> dict[str, float]:
        """``box_ap`` and the eleven others, and with masks ``mask_ap`` and so on; shares of one."""
        found = results(results_, self.source.image_ids, self.source.category_ids)
        scores: dict[str, float] = {}
        if self.folder is not None:
            for kind in PREFIXES.keys() - found.keys():  # of an earlier evaluation
                (self.folder / f"{split}.{kind}.json").unlink(missing_ok=True)
        for kind, rows in found.items():
            if self.folder is not None:
                (self.folder / f"{split}.{kind}.json").write_text(json.dumps(rows), encoding="utf-8")
            scores |= coco_scores(self.source.ground_truth, rows, kind, self.source.image_ids)
        return scores


class ObjectDetection(Scoring, Task):
    """The engine's Task for one :class:`Config`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        masks = config.detector.masks
        train, measured = load_sources(config.data, masks)
        super().__init__(measured, config.data.scenes.measured)
        self._sources = {"train": train, config.data.scenes.measured: measured}
        self.train_data: Dataset = DetectionData(train, config.data.flip, masks)
        self._macs: int | None = None

    def build_model(self) -> MetaFormerVisionForObjectDetection:
        """The detector, its weights drawn from torch's generator, or read from the checkpoint as far as it has them.

        The checkpoint is read once: at the end of a run of days, when a model is asked for only to be filled with the
        trained weights, it may be gone.
        """
        model = build(self.config, self.source)
        if self._macs is None:
            if self.config.model.checkpoint is not None:
                load_checkpoint(model, self.config.model.checkpoint)
            self._macs = macs(without_memory(lambda: build(self.config, self.source)))
        return model

    def macs(self) -> int | None:
        """See :func:`macs`; known once the model was built."""
        return self._macs

    def loss(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Sum over the images of each one's losses, and the number of images."""
        losses = model(batch["images"], batch["targets"])
        count = len(batch["images"])
        total = torch.stack(list(losses.values())).sum() * count
        return total, torch.tensor(count, device=total.device)

    def metric_names(self) -> list[str]:
        """What ``summarize`` gives."""
        kinds: tuple[Kind, ...] = ("bbox", "segm") if self.config.detector.masks else ("bbox",)
        return [f"{PREFIXES[kind]}_{name}" for kind in kinds for name in NAMES]

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """The detector, as ``vision.dense.load_dense_model`` opens it."""
        model.save_pretrained(folder)  # type: ignore[operator]

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the data, part by part."""
        return {part: source.fingerprint() for part, source in self._sources.items()}


def build(config: Config, source: ObjectSource) -> MetaFormerVisionForObjectDetection:
    """A new detector of the source's classes.

    Raises:
        ValueError: unknown trunk, or options that do not fit.
    """
    names = dict(enumerate(source.classes))
    return create_detector(
        config.model.name or DEFAULT,
        trunk_options=config.model.overrides(),
        id2label=names,
        label2id={name: label for label, name in names.items()},
        category_ids=source.category_ids,
        **config.detector.fields(),
    )


def macs(model: MetaFormerVisionForObjectDetection) -> int:
    """Multiply-accumulates of an image in the shape 5 : 8, as mmdetection counts, by torch's counter.

    Its short side is the model's; Mask R-CNN's heads see all proposals and the most detections that it keeps.

    Args:
        model: without memory (on the device "meta").
    """
    config, inner = model.config, model.eval().detector
    sides = config.short_side, min(config.long_side, 1.6 * config.short_side)
    height, width = (-(-int(side) // 32) * 32 for side in sides)
    channels = config.pyramid_channels
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        maps = list(inner.backbone(torch.empty(1, 3, height, width)).values())
        if config.detector == "retinanet":
            inner.head(maps)
        else:
            heads = inner.roi_heads
            inner.rpn.head(maps)
            heads.box_predictor(heads.box_head(torch.empty(config.proposals, channels, 7, 7)))
            heads.mask_predictor(heads.mask_head(torch.empty(config.max_detections, channels, 14, 14)))
    return counter.get_total_flops() // 2


def cost(config: Config, start: Any = None) -> dict[str, Any]:
    """What ``run`` will take, without training: ``steps``, ``samples``, ``parameters``, ``macs`` of an image and
    ``training_macs`` of all forward passes; see ``image_classification``.

    Raises:
        ValueError: as ``run`` does, for options that do not fit and data that is not there.
    """
    import_plugins(config.plugins)
    train_data, measured = counted_once(lambda: load_sources(config.data, config.detector.masks), config.data)
    model = without_memory(lambda: build(config, measured))
    training = planned_training(config.run, config.optim, config.schedule, len(train_data))
    one = macs(model)
    total = {"training_macs": one * training["samples"]} if training else {}
    return {**training, "parameters": parameters_of(model), "macs": one, **total}


def run(config: Config) -> dict[str, Any]:
    """Train, evaluate and save; returns what the run folder's result.json holds."""
    return train(ObjectDetection, config)
