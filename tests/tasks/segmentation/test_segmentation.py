"""The task: exact sums, whole tiny runs through the engine, kills, processes, and the evaluation of what was saved."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, pipeline

from metaformer_nlp.config.command_line import from_dict, parse
from tasks.segmentation import evaluation
from tasks.segmentation.augment import EvalTransform
from tasks.segmentation.data import DataConfig, load_source
from tasks.segmentation.drawing import colours
from tasks.segmentation.metric import NAMES as METRICS
from tasks.segmentation.options import EvaluationConfig, SegmentationConfig, SegmenterConfig
from tasks.segmentation.segmentation import SemanticSegmentation, cost, run
from tests.engine import toy
from tests.engine.harness import at_step, die, killed_after, launch
from tests.tasks.segmentation.small import NAMES, ade20k, config
from vision import create_model
from vision.dense import MetaFormerVisionSegmentationConfig, create_segmenter, label_map

RECIPES = Path(__file__).parents[3] / "scripts/recipes"


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """`launch` of the engine's harness runs segmenters."""
    monkeypatch.setattr(toy, "train", lambda folder, **options: run(config(folder, **options)))


def weights(folder: Path) -> dict[str, bytes]:
    last = max((folder / "checkpoints").iterdir())
    return {name: (last / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}


def on_ade20k(root: Path) -> dict[str, Any]:
    """Options for the small data set, and sides that the pictures are resized to."""
    return {"data.name": "ade20k", "data.root": str(root), "data.short_side": 64, "data.long_side": 128}


def test_the_defaults_are_those_of_the_model() -> None:
    model = MetaFormerVisionSegmentationConfig()
    fields = SegmenterConfig().fields()
    assert {name: getattr(model, name) for name in fields} == fields


def test_more_than_one_image_an_evaluation_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"run.eval_batch_size 4: must be 1 .*padded"):
        config("unused", **{"run.eval_batch_size": 4})


def test_the_loss_is_a_sum_over_labelled_pixels(tmp_path: Path) -> None:
    task = SemanticSegmentation(config("unused", **on_ade20k(ade20k(tmp_path)), **{"segmenter.head_dropout": 0.0}))
    model = task.build_model().train()
    samples = [task.train_data.sample(index, np.random.default_rng(index)) for index in range(4)]
    samples[3] = samples[3][0], torch.full_like(samples[3][1], 255)
    total, count = task.loss(model, task.collate(samples))
    single = [task.loss(model, task.collate([sample])) for sample in samples]
    assert count == sum(int((labels != 255).sum()) for _, labels in samples) == sum(int(n) for _, n in single)
    assert total.item() == pytest.approx(sum(x.item() for x, _ in single), rel=1e-5)
    nothing, none = single[3]
    assert (nothing.item(), none.item(), nothing.requires_grad) == (0, 0, True)


def test_killed_and_resumed_the_weights_are_the_same(tmp_path: Path, forked: None) -> None:
    augment = {"data.augment.flip": 0.5, "data.augment.photometric": 0.5, "data.augment.scale": [0.5, 2]}
    options = {"schedule.steps": 3, "run.save_every": 1, **augment}
    (whole,) = launch(tmp_path / "whole", **options)
    assert whole.code == 0, whole.said
    for step in (1, 2):
        (killed,) = launch(tmp_path / "run", prepare=at_step(step, die), **options)
        assert killed.code == -signal.SIGKILL
    (resumed,) = launch(tmp_path / "run", **options)
    assert resumed.code == 0, resumed.said
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert resumed.result["metrics"] == whole.result["metrics"]
    assert set(whole.result["metrics"]) == {f"validation/{name}" for name in METRICS}


@pytest.mark.distributed
def test_two_processes_that_are_killed_at_random_moments_end_as_one(tmp_path: Path, forked: None) -> None:
    options = {"schedule.steps": 8, "run.save_every": 1, "data.augment.flip": 0.5}
    (whole,) = launch(tmp_path / "whole", **options)
    for seconds in np.random.default_rng().uniform(0.3, 3.0, 3):
        launch(tmp_path / "run", 2, during=killed_after(seconds), **options)
    resumed = launch(tmp_path / "run", 2, **options)
    assert [outcome.code for outcome in resumed] == [0, 0], resumed[0].said
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert resumed[0].result["metrics"] == whole.result["metrics"]


@pytest.mark.distributed
def test_any_number_of_processes_gives_the_same(tmp_path: Path, forked: None) -> None:
    metrics = {}
    for world in (1, 2, 3):  # five scenes: neither 2 nor 3 processes share them evenly
        options = {"schedule.steps": 0, "run.batch_size": 6} if world == 3 else {}
        outcomes = launch(tmp_path / f"{world}", world, **options)
        assert [outcome.code for outcome in outcomes] == [0] * world, outcomes[0].said
        metrics[world] = outcomes[0].result["metrics"]
    (built,) = launch(tmp_path / "built", **{"schedule.steps": 0})
    assert metrics[3] == built.result["metrics"]
    assert metrics[2] == metrics[1] != metrics[3]
    assert weights(tmp_path / "2") == weights(tmp_path / "1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter of two steps on pictures in ADE20K's layout."""
    folder = tmp_path_factory.mktemp("trained")
    run(config(folder / "run", **on_ade20k(ade20k(folder / "ade")), **{"optim.lr": 0.01}))
    return folder


def evaluation_config(trained: Path, **options: Any) -> EvaluationConfig:
    values = {"checkpoint": str(trained / "run"), **on_ade20k(trained / "ade"), **options}
    return from_dict(EvaluationConfig, values)


def test_what_a_run_costs_is_known_before(trained: Path) -> None:
    result = json.loads((trained / "run/result.json").read_text())
    planned = cost(config("unused", **on_ade20k(trained / "ade")))
    assert planned == {
        "steps": 2,
        "samples": 4,
        "parameters": result["parameters"],
        "macs": result["macs"],
        "training_macs": 4 * result["macs"],
    }


def test_a_saved_segmenter_gives_the_scores_of_its_run(trained: Path, tmp_path: Path) -> None:
    file, pictures = tmp_path / "scores.csv", tmp_path / "pictures"
    for _ in range(2):
        row = evaluation.run(evaluation_config(trained, output=str(file), pictures=str(pictures), num_pictures=2))
    metrics = json.loads((trained / "run/result.json").read_text())["metrics"]
    assert {f"validation/{name}": row[name] / 100 for name in METRICS} == pytest.approx(metrics, abs=1e-6)
    lines = file.read_text().splitlines()
    assert lines[0] == "model,mean_iou,pixel_accuracy,mean_accuracy,param_count,images"
    assert len(lines) == 3
    assert lines[1] == lines[2]
    assert sorted(path.name for path in pictures.iterdir()) == ["00000.png", "00001.png"]


def test_pictures_show_labels_and_predictions(trained: Path, tmp_path: Path) -> None:
    evaluation.run(evaluation_config(trained, pictures=str(tmp_path), num_pictures=1))
    drawn = np.asarray(Image.open(tmp_path / "00000.png")).astype(float)
    picture, labels = load_source(DataConfig(name="ade20k", root=str(trained / "ade")), "validation").load(0)
    height, width = labels.shape
    factor = -(-256 // height)
    panels = drawn[: factor * height : factor, : 3 * factor * width : factor].reshape(height, 3, width, 3)
    assert np.array_equal(panels[:, 0], np.asarray(picture))
    expected = 0.4 * np.asarray(picture) + 0.6 * colours()[labels]
    assert np.abs(panels[:, 1] - expected).max() <= 1
    assert len(np.unique(colours()[:100], axis=0)) == 100


def test_a_segmenter_of_other_classes_is_refused(trained: Path) -> None:
    with pytest.raises(ValueError, match=r"tells 5 classes apart, the data has 11; .* Differ: 0: 'wall' and '0'"):
        evaluation.run(from_dict(EvaluationConfig, {"checkpoint": str(trained / "run")}))


def test_a_saved_segmenter_opens_by_the_auto_classes_and_in_a_pipeline(trained: Path) -> None:
    folder = trained / "run/model"
    model, processor = (
        AutoModelForSemanticSegmentation.from_pretrained(folder),
        AutoImageProcessor.from_pretrained(folder),
    )
    picture = Image.open(trained / "ade/images/validation/ADE_validation_1.jpg").resize((96, 128))
    pixels = processor(picture, return_tensors="pt").pixel_values
    ours = EvalTransform((64, 128))(np.asarray(picture))
    assert pixels.shape[1:] == ours.shape == (3, 96, 64)
    assert (pixels[0] - ours).abs().mean() < 0.3  # the processor smooths before it makes smaller
    (found,) = processor.post_process_semantic_segmentation(model(pixels), target_sizes=[(128, 96)])
    assert torch.equal(found, label_map(model(pixels).logits[0], (128, 96)))
    parts = pipeline("image-segmentation", model=str(folder))(picture)
    assert {part["label"] for part in parts} <= {"wall", "door", "sky", "door, exit", "lamp"}
    assert sum(np.asarray(part["mask"]) > 0 for part in parts).min() == 1


def test_the_trunk_starts_from_a_classifier(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    classifier = create_model("poolformer_nano")
    classifier.save_pretrained(tmp_path / "classifier")
    task = SemanticSegmentation(config("unused", **{"model.checkpoint": str(tmp_path / "classifier")}))
    model = task.build_model()
    name = next(name for name in classifier.state_dict() if "mlp" in name)
    assert torch.equal(model.state_dict()[f"backbone.body.{name}"], classifier.state_dict()[name])
    assert "starts the trunk. New are" in caplog.text


def test_batch_norm_is_the_papers_head(tmp_path: Path) -> None:
    run(config(tmp_path / "run", **{"segmenter.head_norm": "batch_norm", "run.micro_batch_size": 2}))
    model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "run/model")
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.num_batches_tracked == 2 for norm in norms)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("ade20k/*.yaml")), ids=lambda path: path.stem)
def test_published_recipes(path: Path) -> None:
    recipe = parse(SegmentationConfig, ["--config", str(path), "--data.root", "somewhere"])
    assert (recipe.schedule.steps, recipe.schedule.kind, recipe.schedule.power) == (40_000, "poly", 0.9)
    assert (recipe.run.batch_size, recipe.optim.lr_batch_size) == (32, 32)
    assert (recipe.data.fit, recipe.data.crop) == ((512, 2048), 512)
    head = path.read_text().splitlines()[0]
    with torch.device("meta"):
        model = create_segmenter(str(recipe.model.name), num_labels=150, **recipe.segmenter.fields())
    assert f"{model.num_parameters() / 1e6:.1f} M parameters" in head
    assert path.stem in recipe.run.folder


def test_the_recipe_for_scenes_begins_to_learn(tmp_path: Path) -> None:
    """Its background is found within 30 steps; the digits take its two minutes."""
    options = ["--run.folder", str(tmp_path / "run"), "--schedule.steps", "30", "--run.log_every", "10"]
    small = ["--schedule.warmup_steps", "5", "--data.scenes.eval_scenes", "20"]
    result = run(parse(SegmentationConfig, ["--config", str(RECIPES / "scenes_segmentation.yaml"), *options, *small]))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()[:3]]
    assert losses[0] > losses[1] > losses[2]
    assert result["metrics"]["validation/pixel_accuracy"] > 0.85


def test_classes_are_named_in_the_saved_folder(trained: Path) -> None:
    saved = json.loads((trained / "run/model/config.json").read_text())
    assert saved["id2label"] == {"0": "wall", "1": "door", "2": "sky", "3": NAMES[3], "4": "lamp"}
