"""The task: exact sums, whole tiny runs through the engine, kills, processes, and the evaluation of what was saved."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metaformer_nlp.config.command_line import from_dict, parse
from tasks.detection import evaluation
from tasks.detection.data import DetectionData, SceneObjects, load_sources, mirrored
from tasks.detection.detection import ObjectDetection, Scoring, cost, run
from tasks.detection.metric import records
from tasks.detection.options import DetectionConfig, DetectorConfig, EvaluationConfig
from tasks.images.readers.scenes import SceneConfig
from tests.engine import toy
from tests.engine.harness import at_step, die, killed_after, launch
from tests.tasks.detection.small import coco, config
from tests.tasks.detection.test_metric import by_hand
from vision.dense import MetaFormerVisionDetectionConfig

RECIPES = Path(__file__).parents[3] / "scripts/recipes"
KINDS = ("retinanet", "mask_rcnn")


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """`launch` of the engine's harness runs detectors."""
    monkeypatch.setattr(toy, "train", lambda folder, **options: run(config(folder, **options)))


def weights(folder: Path) -> dict[str, bytes]:
    last = max((folder / "checkpoints").iterdir())
    return {name: (last / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}


def test_the_defaults_are_those_of_the_model() -> None:
    fields, model = DetectorConfig().fields(), MetaFormerVisionDetectionConfig()
    assert {name: list(x) if isinstance(x := getattr(model, name), tuple) else x for name in fields} == fields


def test_more_than_one_image_an_evaluation_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"run.eval_batch_size 4: must be 1 .*padded"):
        config("unused", **{"run.eval_batch_size": 4})


def test_settings_are_chosen_on_scans_that_are_held_out() -> None:
    task = ObjectDetection(config("unused", **{"data.scenes.held_out": 100}))
    assert (list(task.eval_data), set(task.fingerprint())) == (["held_out"], {"train", "held_out"})
    with pytest.raises(ValueError, match=r"held_out 100: for data\.name scenes alone"):
        config("unused", **{"data.name": "coco", "data.root": "somewhere", "data.scenes.held_out": 100})


def test_mirrored_twice_is_the_same() -> None:
    sample = DetectionData(SceneObjects("train", SceneConfig()), masks=True).sample(0, np.random.default_rng(0))
    image, target = sample.pop("image"), {key: sample[key] for key in ("boxes", "labels", "masks")}
    once = mirrored(image, target)
    for (left, top, right, bottom), mask in zip(once[1]["boxes"].int().tolist(), once[1]["masks"], strict=True):
        assert mask[top:bottom, left:right].sum() == mask.sum()
        assert mask[:, left].any()
    twice = mirrored(*once)
    assert torch.equal(twice[0], image)
    assert not torch.equal(once[0], image)
    assert all(torch.equal(twice[1][key], target[key]) for key in target)


def test_a_sample_is_a_function_of_its_generator() -> None:
    data = DetectionData(SceneObjects("train", SceneConfig()), flip=0.5)
    first, same, other = (data.sample(1, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first["image"], same["image"])
    assert torch.equal(first["boxes"], same["boxes"])
    assert not torch.equal(first["image"], other["image"])


def test_the_loss_is_a_sum_over_images() -> None:
    task = ObjectDetection(config("unused"))
    model = task.build_model().train()
    samples = [task.train_data.sample(index, np.random.default_rng(index)) for index in range(4)]
    total, count = task.loss(model, task.collate(samples))
    single = [task.loss(model, task.collate([sample]))[0].item() for sample in samples]
    assert count == 4
    assert total.item() == pytest.approx(sum(single), rel=1e-4)
    assert max(single) > 1.001 * min(single), "otherwise any mean would do"


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_the_weights_are_the_same(kind: str, tmp_path: Path, forked: None) -> None:
    options = {"kind": kind, "schedule.steps": 3, "run.save_every": 1, "data.flip": 0.5}
    (whole,) = launch(tmp_path / "whole", **options)
    assert whole.code == 0, whole.said
    for step in (1, 2):
        (killed,) = launch(tmp_path / "run", prepare=at_step(step, die), **options)
        assert killed.code == -signal.SIGKILL
    (resumed,) = launch(tmp_path / "run", **options)
    assert resumed.code == 0, resumed.said
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert resumed.result["metrics"] == whole.result["metrics"]
    assert set(whole.result["metrics"]) == {
        f"validation/{name}" for name in ObjectDetection(config("unused", kind)).metric_names()
    }


@pytest.mark.distributed
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_that_are_killed_at_random_moments_end_as_one(kind: str, tmp_path: Path, forked: None) -> None:
    options = {"kind": kind, "schedule.steps": 8, "run.save_every": 1, "data.flip": 0.5}
    (whole,) = launch(tmp_path / "whole", **options)
    for seconds in np.random.default_rng().uniform(0.3, 3.0, 3):
        launch(tmp_path / "run", 2, during=killed_after(seconds), **options)
    resumed = launch(tmp_path / "run", 2, **options)
    assert [outcome.code for outcome in resumed] == [0, 0], resumed[0].said
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert resumed[0].result["metrics"] == whole.result["metrics"]


@pytest.mark.distributed
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_processes_gives_the_same(kind: str, tmp_path: Path, forked: None) -> None:
    metrics = {}
    for world in (1, 2, 3):  # five scenes: neither 2 nor 3 processes share them evenly
        batch = {"run.batch_size": 6} if world == 3 else {}
        steps = 0 if world == 3 else 2
        outcomes = launch(tmp_path / f"{world}", world, kind=kind, **{"schedule.steps": steps}, **batch)
        assert [outcome.code for outcome in outcomes] == [0] * world, outcomes[0].said
        metrics[world] = outcomes[0].result["metrics"]
    (built,) = launch(tmp_path / "built", kind=kind, **{"schedule.steps": 0})
    assert metrics[3] == built.result["metrics"]
    assert metrics[2] == metrics[1]
    assert weights(tmp_path / "2") == weights(tmp_path / "1")
    assert metrics[1]["validation/box_ar_100"] > 0, "zeros are always the same"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mask R-CNN of two steps on pictures in COCO's layout."""
    folder = tmp_path_factory.mktemp("trained")
    options = {"data.name": "coco", "data.root": str(coco(folder / "coco")), "detector.score_threshold": 0.01}
    run(config(folder / "run", "mask_rcnn", **options))
    return folder


def test_a_saved_detector_gives_the_scores_of_its_run_and_of_pycocotools(trained: Path) -> None:
    data = {"data.name": "coco", "data.root": str(trained / "coco")}
    options: dict[str, Any] = {"checkpoint": str(trained / "run"), "output": str(trained / "found"), **data}
    scores = evaluation.run(from_dict(EvaluationConfig, {**options, "pictures": 2, "picture_threshold": 0.0}))
    result = json.loads((trained / "run/result.json").read_text())
    assert {f"validation/{name}": value for name, value in scores.items()} == result["metrics"]
    assert json.loads((trained / "found/scores.json").read_text()) == scores
    truth = trained / "coco/annotations/instances_val2017.json"
    for kind, prefix in (("bbox", "box"), ("segm", "mask")):
        file = trained / f"found/val2017.{kind}.json"
        rows = json.loads(file.read_text())
        assert {row["image_id"] for row in rows} <= {10, 20, 30}
        assert {row["category_id"] for row in rows} <= {3, 7}
        expected = by_hand(truth, file, kind)
        assert [value for name, value in scores.items() if name.startswith(prefix)] == pytest.approx(expected, abs=1e-9)
    assert sorted(path.name for path in (trained / "found/pictures").iterdir()) == ["10.png", "20.png"]


def test_files_of_an_earlier_evaluation_do_not_outlive_it(tmp_path: Path) -> None:
    """The masks of one detector would be laid over the boxes of another."""
    source = load_sources(config("unused").data, False)[1]
    scoring = Scoring(source, "validation", tmp_path)
    (tmp_path / "validation.segm.json").write_text("[]")
    empty = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
    found = [records(torch.tensor([index]), [empty]) for index in range(len(source))]
    scoring.summarize("validation", found)
    assert [path.name for path in tmp_path.iterdir()] == ["validation.bbox.json"]


def test_a_detector_of_other_classes_is_refused(trained: Path) -> None:
    options = {"checkpoint": str(trained / "run"), "output": str(trained / "other")}
    with pytest.raises(ValueError, match=r"trained on the categories \[3, 7\] ..., the data has \[1, 2"):
        evaluation.run(from_dict(EvaluationConfig, options))


def test_parts_of_other_categories_are_refused(tmp_path: Path) -> None:
    root = coco(tmp_path)
    file = root / "annotations/instances_val2017.json"
    file.write_text(file.read_text().replace('"cat"', '"cow"'))
    data = dataclasses.replace(config("unused").data, name="coco", root=str(root))
    with pytest.raises(ValueError, match="categories of train2017 and val2017 differ"):
        load_sources(data, masks=False)


def test_a_trunk_starts_from_a_classifier(tmp_path: Path) -> None:
    import vision

    torch.manual_seed(1)
    classifier = vision.create_model("poolformer_nano", num_labels=3)
    classifier.save_pretrained(tmp_path)
    model = ObjectDetection(config("unused", **{"model.checkpoint": str(tmp_path)})).build_model()
    names = list(dict(model.named_parameters()))
    for name, expected in classifier.metaformer.stages.named_parameters():
        (found,) = [other for other in names if other.endswith(f"stages.{name}")]
        assert torch.equal(model.get_parameter(found), expected)


def test_cost_counts_without_training() -> None:
    found = cost(config("unused", **{"schedule.steps": 5}))
    assert (found["steps"], found["samples"]) == (5, 10)
    assert found["parameters"]["total"] > 50_000


@pytest.mark.parametrize("path", sorted(RECIPES.glob("coco/*.yaml")), ids=lambda path: path.stem)
def test_a_published_recipe_is_read_and_counted(path: Path, tmp_path: Path) -> None:
    read = parse(DetectionConfig, ["--config", str(path), "--data.root", str(coco(tmp_path))])
    kind = next(kind for kind in KINDS if path.stem.startswith(kind))
    assert read.detector == DetectorConfig(kind=kind)
    assert path.stem.removeprefix(f"{kind}_") in str(read.model.name).replace("v1_", "").replace("timm/", "")
    assert f"{read.run.folder}.yaml".endswith(f"coco/{path.stem}.yaml")
    found = cost(read)
    stated = float(path.read_text().split("recipe: ")[1].split(" M")[0])
    missing = 78 * (9 * (9 * 256 + 1) if kind == "retinanet" else 5 * (1024 + 1) + 256 + 1)  # two classes, not 80
    assert (found["parameters"]["trainable"] + missing) / 1e6 == pytest.approx(stated, abs=0.06)


@pytest.mark.parametrize("kind", KINDS)
def test_the_embedded_recipes_start(kind: str, tmp_path: Path) -> None:
    options = {"run.folder": str(tmp_path / "run"), "schedule.steps": 2, "run.batch_size": 2, "run.log_every": 1}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    read = parse(DetectionConfig, ["--config", f"recipe:scenes_{kind}", "--data.max_eval_samples", "3", *words])
    metrics = run(read)["metrics"]
    assert 0 <= metrics["validation/box_ap"] < 0.3
