"""Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) over a micro-batch, drawn as timm draws them.

timm's :class:`timm.data.Mixup` in "batch" mode does the work: one coefficient for the whole batch, each image mixed
with its mirror in the batch (the first with the last). Random erasing (arXiv 1708.04896) comes after it, as in timm's
trainer, whose loader erases what its collate function has mixed. What is drawn is a function of the batch's own
samples, so that a run that was interrupted mixes again what it mixed before.

Shapes: B images of a micro-batch, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.data import Mixup
from timm.data.mixup import mixup_target
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from tasks.images.options import MixConfig
from vision.transforms import global_generators


class Mixing:
    """Mixes a micro-batch and its labels, and erases rectangles of the mixed images."""

    def __init__(
        self, config: MixConfig, num_classes: int, label_smoothing: float, random_erasing: float = 0.0
    ) -> None:
        """``label_smoothing``: share of the target that is spread evenly over all classes, before mixing;
        ``random_erasing``: probability of erasing a rectangle of an image, after it."""
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        self._mixup: Any = Mixup(
            mixup_alpha=config.mixup_alpha,
            cutmix_alpha=config.cutmix_alpha,
            prob=config.probability,
            switch_prob=config.switch_probability,
            num_classes=num_classes,
        )
        self._erase = RandomErasing(random_erasing, mode="pixel", device="cpu") if random_erasing else None

    def __call__(self, pixels: Tensor, labels: Tensor, draws: Sequence[int]) -> tuple[Tensor, Tensor]:
        """``pixels`` (B, 3, S, S), changed in place, and the targets (B, K) that belong to them.

        ``draws`` (B,) seed what is random: the first the mixing, each the erasing of its image. In an odd batch the
        image in the middle meets itself.

        Raises:
            ValueError: a batch of one image, which has nothing to be mixed with.
        """
        if len(pixels) < 2:
            raise ValueError(
                "a micro-batch of one image cannot be mixed: set run.micro_batch_size to 2 or more (null for each "
                "process's whole share of run.batch_size), or mix.probability to 0"
            )
        with global_generators(draws[0]):
            # Not `Mixup.__call__`, which is these two lines and a refusal of odd batches.
            coefficient = self._mixup._mix_batch(pixels)
        if self._erase is not None:
            for image, draw in zip(pixels, draws, strict=True):
                with global_generators(draw):
                    self._erase(image)
        return pixels, mixup_target(labels, self.num_classes, coefficient, self.label_smoothing)
