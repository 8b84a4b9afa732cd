"""The published recipe's parts in our task are timm's, down to the losses of a loop written with timm's own parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import Mixup, create_transform
from timm.data.random_erasing import RandomErasing
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.engine.order import BatchLayout, KeyedSamples, MicroBatches, model_seed, seed_torch
from tasks.images.classification import Config, ImageClassification, run
from vision.pixels import normalize
from vision.transforms import AugmentConfig, global_generators, train_transform

RECIPE = Path(__file__).parents[2] / "scripts" / "recipes" / "imagenet" / "poolformer_s12.yaml"
BATCH, IMAGES, STEPS = 8, 32, 20
SMALL: dict[str, Any] = {
    "model.name": "poolformer_nano",
    "model.drop_path_rate": 0.0,  # the one part that draws from torch's generator, in an order of its own
    "data.name": "digits",
    "data.class_file": None,
    "data.image_size": 32,
    "data.max_train_samples": IMAGES,
    "data.max_eval_samples": 8,
    "run.batch_size": BATCH,
    "run.micro_batch_size": None,
    "run.num_workers": 0,
    "run.log_every": 1,
    "run.eval_every": None,
    "run.keep_best": None,
    "optim.lr_batch_size": None,
    "schedule.epochs": 4,
    "schedule.warmup_epochs": 2,
    "schedule.cooldown_epochs": 1,
}


def losses_by_timm(config: Config) -> list[float]:
    """A loop of timm's parts on the samples that the engine reads, from the weights that it starts with.

    In the order of timm's trainer: its collate function mixes, its loader erases.
    """
    task = ImageClassification(config)
    seed_torch(model_seed(config.run.seed), torch.device("cpu"))
    model = task.build_model().train()
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, prob=1.0, switch_prob=0.5, label_smoothing=0.1, num_classes=10)
    erase = RandomErasing(0.25, mode="pixel", max_count=1, device="cpu")
    criterion = SoftTargetCrossEntropy()
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
    scheduler, epochs = create_scheduler_v2(
        optimizer, "cosine", num_epochs=4, warmup_epochs=2, warmup_lr=1e-6, min_lr=1e-5, cooldown_epochs=1
    )
    order = MicroBatches(IMAGES, config.run.seed, BatchLayout(BATCH, BATCH, 1, 1), rank=0)
    samples = KeyedSamples(task.train_data, config.run.seed)
    losses = []
    for epoch in range(epochs):
        for keys in order.between(epoch * IMAGES, (epoch + 1) * IMAGES):
            read = [samples[key] for key in keys]
            pixels = torch.stack([normalize(one[0].pixels) for one in read])
            labels = torch.tensor([one[1] for one in read])
            with global_generators(read[0][2]):
                pixels, targets = mixup(pixels, labels)
            for image, (_, _, draw) in zip(pixels, read, strict=True):
                with global_generators(draw):
                    erase(image)
            loss = criterion(model(pixel_values=pixels).logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step(epoch + 1)
    return losses


def test_twenty_steps_are_those_of_a_loop_of_timms_parts(tmp_path: Path) -> None:
    config = from_dict(Config, {**SMALL, "run.folder": str(tmp_path / "run")}, [RECIPE])
    run(config)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    found = [line["loss"] for line in lines if "loss" in line]
    assert len(found) == STEPS
    np.testing.assert_allclose(found, losses_by_timm(config), atol=1e-4)


def test_augmentation_is_timms_with_the_papers_flags() -> None:
    """Pixel for pixel, over crops, mirrored images, RandAugment and erased rectangles."""
    options = from_dict(Config, {"run.folder": "unused"}, [RECIPE]).data.augment
    theirs = create_transform(
        224,
        is_training=True,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        color_jitter=0.4,
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation="random",
        re_prob=0.25,
        re_mode="pixel",
        re_count=1,
    )
    ours = train_transform(224, options)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (15, 20, 3), dtype=np.uint8)).resize((300, 260))
    for number in range(24):
        with global_generators(int(np.random.default_rng(number).integers(2**63))):
            expected = theirs(image)
        torch.testing.assert_close(ours(image, np.random.default_rng(number)), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("recipe", sorted(RECIPE.parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_carry_the_papers_flags(recipe: Path) -> None:
    """What all of them share; what differs is in the rows of vision/variants.py and checked with them."""
    config = from_dict(Config, {"run.folder": "unused"}, [recipe])
    assert config.data.augment == AugmentConfig("imagenet", auto_augment="rand-m9-mstd0.5-inc1", random_erasing=0.25)
    assert (config.loss.label_smoothing, config.optim.weight_decay, config.run.seed) == (0.1, 0.05, 42)
    assert config.run.fit_batch
    assert config.optim.lr_batch_size == config.run.batch_size
    by_lamb = recipe.stem.startswith("caformer")  # timm's defaults differ
    assert config.optim.name == ("lamb" if by_lamb else "adamw")
    assert (config.optim.betas, config.optim.eps) == ((0.9, 0.999), 1e-6 if by_lamb else 1e-8)
    assert (config.optim.clip_grad_norm, config.optim.layer_decay) == (None, None)
    schedule = config.schedule
    if recipe.stem.endswith("_384"):
        assert not config.mix.on
        assert (config.optim.lr, config.run.batch_size) == (1e-4 if by_lamb else 5e-5, 1024)
        assert (config.data.image_size, config.model.drop_path_rate, config.model.classifier_dropout) == (384, 0.3, 0.4)
        assert (schedule.warmup_steps, schedule.warmup_fraction, schedule.warmup_epochs) == (0, 0, 0)
        assert (config.schedule.epochs, config.schedule.kind, config.run.ema_decay) == (30, "constant", 0.9999)
        return
    assert (config.mix.mixup_alpha, config.mix.cutmix_alpha, config.mix.probability) == (0.8, 1.0, 1.0)
    assert config.mix.switch_probability == 0.5
    assert (schedule.kind, schedule.warmup_start_lr, schedule.decay_from, schedule.update_every) == (
        "cosine",
        1e-6,
        "start",
        "epoch",
    )
    assert (config.schedule.epochs, config.schedule.cooldown_epochs, config.schedule.min_lr) == (300, 10, 1e-5)
    slow = recipe.stem in ("convformer", "caformer")
    assert config.schedule.warmup_epochs == (20 if slow else 5)
    lr, batch = {"caformer": (8e-3, 4096)}.get(recipe.stem, (4e-3, 4096))
    if recipe.stem.startswith(("poolformer_", "metaformer")):
        lr, batch = 1e-3, 1024
    assert (config.optim.lr, config.run.batch_size) == (lr, batch)
