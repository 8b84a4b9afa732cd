"""Objects drawn over a picture."""

from __future__ import annotations

import numpy as np

from tasks.detection.drawing import COLOURS, LEAST_SIDE, draw


def test_boxes_and_the_first_of_overlapping_masks_are_seen() -> None:
    black = np.zeros((160, 200, 3), dtype=np.uint8)
    masks = np.zeros((2, 160, 200), dtype=np.uint8)
    masks[0, 80:100, 80:100] = masks[1, 80:100, 80:140] = 1
    image = draw(black, np.array([[70.0, 70.0, 150.0, 110.0]] * 2), [1, 3], ["a", "b", "c", "d"], [0.9, 0.1], masks)
    assert image.size == (400, LEAST_SIDE)

    def half(colour: str) -> tuple[int, ...]:
        return tuple(int(colour[start : start + 2], 16) // 2 for start in (1, 3, 5))

    assert image.getpixel((180, 180)) == half(COLOURS[1])
    assert image.getpixel((240, 180)) == half(COLOURS[3])
    assert image.getpixel((140, 180)) != (0, 0, 0), "the box's side"
    assert image.getpixel((300, 30)) == (0, 0, 0)
    assert draw(black, np.zeros((0, 4)), [], ["a"]).getbbox() is None
