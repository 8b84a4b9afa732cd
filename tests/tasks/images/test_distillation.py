"""Distillation: the published losses, a teacher that is not trained, saved or lost, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from metaformer_nlp.config.command_line import from_dict
from tasks.images.classification import Config, ImageClassification, run
from vision import create_model


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher")
    create_model("poolformer_nano", image_size=24, initializer_range=0.5).save_pretrained(folder)
    return str(folder)


def config(teacher: str, folder: Path | str = "unused", **options: Any) -> Config:
    values = {
        "run.folder": str(folder),
        "run.batch_size": 8,
        "schedule.steps": 2,
        "model.name": "poolformer_nano",
        "data.image_size": 24,
        "data.max_eval_samples": 17,
        "data.augment.recipe": "none",
        "distill.teacher": teacher,
    }
    return from_dict(Config, {**values, **options})


def losses(teacher: str, **options: Any) -> tuple[float, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The loss of a batch, the student's logits, the teacher's and the labels."""
    task = ImageClassification(config(teacher, **options))
    student = task.build_model().eval()
    batch = task.collate([task.eval_data["validation"].sample(index, None) for index in range(6)])
    total, count = task.loss(student, batch)
    assert count == 6
    theirs = create_model("poolformer_nano", image_size=24)
    theirs.load_state_dict(load_file(Path(teacher) / "model.safetensors"))
    with torch.no_grad():
        logits = [model(pixel_values=batch["pixel_values"]).logits for model in (student, theirs.eval())]
    return total.item(), *logits, batch["labels"]


def test_the_soft_loss(teacher: str) -> None:
    found, student, taught, labels = losses(
        teacher, **{"distill.kind": "soft", "distill.alpha": 0.3, "distill.temperature": 2.0}
    )
    p = (taught / 2).softmax(1)
    distance = (p * (p.log() - (student / 2).log_softmax(1))).sum() * 4
    assert found == pytest.approx((0.7 * F.cross_entropy(student, labels, reduction="sum") + 0.3 * distance).item())


def test_the_hard_loss(teacher: str) -> None:
    found, student, taught, labels = losses(teacher, **{"distill.alpha": 0.6, "loss.label_smoothing": 0.1})
    ordinary = F.cross_entropy(student, labels, reduction="sum", label_smoothing=0.1)
    decided = F.cross_entropy(student, taught.argmax(1), reduction="sum")
    assert taught.argmax(1).ne(labels).any()
    assert found == pytest.approx((0.4 * ordinary + 0.6 * decided).item())


def test_pixels_are_put_in_the_teachers_terms(tmp_path: Path) -> None:
    """A teacher of timm that was trained with mean and deviation 0.5."""
    theirs = create_model("timm/mixer_s16_224", num_labels=10, image_size=32, drop_path_rate=0.0).eval()
    assert theirs.config.pretrained_cfg["mean"][0] == 0.5
    torch.nn.init.normal_(theirs.timm_model.head.weight)
    theirs.save_pretrained(tmp_path)
    task = ImageClassification(config(str(tmp_path), **{"data.image_size": 32}))
    pixels = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert task._teacher is not None
    with torch.no_grad():
        expected = theirs(pixel_values=(pixels - 0.5) / 0.5).logits
    torch.testing.assert_close(task._teacher.logits((pixels - mean) / std), expected, rtol=1e-4, atol=1e-4)


def test_a_run_with_mixing_leaves_the_teacher_out_of_what_it_saves(teacher: str, tmp_path: Path) -> None:
    before = load_file(Path(teacher) / "model.safetensors")
    settings = config(teacher, tmp_path / "run", **{"mix.mixup_alpha": 0.8, "distill.kind": "soft"})
    result = run(settings)
    assert result["parameters"]["total"] == sum(x.numel() for x in create_model("poolformer_nano").parameters())
    assert load_file(tmp_path / "run" / "model" / "model.safetensors").keys() == before.keys()
    after = load_file(Path(teacher) / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distill.alpha": 1.5}, "distill.alpha 1.5"),
        ({"distill.temperature": 0.0}, "distill.temperature 0.0"),
        ({"distill.teacher": "nowhere"}, "nowhere"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str, teacher: str) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        ImageClassification(config(teacher, **options))


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    create_model("poolformer_nano", image_size=24, num_labels=7).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="tells 7 classes apart, the data has 10"):
        ImageClassification(config(str(tmp_path)))
    names = {index: str(9 - index) for index in range(10)}
    create_model("poolformer_nano", image_size=24, id2label=names).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'9' is number 0 in the model and 9 in the data"):
        ImageClassification(config(str(tmp_path)))
