"""Accuracies against timm's own functions, the csv file, and what a user can get wrong."""

from __future__ import annotations

import csv
import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from timm.data import create_transform
from timm.data.real_labels import RealLabelsImagenet
from timm.utils import accuracy
from torch import Tensor

from metaformer_nlp.config.command_line import from_dict
from tasks.images import evaluation as image_evaluation
from tasks.images.checkpoints import check_classes, open_checkpoint
from tasks.images.evaluation import Config, Joined, read_real_labels, run
from tasks.images.readers.classes import read_class_file
from tests.engine.harness import launch
from vision import create_model

CLASSES = 7
IMAGES = 37


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``images/<class>/ILSVRC2012_val_*.JPEG`` of two sizes, a saved model ``model``, and ``real.json``."""
    root = tmp_path_factory.mktemp("evaluation")
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        place = root / "images" / f"n{number % CLASSES:02}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (8, 9 + number % 2, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((50, 40))  # smooth, so that images differ in more than noise
        picture.save(place / f"ILSVRC2012_val_{number + 1:08d}.JPEG")
    real = [random.integers(0, CLASSES, number % 3).tolist() for number in range(IMAGES)]  # some have no label at all
    (root / "real.json").write_text(json.dumps(real))
    torch.manual_seed(0)
    model = create_model("poolformer_nano", num_labels=CLASSES, crop_pct=0.9, initializer_range=0.3)
    model.save_pretrained(root / "model")
    return root


def config(folder: Path, **options: Any) -> Config:
    data = {"data.name": "folder", "data.root": str(folder / "images"), "part": "all", "batch_size": 5}
    return from_dict(Config, {"checkpoint": str(folder / "model"), **data, **options})


def by_timm(folder: Path, size: int = 32, crop_pct: float = 0.9) -> tuple[Tensor, Tensor, list[str]]:
    """Logits, labels and file names, read and transformed by timm."""
    transform = create_transform(size, interpolation="bicubic", crop_pct=crop_pct)
    files = sorted((folder / "images").rglob("*.JPEG"))
    pixels = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    with torch.no_grad():
        logits = open_checkpoint(str(folder / "model"), size)(pixel_values=pixels).logits
    return logits, torch.tensor([int(file.parent.name[1:]) for file in files]), [file.name for file in files]


def test_equals_timm(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "results.csv"
    real = folder / "real.json"
    (row,) = run(config(folder, real_labels=str(real), output=str(output)))
    logits, labels, names = by_timm(folder)
    top1, top5 = (float(value) for value in accuracy(logits, labels, (1, 5)))
    assert 0 < top1 < top5 < 100, "the data tells nothing apart"
    assert (row["top1"], row["top5"]) == (pytest.approx(top1, abs=1e-3), pytest.approx(top5, abs=1e-3))
    theirs = RealLabelsImagenet(names, str(real))
    theirs.add_result(logits)
    expected = theirs.get_accuracy()
    assert (row["real_top1"], row["real_top5"]) == (
        pytest.approx(expected[1], abs=1e-3),
        pytest.approx(expected[5], abs=1e-3),
    )
    assert ",".join(list(row)[:9]) == "model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation"
    (line,) = csv.DictReader(output.open())
    assert line == {key: str(value) for key, value in row.items()}


def test_other_size_and_crop(folder: Path) -> None:
    (row,) = run(config(folder, **{"data.image_size": 40, "data.crop_pct": 1.0}))
    logits, labels, _ = by_timm(folder, 40, 1.0)
    assert row["top1"] == pytest.approx(float(accuracy(logits, labels)[0]), abs=1e-3)
    assert (row["img_size"], row["crop_pct"]) == (40, 1.0)


def test_two_processes_measure_the_same(folder: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.csv"
    run(config(folder, output=str(both)))

    def evaluate(rank: int) -> None:
        run(config(folder, output=str(both)))
        (tmp_path / f"world-{rank}").write_text(str(dist.get_world_size()))
        raise SystemExit(0)  # the harness's own run is not wanted

    outcomes = launch(tmp_path / "run", world=2, prepare=evaluate)
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert [(tmp_path / f"world-{rank}").read_text() for rank in (0, 1)] == ["2", "2"]
    header, *lines = both.read_text().splitlines()
    assert header.startswith("model,top1,")
    assert len(lines) == 2
    assert lines[0] == lines[1]


def test_several_models_and_weight_files(folder: Path, tmp_path: Path) -> None:
    weights = tmp_path / "nano.safetensors"
    weights.write_bytes((folder / "model" / "model.safetensors").read_bytes())
    rows = run(config(folder, checkpoint=f"{folder / 'model'},poolformer_nano={weights}", **{"data.crop_pct": 0.9}))
    assert rows[0]["top1"] == rows[1]["top1"]
    assert [row["model"] for row in rows] == [str(folder / "model"), f"poolformer_nano={weights}"]


def test_one_model_is_held_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[weakref.ref[Any]] = []

    def opened(*arguments: Any) -> Any:
        assert [model() for model in models] == [None] * len(models)
        model = open_checkpoint(*arguments)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(image_evaluation, "open_checkpoint", opened)
    run(config(folder, checkpoint=[str(folder / "model")] * 3))
    assert len(models) == 3


def test_what_is_wrong_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        run(config(folder, checkpoint=f"{folder / 'model'},{tmp_path / 'nothing'}"))
    with pytest.raises(ValueError, match="no model's name"):
        run(config(folder, checkpoint=f"poolfomer={tmp_path / 'nothing'}"))
    create_model("poolformer_nano", num_labels=1000).save_pretrained(tmp_path / "thousand")
    with pytest.raises(ValueError, match=r"1000 classes apart, the data has 7\..*class_file imagenet"):
        run(config(folder, checkpoint=str(tmp_path / "thousand")))
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="has the columns a,b"):
        run(config(folder, output=str(other)))
    wrong = tmp_path / "real.json"
    wrong.write_text("[]")
    with pytest.raises(ValueError, match="37 of 37 images have no ReaL label"):
        run(config(folder, real_labels=str(wrong)))
    wrong.write_text(json.dumps([[]] * IMAGES))
    with pytest.raises(ValueError, match="no class for any of the 37 images"):
        run(config(folder, real_labels=str(wrong)))
    for options in ({"batch_size": 0}, {"batch_size": -1}, {"num_workers": -1}):
        ((name, value),) = options.items()
        with pytest.raises(ValueError, match=f"{name} {value}: must be at least"):
            config(folder, **options)


def test_classes_in_another_order_are_refused(folder: Path, tmp_path: Path) -> None:
    names = dict(enumerate(reversed([f"n{number:02}" for number in range(CLASSES)])))
    create_model("poolformer_nano", id2label=names).save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="another order"):
        run(config(folder, checkpoint=str(tmp_path / "model")))


@pytest.mark.parametrize(
    ("own", "data", "message"),
    [
        (["rose", "tulip"], ["cat", "dog"], "not one class in common"),
        (["dog", "cat", "bird"], ["cat", "dog", "fish"], "another order: 'dog' is number 0 in the model and 1"),
        (["crane (n03126707)", "crane (n02012849)"], ["crane (n02012849)", "crane (n03126707)"], "another order"),
        (["a", "b"], ["a", "c"], None),
        (["LABEL_0", "LABEL_1"], ["cat", "dog"], None),
    ],
)
def test_classes_are_compared_by_name(own: list[str], data: list[str], message: str | None) -> None:
    model = create_model("poolformer_nano", id2label=dict(enumerate(own)))
    if message is None:
        check_classes(model, data, "it")
    else:
        with pytest.raises(ValueError, match=message):
            check_classes(model, data, "it")


def test_imagenets_classes_have_several_names() -> None:
    imagenet = read_class_file("imagenet")
    plain = [name.split(" (n")[0] for name in imagenet.names]  # as transformers has them, "crane" twice
    assert plain.count("crane") == 2
    lists = [list(imagenet.ids), list(imagenet.names), plain]
    for own in lists:
        model = create_model("poolformer_nano", id2label=dict(enumerate(own)))
        for data in lists:
            check_classes(model, data, "it")
    with pytest.raises(ValueError, match="another order"):
        check_classes(model, list(reversed(imagenet.names)), "it")
    with pytest.raises(ValueError, match="not one class in common"):
        check_classes(model, [f"place {index}" for index in range(1000)], "it")


def test_broken_weights_are_no_accuracy(folder: Path, tmp_path: Path) -> None:
    model = create_model("poolformer_nano", num_labels=CLASSES)
    with torch.no_grad():
        model.classifier.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="NaN or infinity for 37 of 37"):
        run(config(folder, checkpoint=str(tmp_path / "model")))


def test_timms_real_labels_are_found() -> None:
    class Source:
        classes, labels = ("a",), np.zeros(2, dtype=np.int64)

        def __len__(self) -> int:
            return 2

        def name(self, index: int) -> str:
            return f"val/n01/ILSVRC2012_val_{49_999 + index:08d}.JPEG"

        def load(self, index: int, rng: Any = None, *, lazy: bool = False) -> Any:
            raise NotImplementedError

    joined = Joined([Source(), Source()])
    assert len(joined) == 4
    assert joined.name(3) == joined.name(1)
    labels = read_real_labels("timm", joined)
    assert labels[0] == labels[2]
    assert all(0 <= label < 1000 for row in labels for label in row)
