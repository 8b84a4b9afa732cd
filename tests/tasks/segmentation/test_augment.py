"""The pipelines of training and of measuring."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from tasks.segmentation.augment import (
    EvalTransform,
    Normalize,
    TrainTransform,
    distort,
    fitted,
    saturated,
)
from tasks.segmentation.data import AugmentConfig

PLAIN = Normalize((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
NOTHING = AugmentConfig(scale=(1, 1), largest_share=1, flip=0, photometric=0)


def place(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose red and green say the row and the column, and labels of eight columns each."""
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([rows, columns, rows * 0], axis=2).astype(np.uint8)
    return picture, (columns // 8).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((512, 683), (512, 683)), ((300, 400), (512, 683)), ((2000, 1000), (1024, 512)), ((100, 1000), (205, 2048))],
)
def test_both_sides_are_kept_within_bounds(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted(size, 512, 2048) == expected


def test_measured_sides_are_rounded_up_to_multiples_of_32() -> None:
    transform = EvalTransform((64, 256), PLAIN)
    assert transform(place(48, 60)[0]).shape == (3, 64, 96)
    picture = place(64, 96)[0]
    assert torch.equal(transform(picture), torch.from_numpy(picture).movedim(2, 0) / 255)


@pytest.mark.parametrize("size", [(1, 3000), (9000, 2)])
def test_long_strips_keep_a_pixel_and_their_labels(size: tuple[int, int]) -> None:
    picture, labels = np.zeros((*size, 3), dtype=np.uint8), np.zeros(size, dtype=np.uint8)
    assert sorted(EvalTransform((512, 2048))(picture).shape[1:]) == [32, 2048]
    image, found = TrainTransform((512, 2048), 512, AugmentConfig())(picture, labels, np.random.default_rng(0))
    assert (image.shape, found.shape) == ((3, 512, 512), (512, 512))
    assert (found == 0).any()


def test_pixels_and_labels_stay_together() -> None:
    """Whatever is cut, turned and padded: the column in a pixel's green says its label."""
    picture, labels = place(80, 120)
    transform = TrainTransform((80, 320), 64, AugmentConfig(scale=(0.5, 2), photometric=0), PLAIN)
    turned = padded = 0
    for seed in range(30):
        image, found = transform(picture, labels, np.random.default_rng(seed))
        assert image.shape == (3, 64, 64)
        assert found.shape == (64, 64)
        column = image[1] * 255
        inside = found != 255
        assert (column[inside] / 8 - 0.5 - found[inside]).abs().max() < 0.7
        assert (image[:, ~inside] == 0).all()
        turned += bool(column[0, 0] > column[0, 30] > 0)
        padded += bool((~inside).any())
    assert 5 < turned < 25
    assert 2 < padded < 25


def test_a_sample_is_a_function_of_its_generator() -> None:
    picture, labels = place(80, 120)
    transform = TrainTransform((80, 320), 64, AugmentConfig())
    state = torch.random.get_rng_state()
    first, same, other = (transform(picture, labels, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_nothing_is_changed_where_nothing_is_asked_for() -> None:
    picture, labels = place(64, 64)
    image, found = TrainTransform((64, 64), 64, NOTHING, PLAIN)(picture, labels, np.random.default_rng(0))
    assert torch.equal(image, torch.from_numpy(picture).movedim(2, 0) / 255)
    assert np.array_equal(found, labels)


def test_crops_of_one_class_are_drawn_again() -> None:
    labels = np.zeros((64, 256), dtype=np.uint8)
    labels[:, 192:] = 1
    labels[:, :64] = 255
    picture = np.zeros((64, 256, 3), dtype=np.uint8)

    def share(largest: float) -> float:
        augment = AugmentConfig(scale=(1, 1), largest_share=largest, flip=0, photometric=0)
        transform = TrainTransform((64, 256), 64, augment)
        found = [transform(picture, labels, np.random.default_rng(seed))[1] for seed in range(60)]
        # of the labelled pixels: a crop that is half ignored and half of one class holds one class
        mixed = [bool(0.25 < (x[x != 255] == 1).float().mean() < 0.75) for x in found]
        return float(np.mean(mixed))

    assert share(1) < 0.35
    assert share(0.75) > 0.75


def test_saturation_is_that_of_hsv() -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.random((3, 4, 5)))
    image[:, 0, 0] = 0.3  # grey stays grey
    image[:, 0, 1] = 0
    for factor in (0.5, 1.4):
        found = saturated(image, factor).flatten(1).T.tolist()
        for before, after in zip(image.flatten(1).T.tolist(), found, strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*before)
            assert after == pytest.approx(colorsys.hsv_to_rgb(hue, min(1, saturation * factor), value), abs=1e-6)


def test_distortion_stays_in_range_and_exchanges_no_channel() -> None:
    red = torch.tensor([0.8, 0.3, 0.3])[:, None, None].expand(3, 8, 8)
    found = [distort(red, 0.5, np.random.default_rng(seed)) for seed in range(60)]
    assert all(image.min() >= 0 and image.max() <= 1 for image in found)
    assert all(image[0, 0, 0] > image[1:, 0, 0].max() - 1e-6 for image in found)
    assert sum(torch.equal(image, red) for image in found) < 12
    assert torch.equal(distort(red, 0, np.random.default_rng(0)), red)
    brightness = {round(float(image[:, 0, 0].max()), 2) for image in found}
    assert len(brightness) > 20
