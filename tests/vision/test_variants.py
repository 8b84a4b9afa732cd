"""The table of models: every row has the published counts and works, whatever is registered next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

import vision
from tests.loaded import assert_close_outputs, assert_same_weights
from tests.vision.test_models_table import check_against_the_page
from vision import VARIANTS, create_config, create_model
from vision.rows import baseline_rows, poolformer_rows

PARAMETERS = {  # counted with the authors' code and timm's
    "poolformer_s12": 11_915_176,
    "poolformer_s24": 21_388_968,
    "poolformer_s36": 30_862_760,
    "poolformer_m36": 56_172_520,
    "poolformer_m48": 73_473_448,
    "metaformer_id_s12": 11_915_176,
    "metaformer_pppa_s12": 14_038_440,
    "metaformer_ppaa_s12": 16_535_592,
    "metaformer_pppf_s12": 11_919_978,
    "metaformer_ppff_s12": 12_150_474,
    "identityformer_s12": 11_891_712,
    "identityformer_m48": 73_346_056,
    "randformer_s12": 12_127_010,
    "randformer_m48": 74_287_248,
    "poolformerv2_s12": 11_891_712,
    "poolformerv2_s24": 21_341_464,
    "poolformerv2_s36": 30_791_216,
    "poolformerv2_m36": 56_077_168,
    "poolformerv2_m48": 73_346_056,
    "convformer_s18": 26_774_448,
    "convformer_s36": 40_012_152,
    "convformer_m36": 57_051_640,
    "convformer_b36": 99_882_616,
    "caformer_s18": 26_341_656,
    "caformer_s36": 39_297_102,
    "caformer_m36": 56_204_878,
    "caformer_b36": 98_753_614,
}
MILLIONS = {  # as published, where no exact count is
    "poolformer_s12_no_mlp": 2.5,
    "pvt_v1_tiny": 13.2,
    "pvt_v1_small": 24.5,
    "pvt_v1_medium": 44.2,
    "pvt_v1_large": 61.4,
    "swin_mixer_t_d24": 20,
    "swin_mixer_t_d6": 23,
    "swin_mixer_b_d24": 61,
}
GIGA_MACS = {  # as published; the first paper counts norms too, which is 0.01 G at the most
    **{"poolformer_s12": 1.8, "poolformer_s24": 3.4, "poolformer_s36": 5.0, "poolformer_m36": 8.8},
    **{"metaformer_pppa_s12": 1.9, "metaformer_ppaa_s12": 2.5, "metaformer_pppf_s12": 1.8, "metaformer_ppff_s12": 1.9},
    **{"poolformer_s12_random": 3.3, "poolformer_s12_depthwise_conv": 1.8, "poolformer_s12_no_mlp": 0.2},
    **{"identityformer_s12": 1.8, "identityformer_m48": 11.5, "randformer_s12": 1.9, "randformer_s24": 3.5},
    **{"randformer_s36": 5.2, "randformer_m36": 9.0, "randformer_m48": 11.9, "poolformerv2_s36": 5.0},
    **{"convformer_s18": 3.9, "convformer_s36": 7.6, "convformer_m36": 12.8, "convformer_b36": 22.6},
    **{"caformer_s18": 4.1, "caformer_s36": 8.0, "caformer_m36": 13.2, "caformer_b36": 23.2},
    **{"pvt_v1_tiny": 1.9, "pvt_v1_small": 3.8, "pvt_v1_large": 9.8, "swin_mixer_t_d24": 4.0, "swin_mixer_b_d24": 10.4},
}
GIGA_MACS_384 = {"convformer_s18": 11.6, "convformer_b36": 66.5, "caformer_s18": 13.4, "caformer_b36": 72.2}


def without_memory(name: str, **changes: Any) -> Any:
    with torch.device("meta"):
        return create_model(name, **changes).eval()


@pytest.mark.parametrize("name", list(VARIANTS))
def test_counts_of_every_row(name: str) -> None:
    model = without_memory(name)
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS.get(name, count)
    assert abs(count / 1e6 - MILLIONS.get(name, count / 1e6)) < 0.5
    assert round(model.macs() / 1e9, 1) == GIGA_MACS.get(name, round(model.macs() / 1e9, 1))
    check_against_the_page(model, name)
    if name in GIGA_MACS_384:
        assert round(vision.macs(model, 384) / 1e9, 1) == GIGA_MACS_384[name]
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert (frozen > 0) == ("random" in name or "randformer" in name)


def reduced(name: str, image_size: int = 64) -> dict[str, Any]:
    """The row with one block a stage and an eighth of the channels: the same structure, cheap to run."""
    config = create_config(name)
    small = config.image_size < 64
    return {
        "depths": (1, 2, 1, 1),  # two, so that a shifted window occurs
        "hidden_sizes": tuple(max(8, dim // 8) for dim in config.hidden_sizes),
        "image_size": image_size // 2 if small else image_size,
        "num_labels": 5,
        "drop_path_rate": 0.1,
    }


def different_rows() -> list[str]:
    """One row of each kind: sizes of one family reduce to the same model."""
    kinds = {}
    for name in VARIANTS:
        fields = create_config(name, **{**reduced(name), "classifier_dropout": 0.0, "layer_scale_init_value": None})
        kinds.setdefault(json.dumps({**fields.to_dict(), "crop_pct": 1}, sort_keys=True, default=str), name)
    return list(kinds.values())


ROWS = different_rows()


@torch.no_grad()
def perturbed(model: nn.Module) -> nn.Module:
    """Away from the fresh weights, which would hide a lost part."""
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def loss_and_gradients(model: nn.Module, size: int) -> Tensor:
    model.train()
    model.zero_grad()
    loss = model(torch.randn(2, 3, size, size), labels=torch.tensor([0, 1])).loss
    loss.backward()
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad or (parameter.grad is not None and parameter.grad.isfinite().all()), name
    return loss


def test_the_rows_that_run_below_are_of_every_family() -> None:
    families = ("poolformer_s12", "metaformer_ppaa", "identityformer", "randformer", "poolformerv2", "convformer")
    for family in (*families, "caformer", "pvt_v1", "swin_mixer_t", "swin_mixer_b", "poolformer_n"):
        assert any(name.startswith(family) for name in ROWS), family
    assert 20 < len(ROWS) < len(VARIANTS)


@pytest.mark.parametrize("name", ROWS)
def test_every_kind_of_row_trains_saves_and_reloads(name: str, tmp_path: Path) -> None:
    model = create_model(name, **reduced(name))
    size, other = model.config.image_size, model.config.image_size * 3 // 2
    assert loss_and_gradients(model, size).isfinite()
    if any(stage.fixed_mixers for stage in model.metaformer.stage_list()):
        assert loss_and_gradients(create_model(name, **reduced(name, 96)), other).isfinite()
        with pytest.raises(ValueError, match="is built for"):
            model(torch.randn(1, 3, other, other))
    else:
        assert loss_and_gradients(model, other).isfinite()
    perturbed(model).save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert type(again) is vision.MetaFormerVisionForImageClassification
    assert_same_weights(again.state_dict(), model.state_dict())
    images = torch.randn(1, 3, size, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        logits = model.eval()(images).logits
    assert model.macs() == vision.macs(model, size) == counter.get_total_flops() // 2
    with torch.no_grad():
        assert_close_outputs(again(images).logits, logits)


@pytest.mark.parametrize("name", ROWS)
def test_export(name: str) -> None:
    """With a free batch size."""
    model = perturbed(create_model(name, **reduced(name))).eval()
    images = torch.randn(2, 3, *model.config.image_height_width)
    program = torch.export.export(model, (images,), dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}})
    more = torch.cat([images, images + 1])
    torch.testing.assert_close(program.module()(more).logits, model(more).logits, atol=1e-4, rtol=1e-4)


def test_rows_carry_the_recipes() -> None:
    """What depends on the size: drop path, test crop, layer scale, dropout of the head."""
    first = [create_config(name) for name in poolformer_rows()]
    assert [row.drop_path_rate for row in first] == [0.1, 0.1, 0.2, 0.3, 0.4]
    assert [row.layer_scale_init_value for row in first] == [1e-5, 1e-5, 1e-6, 1e-6, 1e-6]
    assert [row.crop_pct for row in first] == [0.9, 0.9, 0.9, 0.95, 0.95]
    second = {name: create_config(name) for name in baseline_rows()}
    rates: dict[str, list[float]] = {}
    for name, row in second.items():
        rates.setdefault(name.split("_")[0], []).append(row.drop_path_rate)
        assert row.crop_pct == 1.0
    assert rates == {
        "identityformer": [0.1, 0.1, 0.2, 0.3, 0.4],
        "randformer": [0.1, 0.1, 0.2, 0.3, 0.3],
        "poolformerv2": [0.1, 0.1, 0.2, 0.3, 0.4],
        "convformer": [0.2, 0.3, 0.4, 0.6],
        "caformer": [0.15, 0.3, 0.4, 0.6],
    }
    assert [second[f"caformer_{size}"].classifier_dropout for size in ("s18", "s36", "m36", "b36")] == [
        0,
        0.4,
        0.4,
        0.5,
    ]
    blocks = [block for stage in without_memory("poolformer_s12").metaformer.stages for block in stage.blocks]
    assert [block.residual1.drop_path.rate for block in blocks] == pytest.approx([0.1 * i / 11 for i in range(12)])


def test_the_second_papers_start_of_the_weights() -> None:
    """Truncated normal 0.02 everywhere, convolutions too; scales and norms at 1, biases at 0."""
    model = create_model("caformer_s18", depths=(1, 1, 1, 1))
    for name, tensor in model.named_parameters():
        if tensor.ndim > 1:
            assert tensor.std().item() == pytest.approx(0.02, rel=0.1), name
        else:
            assert torch.equal(tensor, torch.full_like(tensor, 0.0 if name.endswith("bias") else 1.0)), name


def test_window_blocks_are_shifted_by_turns() -> None:
    blocks = without_memory("swin_mixer_t_d24").metaformer.stages[2].blocks
    assert [block.token_mixer.shift for block in blocks] == [False, True] * 3
    never = without_memory("swin_mixer_t_d24", token_mixer={"name": "window_mlp", "window_size": 8, "shift": False})
    assert not any(block.token_mixer.shift for block in never.metaformer.stages[2].blocks)


def test_position_embeddings_of_another_size() -> None:
    """Seen resized: a linear ramp stays one, and the model takes any image."""
    model = create_model("metaformer_ppaa_s12", **reduced("metaformer_ppaa_s12")).eval()
    embedding = model.metaformer.stages[2].position_embedding
    assert embedding.shape == (4, 4, 40)
    assert not embedding.any()
    flat, ramp = torch.full((4, 4, 2), 3.0), torch.linspace(0, 1, 4)[:, None, None].expand(4, 4, 2)
    torch.testing.assert_close(vision.modeling.resize_positions(flat, (6, 9)), torch.full((6, 9, 2), 3.0))
    resized = vision.modeling.resize_positions(ramp, (8, 4))
    assert (resized.diff(dim=0) > 0).all()
    images = torch.randn(1, 3, 96, 64)
    before = model(images).logits
    with torch.no_grad():
        embedding.add_(torch.randn_like(embedding))
    assert (model(images).logits - before).abs().max() > 1e-6


@pytest.mark.parametrize("name", ["timm/resnet18", "timm/vit_tiny_patch16_224"])
def test_models_of_timm(name: str, tmp_path: Path) -> None:
    model = create_model(name, num_labels=7, image_size=64, drop_path_rate=0.1, crop_pct=0.9).eval()
    images = torch.randn(2, 3, 64, 64)
    assert model(pixel_values=images).logits.shape == (2, 7)
    assert loss_and_gradients(model, 64).isfinite()
    settings = vision.preprocessing(model)
    assert (settings.image_size, settings.crop_pct, settings.interpolation) == ((64, 64), 0.9, "bicubic")
    assert settings.mean == ((0.5, 0.5, 0.5) if "vit" in name else vision.processing.IMAGENET_MEAN)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert_same_weights(again.state_dict(), model.state_dict())
    with torch.no_grad():
        assert_close_outputs(again(images).logits, model.eval()(images).logits)
    assert vision.preprocessing(AutoConfig.from_pretrained(tmp_path)) == settings
    assert AutoImageProcessor.from_pretrained(tmp_path).data_config["input_size"] == (3, 64, 64)


def test_timm_models_start_as_timm_draws_them_and_cost_what_is_published() -> None:
    torch.manual_seed(0)
    model = create_model("timm/resnet18")
    torch.manual_seed(0)
    own = timm.create_model("resnet18")
    assert all(torch.equal(own.state_dict()[key], x) for key, x in model.timm_model.state_dict().items())
    assert vision.macs(model) / 1e9 == pytest.approx(1.8, abs=0.05)
    assert vision.macs(model, 448) == pytest.approx(4 * vision.macs(model), rel=0.01)
    with pytest.raises(ValueError, match="takes no images of 100 x 100"):
        vision.macs(create_model("timm/vit_tiny_patch16_224"), 100)


def test_wrong_options_of_timm_models() -> None:
    with pytest.raises(ValueError, match=r"no model 'resmlp_24_225'.*Did you mean 'resmlp_24_224'"):
        create_model("timm/resmlp_24_225")
    with pytest.raises(ValueError, match=r"resnet18 takes no token_mixer.*Allowed: num_labels"):
        create_model("timm/resnet18", token_mixer="pooling")
    with pytest.raises(ValueError, match="no preprocessing is known for Linear"):
        vision.preprocessing(nn.Linear(1, 1))


@pytest.mark.parametrize("row", ["poolformer_nano", "caformer_s18"])
def test_entries_of_timm(row: str) -> None:
    fields = {} if row == "poolformer_nano" else {"depths": (1, 1, 1, 1), "hidden_sizes": (8, 16, 24, 32)}
    model = timm.create_model(f"metaformer_{row}", num_classes=7, drop_rate=0.2, drop_path_rate=0.1, **fields).eval()
    ours = create_model(row, num_labels=7, **fields).eval()
    ours.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(images), ours(images).logits)
        last = model.forward_features(images)
        assert torch.equal(last, ours.metaformer(images).last_hidden_state)
        assert torch.equal(model.forward_head(last), ours(images).logits)
        assert model.forward_head(last, pre_logits=True).shape == (2, model.num_features)
    maps = timm.create_model(f"metaformer_{row}", features_only=True, out_indices=(1, 3), **fields)
    maps.model.metaformer.load_state_dict(model.metaformer.state_dict())
    hidden = ours(images, output_hidden_states=True).hidden_states
    for index, found in zip((1, 3), maps.eval()(images), strict=True):
        torch.testing.assert_close(found, hidden[index])
    assert maps.feature_info.channels() == [x.shape[1] for x in (hidden[1], hidden[3])]
    assert maps.feature_info.reduction() == [64 // x.shape[2] for x in (hidden[1], hidden[3])]
    model.reset_classifier(3)
    assert model(images).shape == (2, 3)
    model.reset_classifier(0, global_pool="")
    assert model(images).shape == last.shape
    with pytest.raises(ValueError, match="global_pool"):
        model.reset_classifier(3)
    settings = timm.data.resolve_model_data_config(timm.create_model(f"metaformer_{row}", **fields))
    assert settings["crop_pct"] == create_config(row).crop_pct
    with pytest.raises(ValueError, match=r"vision\.load_model"):
        timm.create_model(f"metaformer_{row}", pretrained=True)


def test_every_row_is_an_entry_of_timm() -> None:
    assert set(vision.TIMM_ENTRIES.values()) == set(VARIANTS)
    assert set(timm.list_models("metaformer_*")) == set(vision.TIMM_ENTRIES)
