"""Models in training: from checkpoints, from timm, and the depths of their layers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import group_parameters
from transformers import AutoImageProcessor, AutoModelForImageClassification

from metaformer_nlp.config.command_line import from_dict
from tasks.images.classification import Config, ImageClassification, run
from tasks.images.model import ModelConfig, layer_depths
from vision import create_model

RECIPES = Path(__file__).parents[3] / "scripts" / "recipes" / "transfer"


def config(folder: Path | str = "unused", **options: Any) -> Config:
    values = {
        "run.folder": str(folder),
        "run.batch_size": 8,
        "schedule.steps": 1,
        "data.image_size": 32,
        "data.max_eval_samples": 9,
        "data.augment.recipe": "none",
    }
    return from_dict(Config, {**values, **options})


def saved(folder: Path, name: str = "poolformer_nano", **overrides: Any) -> str:
    create_model(name, image_size=32, **overrides).save_pretrained(folder)
    return str(folder)


def test_a_model_of_timm_trains_saves_and_opens_again(tmp_path: Path) -> None:
    settings = config(tmp_path / "run", **{"model.name": "timm/test_vit", "optim.layer_decay": 0.5})
    result = run(settings)
    assert result["macs"] > 0
    folder = tmp_path / "run" / "model"
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    assert model.config.id2label[7] == "7"
    task = ImageClassification(settings)
    data: Any = task.eval_data["validation"]
    processor = AutoImageProcessor.from_pretrained(folder)
    theirs = processor(data.source.load(0), return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(theirs, task.collate([data.sample(0, None)])["pixel_values"][0], atol=1e-5, rtol=1e-5)


def test_a_checkpoint_gives_its_weights_and_a_head_for_other_classes(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "seven", num_labels=7)
    before = AutoModelForImageClassification.from_pretrained(checkpoint).state_dict()
    model = ImageClassification(config(**{"model.checkpoint": checkpoint, "model.drop_path_rate": 0.3})).build_model()
    assert model.config.drop_path_rate == 0.3  # type: ignore[union-attr]
    after = model.state_dict()
    different = {name for name in before if before[name].shape != after[name].shape}
    assert different == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(before[name], after[name]) for name in before if name not in different)


@pytest.mark.parametrize("new_head", [False, True])
def test_a_head_of_the_same_number_of_classes_is_kept_unless_told(new_head: bool, tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "ten", num_labels=10)
    before = AutoModelForImageClassification.from_pretrained(checkpoint).state_dict()
    options = {"model.checkpoint": checkpoint, "model.new_head": new_head}
    after = ImageClassification(config(**options)).build_model().state_dict()
    assert torch.equal(before["classifier.weight"], after["classifier.weight"]) != new_head
    assert torch.equal(before["norm.weight"], after["norm.weight"])


def test_a_checkpoint_is_read_once(tmp_path: Path) -> None:
    """At the end of the run it may be gone."""
    checkpoint = saved(tmp_path / "ten", num_labels=10)
    task = ImageClassification(config(**{"model.checkpoint": checkpoint}))
    first = task.build_model()
    shutil.rmtree(checkpoint)
    assert task.build_model().state_dict().keys() == first.state_dict().keys()


def test_positions_are_an_option_of_each_stage(tmp_path: Path) -> None:
    """They train with the rest, and a saved model is opened with them, for images of another size as well."""
    stages = [True, False, True, False]
    result = run(config(tmp_path / "run", **{"model.name": "poolformer_nano", "model.position_embedding": stages}))
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "run" / "model")
    learned = [stage.position_embedding for stage in model.metaformer.stages]
    assert [it is not None for it in learned] == stages
    assert learned[0].abs().max() > 0
    assert result["parameters"]["total"] == sum(parameter.numel() for parameter in model.parameters())
    larger = {"model.checkpoint": str(tmp_path / "run" / "model"), "data.image_size": 64}
    again: Any = ImageClassification(config(**larger)).build_model()
    assert again.metaformer.stages[0].position_embedding.shape == (2 * learned[0].shape[0],) * 2 + learned[0].shape[2:]
    fresh = {"model.position_embedding": True, "model.position_embedding_std": 0.3}
    drawn: Any = ImageClassification(config(**fresh)).build_model()
    assert 0.25 < drawn.metaformer.stages[0].position_embedding.std() < 0.35
    with pytest.raises(ValueError, match="position_embedding_std must be 0 or above"):
        ImageClassification(config(**{**fresh, "model.position_embedding_std": -0.1}))
    with pytest.raises(ValueError, match="position_embedding has 2 entries for 4 stages"):
        ImageClassification(config(**{"model.position_embedding": [True, False]}))


def test_the_kind_of_a_checkpoint_is_its_own(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "wide", num_labels=10, hidden_sizes=(8, 8, 8, 24))
    assert ModelConfig(checkpoint=checkpoint).describe().hidden_sizes == [8, 8, 8, 24]  # type: ignore[union-attr]


def test_depths_rise_from_the_stem_to_the_head() -> None:
    depths = layer_depths(create_model("poolformer_s12", num_labels=3))
    assert depths.keys() == dict(create_model("poolformer_s12", num_labels=3).named_parameters()).keys()
    stages = "metaformer.stages"
    expected = {
        f"{stages}.0.embedding.projection.weight": 0,
        f"{stages}.0.blocks.0.norm1.weight": 1,
        f"{stages}.0.blocks.1.channel_mlp.fc2.bias": 2,
        f"{stages}.1.embedding.projection.bias": 3,  # with the block that follows, as timm has it
        f"{stages}.1.blocks.0.norm1.weight": 3,
        f"{stages}.2.blocks.5.norm2.weight": 10,
        f"{stages}.3.embedding.projection.weight": 11,
        f"{stages}.3.blocks.1.norm1.weight": 12,
        "norm.weight": 13,
        "classifier.weight": 13,
    }
    assert {name: depths[name] for name in expected} == expected
    assert set(depths.values()) == set(range(14))


def test_depths_of_timms_models_are_timms() -> None:
    model = create_model("timm/test_vit", num_labels=3)
    inner = model.timm_model
    expected = group_parameters(inner, inner.group_matcher(coarse=False), reverse=True)
    assert layer_depths(model) == {f"timm_model.{name}": depth for name, depth in expected.items()}
    with pytest.raises(ValueError, match="layer_decay"):
        layer_depths(create_model("timm/poolformer_s12"))


def test_depths_for_timms_users_are_the_same() -> None:
    """The last norm goes with the head on both sides."""
    model = timm.create_model("metaformer_poolformer_s12", num_classes=3)
    theirs = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    assert theirs == layer_depths(create_model("poolformer_s12", num_labels=3))


def test_a_task_names_what_timm_does_not_decay() -> None:
    task = ImageClassification(config(**{"model.name": "timm/deit_tiny_patch16_224"}))
    assert task.not_decayed(task.build_model()) == {"timm_model.cls_token", "timm_model.pos_embed"}
    assert task.not_decayed(create_model("poolformer_nano")) == set()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model.name": "timm/resmlp_13_224"}, "resmlp_.._224"),
        ({"model.name": "timm/test_vit", "model.token_mixer": "pooling"}, "token_mixer"),
        ({"model.new_head": True}, "model.checkpoint"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageClassification(config(**options))


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("nothing")
    with pytest.raises(ValueError, match=r"notes\.pth"):
        ImageClassification(config(**{"model.checkpoint": str(tmp_path / "notes.pth")}))


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("finetune*.yaml")), ids=lambda path: path.stem)
def test_transfer_recipes_are_whole(recipe: Path) -> None:
    settings = from_dict(Config, {"run.folder": "unused"}, [recipe])
    assert recipe.read_text().startswith("# ")
    with pytest.raises(ValueError, match="runs/"):  # the folder that the recipe before leaves
        settings.model.describe()
