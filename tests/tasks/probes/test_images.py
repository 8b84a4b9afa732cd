"""Probes on the image model: what is drawn; test_probes_task.py has what is true of texts and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.probes.images import ImageProbe, draw, looks_of
from tests.tasks.probes.test_task import configured


@pytest.mark.parametrize(
    ("mixer", "knows"), [("pooling", False), ("attention", False), ("depthwise_conv", True), ("shift", True)]
)
def test_without_positions_a_mirror_image_is_the_same(mixer: str, knows: bool) -> None:
    task = ImageProbe(configured("images", "order", mixer, model={"position_embedding": False}))
    torch.manual_seed(0)
    model = task.build_model().double().eval()
    symbols = task.eval_data["validation"].sample(0, None)[0].symbols  # type: ignore[attr-defined]
    segments = np.zeros_like(symbols)
    with torch.no_grad():
        picture, mirrored = (
            task.logits(model, {"pixel_values": task.inputs(grid, segments)["pixel_values"].double()})
            for grid in (symbols, symbols[:, :, ::-1])
        )
    assert (not torch.allclose(picture, mirrored)) == knows


def test_only_fresh_positions_are_drawn(tmp_path: Path) -> None:
    """As large as a patch's embedding; those of a checkpoint stay."""
    torch.manual_seed(0)
    model: Any = ImageProbe(configured("images", "order")).build_model()
    fresh, none = (stage.position_embedding for stage in model.metaformer.stages)
    assert none is None
    assert 0.4 < fresh.std() < 0.6
    model.save_pretrained(tmp_path)
    again: Any = ImageProbe(configured("images", "order", model={"checkpoint": str(tmp_path)})).build_model()
    assert torch.equal(again.metaformer.stages[0].position_embedding, fresh)


def test_each_cell_is_drawn_as_its_symbol() -> None:
    looks = looks_of(14)
    assert looks.shape == (14, 4, 4, 3)
    assert not looks[:6].any()  # background
    assert len({look.tobytes() for look in looks[5:]}) == 9  # one blank, two grey shapes, six rings: all different
    symbols = np.arange(14).reshape(1, 2, 7)
    picture = draw(symbols, looks)
    assert picture.shape == (1, 8, 28, 3)
    assert np.array_equal(picture[0, 4:8, 8:12], looks[9])


def test_copying_is_for_texts() -> None:
    with pytest.raises(ValueError, match=r"data\.probe is 'copying'; here it must be one of order, agreement"):
        ImageProbe(configured("images", "copying"))
