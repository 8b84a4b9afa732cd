"""The task: metrics as sums, labels and names, and whole tiny runs through the engine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification

from metaformer_nlp.config.command_line import from_dict, to_dict
from metaformer_nlp.engine import read_items
from tasks.images.classification import Config, ImageClassification, run
from tasks.images.model import ModelConfig
from vision.images import BadImage

RECIPES = Path(__file__).parents[3] / "scripts" / "recipes"


def config(folder: Path | str, **options: Any) -> Config:
    values = {
        "run.folder": str(folder),
        "run.batch_size": 8,
        "schedule.steps": 2,
        "model.name": "poolformer_nano",
        "data.image_size": 24,
        "data.max_eval_samples": 17,
        "data.augment.recipe": "none",
    }
    return from_dict(Config, {**values, **options})


class Fixed(nn.Module):
    """Gives the logits it was built with."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, pixel_values: torch.Tensor) -> Any:
        return type("Output", (), {"logits": self.logits[: len(pixel_values)]})


def test_metrics_are_exact_for_any_batches() -> None:
    task = ImageClassification(config("unused"))
    logits, labels = torch.randn(13, 10), torch.randint(0, 10, (13,))

    def metrics(size: int) -> dict[str, float]:
        results = []
        for start in range(0, 13, size):
            part = slice(start, min(13, start + size))
            batch = {"pixel_values": torch.zeros(part.stop - start, 3, 24, 24), "labels": labels[part]}
            results.append(task.evaluate_batch(Fixed(logits[part]), batch))
        right = task.items("validation", results)["correct"]
        assert right.tolist() == (logits.argmax(1) == labels).tolist(), "in the order of the data"
        return task.summarize("validation", results)

    whole = metrics(13)
    assert whole["accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    top5 = (logits.topk(5, 1).indices == labels[:, None]).any(1).float().mean().item()
    assert whole["accuracy_top5"] == pytest.approx(top5)
    assert whole["loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-6)
    for size in (1, 4, 5):
        assert metrics(size) == pytest.approx(whole, rel=1e-6)


def test_loss_is_a_sum_and_a_count() -> None:
    task = ImageClassification(config("unused", **{"loss.label_smoothing": 0.1}))
    logits, labels = torch.randn(6, 10), torch.randint(0, 10, (6,))
    total, count = task.loss(Fixed(logits), {"pixel_values": torch.zeros(6, 3, 24, 24), "labels": labels})
    assert count.item() == 6
    mean = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert total.item() == pytest.approx(6 * mean.item(), rel=1e-6)


def test_only_options_that_were_set_reach_the_model() -> None:
    assert ModelConfig().overrides() == {}
    assert ModelConfig(use_residual=False, layer_scale_init_value="none").overrides() == {
        "use_residual": False,
        "layer_scale_init_value": None,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model.name": "poolformer_s13"}, "poolformer_s12"),
        ({"model.token_mixer": "poolin"}, "pooling"),
        ({"model.token_mixer": ["pooling", "attention"]}, "stage"),
        ({"data.image_size": 0}, "image_size|small"),
        ({"loss.label_smoothing": 1.5}, "label_smoothing"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageClassification(config("unused", **{"data.name": "folder", "data.root": "nowhere", **options}))


def test_a_run_learns_saves_and_opens_again(tmp_path: Path) -> None:
    settings = config(tmp_path / "run", **{"schedule.steps": 3, "model.token_mixer": ["pooling"] * 3 + ["attention"]})
    result = run(settings)
    assert set(result["metrics"]) == {"validation/loss", "validation/accuracy", "validation/accuracy_top5"}
    assert result["train"]["samples"] == 24
    (correct,) = read_items(tmp_path / "run").values()
    assert len(correct) == 17
    assert correct.sum() / 17 == result["metrics"]["validation/accuracy"]
    assert result["macs"] > 0
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["model"] == to_dict(settings)["model"]
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "run" / "model").eval()
    assert model.config.id2label[7] == "7"
    assert "| Data | digits |" in (tmp_path / "run" / "model" / "README.md").read_text()
    processor = AutoImageProcessor.from_pretrained(tmp_path / "run" / "model")
    task = ImageClassification(settings)
    for index in range(3):
        pixels = task.collate([task.eval_data["validation"].sample(index, None)])["pixel_values"][0]
        picture = task.eval_data["validation"].source.load(index)  # type: ignore[attr-defined]
        theirs = processor(picture, return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(theirs, pixels, atol=1e-5, rtol=1e-5)
    assert run(settings) == result  # finished: read, not run again


def test_a_run_is_a_function_of_its_seed(tmp_path: Path) -> None:
    def final(name: str, seed: int, workers: int = 0) -> Any:
        options = {"run.seed": seed, "data.augment.recipe": "small", "mix.mixup_alpha": 0.8, "mix.cutmix_alpha": 1.0}
        settings = config(tmp_path / name, **options)
        settings = dataclasses.replace(settings, run=dataclasses.replace(settings.run, num_workers=workers))
        return run(settings)["metrics"]

    assert final("a", 0) == final("b", 0, workers=1)
    assert final("a", 0) != final("c", 1)


def test_a_run_with_other_pixels_is_another_run(tmp_path: Path) -> None:
    other = {"data.augment.recipe": "imagenet", "data.augment.fast_pixels": True}
    run(config(tmp_path / "run", **{**other, "data.augment.fast_pixels": False}))
    with pytest.raises(ValueError, match=r"data\.augment\.fast_pixels: false -> true"):
        run(config(tmp_path / "run", **other))
    assert run(config(tmp_path / "fast", **other))["train"]["steps"] == 2


def test_a_broken_training_image_stops_the_run_and_is_named(tmp_path: Path) -> None:
    from PIL import Image

    for part in ("train", "val"):
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (30, 26), (60 * number, 0, 0)).save(folder / f"{number}.png")
    (tmp_path / "data" / "train" / "dog" / "3.png").write_bytes(b"")
    options = {"data.name": "folder", "data.root": str(tmp_path / "data"), "data.max_eval_samples": None}
    with pytest.raises(BadImage, match=r"dog/3\.png: the file is empty"):
        run(config(tmp_path / "run", **options))


@pytest.mark.parametrize("recipe", ["digits.yaml", "digits_study.yaml", "cifar10.yaml"])
def test_recipes_are_whole(recipe: str) -> None:
    overrides = {"run.folder": "unused"}
    settings = from_dict(Config, overrides, [RECIPES / recipe])
    assert (RECIPES / recipe).read_text().startswith("# ")
    if settings.data.name == "digits":
        assert ImageClassification(settings).build_model().num_labels == 10


def test_a_metric_that_is_not_evaluated_is_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"keep_best is 'validation/acc'.*validation/accuracy_top5"):
        run(config(tmp_path / "run", **{"run.keep_best": "validation/acc"}))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
