"""The embedded scenes: fixed or endless, with exact boxes, masks and label maps."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.images.readers.scenes import DigitScenes, SceneConfig, label_map


def test_boxes_are_tight_around_masks_that_do_not_overlap() -> None:
    scenes = DigitScenes("validation", SceneConfig(max_digits=4))
    counts = set()
    for index in range(20):
        scene = scenes.load(index)
        assert np.asarray(scene.picture).shape == (64, 64, 3)
        counts.add(len(scene.labels))
        assert scene.masks.sum(0).max() == 1
        for (left, top, right, bottom), mask in zip(scene.boxes.astype(int), scene.masks, strict=True):
            assert mask[top:bottom, left:right].sum() == mask.sum()
            assert all(edge.any() for edge in (mask[top], mask[bottom - 1], mask[:, left], mask[:, right - 1]))
        labels = label_map(scene, 10)
        assert (labels == 10).sum() == (scene.masks.sum(0) == 0).sum()
        assert set(np.unique(labels)) == {*scene.labels.tolist(), 10}
    assert counts >= {1, 2, 3}


def test_training_scenes_follow_the_generator_and_others_the_index() -> None:
    train, validation = (DigitScenes(part, SceneConfig()) for part in ("train", "validation"))
    pictures = [np.asarray(train.load(3, np.random.default_rng(seed)).picture) for seed in (1, 1, 2)]
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] != pictures[2]).any()
    fixed = np.asarray(validation.load(3).picture)
    assert (fixed == np.asarray(validation.load(3, np.random.default_rng(1)).picture)).all()
    assert (fixed != np.asarray(validation.load(4).picture)).any()


def test_parts_share_no_scan() -> None:
    def pages(config: SceneConfig, *parts: str) -> list[set[bytes]]:
        return [{page.tobytes() for page in DigitScenes(part, config)._pages} for part in parts]

    train, measured = pages(SceneConfig(), "train", "validation")
    assert (len(train), len(measured)) == (1297, 500)
    assert not train & measured
    rest, held_out = pages(SceneConfig(held_out=297), "train", SceneConfig(held_out=297).measured)
    assert (len(rest), len(held_out)) == (1000, 297)
    assert rest | held_out == train
    assert pages(SceneConfig(held_out=297), "validation") == [measured]


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="min_side 16, max_side 32 and image_size 24 must rise"):
        SceneConfig(image_size=24)
    with pytest.raises(ValueError, match="held_out 1297: must leave some of 1297 scans on both sides"):
        SceneConfig(held_out=1297)
