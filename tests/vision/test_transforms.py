"""Transforms: pure in their generator, and the evaluation is timm's."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from timm.data.auto_augment import NAME_TO_OP

from vision.images import BadImage, decoded, load_rgb
from vision.pixels import IMAGENET_MEAN, IMAGENET_STD, to_tensor
from vision.transforms import (
    AugmentConfig,
    EvalTransform,
    Patch,
    SmallTransform,
    decode_by_torchvision,
    posterize,
    resize_and_crop,
    train_transform,
)


def picture(height: int = 40, width: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("recipe", ["small", "imagenet"])
def test_training_transforms_are_pure_in_the_generator(recipe: str) -> None:
    transform = train_transform(32, AugmentConfig(recipe=recipe, random_erasing=0.5))  # type: ignore[arg-type]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    first = [transform(picture(), np.random.default_rng(seed)) for seed in range(8)]
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])
    random.seed(2), np.random.seed(2), torch.manual_seed(2)
    again = [transform(picture(), np.random.default_rng(seed)) for seed in range(8)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({tuple(tensor.flatten().tolist()) for tensor in first}) > 1
    assert all(tensor.shape == (3, 32, 32) and tensor.dtype == torch.float32 for tensor in first)
    with pytest.raises(ValueError, match="generator"):
        transform(picture(), None)


def test_small_recipe_shifts_and_mirrors() -> None:
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    plain = to_tensor(image)
    mirrored = SmallTransform(4, padding=0, flip=1.0)(image, np.random.default_rng(0))
    assert torch.equal(mirrored, plain.flip(2))
    black = to_tensor(np.zeros((1, 1, 3), np.uint8))[:, 0, 0]
    shifted = SmallTransform(4, padding=4, flip=0.0)(image, np.random.default_rng(3))
    values = {tuple(column) for column in plain.flatten(1).T.tolist()} | {tuple(black.tolist())}
    assert {tuple(column) for column in shifted.flatten(1).T.tolist()} <= values


@pytest.mark.parametrize(("height", "width"), [(40, 48), (300, 200), (32, 32), (35, 35)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.9])
def test_evaluation_is_timms(height: int, width: int, crop_pct: float) -> None:
    from timm.data import create_transform

    theirs = create_transform(
        32, is_training=False, interpolation="bicubic", crop_pct=crop_pct, mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
    image = picture(height, width)
    torch.testing.assert_close(EvalTransform(32, crop_pct)(image), theirs(image), atol=1e-6, rtol=1e-5)


def test_evaluation_with_a_models_own_statistics_is_timms() -> None:
    from timm.data import create_transform

    mean, std = (0.5, 0.4, 0.3), (0.5, 0.25, 0.2)
    theirs = create_transform(32, is_training=False, interpolation="bilinear", crop_pct=0.8, mean=mean, std=std)
    image = picture()
    ours = EvalTransform(32, 0.8, "bilinear", mean, std)
    torch.testing.assert_close(ours(image), theirs(image), atol=1e-6, rtol=1e-5)
    none = train_transform(32, AugmentConfig(recipe="none"), 0.8, "bilinear", mean, std)
    assert torch.equal(none(image, None), ours(image))
    small = train_transform(32, AugmentConfig(crop_padding=0, flip=0), 1.0, "bicubic", mean, std)
    expected = to_tensor(resize_and_crop(image, 32), mean, std)
    assert torch.equal(small(image, np.random.default_rng(0)), expected)
    crop = AugmentConfig(recipe="imagenet", auto_augment="rand-n0", random_erasing=0)
    plain, own = (
        train_transform(32, crop, mean=m, std=s)(image, np.random.default_rng(0))
        for m, s in ((IMAGENET_MEAN, IMAGENET_STD), (mean, std))
    )
    bytes_of = [
        t * torch.tensor(s)[:, None, None] + torch.tensor(m)[:, None, None]
        for t, m, s in ((plain, IMAGENET_MEAN, IMAGENET_STD), (own, mean, std))
    ]
    torch.testing.assert_close(*bytes_of)


@pytest.mark.parametrize(("crop_scale", "color_jitter"), [((0.9, 1.0), 0.0), ((0.67, 1.0), None), ((0.08, 1.0), 0.8)])
def test_crop_and_color_jitter_are_timms(crop_scale: tuple[float, float], color_jitter: float | None) -> None:
    from timm.data import create_transform

    from vision.transforms import global_generators

    config = AugmentConfig(
        "imagenet", auto_augment=None, random_erasing=0, crop_scale=crop_scale, color_jitter=color_jitter
    )
    theirs = create_transform(
        32,
        is_training=True,
        scale=crop_scale,
        color_jitter=color_jitter,  # type: ignore[arg-type]
        auto_augment=None,
        interpolation="random",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    ours, image = train_transform(32, config), picture()
    for seed in range(4):
        with global_generators(int(np.random.default_rng(seed).integers(2**63))):
            expected = theirs(image)
        torch.testing.assert_close(ours(image, np.random.default_rng(seed)), expected, atol=2e-6, rtol=0)


def test_arrays_and_pillow_images_are_treated_alike() -> None:
    image = picture()
    for crop_pct in (1.0, 0.8):
        transform = EvalTransform(32, crop_pct)
        assert torch.equal(transform(image), transform(np.asarray(image)))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_odd_shapes(size: tuple[int, int]) -> None:
    assert np.asarray(resize_and_crop(picture(*size), 32, 0.9)).shape == (32, 32, 3)


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        to_tensor(np.zeros((4, 4, 3)))


@pytest.mark.parametrize("bits", range(1, 9))
def testposterize_is_pillows(bits: int) -> None:
    theirs = ImageOps.posterize(picture(), bits)
    assert np.array_equal(np.asarray(posterize(picture(), bits)), np.asarray(theirs))


def testposterize_to_no_bits_is_black() -> None:
    transform = train_transform(32, AugmentConfig(recipe="imagenet", auto_augment="rand-m10-inc1", random_erasing=0))
    for seed in range(60):  # at full strength every Posterize asks for 0 bits
        transform(picture(), np.random.default_rng(seed))
    assert np.asarray(posterize(picture(), 0)).max() == 0


def test_timm_keeps_its_own_operations() -> None:
    before = dict(NAME_TO_OP)
    train_transform(32, AugmentConfig(recipe="imagenet"))
    with pytest.raises(ValueError, match="no policy"):
        train_transform(32, AugmentConfig(recipe="imagenet", auto_augment="rnd-m9"))
    assert before == NAME_TO_OP


def test_a_wrong_policy_is_named() -> None:
    for policy in ("rnd-m9", "rand-q9"):
        with pytest.raises(ValueError, match=f"auto_augment '{policy}' is no policy.*rand-m9"):
            train_transform(32, AugmentConfig(recipe="imagenet", auto_augment=policy))


def photograph(folder: Path, height: int, width: int) -> Path:
    """A smooth picture with some noise, as a JPEG."""
    rows, columns = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(rows / (20 + 9 * n) + n) * np.cos(columns / (31 - 5 * n)) for n in range(3)]
    noise = np.random.default_rng(0).normal(0, 4, (height, width, 3))
    path = folder / f"{height}x{width}.jpg"
    Image.fromarray((np.stack(waves, 2) + noise).clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path


FAST = {"recipe": "imagenet", "auto_augment": None, "random_erasing": 0.0, "color_jitter": None}


def both(path: Path, size: int, seed: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the exact and the fast transform make of a file with the same draws: (3, S, S)."""
    config = AugmentConfig(**{**FAST, **options})
    made = []
    for transform in (train_transform(size, config), train_transform(size, replace(config, fast_pixels=True))):
        picture = load_rgb(path, lazy=transform.lazy)
        made.append(transform.prepare(picture, np.random.default_rng(seed)).pixels.numpy().astype(int))
    return made[0], made[1]


def test_fast_pixels_are_nearly_the_exact_ones(tmp_path: Path) -> None:
    whole, large = photograph(tmp_path, 150, 200), photograph(tmp_path, 900, 1200)
    for seed in range(12):
        exact, fast = both(whole, 128, seed)  # too small to be reduced
        assert np.abs(exact - fast).max() <= 8
        assert np.abs(exact - fast).mean() < 0.1
        exact, fast = both(large, 64, seed)
        assert np.abs(exact - fast).mean() < 2
    assert not np.array_equal(exact, fast)


def test_only_jpegs_that_are_large_enough_are_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []

    def note(image: Image.Image, reduction: int = 1) -> Image.Image:
        sizes.append(decoded(image, reduction).size)
        return image

    monkeypatch.setattr("vision.transforms.decoded", note)
    jpeg = photograph(tmp_path, 256, 257)
    png = tmp_path / "a.png"
    Image.open(jpeg).save(png)
    whole = {"crop_scale": (1.0, 1.0)}
    for path in (jpeg, png):
        for size in (32, 60, 128, 200):
            both(path, size, 0, **whole)
    assert sizes == [(33, 32), (65, 64), (129, 128)]  # of the JPEG, at the first three sizes


@pytest.mark.parametrize("quality", [60, 95])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_torchvision_decodes_to_the_same_bytes(tmp_path: Path, quality: int, subsampling: int) -> None:
    path = tmp_path / "a.jpg"
    Image.open(photograph(tmp_path, 123, 201)).save(path, quality=quality, subsampling=subsampling)
    by_pillow = np.asarray(load_rgb(path))
    lazy = load_rgb(path, lazy=True)
    assert isinstance(lazy, ImageFile)
    assert np.array_equal(decode_by_torchvision(lazy).permute(1, 2, 0).numpy(), by_pillow)


def test_a_damaged_picture_is_named_where_it_is_decoded_late(tmp_path: Path) -> None:
    path = photograph(tmp_path, 200, 200)
    path.write_bytes(path.read_bytes()[:3000])
    transform = train_transform(64, AugmentConfig(**FAST, fast_pixels=True))
    picture = load_rgb(path, lazy=transform.lazy)
    with pytest.raises(BadImage, match=rf"{path.name}: damaged: .*truncated"):
        transform.prepare(picture, np.random.default_rng(0))


def test_fast_pixels_belong_to_the_imagenet_recipe() -> None:
    with pytest.raises(ValueError, match=r"fast_pixels.*imagenet only, not for small"):
        train_transform(32, AugmentConfig(recipe="small", fast_pixels=True))


def test_a_batch_is_its_pictures_one_by_one() -> None:
    config = AugmentConfig(recipe="imagenet", random_erasing=0.7)
    transform = train_transform(32, config)
    alone = [transform(picture(), np.random.default_rng(seed)) for seed in range(8)]
    prepared = [transform.prepare(picture(), np.random.default_rng(seed)) for seed in range(8)]
    assert {one.pixels.dtype for one in prepared} == {torch.uint8}
    assert len({one.patch is None for one in prepared}) == 2
    assert torch.equal(transform.batch(prepared), torch.stack(alone))


def test_erased_rectangles_are_timms() -> None:
    from timm.data.random_erasing import RandomErasing

    erase = RandomErasing(1.0, mode="pixel", device="cpu")
    for seed in range(5):
        image, drawn = torch.zeros(3, 24, 32), Patch(torch.Size((3, 24, 32)))
        for target in (image, drawn):
            random.seed(seed), torch.manual_seed(seed)
            erase(target)
        assert drawn.patch is not None
        top, left, values = drawn.patch
        found = torch.zeros(3, 24, 32)
        found[:, top : top + values.shape[1], left : left + values.shape[2]] = values
        assert torch.equal(found, image)
