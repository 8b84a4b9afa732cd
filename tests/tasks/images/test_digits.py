"""The embedded benchmark: fixed parts, pictures that are functions of their generator."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.images.readers.digits import NUM_VALIDATION, CanvasConfig, DigitsOnCanvas


def rng(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)


def test_a_scan_is_in_one_part_only() -> None:
    train, validation = (DigitsOnCanvas(part, 32, CanvasConfig()) for part in ("train", "validation"))
    assert len(validation) == NUM_VALIDATION
    assert sorted([*train.indices, *validation.indices]) == list(range(1797))
    for part in (train, validation):
        assert min(np.bincount(part.labels, minlength=10)) > len(part) / 15  # every class is well represented


def test_training_pictures_are_a_function_of_the_generator() -> None:
    train = DigitsOnCanvas("train", 32, CanvasConfig())
    first = train.load(3, rng(0, 1, 3))
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8
    assert first.max() > 200
    assert np.array_equal(first, DigitsOnCanvas("train", 32, CanvasConfig()).load(3, rng(0, 1, 3)))
    assert not np.array_equal(first, train.load(3, rng(0, 2, 3)))
    assert np.array_equal(train.load(3), train.load(3)), "fixed where it is held out to be measured on"


def test_validation_pictures_are_fixed() -> None:
    validation = DigitsOnCanvas("validation", 32, CanvasConfig())
    assert np.array_equal(validation.load(5), validation.load(5, rng(9)))
    assert not np.array_equal(validation.load(5), validation.load(6))


def test_without_clutter_and_noise_only_the_digit_is_left() -> None:
    plain = CanvasConfig(clutter=0, noise=0, min_scale=1, max_scale=1)
    picture = DigitsOnCanvas("train", 8, plain).load(0, rng(0))[:, :, 0]
    scans = DigitsOnCanvas("train", 8, plain)._scans
    assert np.array_equal(picture, (scans[0] * 255).astype(np.uint8))
    cluttered = DigitsOnCanvas("train", 32, CanvasConfig(clutter=8, noise=0)).load(0, rng(0))
    alone = DigitsOnCanvas("train", 32, CanvasConfig(clutter=0, noise=0)).load(0, rng(0))
    assert (cluttered > 0).sum() > (alone > 0).sum()


@pytest.mark.parametrize("canvas", [CanvasConfig(max_scale=5), CanvasConfig(min_scale=3, max_scale=2)])
def test_a_digit_must_fit(canvas: CanvasConfig) -> None:
    with pytest.raises(ValueError, match="max_scale"):
        DigitsOnCanvas("train", 32, canvas)
