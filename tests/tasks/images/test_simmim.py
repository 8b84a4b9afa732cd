"""SimMIM: what is hidden stays hidden, the loss, and the way from pre-training to a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForMaskedImageModeling

from metaformer_nlp.config.command_line import from_dict
from tasks.images import classification as image_classification
from tasks.images.simmim import Config, MaskedImageModeling, run
from vision import MetaFormerVisionForMaskedImageModeling, create_config, load_model

RECIPES = Path(__file__).parents[3] / "scripts" / "recipes" / "transfer"


def config(folder: Path | str = "unused", **options: Any) -> Config:
    values = {
        "run.folder": str(folder),
        "run.batch_size": 8,
        "schedule.steps": 2,
        "model.name": "poolformer_nano",
        "data.max_eval_samples": 17,
        "data.augment.recipe": "none",
        "masking.patch_size": 4,
    }
    return from_dict(Config, {**values, **options})


def model(**overrides: Any) -> MetaFormerVisionForMaskedImageModeling:
    torch.manual_seed(0)
    overrides = {"initializer_range": 0.5, "layer_scale_init_value": None, **overrides}
    return MetaFormerVisionForMaskedImageModeling(create_config("poolformer_nano", num_labels=0, **overrides)).eval()


def batch(size: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.rand(size, 8, 8, generator=generator) < 0.6
    return {"pixel_values": torch.randn(size, 3, 32, 32, generator=generator), "bool_masked_pos": hidden}


@torch.no_grad()
def test_hidden_pixels_cannot_be_seen() -> None:
    painter, data = model(), batch()
    hidden = data["bool_masked_pos"].repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    changed = torch.where(hidden, 7.0, data["pixel_values"])
    first = painter(**data).reconstruction
    torch.testing.assert_close(painter(**{**data, "pixel_values": changed}).reconstruction, first, rtol=0, atol=0)
    changed = torch.where(hidden, data["pixel_values"], 7.0)
    assert not torch.allclose(painter(**{**data, "pixel_values": changed}).reconstruction, first)


@torch.no_grad()
def test_tokens_of_hidden_patches_are_replaced_and_no_others() -> None:
    """The stem's output no longer counts where everything is hidden, and the mask token not where nothing is."""
    painter, data = model(), batch()
    everything, nothing = torch.ones(4, 8, 8, dtype=torch.bool), torch.zeros(4, 8, 8, dtype=torch.bool)
    before = [painter(data["pixel_values"], hidden).reconstruction for hidden in (everything, nothing)]
    painter.metaformer.stage_list()[0].embedding.projection.bias.fill_(3.0)
    torch.testing.assert_close(painter(data["pixel_values"], everything).reconstruction, before[0])
    painter = model()
    painter.mask_token.fill_(3.0)
    torch.testing.assert_close(painter(data["pixel_values"], nothing).reconstruction, before[1])
    assert not torch.allclose(painter(data["pixel_values"], everything).reconstruction, before[0])


@torch.no_grad()
@pytest.mark.parametrize("positions", [True, False])
def test_hidden_tokens_keep_their_positions(positions: bool) -> None:
    """Where everything is hidden, positions alone can tell the tokens apart."""
    painter = model(token_mixer="identity", norm="layer_norm", position_embedding=positions)
    if positions:
        painter.metaformer.stage_list()[0].position_embedding.normal_()
    maps: list[torch.Tensor] = []
    painter.metaformer.stage_list()[0].blocks[0].register_forward_pre_hook(lambda _, given: maps.append(given[0]))
    painter(torch.randn(1, 3, 32, 32), torch.ones(1, 8, 8, dtype=torch.bool))
    assert (maps[0].std((1, 2)).max() > 0.1) == positions


@torch.no_grad()
def test_a_token_paints_its_own_square() -> None:
    """Without mixing and norms over the map, a stem of a window of its own: changed pixels show in their square."""
    alone = {"token_mixer": "identity", "norm": "layer_norm", "patch_sizes": [2] * 4, "padding": [0] * 4}
    painter, data = model(**alone), batch()
    nothing = torch.zeros(4, 8, 8, dtype=torch.bool)
    changed = data["pixel_values"].clone()
    changed[:, :, 16:, :16] += 1
    difference = painter(changed, nothing).reconstruction - painter(data["pixel_values"], nothing).reconstruction
    touched = difference.abs().amax(dim=(0, 1)) > 0
    assert touched[16:, :16].all()
    assert touched.sum() == 16 * 16


@torch.no_grad()
def test_the_loss_is_over_hidden_pixels() -> None:
    painter, data = model(), batch()
    output = painter(**data)
    hidden = data["bool_masked_pos"].repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand(-1, 3, -1, -1)
    expected = (output.reconstruction - data["pixel_values"])[hidden].abs().mean()
    torch.testing.assert_close(output.loss, expected)
    total, count = MaskedImageModeling(config()).loss(painter, data)
    torch.testing.assert_close(total / count, expected)


def test_masks_are_functions_of_their_sample() -> None:
    task = MaskedImageModeling(config(**{"masking.ratio": 0.51}))
    train, held_out = task.train_data, task.eval_data["validation"]
    first, again, other = (train.sample(3, np.random.default_rng(seed))[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.sum() == 33  # 0.51 x 64, rounded up
    assert torch.equal(held_out.sample(3, None)[1], held_out.sample(3, None)[1])
    assert not torch.equal(held_out.sample(3, None)[1], held_out.sample(4, None)[1])


def test_rows_held_out_of_training_are_called_so() -> None:
    assert list(MaskedImageModeling(config(**{"data.held_out": 0.2})).eval_data) == ["held_out"]


def test_from_pre_training_to_a_classifier(tmp_path: Path) -> None:
    result = run(config(tmp_path / "run"))
    assert set(result["metrics"]) == {"validation/loss"}
    saved = AutoModelForMaskedImageModeling.from_pretrained(tmp_path / "run" / "model")
    assert isinstance(saved, MetaFormerVisionForMaskedImageModeling)
    AutoImageProcessor.from_pretrained(tmp_path / "run" / "model")
    options: dict[str, Any] = {
        "run.folder": str(tmp_path / "tuned"),
        "run.batch_size": 8,
        "schedule.steps": 1,
        "data.max_eval_samples": 8,
        "model.checkpoint": str(tmp_path / "run"),
    }
    task = image_classification.ImageClassification(from_dict(image_classification.Config, options))
    classifier = task.build_model()
    for name, tensor in saved.metaformer.state_dict().items():
        assert torch.equal(classifier.metaformer.state_dict()[name], tensor), name  # type: ignore[union-attr]
    assert image_classification.run(from_dict(image_classification.Config, options))["train"]["steps"] == 1
    assert load_model(tmp_path / "tuned").config.id2label[3] == "3"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masking.patch_size": 5}, "2, 4, 8, 16, 32"),
        ({"masking.patch_size": 32}, "the whole image"),
        ({"masking.ratio": 1.0}, "masking.ratio 1.0"),
        ({"data.image_size": 24}, "multiple of 16"),
        ({"model.name": "timm/test_vit"}, "this project's own"),
        ({"model.checkpoint": "somewhere"}, "fresh weights"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskedImageModeling(config(**{"data.name": "folder", "data.root": "nowhere", **options}))


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="rows, columns"):
        model()(torch.randn(1, 3, 32, 32), torch.ones(1, 64))
    with pytest.raises(ValueError, match="multiples of 16"):
        model()(torch.randn(1, 3, 40, 40), torch.ones(1, 8, 8))


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("simmim_*.yaml")), ids=lambda path: path.stem)
def test_recipes_are_whole(recipe: Path) -> None:
    settings = from_dict(Config, {"run.folder": "unused"}, [recipe])
    assert recipe.read_text().startswith("# ")
    settings.masking.check(create_config(settings.model.name or ""))
