"""Image classification: one model of :mod:`vision`, one labelled data set, top-1 and top-5 accuracy.

Shapes: B batch, S pixels of a side, K classes. A sample is ``(picture, label)``, the picture prepared as bytes, a batch
``{"pixel_values": (B, 3, S, S), "labels": (B,)}``; where images are mixed (:mod:`tasks.images.mixing`), a training
sample is ``(picture, label, draw)`` and a training batch's labels are targets (B, K).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from metaformer_nlp.config.command_line import to_dict
from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.engine import Dataset, Task
from tasks.images.card import image_card
from tasks.images.data import ImageSource, fingerprint, load_sources
from tasks.images.distillation import Teacher
from tasks.images.mixing import Mixing
from tasks.images.model import layer_depths, not_decayed
from tasks.images.options import ClassificationConfig as Config
from tasks.images.readers.classes import readable_names
from tasks.planned_cost import counted_once, parameters_of, planned_training, without_memory
from tasks.training import train
from vision import MetaFormerVisionConfig, image_processor, macs, preprocessing
from vision.transforms import EvalTransform, Transform, train_transform
from vision.variants import build_model

if TYPE_CHECKING:
    from tasks.images.model import ModelDescription


class TransformedImages:
    """A source seen through a transform: the engine's map-style data."""

    def __init__(self, source: ImageSource, transform: Transform, mixed: bool = False) -> None:
        """``mixed``: training samples carry what their batch's mixing is drawn from."""
        self.source, self.transform, self.mixed = source, transform, mixed

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> tuple[Any, ...]:
        """The prepared picture and the label; a function of the index and, in training, of ``rng``.

        With ``mixed`` and in training also 63 random bits of ``rng``.
        """
        picture = self.source.load(index, rng, lazy=self.transform.lazy)
        sample = self.transform.prepare(picture, rng), int(self.source.labels[index])
        return (*sample, int(rng.integers(2**63))) if self.mixed and rng is not None else sample


class ImageClassification(Task):
    """The engine's Task for one :class:`Config`."""

    def __init__(self, config: Config) -> None:
        if not 0 <= config.loss.label_smoothing < 1:
            raise ValueError(f"loss.label_smoothing {config.loss.label_smoothing}: must be at least 0 and below 1")
        self.config = config
        self._sizes = config.data.model_fields()
        seen = preprocessing(config.model.describe(**self._sizes))  # checks the options before any data is read
        height, width = seen.image_size
        if height != width:
            raise ValueError(f"data.image_size: images are square here, not {height} x {width}")
        train, measured = load_sources(config.data, height)
        split = "validation" if config.data.held_out is None else "held_out"
        self.classes = readable_names(train)
        self.num_classes = len(self.classes)
        self._model_config: ModelDescription | None = None
        self._sources = {"train": train, split: measured}
        look = seen.crop_pct, seen.interpolation, seen.mean, seen.std
        vary = config.data.augment
        self._mixing = None
        if config.mix.on:  # what is erased comes after mixing, as in timm's trainer
            erasing = vary.random_erasing if vary.recipe == "imagenet" else 0.0
            vary = replace(vary, random_erasing=0.0)
            self._mixing = Mixing(config.mix, self.num_classes, config.loss.label_smoothing, erasing)
        self._transform = train_transform(height, vary, *look)
        self.train_data: Dataset = TransformedImages(train, self._transform, mixed=config.mix.on)
        self._teacher = None
        if config.distill.teacher is not None:
            self._teacher = Teacher(config.distill, self.classes, seen, config.run.mixed_precision)
        self.eval_data: Mapping[str, Dataset] = {split: TransformedImages(measured, EvalTransform(height, *look))}

    def collate(self, samples: list[tuple[Any, ...]]) -> dict[str, Tensor]:
        """``{"pixel_values": (B, 3, S, S), "labels": (B,)}``; labels (B, K) where the samples are to be mixed.

        Mixed images are erased here, others in their transform.
        """
        pictures, classes, *draws = zip(*samples, strict=True)
        pixels, labels = self._transform.batch(pictures), torch.tensor(classes)
        if draws and self._mixing is not None:
            pixels, labels = self._mixing(pixels, labels, draws[0])
        return {"pixel_values": pixels, "labels": labels}

    def build_model(self) -> nn.Module:
        """The classifier, its weights drawn from torch's generator or read from the checkpoint.

        The checkpoint is read once: at the end of a run of days, when a model is asked for only to be filled with the
        trained weights, it may be gone.
        """
        if self._model_config is None:
            model = self.config.model.build(self.classes, **self._sizes)
            self._model_config, self._macs = model.config, macs(model)
            return model
        return build_model(self._model_config)

    def macs(self) -> int:
        """Multiply-accumulates of one image; known once the model was built."""
        return self._macs

    def layer_depths(self, model: nn.Module) -> dict[str, int]:
        """Where each parameter lies between the stem (0) and the head, for layer-wise learning rates."""
        return layer_depths(model)

    def not_decayed(self, model: nn.Module) -> set[str]:
        """What a model of timm excludes from weight decay."""
        return not_decayed(model)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the batch's cross entropies, or of what is minimised with a teacher, and the number of images."""
        logits = model(pixel_values=batch["pixel_values"]).logits.float()
        labels = batch["labels"]
        smoothing = 0.0 if labels.is_floating_point() else self.config.loss.label_smoothing  # mixed: it is in there
        total = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum")
        if self._teacher is not None:
            total = self._teacher.loss(logits, batch["pixel_values"], total)
        return total, torch.tensor(len(labels), device=total.device)

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the batch: ``loss`` (without smoothing), ``correct_top5`` and ``count``; ``correct`` (B,)."""
        logits, labels = model(pixel_values=batch["pixel_values"]).logits.float(), batch["labels"]
        ranked = logits.topk(min(5, self.num_classes), dim=1).indices == labels[:, None]
        return {
            "loss": F.cross_entropy(logits, labels, reduction="sum").double(),
            "correct": ranked[:, 0],
            "correct_top5": ranked.any(dim=1).sum(),
            "count": torch.tensor(len(labels), device=labels.device),
        }

    def metric_names(self) -> list[str]:
        """What ``summarize`` gives."""
        return ["loss", "accuracy", *(["accuracy_top5"] if self.num_classes > 5 else [])]

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """``loss``, ``accuracy`` and, where there are more than five classes, ``accuracy_top5``; shares of one."""
        sums = {key: sum(float(result[key].sum()) for result in results) for key in results[0]}
        metrics = {"loss": sums["loss"] / sums["count"], "accuracy": sums["correct"] / sums["count"]}
        if self.num_classes > 5:
            metrics["accuracy_top5"] = sums["correct_top5"] / sums["count"]
        return metrics

    def items(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, NDArray[np.bool_]]:
        """Whether each image is ``correct``."""
        return {"correct": torch.cat([result["correct"] for result in results]).numpy()}

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """The model and its image processor, as the Auto classes and ``pipeline`` read them, and a model card."""
        model.save_pretrained(folder)  # type: ignore[operator]
        card = image_card(model.config, settings=to_dict(self.config))  # type: ignore[arg-type]
        (folder / "README.md").write_text(card, encoding="utf-8")
        if isinstance(model.config, MetaFormerVisionConfig):  # that of timm's models is in their configuration
            image_processor(model.config, apply_exif=self.config.data.apply_exif).save_pretrained(folder)

    def mixes_samples(self) -> bool:
        return self.config.mix.on

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the data, part by part, and of the micro-batch where images of one are mixed."""
        identity = {part: fingerprint(source) for part, source in self._sources.items()}
        together = {"micro_batch_size": self.config.run.micro_batch_size}
        return identity | {"mix": together} if self.config.mix.on else identity


def cost(config: Config, start: Any = None) -> dict[str, Any]:
    """What ``run`` will take, without training: ``steps``, ``samples``, ``parameters``, ``macs`` of one image and
    ``training_macs`` of all forward passes, under the names of the result.

    Steps and samples are left out where ``schedule.minutes`` limits the run. ``start`` is the configuration of the run
    that will make ``model.checkpoint``, where that is not there yet.

    Raises:
        ValueError: as ``run`` does, for options that do not fit (the checkpoint's, too) and data that is not there.
    """
    import_plugins(config.plugins)
    sizes = config.data.model_fields()
    if start is None or config.model.checkpoint is None:
        description = config.model.describe(**sizes)
    else:
        description = config.model.describe_after(start.model, start.data.model_fields(), sizes)
    height, _ = preprocessing(description).image_size

    def count() -> tuple[int, int]:
        train, _ = load_sources(config.data, height)
        return len(train), len(train.classes)

    num_samples, num_classes = counted_once(count, config.data, height)
    description.num_labels = num_classes
    built = without_memory(lambda: build_model(description))
    training = planned_training(config.run, config.optim, config.schedule, num_samples)
    one = macs(built)
    total = {"training_macs": one * training["samples"]} if training else {}
    return {**training, "parameters": parameters_of(built), "macs": one, **total}


def run(config: Config) -> dict[str, Any]:
    """Train, evaluate and save; returns what the run folder's result.json holds."""
    return train(ImageClassification, config)
