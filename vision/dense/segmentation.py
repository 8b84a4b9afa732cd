"""Semantic FPN (arXiv 1901.02446): the pyramid's maps brought to one size, added, and classified place by place."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.utils.generic import can_return_tuple

from vision.dense.configuration import MetaFormerVisionSegmentationConfig
from vision.dense.pretrained import DensePreTrainedModel
from vision.dense.pyramid import FeaturePyramid, trunk_fields

IGNORE = 255  # label of pixels that are nothing
CLASSES_AT_ONCE = 16


class SemanticFPNHead(nn.Module):
    """Maps (B, pyramid_channels, h, w), the finest first -> (B, K, h, w) at the size of the finest.

    Map i goes through max(1, i) convolutions, each but those of the finest followed by a doubling of the size.
    """

    def __init__(self, config: MetaFormerVisionSegmentationConfig, levels: int) -> None:
        super().__init__()
        channels = config.head_channels
        self.branches = nn.ModuleList(
            nn.ModuleList(
                _layer(channels if index else config.pyramid_channels, channels, config.head_norm)
                for index in range(max(1, level))
            )
            for level in range(levels)
        )
        self.dropout = nn.Dropout2d(config.head_dropout)
        self.classifier = nn.Conv2d(channels, config.num_classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.classifier.bias))

    def forward(self, maps: list[Tensor]) -> Tensor:
        total: Tensor | None = None
        for level, (branch, x) in enumerate(zip(self.branches, maps, strict=True)):
            for layer in branch.children():
                x = layer(x)
                if level:
                    x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
            total = x if total is None else total + resized(x, total.shape[-2:])
        assert total is not None
        return self.classifier(self.dropout(total))


def _layer(in_channels: int, out_channels: int, norm: str) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    built = nn.GroupNorm(out_channels // 4, out_channels) if norm == "group_norm" else nn.BatchNorm2d(out_channels)
    return nn.Sequential(conv, built, nn.ReLU())


class MetaFormerVisionForSemanticSegmentation(DensePreTrainedModel):
    """(B, 3, H, W) -> logits (B, K, H / 4, W / 4), as transformers' segmenters give them.

    Sides that are multiples of 32 are what the pyramid is made for; others work too.
    """

    config: MetaFormerVisionSegmentationConfig
    config_class = MetaFormerVisionSegmentationConfig
    main_input_name = "pixel_values"
    accepts_loss_kwargs = False  # transformers' Trainer divides the loss by the number of accumulated batches

    def __init__(self, config: MetaFormerVisionSegmentationConfig) -> None:
        super().__init__(config)
        self.backbone = FeaturePyramid(config)
        self.decode_head = SemanticFPNHead(config, len(self.backbone.strides))
        self.post_init()

    @property
    def pyramid(self) -> FeaturePyramid:
        return self.backbone

    @can_return_tuple
    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs: Any) -> SemanticSegmenterOutput:
        """Run the segmenter.

        Args:
            pixel_values: (B, 3, H, W), normalised pixels.
            labels: (B, h, w) of 0 ... K - 1, or 255 where nothing counts; of any size, the logits are resized to it.
            **kwargs: what Hugging Face's tools pass to every model; it changes nothing here.

        Returns:
            `logits` (B, K, H / 4, W / 4), and with labels `loss`, the mean over labelled pixels (0 where there is
            none). `pixel_losses` gives its sum and count.
        """
        logits = self.decode_head(list(self.backbone(pixel_values).values()))
        loss = None
        if labels is not None:
            total, count = pixel_losses(logits, labels)
            loss = total / count.clamp(min=1)
        return SemanticSegmenterOutput(loss=loss, logits=logits)


def create_segmenter(
    trunk: str, *, trunk_options: Mapping[str, Any] | None = None, **options: Any
) -> MetaFormerVisionForSemanticSegmentation:
    """A new segmenter: `create_segmenter("poolformer_s12", num_labels=150)`.

    Args:
        trunk: a row of `vision.VARIANTS`, or `timm/<name>`.
        trunk_options: fields of `MetaFormerVisionConfig` that win over the row's, such as `token_mixer`.
        **options: fields of `MetaFormerVisionSegmentationConfig`, such as `head_norm`, `num_labels` or `id2label`.

    Raises:
        ValueError: an unknown trunk or option, or a value that fits none.
    """
    config = MetaFormerVisionSegmentationConfig(trunk=trunk_fields(trunk, dict(trunk_options or {})), **options)
    return MetaFormerVisionForSemanticSegmentation(config)


def resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), bilinear; nothing is done where the size is the same."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def pixel_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the cross entropy over labelled pixels, float32, and the number of these.

    Args:
        logits: (B, K, h, w), resized to the labels' size.
        labels: (B, H, W) of 0 ... K - 1, or 255 where nothing counts.
    """
    scores = resized(logits.float(), labels.shape[-2:]).movedim(1, -1).flatten(0, 2)  # maps have no exact backward
    total = F.cross_entropy(scores, labels.flatten().long(), ignore_index=IGNORE, reduction="sum")
    return total, (labels != IGNORE).sum()


def label_map(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(K, h, w) -> int64 (H, W): the likeliest class of each pixel of an image of `size`.

    The same as the argmax of the resized logits, with 16 classes in memory at a time.
    """
    best = torch.full(size, -torch.inf, device=logits.device)
    labels = torch.zeros(size, dtype=torch.int64, device=logits.device)
    for first in range(0, len(logits), CLASSES_AT_ONCE):
        scores, index = resized(logits[None, first : first + CLASSES_AT_ONCE].float(), size)[0].max(dim=0)
        better = scores > best
        best, labels = torch.where(better, scores, best), torch.where(better, index + first, labels)
    return labels


__all__ = ["MetaFormerVisionForSemanticSegmentation", "create_segmenter"]
