"""Probes on the text encoder: whom they can and cannot be solved by, whatever the weights are, and a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from metaformer_nlp.study.study_file import load_study
from tasks.cli import from_dict
from tasks.probes import PROBES, Copying
from tasks.text_probes import DISTANCES, Config, TextProbe, cost, run

STUDY = Path(__file__).parents[2] / "scripts/recipes/studies/probes_text.yaml"
MULTI_WINDOW = {"name": "pooling", "pool_size": [3, 7, 15, 31]}


def configured(probe: str, mixer: Any = "pooling", **more: Any) -> Config:
    model = {"hidden_size": 16, "num_hidden_layers": 2, "hidden_dropout_prob": 0.0, "initializer_range": 0.3}
    settings = {
        "run": {"folder": "unused", "batch_size": 4, "keep_checkpoints": 0},
        "schedule": {"steps": 2},
        "model": {**model, "token_mixer": mixer},
        "data": {"probe": probe, "train_groups": 8, "validation_groups": 3},
    }
    return from_dict(Config, {**settings, **more})


def interaction(task: TextProbe, index: int) -> float:
    """How far the answers to a group are from a sum over what a token sees: 0 for any such sum."""
    torch.manual_seed(0)
    model = task.build_model().double().eval()
    sample = task.eval_data["validation"].sample(index, None)
    with torch.no_grad():
        logits = task.logits(model, task.collate([sample]))
    margin = logits[:, 1] - logits[:, 0]
    return abs(float((margin * torch.from_numpy(sample[0].labels * 2 - 1)).sum()))


@pytest.mark.parametrize(
    ("mixer", "reach"),  # tokens between what one token can relate, after two layers
    [("identity", 0), ("pooling", 4), ("depthwise_conv", 4), (MULTI_WINDOW, 60), ("attention", 60), ("fourier", 60)],
)
@pytest.mark.parametrize("probe", ["order", "agreement", "matching"])
def test_reach_decides_what_can_be_learned(probe: str, mixer: Any, reach: int) -> None:
    """Receptive field 1 + L (k - 1): beyond it no weights help, and within it nothing stands in the way."""
    task = TextProbe(configured(probe, mixer))
    for level, distance in enumerate(DISTANCES[probe]):
        found = interaction(task, level)
        assert (found > 1e-6) == (distance <= reach), (distance, found)


@pytest.mark.parametrize(("mixer", "reach"), [("identity", 0), ("pooling", 2), (MULTI_WINDOW, 30), ("attention", 60)])
def test_copying_needs_half_the_window(mixer: Any, reach: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query itself must see the source: L (k - 1) / 2 to one side."""
    monkeypatch.setattr(Copying, "num_queries", 1)  # another query's source may stand near, and says nothing
    task = TextProbe(configured("copying", mixer))
    torch.manual_seed(0)
    model = task.build_model().double().eval()
    for level, distance in enumerate(DISTANCES["copying"]):
        group, _ = task.eval_data["validation"].sample(level, None)
        batch = task.collate([(group, level)])
        with torch.no_grad():
            answers = task.logits(model, batch).flatten(0, 1)[batch["places"]].unflatten(0, (len(group.symbols), -1))
        assert (float(answers.std(0).max()) > 1e-6) == (distance <= reach), distance


@pytest.mark.parametrize("probe", list(DISTANCES))
def test_the_same_answer_to_everything_scores_chance(probe: str) -> None:
    task = TextProbe(configured(probe))

    def constant(input_ids: torch.Tensor, token_type_ids: torch.Tensor) -> Any:
        shape = input_ids.shape if probe == "copying" else input_ids.shape[:1]
        logits = torch.zeros(*shape, task.probe.num_labels)
        logits[..., 1] = 1.0
        return type("Output", (), {"logits": logits})

    data = task.eval_data["validation"]
    samples = [data.sample(index, None) for index in range(len(data))]
    batches = [task.collate(samples[:2]), task.collate(samples[2:])]  # of unequal size
    metrics = task.summarize("validation", [task.evaluate_batch(constant, batch) for batch in batches])  # type: ignore[arg-type]
    chance = 1 / task.probe.num_labels
    axis = PROBES[probe].axis
    assert list(metrics) == task.metric_names()
    for place in ("", *(f"{axis}-{distance}/" for distance in DISTANCES[probe])):
        assert metrics[f"{place}accuracy"] == chance


def test_the_runs_seed_changes_no_data() -> None:
    def identity(**more: Any) -> dict[str, Any]:
        return TextProbe(configured("agreement", **more)).fingerprint()

    run = {"folder": "unused", "batch_size": 4}
    assert identity() == identity(run={**run, "seed": 5})
    other = identity(data={"probe": "agreement", "seed": 1, "train_groups": 8, "validation_groups": 3})
    assert other["content"] != identity()["content"]


def test_a_run_scores_each_distance(tmp_path: Path) -> None:
    run_config = {"folder": str(tmp_path / "run"), "batch_size": 4, "keep_checkpoints": 0}
    config = configured("matching", run=run_config)
    result = run(config)
    expected = {f"validation/{place}{name}" for name in ("loss", "accuracy") for place in ("", *_places("matching"))}
    assert set(result["metrics"]) == expected
    assert result["train"]["tokens"] == 2 * 4 * 4 * 32  # steps, groups, samples of a group, tokens
    planned = cost(config)
    assert planned == {
        **{key: result["train"][key] for key in ("steps", "samples", "tokens")},
        **{key: result[key] for key in ("parameters", "macs")},
        "training_macs": result["macs"] * 2 * 4 * 4,
    }
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert tokenizer("filler3 key0 key5")["input_ids"] == [3, 8, 13]
    assert model.num_labels == 2


def test_copying_runs(tmp_path: Path) -> None:
    run_config = {"folder": str(tmp_path / "run"), "batch_size": 2, "keep_checkpoints": 0}
    result = run(configured("copying", "identity", run=run_config))
    assert all(result["metrics"][f"validation/{place}accuracy"] == 1 / 8 for place in _places("copying"))


@pytest.mark.parametrize("probe", list(DISTANCES))
def test_the_study_names_every_distance(probe: str) -> None:
    study = load_study(STUDY)
    domain = study.domain(probe)
    (cell,) = [cell for cell in study.cells() if (cell.domain, cell.arm, cell.seed) == (probe, study.baseline, 0)]
    config = from_dict(Config, {**cell.config, "run": {**cell.config["run"], "folder": "unused"}})
    task = TextProbe(config)
    scores = [f"validation/{name}" for name in task.metric_names() if name.endswith("accuracy")]
    assert [domain.metric, *(part.metric for part in domain.tasks)] == scores
    assert [int(part.name) for part in domain.tasks] == task.distances
    assert {domain.chance, *(part.chance for part in domain.tasks)} == {1 / task.probe.num_labels}
    assert domain.axis == task.probe.axis


def test_an_unknown_probe_is_refused() -> None:
    with pytest.raises(ValueError, match="probe"):
        configured("parity")


def _places(probe: str) -> list[str]:
    return [f"distance-{distance}/" for distance in DISTANCES[probe]]
