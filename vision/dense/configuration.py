"""The configurations of the dense models: detectors with or without masks, and the segmenter."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from vision.configuration import MetaFormerVisionConfig, refuse_unknown_keys
from vision.processing import IMAGENET_MEAN, IMAGENET_STD


@strict
class DenseConfig(PreTrainedConfig):
    """What detectors and the segmenter share: a trunk, and the feature pyramid over its maps.

    Args:
        trunk: fields of `MetaFormerVisionConfig` (none: PoolFormer-S12), or `{"architecture": "resnet50"}` for a model
            of timm.
        frozen_stages: for a trunk of timm: from 1 on, all batch norms keep their statistics, and the stem and so many
            stages are not trained, as detectors train a ResNet (1). 0: everything is trained.
        pyramid_channels: channels of every map of the pyramid.
        image_mean, image_std: of pixels in [0, 1], one a channel.

    Raises:
        ValueError: unknown key (the nearest is named), or a value out of range.
    """

    trunk: dict[str, Any] | None = None
    frozen_stages: int = 0
    pyramid_channels: int = 256
    image_mean: list[float] | tuple[float, ...] = IMAGENET_MEAN
    image_std: list[float] | tuple[float, ...] = IMAGENET_STD

    def __post_init__(self, **kwargs: Any) -> None:
        refuse_unknown_keys(type(self), kwargs)
        self.trunk = self.trunk or {}
        self.check()
        super().__post_init__(**kwargs)

    @property
    def architecture(self) -> str | None:
        """timm's name of the trunk; None for a trunk of ours."""
        return (self.trunk or {}).get("architecture")

    @property
    def num_classes(self) -> int:
        """K: the names of `id2label`. Background is none of them."""
        return len(self.id2label or {})

    def trunk_config(self) -> MetaFormerVisionConfig:
        """The configuration of a trunk of ours."""
        return MetaFormerVisionConfig(**(self.trunk or {}))

    def check(self) -> None:
        """Raise ValueError for values that fit no model."""
        if self.architecture is None:
            self.trunk_config()
        elif set(self.trunk or {}) != {"architecture"}:
            raise ValueError(f"a trunk of timm is fixed by its architecture; it takes no more: {self.trunk}")
        if self.frozen_stages and self.architecture is None:
            raise ValueError(f"frozen_stages is {self.frozen_stages}, but trunks of ours are trained whole: give 0")
        self._at_least("pyramid_channels", 1)
        self._at_least("frozen_stages", 0)

    def _at_least(self, name: str, least: int) -> None:
        if getattr(self, name) < least:
            raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")


@strict
class MetaFormerVisionDetectionConfig(DenseConfig):
    """RetinaNet or Mask R-CNN over a trunk; the defaults are those of the papers' COCO tables.

    Args:
        detector: `retinanet` (boxes) or `mask_rcnn` (boxes and masks).
        id2label: the classes by label 0 ... K - 1; background is none of them.
        category_ids: the data set's own number of each label, rising; None: the labels themselves.
        short_side, long_side: an image is resized so that its short side has so many pixels, but its long side no more
            than so many.
        anchor_size: side of the smallest square anchor of a map, in strides of the map; None: 4 for RetinaNet, whose
            maps have three sizes each, and 8 for Mask R-CNN.
        extra_levels: maps of RetinaNet above the trunk's last one (P6, P7): 0, 1 or 2.
        score_threshold: detections below are dropped.
        max_detections: the best that are kept of an image.
        proposals: boxes of an image that Mask R-CNN's second stage looks at.
        sampled_boxes: those of them that it trains on, a quarter with an object at most.
        box_head_channels: of its two linear layers.
        mask_head_channels: of its mask convolutions, one entry each.
    """

    model_type = "metaformer_vision_detection"

    detector: Literal["retinanet", "mask_rcnn"] = "retinanet"
    category_ids: list[int] | None = None
    short_side: int = 800
    long_side: int = 1333
    anchor_size: float | int | None = None
    extra_levels: int = 2
    score_threshold: float | int = 0.05
    max_detections: int = 100
    proposals: int = 1000
    sampled_boxes: int = 512
    box_head_channels: int = 1024
    mask_head_channels: list[int] | tuple[int, ...] = (256, 256, 256, 256)

    def check(self) -> None:
        super().check()
        for name in ("short_side", "long_side", "max_detections", "proposals", "sampled_boxes", "box_head_channels"):
            self._at_least(name, 1)
        if self.extra_levels not in (0, 1, 2):
            raise ValueError(f"extra_levels is {self.extra_levels}; it must be 0, 1 or 2")
        if self.anchor_size is not None and self.anchor_size <= 0:
            raise ValueError(f"anchor_size is {self.anchor_size}; it must be above 0, or null")
        if not self.mask_head_channels or min(self.mask_head_channels) < 1:
            raise ValueError(
                f"mask_head_channels is {self.mask_head_channels}; it needs one entry at least, all above 0"
            )

    def categories(self) -> list[int]:
        """The data set's own number of each label 0 ... K - 1.

        Raises:
            ValueError: category_ids has another number of entries than there are classes, or does not rise.
        """
        if self.category_ids is None:
            return list(range(self.num_classes))
        if len(self.category_ids) != self.num_classes or sorted(set(self.category_ids)) != self.category_ids:
            raise ValueError(
                f"category_ids must be {self.num_classes} rising numbers, one a class; got {len(self.category_ids)}: "
                f"{self.category_ids[:10]}"
            )
        return self.category_ids


@strict
class MetaFormerVisionSegmentationConfig(DenseConfig):
    """Semantic FPN over a trunk; the defaults are those of the papers' ADE20K tables, but for the head's norm.

    Args:
        head_channels: of the head's branches, a multiple of 4.
        head_norm: `group_norm` (groups of four channels), whose results depend on no neighbour in the batch, or
            `batch_norm`, with which the papers' numbers were trained.
        head_dropout: probability of dropping a channel of the head's map.
    """

    model_type = "metaformer_vision_segmentation"

    head_channels: int = 128
    head_norm: Literal["group_norm", "batch_norm"] = "group_norm"
    head_dropout: float | int = 0.1

    def check(self) -> None:
        super().check()
        if self.head_channels < 4 or self.head_channels % 4:
            raise ValueError(f"head_channels is {self.head_channels}; it must be a multiple of 4")
        if not 0 <= self.head_dropout < 1:
            raise ValueError(f"head_dropout is a probability from 0 to below 1, not {self.head_dropout}")


__all__ = ["MetaFormerVisionDetectionConfig", "MetaFormerVisionSegmentationConfig"]
