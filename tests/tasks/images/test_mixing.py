"""Mixup and CutMix: timm's own numbers, drawn from the samples of the batch and from nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.data import Mixup
from timm.data.random_erasing import RandomErasing
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.engine.record import differences
from tasks.images.classification import Config, ImageClassification
from tasks.images.mixing import MixConfig, Mixing
from vision.transforms import global_generators

PAPER = MixConfig(mixup_alpha=0.8, cutmix_alpha=1.0)


def task(**options: Any) -> ImageClassification:
    values = {
        "run.folder": "unused",
        "run.batch_size": 8,
        "schedule.steps": 1,
        "model.name": "poolformer_nano",
        "data.image_size": 24,
        "data.augment.recipe": "none",
        "loss.label_smoothing": 0.1,
        "mix.mixup_alpha": 0.8,
        "mix.cutmix_alpha": 1.0,
    }
    return ImageClassification(from_dict(Config, {**values, **options}))


def test_pixels_and_targets_are_timms() -> None:
    """Over enough draws to meet mixup, CutMix and boxes that leave the image."""
    images, labels = torch.randn(6, 3, 32, 32), torch.arange(6) % 5
    theirs = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, prob=1.0, switch_prob=0.5, label_smoothing=0.1, num_classes=5)
    ours = Mixing(PAPER, num_classes=5, label_smoothing=0.1)
    for draw in range(40):
        with global_generators(draw):
            pixels, targets = theirs(images.clone(), labels)
        found = ours(images.clone(), labels, [draw] * 6)
        torch.testing.assert_close(found, (pixels, targets), rtol=0, atol=0)


def test_coefficients_follow_timms_stream() -> None:
    """The coefficient is read off the targets of two images of different classes."""
    ours = Mixing(MixConfig(mixup_alpha=0.8), num_classes=2, label_smoothing=0.0)
    with global_generators(11):
        theirs = Mixup(mixup_alpha=0.8, label_smoothing=0.0)._params_per_batch()[0]
    _, targets = ours(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]), [11, 12])
    assert targets[0, 0].item() == pytest.approx(theirs)
    assert targets[0, 1].item() == pytest.approx(1 - theirs)


def test_an_odd_batch_keeps_its_middle() -> None:
    images = torch.randn(5, 3, 16, 16)
    pixels, targets = Mixing(PAPER, 5, 0.0)(images.clone(), torch.arange(5), range(1, 6))
    torch.testing.assert_close(pixels[2], images[2])
    torch.testing.assert_close(targets[2], torch.eye(5)[2])
    assert not torch.equal(pixels[0], images[0])
    with pytest.raises(ValueError, match="micro_batch_size"):
        Mixing(PAPER, 5, 0.0)(images[:1], torch.arange(1), [1])


def test_each_mixed_image_is_erased_by_its_own_draw() -> None:
    """As timm's loader erases what was mixed."""
    images, draws = torch.randn(6, 3, 32, 32), [5, 6, 7, 8, 9, 10]
    expected = Mixing(PAPER, 6, 0.1)(images.clone(), torch.arange(6), draws)[0]
    mixed = expected.clone()
    for image, draw in zip(expected, draws, strict=True):
        with global_generators(draw):
            RandomErasing(0.5, mode="pixel", device="cpu")(image)
    found, _ = Mixing(PAPER, 6, 0.1, random_erasing=0.5)(images.clone(), torch.arange(6), draws)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert {torch.equal(one, other) for one, other in zip(found, mixed, strict=True)} == {True, False}


def test_nothing_is_erased_before_it_is_mixed() -> None:
    def pixels(**options: Any) -> torch.Tensor:
        data = task(**{"data.augment.recipe": "imagenet", **options}).train_data
        prepared = data.sample(0, np.random.default_rng(1))[0]
        return data.transform.batch([prepared])  # type: ignore[attr-defined]

    always, never = {"data.augment.random_erasing": 1.0}, {"data.augment.random_erasing": 0.0}
    off = {"mix.mixup_alpha": 0.0, "mix.cutmix_alpha": 0.0}
    assert torch.equal(pixels(**always), pixels(**never))
    assert not torch.equal(pixels(**always, **off), pixels(**never, **off))


def test_a_batch_is_a_function_of_its_samples() -> None:
    """Read twice, with other random numbers drawn between and in another process's global state."""
    first = task()

    def batch() -> dict[str, torch.Tensor]:
        samples = [first.train_data.sample(index, np.random.default_rng([3, index])) for index in range(8)]
        return first.collate(samples)

    one = batch()
    np.random.seed(1)
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    two = batch()
    assert (np.random.get_state()[1] == state).all()
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert one["labels"].shape == (8, 10)
    torch.testing.assert_close(one["labels"].sum(1), torch.ones(8))


def test_the_micro_batch_belongs_to_the_run_where_it_is_mixed() -> None:
    off = {"mix.mixup_alpha": 0.0, "mix.cutmix_alpha": 0.0}
    mixed, plain = (
        [task(**{"run.micro_batch_size": size}, **options).fingerprint() for size in (4, 2)] for options in ({}, off)
    )
    assert differences(*mixed) == ["mix.micro_batch_size: 4 -> 2"]
    assert differences(*plain) == []


def test_loss_is_timms_with_and_without_mixing() -> None:
    logits, images = torch.randn(8, 10), torch.zeros(8, 3, 24, 24)
    model: Any = lambda pixel_values: type("Output", (), {"logits": logits})  # noqa: E731
    hard, soft = torch.arange(8), torch.rand(8, 10).softmax(1)
    total, count = task().loss(model, {"pixel_values": images, "labels": hard})
    assert (total / count).item() == pytest.approx(LabelSmoothingCrossEntropy(0.1)(logits, hard).item(), rel=1e-6)
    total, count = task().loss(model, {"pixel_values": images, "labels": soft})
    assert (total / count).item() == pytest.approx(SoftTargetCrossEntropy()(logits, soft).item(), rel=1e-6)


def test_evaluation_is_never_mixed() -> None:
    mixing = task()
    samples = [mixing.eval_data["validation"].sample(index, None) for index in range(4)]
    assert mixing.collate(samples)["labels"].dtype == torch.int64


@pytest.mark.parametrize(
    ("options", "message"),
    [({"mix.mixup_alpha": -1.0}, "mix.mixup_alpha -1.0"), ({"mix.probability": 2.0}, "mix.probability 2.0")],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        task(**options)
