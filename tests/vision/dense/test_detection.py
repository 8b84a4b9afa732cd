"""Detectors: what the papers do otherwise than torchvision, and what must hold in any arithmetic and any batch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align

from tests.vision.dense.small import batch, detector, target
from vision.dense.anchors import Anchors
from vision.dense.detection import AlignedPool, box_losses, mask_loss, mask_targets, paste_masks
from vision.dense.pyramid import ExtraLevels

KINDS = ("retinanet", "mask_rcnn")


def test_anchors() -> None:
    anchors = Anchors([8, 64], [4.0, 4 * 2 ** (1 / 3)])
    images = ImageList(torch.zeros(2, 3, 100, 100), [(100, 100)] * 2)
    first, second = anchors(images, [torch.zeros(2, 1, 3, 4, dtype=torch.bfloat16), torch.zeros(2, 1, 1, 2)])
    assert first.dtype == torch.float32
    assert torch.equal(first, second)
    assert len(first) == (3 * 4 + 2) * 6
    cells = first[: 12 * 6].view(3, 4, 3, 2, 4)  # row, column, ratio, size
    width, height = cells[..., 2] - cells[..., 0], cells[..., 3] - cells[..., 1]
    torch.testing.assert_close((height / width)[1, 2], torch.tensor([[0.5, 0.5], [1.0, 1.0], [2.0, 2.0]]))
    torch.testing.assert_close((height * width).sqrt()[0, 0, 0], torch.tensor([32.0, 32 * 2 ** (1 / 3)]))
    centre = (cells[..., :2] + cells[..., 2:]) / 2
    assert torch.allclose(centre[2, 3], torch.tensor([24.0, 16.0]), atol=1e-5)  # column x stride, row x stride
    last = first[-6:]
    assert torch.allclose((last[:, :2] + last[:, 2:]) / 2, torch.tensor([64.0, 0.0]), atol=1e-5)  # not 100 // 2 = 50


def test_strides_of_a_padded_image() -> None:
    """800x1344 leaves maps of 13x21 and 7x11: dividing gives 61x64 and 114x122."""
    with torch.device("meta"):
        assert detector("retinanet").pyramid.strides == [8, 16, 32, 64, 128]
        assert detector("mask_rcnn").pyramid.strides == [4, 8, 16, 32, 64]
        assert detector("retinanet", "timm/resnet18").pyramid.strides == [8, 16, 32, 64, 128]
        assert detector("retinanet", "timm/pvt_v2_b0", extra_levels=0).pyramid.strides == [8, 16, 32]


def test_extra_levels_are_convolutions_of_the_trunks_last_map() -> None:
    block = ExtraLevels(4, 4, 2)  # as many channels as the pyramid, for which torchvision takes P5
    p5, c5 = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    results, names = block([p5], [c5], ["2"])
    assert names == ["2", "p6", "p7"]
    assert torch.equal(results[1], block.p6(c5))
    assert (results[1] < 0).any()
    assert torch.equal(results[2], block.p7(results[1]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trunk", ["poolformer_s12", "timm/resnet18"])
def test_images_without_boxes_give_losses_and_gradients(kind: str, trunk: str) -> None:
    model = detector(kind, trunk).train()
    images, empty = [torch.rand(3, 64, 80)], [target([], [], (64, 80))]
    losses = model(images, empty)
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    trained = {name: x for name, x in model.named_parameters() if x.requires_grad}
    assert [name for name, x in trained.items() if x.grad is None or not torch.isfinite(x.grad).all()] == []
    assert float(sum(x.grad.abs().sum() for x in trained.values())) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_leaves_anchors_and_boxes_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    forward = Anchors.forward

    def recorded(self: Anchors, *arguments: Any) -> list[Tensor]:
        seen.extend(found := forward(self, *arguments))
        return found

    monkeypatch.setattr(Anchors, "forward", recorded)
    model, (images, targets) = detector(kind, score_threshold=0.0), batch(1)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.train()(images, targets)
        with torch.no_grad():
            found = model.eval()(images)[0]
    with torch.no_grad():
        model(images)
    assert {x.dtype for x in (*seen, *losses.values(), found["boxes"], found["scores"])} == {torch.float32}
    assert torch.equal(seen[0], seen[-1])
    assert len(found["boxes"])
    fraction = found["boxes"] * 256  # bfloat16 has 8 digits: above 1 nothing finer than 1 / 128
    assert (fraction != fraction.round()).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_the_mean_of_its_images(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Mask R-CNN samples anchors and boxes at random: here it takes all of them.
    monkeypatch.setattr(
        "torchvision.models.detection._utils.BalancedPositiveNegativeSampler.__call__",
        lambda self, labels: ([(x >= 1).byte() for x in labels], [(x == 0).byte() for x in labels]),
    )
    model, (images, targets) = detector(kind).train(), batch(3)
    whole = model(images, targets)
    single = [model([image], [wanted]) for image, wanted in zip(images, targets, strict=True)]
    for name, loss in whole.items():
        torch.testing.assert_close(loss, torch.stack([x[name] for x in single]).mean(), rtol=1e-5, atol=1e-5)
    sum(whole.values()).backward()
    gradients = {name: x.grad.clone() for name, x in model.named_parameters()}
    model.zero_grad()
    (sum(sum(x.values()) for x in single) / 3).backward()
    for name, x in model.named_parameters():
        torch.testing.assert_close(x.grad, gradients[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_retinanet_that_says_one_class_gives_its_anchors_back() -> None:
    model = detector("retinanet", extra_levels=0, max_detections=5).eval()
    head = model.detector.head
    with torch.no_grad():
        for layer in (head.classification_head.cls_logits, head.regression_head.bbox_reg):
            layer.weight.zero_()
            layer.bias.zero_()
        head.classification_head.cls_logits.bias.fill_(-9.0).view(9, 3)[4, 2] = 2.0  # ratio 1, middle size; class 2
        found = model([torch.rand(3, 128, 128)])[0]  # short_side 64: half the size
    assert found["labels"].tolist() == [2] * 5
    torch.testing.assert_close(found["scores"], torch.full((5,), 2.0).sigmoid())
    sides = found["boxes"][:, 2:] - found["boxes"][:, :2]
    assert sides.max() <= 2 * 16 * 4 * 2 ** (1 / 3) + 1e-3
    assert found["boxes"].min() >= 0
    assert found["boxes"].max() <= 128


def test_a_mask_rcnn_learns_one_picture() -> None:
    """And finds its objects under the labels that it was given, 0 among them, in the picture's own pixels."""
    model = detector("mask_rcnn", score_threshold=0.2)
    image = torch.zeros(3, 64, 64)
    image[0, 8:28, 8:28], image[1, 34:58, 34:58] = 1.0, 1.0
    wanted = target([[8, 8, 28, 28], [34, 34, 58, 58]], [0, 2], (64, 64))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(90):
        optimizer.zero_grad()
        sum(model.train()([image], [wanted]).values()).backward()
        optimizer.step()
    large = F.interpolate(image[None], scale_factor=2.0)[0]
    with torch.no_grad():
        found = model.eval()([(large * 255).byte()])[0]
    assert set(found["labels"].tolist()) == {0, 2}
    best = [int(torch.where(found["labels"] == label)[0][0]) for label in (0, 2)]
    torch.testing.assert_close(found["boxes"][best] / 2, wanted["boxes"], atol=6, rtol=0)
    masks, true = found["masks"][best], wanted["masks"].bool().repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert masks.dtype == torch.bool
    assert ((masks & true).sum((1, 2)) / (masks | true).sum((1, 2)) > 0.6).all()


def test_wrong_targets() -> None:
    model, (images, targets) = detector("retinanet").train(), batch(2)
    for wrong in (None, targets[:1]):
        with pytest.raises(ValueError, match="2 images need as many targets"):
            model(images, wrong)


def test_resnets_keep_their_statistics_and_their_start() -> None:
    model, (images, targets) = detector("retinanet", "timm/resnet18").train(), batch(1)
    frozen = [name for name, x in model.pyramid.body.named_parameters() if not x.requires_grad]
    assert {name.split(".")[1] for name in frozen} == {"conv1", "bn1", "layer1"}
    norms = [x for x in model.modules() if isinstance(x, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    before = {name: x.clone() for name, x in model.named_buffers()}
    sum(model(images, targets).values()).backward()
    assert all(torch.equal(x, before[name]) for name, x in model.named_buffers())
    whole = detector("retinanet", "timm/resnet18", frozen_stages=0).train()
    assert all(x.requires_grad for x in whole.parameters())
    assert all(x.training for x in whole.modules())


def test_the_pool_takes_the_map_that_fits_with_exact_corners() -> None:
    maps = {str(index): torch.randn(2, 3, 64 >> index, 64 >> index) for index in range(4)}
    boxes = [torch.tensor([[3.3, 5.1, 40.2, 44.0], [10.0, 10.0, 230.5, 240.0]]), torch.tensor([[0.0, 0, 113, 113]])]
    pooled = AlignedPool([4, 8, 16, 32], 7)(maps, boxes)
    for row, (image, box, level) in enumerate([(0, boxes[0][:1], 0), (0, boxes[0][1:], 2), (1, boxes[1], 1)]):
        crop = roi_align(maps[str(level)][image][None], [box], 7, 1 / (4 << level), 0, aligned=True)
        torch.testing.assert_close(pooled[row], crop[0])


def test_an_objects_best_anchor_is_its_own_from_03_on() -> None:
    matcher = detector("mask_rcnn").detector.rpn.proposal_matcher
    overlap = torch.tensor([[0.8, 0.1, 0.0, 0.5], [0.0, 0.35, 0.0, 0.1], [0.0, 0.0, 0.2, 0.0]])
    assert matcher(overlap).tolist() == [0, 1, matcher.BELOW_LOW_THRESHOLD, matcher.BETWEEN_THRESHOLDS]


def test_losses_of_proposals() -> None:
    network, count = detector("mask_rcnn").detector.rpn, 4
    scores, deltas = torch.randn(2 * count, 1), torch.randn(2 * count, 4)
    labels, wanted = [torch.tensor([1.0, 0, -1, 0]), torch.zeros(4)], [torch.randn(4, 4), torch.randn(4, 4)]
    found = network.compute_loss(scores, deltas, labels, wanted)
    chosen = scores[[0, 1, 3]].flatten(), labels[0][[0, 1, 3]]
    first, second = (F.binary_cross_entropy_with_logits(*x) for x in (chosen, (scores[4:].flatten(), labels[1])))
    torch.testing.assert_close(found[0], (first + second) / 2)
    torch.testing.assert_close(found[1], (deltas[0] - wanted[0][0]).abs().sum() / 3 / 2)


def test_losses_of_boxes() -> None:
    logits, deltas = torch.randn(5, 3), torch.randn(5, 12)
    labels, wanted = [torch.tensor([0, 2, 1]), torch.tensor([0, 0])], [torch.randn(3, 4), torch.randn(2, 4)]
    losses = box_losses(logits, deltas, labels, wanted)
    classes = (F.cross_entropy(logits[:3], labels[0]) + F.cross_entropy(logits[3:], labels[1])) / 2
    torch.testing.assert_close(losses["loss_classifier"], classes)
    distance = (deltas[1, 8:12] - wanted[0][1]).abs().sum() + (deltas[2, 4:8] - wanted[0][2]).abs().sum()
    torch.testing.assert_close(losses["loss_box_reg"], distance / 3 / 2)


def test_masks_are_cropped_aligned_and_are_0_or_1() -> None:
    mask = torch.zeros(1, 8, 8)
    mask[0, :, 4:] = 1
    crops = mask_targets(mask, torch.tensor([[0.0, 0, 8, 8], [4.0, 0, 8, 8]]), torch.tensor([0, 0]), 4)
    assert crops[0].tolist() == [[0.0, 0.0, 1.0, 1.0]] * 4
    assert crops[1].tolist() == [[1.0] * 4] * 4
    logits = torch.zeros(2, 2, 4, 4)
    arguments = [torch.tensor([[0.0, 0, 8, 8]] * 2)], [torch.tensor([1, 1])], [torch.tensor([0, 0])], [mask]
    torch.testing.assert_close(mask_loss(logits, *arguments), torch.tensor(2.0).log())


def test_masks_are_pasted_where_their_boxes_are() -> None:
    probabilities = torch.zeros(2, 28, 28)
    probabilities[:, :, 14:] = 1  # the right half
    pasted = paste_masks(probabilities, torch.tensor([[10.0, 4, 30, 12], [-8.0, -4, 8, 6]]), (16, 32))
    expected = torch.zeros(2, 16, 32, dtype=torch.bool)
    expected[0, 4:12, 20:30] = True
    expected[1, 0:6, 0:8] = True
    assert torch.equal(pasted, expected)
    assert paste_masks(probabilities[:0], torch.zeros(0, 4), (16, 32)).shape == (0, 16, 32)
