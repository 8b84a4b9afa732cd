"""Probes on the image model: what is drawn, whom it can and cannot be solved by, and a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metaformer_nlp.study.study_file import load_study
from tasks.cli import from_dict
from tasks.image_probes import DISTANCES, Config, ImageProbe, cost, draw, looks_of, run

STUDY = Path(__file__).parents[2] / "scripts/recipes/studies/probes_images.yaml"
ISOTROPIC = {
    "name": "poolformer_nano",
    "depths": [1, 1],
    "hidden_sizes": [16, 16],
    "patch_sizes": [4, 1],
    "strides": [4, 1],
    "padding": [0, 0],
    "norm": "layer_norm",
    "layer_scale_init_value": "none",
    "initializer_range": 0.3,
}


def configured(probe: str, mixer: Any = "pooling", **more: Any) -> Config:
    settings = {
        "run": {"folder": "unused", "batch_size": 4, "keep_checkpoints": 0},
        "schedule": {"steps": 2},
        "model": {**ISOTROPIC, "token_mixer": mixer},
        "data": {"probe": probe, "train_groups": 8, "validation_groups": 3},
    }
    return from_dict(Config, {**settings, **more})


def interaction(task: ImageProbe, index: int) -> float:
    """How far the answers to a group are from a sum over what a token sees: 0 for any such sum."""
    torch.manual_seed(0)
    model = task.build_model().double().eval()
    sample = task.eval_data["validation"].sample(index, None)
    batch = {"pixel_values": task.collate([sample])["pixel_values"].double()}
    with torch.no_grad():
        logits = task.logits(model, batch)
    margin = logits[:, 1] - logits[:, 0]
    return abs(float((margin * torch.from_numpy(sample[0].labels * 2 - 1)).sum()))


@pytest.mark.parametrize(
    ("mixer", "reach"),
    [("identity", 0), ("pooling", 4), ("depthwise_conv", 4), (["pooling", "attention"], 8)],
)
@pytest.mark.parametrize("probe", ["agreement", "matching"])
def test_reach_decides_what_can_be_learned(probe: str, mixer: Any, reach: int) -> None:
    """Receptive field 1 + L (k - 1) along each axis: beyond it no weights help, and within it nothing is in the way."""
    task = ImageProbe(configured(probe, mixer))
    for level, distance in enumerate(DISTANCES[probe]):
        found = interaction(task, level)
        assert (found > 1e-6) == (distance <= reach), (distance, found)


@pytest.mark.parametrize(("mixer", "knows"), [("pooling", False), ("attention", False), ("depthwise_conv", True)])
def test_without_positions_a_mirror_image_is_the_same(mixer: str, knows: bool) -> None:
    task = ImageProbe(configured("order", mixer, position_embedding=False))
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


def test_each_cell_is_drawn_as_its_symbol() -> None:
    looks = looks_of(14)
    assert looks.shape == (14, 4, 4, 3)
    assert not looks[:6].any()  # background
    assert len({look.tobytes() for look in looks[5:]}) == 9  # one blank, two grey shapes, six rings: all different
    symbols = np.arange(14).reshape(1, 2, 7)
    picture = draw(symbols, looks)
    assert picture.shape == (1, 8, 28, 3)
    assert np.array_equal(picture[0, 4:8, 8:12], looks[9])


def test_a_run_scores_each_distance(tmp_path: Path) -> None:
    run_config = {"folder": str(tmp_path / "run"), "batch_size": 4, "keep_checkpoints": 0}
    config = configured("agreement", run=run_config)
    result = run(config)
    places = ["", *(f"distance-{distance}/" for distance in DISTANCES["agreement"])]
    assert set(result["metrics"]) == {f"validation/{place}{name}" for name in ("loss", "accuracy") for place in places}
    planned = cost(config)
    assert {key: planned[key] for key in ("parameters", "macs")} == {key: result[key] for key in ("parameters", "macs")}
    assert planned["training_macs"] == result["macs"] * 2 * 4 * 4
    assert (tmp_path / "run" / "model" / "config.json").is_file()


@pytest.mark.parametrize("probe", list(DISTANCES))
def test_the_study_names_every_distance(probe: str) -> None:
    study = load_study(STUDY)
    domain = study.domain(probe)
    (cell,) = [cell for cell in study.cells() if (cell.domain, cell.arm, cell.seed) == (probe, study.baseline, 0)]
    config = from_dict(Config, {**cell.config, "run": {**cell.config["run"], "folder": "unused"}})
    task = ImageProbe(config)
    scores = [f"validation/{name}" for name in task.metric_names() if name.endswith("accuracy")]
    assert [domain.metric, *(part.metric for part in domain.tasks)] == scores
    assert [int(part.name) for part in domain.tasks] == task.distances
    assert {domain.chance, *(part.chance for part in domain.tasks)} == {1 / task.probe.num_labels}
    assert domain.axis == task.probe.axis


def test_copying_is_for_texts() -> None:
    with pytest.raises(ValueError, match=r"data\.probe is 'copying'; here it must be one of order, agreement"):
        ImageProbe(configured("copying"))
