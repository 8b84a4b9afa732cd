"""Semantic FPN: sizes, the loss as a sum and a count, label maps, and the stock tools of transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, Trainer, TrainingArguments, pipeline

from tests.vision.dense.small import segmenter
from vision.dense import label_map, pixel_losses
from vision.dense.processing import segmentation_processor


@pytest.mark.parametrize("size", [(64, 96), (70, 50)])
def test_logits_and_gradients(size: tuple[int, int]) -> None:
    model = segmenter().train()
    labels = torch.randint(0, 5, (2, *size))
    output = model(torch.rand(2, 3, *size), labels=labels)
    assert output.logits.shape == (2, 5, -(-size[0] // 4) - (size[0] % 4 > 0), -(-size[1] // 4) - (size[1] % 4 > 0))
    output.loss.backward()
    assert [name for name, x in model.named_parameters() if x.grad is None] == []


def test_branches_are_as_long_as_their_maps_are_coarse() -> None:
    model = segmenter(head_norm="batch_norm")
    assert [len(branch) for branch in model.decode_head.branches] == [1, 1, 2, 3]
    assert sum(isinstance(x, nn.BatchNorm2d) for x in model.modules()) == 7
    assert [x.num_groups for x in segmenter().decode_head.modules() if isinstance(x, nn.GroupNorm)] == [4] * 7


def test_the_loss_is_the_mean_over_labelled_pixels() -> None:
    logits, labels = torch.randn(2, 5, 8, 8), torch.randint(0, 5, (2, 32, 24))
    labels[0, :10] = 255
    large = F.interpolate(logits, size=(32, 24), mode="bilinear", align_corners=False)
    total, count = pixel_losses(logits, labels)
    assert int(count) == 2 * 32 * 24 - 10 * 24
    torch.testing.assert_close(total / count, F.cross_entropy(large, labels, ignore_index=255))
    total, count = pixel_losses(logits.bfloat16().requires_grad_(), torch.full_like(labels, 255))
    assert (total.dtype, float(total.detach()), int(count)) == (torch.float32, 0.0, 0)
    total.backward()


def test_a_label_map_is_the_argmax_of_the_resized_logits() -> None:
    logits = torch.randn(37, 9, 7)
    expected = F.interpolate(logits[None], size=(50, 61), mode="bilinear", align_corners=False)[0].argmax(0)
    assert torch.equal(label_map(logits, (50, 61)), expected)


def test_whole_batch_and_one_by_one() -> None:
    model = segmenter().eval()
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        whole = model(images).logits
        single = torch.cat([model(image[None]).logits for image in images])
    torch.testing.assert_close(whole, single, rtol=1e-5, atol=1e-5)


def test_transformers_tools_open_and_use_a_saved_folder(tmp_path: Path) -> None:
    model = segmenter(id2label={0: "wall", 1: "sky", 2: "tree", 3: "cat", 4: "road"})
    model.save_pretrained(tmp_path)
    segmentation_processor(model.config, 64).save_pretrained(tmp_path)
    opened = AutoModelForSemanticSegmentation.from_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (75, 100, 3), dtype=np.uint8))
    inputs = processor(images=picture, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 64, 96)
    with torch.no_grad():
        output = opened(**inputs)
        assert torch.equal(output.logits, model.eval()(**inputs).logits)
    found = processor.post_process_semantic_segmentation(output, target_sizes=[(75, 100)])[0]
    assert torch.equal(found, label_map(output.logits[0], (75, 100)))
    parts = pipeline("image-segmentation", model=opened, image_processor=processor)(picture)
    assert {part["label"] for part in parts} == {model.config.id2label[label] for label in found.unique().tolist()}


def test_the_trainer_divides_the_loss_of_accumulated_batches(tmp_path: Path) -> None:
    trainer = Trainer(segmenter(), TrainingArguments(str(tmp_path), report_to=[]))
    assert not trainer.model_accepts_loss_kwargs
