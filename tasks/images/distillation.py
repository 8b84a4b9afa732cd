"""Knowledge distillation: the student also learns what a trained classifier says about the same pixels.

Soft: the Kullback-Leibler divergence of the two softened distributions (arXiv 1503.02531). Hard: cross entropy with the
teacher's decision as the label (arXiv 2012.12877, without its extra token, so that the student stays what it is).

Shapes: B images, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.images.checkpoints import check_classes
from tasks.images.options import DistillConfig
from vision import Preprocessing, load_model, preprocessing


class Teacher:
    """A classifier in evaluation mode, outside of what is trained, wrapped and saved."""

    def __init__(
        self, config: DistillConfig, classes: Sequence[str], seen: Preprocessing, precision: str | None
    ) -> None:
        """A teacher for a student of these ``classes`` whose pixels have gone through ``seen``.

        ``precision`` is the option run.mixed_precision: no, bf16, fp16, or None for what the launch says.

        Raises:
            ValueError: no usable checkpoint, other classes or order, a model that cannot take the student's size.
        """
        assert config.teacher is not None
        model = load_model(config.teacher, config.teacher_name, image_size=seen.image_size)
        check_classes(model, classes, f"distill.teacher {config.teacher}")
        precision = precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        self.config, self.dtype = config, {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        self.model = model.eval().requires_grad_(False)
        own = preprocessing(model)
        scale = [a / b for a, b in zip(seen.std, own.std, strict=True)]
        shift = [(a - b) / s for a, b, s in zip(seen.mean, own.mean, own.std, strict=True)]
        self._scale, self._shift = (torch.tensor(values).view(-1, 1, 1) for values in (scale, shift))
        self._same = (seen.mean, seen.std) == (own.mean, own.std)

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) pixels of the student -> (B, K) float32, in the arithmetic of the training."""
        if not self._same:
            pixels = pixels * self._scale.to(pixels.device) + self._shift.to(pixels.device)
        with torch.autocast(pixels.device.type, self.dtype, enabled=self.dtype is not None):
            return self.model.to(pixels.device)(pixel_values=pixels).logits.float()

    def loss(self, logits: Tensor, pixels: Tensor, ordinary: Tensor) -> Tensor:
        """The student's loss, summed over the batch.

        Args:
            logits: (B, K), the student's.
            pixels: (B, 3, S, S), what it saw.
            ordinary: its loss without the teacher, summed over the batch.
        """
        taught, t = self.logits(pixels), self.config.temperature
        if self.config.kind == "hard":
            distance = F.cross_entropy(logits, taught.argmax(1), reduction="sum")
        else:  # t^2 keeps the gradient's size; per image, where DeiT's code also divides by the number of classes
            soft, target = (logits / t).log_softmax(1), (taught / t).log_softmax(1)
            distance = F.kl_div(soft, target, reduction="sum", log_target=True) * t**2
        return (1 - self.config.alpha) * ordinary + self.config.alpha * distance
