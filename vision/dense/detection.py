"""RetinaNet and Mask R-CNN over a feature pyramid: torchvision's detectors, with what the papers' recipes do otherwise.

Outside, labels are 0 ... K - 1 for both detectors; torchvision's background, label 0 of Mask R-CNN, stays inside.
Boxes are x1, y1, x2, y2 in pixels of the image that was given, with 0 <= x1 < x2 <= W.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import RetinaNet
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_inference
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops import roi_align

from vision.dense.anchors import RATIOS, Anchors
from vision.dense.configuration import MetaFormerVisionDetectionConfig
from vision.dense.pretrained import DensePreTrainedModel
from vision.dense.pyramid import FeaturePyramid, default_frozen_stages, trunk_fields

Target = Mapping[str, Tensor]
Detection = dict[str, Tensor]
BACKGROUND = 0  # torchvision's label of it in Mask R-CNN


class MetaFormerVisionForObjectDetection(DensePreTrainedModel):
    """Images of any sizes -> losses while training, detections otherwise. Resizes, normalises and pads by itself.

    An image's result depends on the others of its batch where sizes differ, since a trunk's norms see the padding:
    evaluate one image at a time.
    """

    config: MetaFormerVisionDetectionConfig
    config_class = MetaFormerVisionDetectionConfig
    main_input_name = "images"

    def __init__(self, config: MetaFormerVisionDetectionConfig) -> None:
        super().__init__(config)
        self.detector = build_retinanet(config) if config.detector == "retinanet" else build_mask_rcnn(config)
        self.first_label = BACKGROUND + 1 if config.detector == "mask_rcnn" else 0
        self.post_init()

    @property
    def pyramid(self) -> FeaturePyramid:
        return cast(FeaturePyramid, self.detector.backbone)

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None = None, **kwargs: Any
    ) -> dict[str, Tensor] | list[Detection]:
        """Run the detector.

        Args:
            images: one (3, H, W) an image, RGB: uint8, or floats in [0, 1].
            targets: while training, one an image: `boxes` float32 (n, 4), `labels` int64 (n,) in 0 ... K - 1, and for
                Mask R-CNN `masks` (n, H, W) of 0 and 1; n = 0 is an image without objects. Other keys are ignored.
            **kwargs: what Hugging Face's tools pass to every model; it changes nothing here.

        Returns:
            While training (`model.train()`): float32 losses by name, each the mean over the images of that image's own
            loss. Their sum times the number of images is what a batch adds to a sum over images.
            Otherwise: one an image, best first: `boxes` float32 (n, 4), `scores` (n,), `labels` (n,) in 0 ... K - 1,
            and for Mask R-CNN `masks` bool (n, H, W); n is at most `max_detections`.

        Raises:
            ValueError: no targets while training, or not one an image.
        """
        inputs = [image.float() / 255 if image.dtype == torch.uint8 else image for image in images]
        if self.training:
            if targets is None or len(targets) != len(images):
                raise ValueError(f"{len(images)} images need as many targets while training")
            wanted = ("boxes", "labels", "masks") if self.config.detector == "mask_rcnn" else ("boxes", "labels")
            inside = [{key: target[key] for key in wanted} for target in targets]
            for target in inside:
                target["labels"] = target["labels"] + self.first_label
            return self.detector(inputs, inside)
        detections: list[Detection] = self.detector(inputs)
        for detection in detections:
            detection["labels"] = detection["labels"] - self.first_label
        return detections


def create_detector(
    trunk: str, *, trunk_options: Mapping[str, Any] | None = None, **options: Any
) -> MetaFormerVisionForObjectDetection:
    """A new detector: `create_detector("poolformer_s12", detector="mask_rcnn", num_labels=80)`.

    Args:
        trunk: a row of `vision.VARIANTS`, or `timm/<name>`; the stem and first stage of timm's ResNets are frozen.
        trunk_options: fields of `MetaFormerVisionConfig` that win over the row's, such as `token_mixer`.
        **options: fields of `MetaFormerVisionDetectionConfig`, such as `detector`, `num_labels` or `id2label`.

    Raises:
        ValueError: an unknown trunk or option, or a value that fits none.
    """
    options = {"frozen_stages": default_frozen_stages(trunk), **options}
    config = MetaFormerVisionDetectionConfig(trunk=trunk_fields(trunk, dict(trunk_options or {})), **options)
    return MetaFormerVisionForObjectDetection(config)


def build_retinanet(config: MetaFormerVisionDetectionConfig) -> RetinaNet:
    """RetinaNet on the trunk's maps but the finest, with `extra_levels` above."""
    pyramid = FeaturePyramid(config, first=1, extra=config.extra_levels)
    smallest = 4.0 if config.anchor_size is None else float(config.anchor_size)
    anchors = Anchors(pyramid.strides, [smallest * 2 ** (step / 3) for step in range(3)])
    detector = RetinaNet(
        pyramid,
        config.num_classes,
        anchor_generator=anchors,
        head=_RetinaNetHead(pyramid.out_channels, 3 * len(RATIOS), config.num_classes),
        score_thresh=config.score_threshold,
        detections_per_img=config.max_detections,
    )
    detector.transform = _Transform(config)
    return detector


def build_mask_rcnn(config: MetaFormerVisionDetectionConfig) -> GeneralizedRCNN:
    """Mask R-CNN on all of the trunk's maps, and one above for the proposals."""
    pyramid = FeaturePyramid(config, extra="pool")
    channels, classes = pyramid.out_channels, config.num_classes + 1
    strides = pyramid.strides[:-1]
    proposals = _ProposalNetwork(
        Anchors(pyramid.strides, [8.0 if config.anchor_size is None else float(config.anchor_size)]),
        _ProposalHead(channels, len(RATIOS)),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2 * config.proposals, "testing": config.proposals},
        post_nms_top_n={"training": config.proposals, "testing": config.proposals},
        nms_thresh=0.7,
    )
    proposals.proposal_matcher = _ProposalMatcher(0.7, 0.3, allow_low_quality_matches=True)
    heads = _RegionHeads(
        AlignedPool(strides, 7),
        TwoMLPHead(channels * 7 * 7, config.box_head_channels),
        FastRCNNPredictor(config.box_head_channels, classes),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=config.sampled_boxes,
        positive_fraction=0.25,
        bbox_reg_weights=(10.0, 10.0, 5.0, 5.0),
        score_thresh=config.score_threshold,
        nms_thresh=0.5,
        detections_per_img=config.max_detections,
        mask_roi_pool=AlignedPool(strides, 14),
        mask_head=MaskRCNNHeads(channels, list(config.mask_head_channels), 1),
        mask_predictor=MaskRCNNPredictor(config.mask_head_channels[-1], config.mask_head_channels[-1], classes),
    )
    return GeneralizedRCNN(pyramid, proposals, heads, _Transform(config))


class _RetinaNetHead(RetinaNetHead):
    """Its outputs leave autocast as float32, for the loss and for the boxes."""

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        return {name: output.float() for name, output in super().forward(x).items()}


class _ProposalHead(RPNHead):
    """Its outputs leave autocast as float32, for the loss and for the boxes."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        scores, deltas = super().forward(x)
        return [x.float() for x in scores], [x.float() for x in deltas]


class _ProposalMatcher(Matcher):
    """An object's best anchor is its own from an IoU of 0.3 on only; torchvision's takes it whatever the overlap."""

    def set_low_quality_matches_(self, matches: Tensor, all_matches: Tensor, match_quality_matrix: Tensor) -> None:
        """(anchors,) twice, and the IoU (objects, anchors); the first is changed in place."""
        matched = match_quality_matrix.max(dim=1).values >= 0.3
        super().set_low_quality_matches_(matches, all_matches, match_quality_matrix[matched])


class _ProposalNetwork(RegionProposalNetwork):
    """L1 on the deltas instead of smooth L1, and each image's losses divided by its own sampled anchors."""

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """(images x anchors, 1), (images x anchors, 4) and lists with one entry an image -> two means over images."""
        count = len(labels)
        scores, boxes = [], []
        for score, delta, label, wanted, positive, negative in zip(
            objectness.flatten().chunk(count), pred_bbox_deltas.chunk(count), labels, regression_targets,
            *self.fg_bg_sampler(labels), strict=True,
        ):  # fmt: skip
            sampled, positive = (positive | negative).bool(), positive.bool()
            number = sampled.sum().clamp(min=1)
            scores.append(F.binary_cross_entropy_with_logits(score[sampled], label[sampled], reduction="sum") / number)
            boxes.append(F.l1_loss(delta[positive], wanted[positive], reduction="sum") / number)
        return torch.stack(scores).mean(), torch.stack(boxes).mean()


class _RegionHeads(RoIHeads):
    """Box and mask heads: L1 losses, masks cropped aligned and made 0 or 1, each image's losses by its own boxes."""

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Detection] | None = None,
    ) -> tuple[list[Detection], dict[str, Tensor]]:
        """Maps by name and one (n, 4) an image -> detections and no losses, or, while training, losses alone."""
        if self.training:
            assert targets is not None
            proposals, matched, labels, wanted = self.select_training_samples(proposals, targets)
            logits, deltas = self._boxes(features, proposals)
            losses = box_losses(logits, deltas, labels, wanted)
            objects = [label > BACKGROUND for label in labels]
            proposals = [boxes[chosen] for boxes, chosen in zip(proposals, objects, strict=True)]
            losses["loss_mask"] = mask_loss(
                self._masks(features, proposals),
                proposals,
                [label[chosen] for label, chosen in zip(labels, objects, strict=True)],
                [match[chosen] for match, chosen in zip(matched, objects, strict=True)],
                [target["masks"] for target in targets],
            )
            return [], losses
        boxes, scores, labels = self.postprocess_detections(*self._boxes(features, proposals), proposals, image_shapes)
        masks = maskrcnn_inference(self._masks(features, boxes), labels)
        keys = ("boxes", "scores", "labels", "masks")
        return [dict(zip(keys, found, strict=True)) for found in zip(boxes, scores, labels, masks, strict=True)], {}

    def _boxes(self, features: dict[str, Tensor], proposals: list[Tensor]) -> tuple[Tensor, Tensor]:
        """(boxes, K + 1) scores and (boxes, 4 (K + 1)) deltas, float32."""
        logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals)))
        return logits.float(), deltas.float()

    def _masks(self, features: dict[str, Tensor], boxes: list[Tensor]) -> Tensor:
        """(boxes, K + 1, 28, 28) logits, float32."""
        return self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes))).float()


class AlignedPool(nn.Module):
    """Crops (boxes, C, size, size) of the map that fits each box, by RoIAlign with exact corners and full sampling.

    A box of side s is taken from map floor(log2(s / (14 x stride of the finest))): of stride 4 up to 112 pixels, as in
    the papers. torchvision's own divides sizes to guess the strides, and knows neither `aligned` nor, as built by its
    Mask R-CNN, as many samples as a cell has places.
    """

    def __init__(self, strides: Sequence[int], size: int) -> None:
        super().__init__()
        self.strides, self.size = list(strides), size

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor]) -> Tensor:
        """The first maps of `features`, one a stride, and one (n, 4) an image."""
        image = torch.cat([torch.full_like(x[:, :1], index) for index, x in enumerate(boxes)])
        corners = torch.cat(boxes)
        sides = ((corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])).sqrt()
        level = torch.floor(torch.log2(sides / (14 * self.strides[0]) + 1e-6)).clamp(0, len(self.strides) - 1)
        rois = torch.cat([image, corners], dim=1)
        maps = list(features.values())[: len(self.strides)]
        pooled = maps[0].new_zeros(len(rois), maps[0].shape[1], self.size, self.size)
        for index, (x, stride) in enumerate(zip(maps, self.strides, strict=True)):
            chosen = torch.where(level == index)[0]
            crops = roi_align(x, rois[chosen], self.size, 1 / stride, sampling_ratio=0, aligned=True)
            pooled[chosen] = crops.to(pooled.dtype)
        return pooled


def box_losses(logits: Tensor, deltas: Tensor, labels: list[Tensor], wanted: list[Tensor]) -> dict[str, Tensor]:
    """Cross entropy and L1 over each image's sampled boxes, divided by their number, then the mean over images.

    Args:
        logits: (boxes, K + 1), images one after the other.
        deltas: (boxes, 4 (K + 1)).
        labels: (boxes of the image,) with 0 for background, one an image.
        wanted: (boxes of the image, 4), deltas to the object that each belongs to.
    """
    sizes = [len(label) for label in labels]
    classes, boxes = [], []
    for logit, delta, label, target in zip(logits.split(sizes), deltas.split(sizes), labels, wanted, strict=True):
        number = max(1, len(label))
        classes.append(F.cross_entropy(logit, label, reduction="sum") / number)
        rows = torch.where(label > BACKGROUND)[0]
        predicted = delta.reshape(len(label), -1, 4)[rows, label[rows]]
        boxes.append(F.l1_loss(predicted, target[rows], reduction="sum") / number)
    return {"loss_classifier": torch.stack(classes).mean(), "loss_box_reg": torch.stack(boxes).mean()}


def mask_loss(
    logits: Tensor, boxes: list[Tensor], labels: list[Tensor], matched: list[Tensor], masks: list[Tensor]
) -> Tensor:
    """Binary cross entropy of the masks of boxes with an object: each image's mean, then the mean over images.

    Args:
        logits: (boxes, K + 1, M, M), images one after the other.
        boxes: (n, 4) in pixels of the image, one an image; the same for the two below.
        labels: (n,) in 1 ... K.
        matched: (n,), which of the image's masks each box belongs to.
        masks: (objects, H, W) of 0 and 1, one an image.
    """
    losses = []
    for logit, box, label, match, mask in zip(
        logits.split([len(x) for x in labels]), boxes, labels, matched, masks, strict=True
    ):
        if len(label):
            target = mask_targets(mask, box, match, logits.shape[-1])
            chosen = logit[torch.arange(len(label), device=label.device), label]
            losses.append(F.binary_cross_entropy_with_logits(chosen, target))
        else:
            losses.append(logit.sum())  # nothing, with a gradient of 0
    return torch.stack(losses).mean()


def mask_targets(masks: Tensor, boxes: Tensor, matched: Tensor, size: int) -> Tensor:
    """(objects, H, W) -> (boxes, size, size) of 0.0 and 1.0: what each box shows of its object's mask."""
    rois = torch.cat([matched[:, None].to(boxes), boxes], dim=1)
    return (roi_align(masks[:, None].to(boxes), rois, size, 1.0, 0, aligned=True)[:, 0] >= 0.5).to(boxes)


class _Transform(GeneralizedRCNNTransform):
    """Resize by the configuration, normalise, pad to multiples of 32; detections back to the image's own pixels."""

    def __init__(self, config: MetaFormerVisionDetectionConfig) -> None:
        super().__init__(config.short_side, config.long_side, list(config.image_mean), list(config.image_std))

    def postprocess(
        self, result: list[Detection], image_shapes: list[tuple[int, int]], original_image_sizes: list[tuple[int, int]]
    ) -> list[Detection]:
        for found, shape, size in zip(result, image_shapes, original_image_sizes, strict=False):
            found["boxes"] = resize_boxes(found["boxes"], shape, size)
            if "masks" in found:
                found["masks"] = paste_masks(found["masks"][:, 0], found["boxes"], size)
        return result


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities (n, M, M) in their boxes (n, 4) -> bool (n, H, W): where an object is, at 0.5 and above.

    Each pixel's centre is looked up in the mask (bilinear); only the pixels of the box are computed.
    """
    height, width = size
    pasted = torch.zeros(len(masks), height, width, dtype=torch.bool, device=masks.device)
    for mask, box, whole in zip(masks, boxes, pasted, strict=True):
        x1, y1, x2, y2 = box.tolist()
        left, top = max(0, int(x1)), max(0, int(y1))
        right, bottom = min(width, int(x2) + 1), min(height, int(y2) + 1)
        x = (torch.arange(left, right, device=masks.device) + 0.5 - x1) / max(x2 - x1, 1e-6) * 2 - 1
        y = (torch.arange(top, bottom, device=masks.device) + 0.5 - y1) / max(y2 - y1, 1e-6) * 2 - 1
        if len(x) and len(y):
            grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
            found = F.grid_sample(mask[None, None], grid, align_corners=False)[0, 0]
            whole[top:bottom, left:right] = found >= 0.5
    return pasted


__all__ = ["MetaFormerVisionForObjectDetection", "create_detector"]
