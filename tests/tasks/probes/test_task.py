"""Probes on the text encoder and on the image model: whom they can and cannot be solved by, and a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.protocol.file import load_study
from tasks.probes import images as image_probes
from tasks.probes import text as text_probes
from tasks.probes.abilities import NOT_ASKED
from tasks.probes.task import ProbeTask

STUDIES = Path(__file__).parents[3] / "scripts/recipes/studies"
MULTI_WINDOW = {"name": "pooling", "pool_size": [3, 7, 15, 31]}
MODELS = {
    "text": {"hidden_size": 16, "num_hidden_layers": 2, "hidden_dropout_prob": 0.0, "initializer_range": 0.3},
    "images": {
        "name": "poolformer_nano",
        "depths": [1, 1],
        "hidden_sizes": [16, 16],
        "patch_sizes": [4, 1],
        "strides": [4, 1],
        "padding": [0, 0],
        "norm": "layer_norm",
        "layer_scale_init_value": "none",
        "initializer_range": 0.3,
        "position_embedding": [True, False],
        "position_embedding_std": 0.5,
    },
}
REACH: dict[str, list[tuple[Any, int]]] = {
    "text": [
        ("identity", 0),
        ("pooling", 4),
        ("depthwise_conv", 4),
        (MULTI_WINDOW, 60),
        ("attention", 60),
        ("fourier", 60),
    ],
    "images": [("identity", 0), ("pooling", 4), ("depthwise_conv", 4), (["pooling", "attention"], 8)],
}
"""Mixers, and how many tokens lie between what one token can relate after two layers of them."""
DISTANCES = {"text": text_probes.DISTANCES, "images": image_probes.DISTANCES}
CASES = [(domain, probe) for domain, probes in DISTANCES.items() for probe in probes]


def configured(domain: str, probe: str, mixer: Any = "pooling", **more: Any) -> Any:
    """The configuration of a probe; a folder or a batch size of one's own are in ``run``, other models in ``model``."""
    settings = {
        "schedule": {"steps": 2},
        "data": {"probe": probe, "train_groups": 8, "validation_groups": 3},
        **more,
        "model": {**MODELS[domain], "token_mixer": mixer, **more.get("model", {})},
        "run": {"folder": "unused", "batch_size": 4, "keep_checkpoints": 0, **more.get("run", {})},
    }
    return from_dict((text_probes if domain == "text" else image_probes).Config, settings)


def task_of(config: Any) -> ProbeTask:
    return (text_probes.TextProbe if isinstance(config, text_probes.Config) else image_probes.ImageProbe)(config)


def interaction(task: ProbeTask, index: int) -> float:
    """How far the answers to a group are from a sum over what a token sees: 0 for any such sum."""
    torch.manual_seed(0)
    model = task.build_model().double().eval()
    sample = task.eval_data["validation"].sample(index, None)
    batch = {
        key: value.double() if value.is_floating_point() else value for key, value in task.collate([sample]).items()
    }
    with torch.no_grad():
        logits = task.logits(model, batch)
    margin = logits[:, 1] - logits[:, 0]
    return abs(float((margin * torch.from_numpy(sample[0].labels * 2 - 1)).sum()))


@pytest.mark.parametrize(
    ("domain", "probe", "mixer", "reach"),
    [
        (domain, probe, mixer, reach)
        for domain, probes in {"text": ("order", "agreement", "matching"), "images": ("agreement", "matching")}.items()
        for probe in probes
        for mixer, reach in REACH[domain]
    ],
)
def test_reach_decides_what_can_be_learned(domain: str, probe: str, mixer: Any, reach: int) -> None:
    """Receptive field 1 + L (k - 1) along an axis: beyond it no weights help, and within it nothing is in the way."""
    task = task_of(configured(domain, probe, mixer))
    for level, distance in enumerate(DISTANCES[domain][probe]):
        found = interaction(task, level)
        assert (found > 1e-6) == (distance <= reach), (distance, found)


@pytest.mark.parametrize(("domain", "probe"), CASES)
def test_the_same_answer_to_everything_scores_chance(domain: str, probe: str) -> None:
    task = task_of(configured(domain, probe))

    def constant(**inputs: torch.Tensor) -> Any:
        shape = next(iter(inputs.values())).shape[: 2 if probe == "copying" else 1]
        logits = torch.zeros(*shape, task.probe.num_labels)
        logits[..., 1] = 1.0
        return type("Output", (), {"logits": logits})

    data = task.eval_data["validation"]
    samples = [data.sample(index, None) for index in range(len(data))]
    batches = [task.collate(samples[:2]), task.collate(samples[2:])]  # of unequal size
    results = [task.evaluate_batch(constant, batch) for batch in batches]  # type: ignore[arg-type]
    metrics, items = task.summarize("validation", results), task.items("validation", results)
    assert list(metrics) == task.metric_names()
    answers = np.concatenate([sample[0].labels.reshape(-1) for sample in samples])
    assert np.array_equal(items["correct"], answers[answers != NOT_ASKED] == 1), "in the order of the data"
    assert {name: bits.mean() for name, bits in items.items()} == {
        name.replace("accuracy", "correct"): value for name, value in metrics.items() if name.endswith("accuracy")
    }
    for place in ("", *(f"{task.probe.axis}-{distance}/" for distance in DISTANCES[domain][probe])):
        assert metrics[f"{place}accuracy"] == 1 / task.probe.num_labels


@pytest.mark.parametrize(("domain", "probe"), [("text", "matching"), ("images", "agreement")])
def test_a_run_scores_each_distance(domain: str, probe: str, tmp_path: Path) -> None:
    experiment = text_probes if domain == "text" else image_probes
    config = configured(domain, probe, run={"folder": str(tmp_path / "run")})
    result = experiment.run(config)
    places = ["", *(f"distance-{distance}/" for distance in DISTANCES[domain][probe])]
    assert set(result["metrics"]) == {f"validation/{place}{name}" for name in ("loss", "accuracy") for place in places}
    assert result["train"].get("tokens") == (
        2 * 4 * 4 * 32 if domain == "text" else None
    )  # steps, groups, of 4, tokens
    planned = experiment.cost(config)
    assert planned.pop("training_macs") == result["macs"] * 2 * 4 * 4
    assert planned == {key: result[key] if key in ("parameters", "macs") else result["train"][key] for key in planned}
    assert (tmp_path / "run" / "model" / "config.json").is_file()


@pytest.mark.parametrize(("domain", "probe"), CASES)
def test_the_study_names_every_distance(domain: str, probe: str) -> None:
    study = load_study(STUDIES / f"probes_{domain}.yaml")
    its = study.domain(probe)
    (cell,) = [cell for cell in study.cells() if (cell.domain, cell.arm, cell.seed) == (probe, study.baseline, 0)]
    experiment = text_probes if domain == "text" else image_probes
    task = task_of(from_dict(experiment.Config, {**cell.config, "run": {**cell.config["run"], "folder": "unused"}}))
    scores = [f"validation/{name}" for name in task.metric_names() if name.endswith("accuracy")]
    assert [its.metric, *(part.metric for part in its.tasks)] == scores
    assert [int(part.name) for part in its.tasks] == task.distances
    assert {its.chance, *(part.chance for part in its.tasks)} == {1 / task.probe.num_labels}
    assert its.axis == task.probe.axis
