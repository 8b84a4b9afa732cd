"""The image models: each row of the table, each mixer, each ablation, and what Hugging Face expects of a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoBackbone, AutoModel, AutoModelForImageClassification, pipeline

from metaformer_nlp.core import ACTIVATIONS, MIXERS, NORMS, TokenMixer
from tests.loaded import TOLERANCE, assert_close_outputs, assert_same_weights
from tests.mixers import IMAGE_MIXERS, mixer_id, mixer_of
from vision import (
    MetaFormerVisionBackbone,
    MetaFormerVisionConfig,
    MetaFormerVisionForImageClassification,
    MetaFormerVisionModel,
    create_config,
    create_model,
    image_processor,
)


def tiny(**changes: Any) -> MetaFormerVisionForImageClassification:
    """Four stages of 8 to 32 channels on images of 32 x 32; layer scale 1, so that every path shows."""
    row = {"hidden_sizes": (8, 16, 24, 32), "layer_scale_init_value": 1.0, "num_labels": 3}
    return create_model("poolformer_nano", **{**row, **changes})


def backward(model: nn.Module, size: int = 32) -> Tensor:
    """Loss of two random images; its gradients are checked to be there and finite."""
    model.train()
    loss = model(torch.randn(2, 3, size, size), labels=torch.tensor([0, 1])).loss
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    return loss


def test_unknown_model_names_the_rows() -> None:
    with pytest.raises(ValueError, match=r"poolformer_s12.*poolformer_xxs") as caught:
        create_model("poolformer_s13")
    assert "Did you mean" in str(caught.value)


@pytest.mark.parametrize("mixer", IMAGE_MIXERS, ids=mixer_id)
@pytest.mark.parametrize("norm", ["group_norm", "layer_norm"])
def test_every_mixer(mixer: Any, norm: str, tmp_path: Path) -> None:
    model = tiny(token_mixer=mixer, norm=norm)
    backward(model)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert_same_weights(again.state_dict(), model.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert_close_outputs(again(images).logits, model.eval()(images).logits)


@pytest.mark.parametrize(
    "mixer", [spec for spec in IMAGE_MIXERS if not MIXERS[mixer_of(spec)].fixed_length], ids=mixer_id
)
def test_every_mixer_takes_any_size_and_precision(mixer: Any) -> None:
    """Smaller and larger images than it was built for, in batches of either size; and bfloat16, cast or automatic."""
    model = tiny(token_mixer=mixer, initializer_range=0.3, position_embedding=True).eval()
    for height, width in ((32, 32), (47, 33), (96, 17)):
        images = torch.randn(2, 3, height, width)
        with torch.no_grad():
            both, one = model(images).logits, model(images[1:]).logits
        torch.testing.assert_close(both[1:], one, atol=1e-5, rtol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            automatic = model(images, labels=torch.tensor([0, 1]))
        automatic.loss.backward()
        assert (automatic.logits.float() - both).abs().max() < 0.1 * both.abs().max()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        cast = model.to(torch.bfloat16)(images.to(torch.bfloat16)).logits
    assert cast.dtype == torch.bfloat16
    assert (cast.float() - both).abs().max() < 0.1 * both.abs().max()


@pytest.mark.slow
def test_every_mixer_compiles_and_exports() -> None:
    """A stage for each; in one graph, and exported for batches of any size."""
    count = len(IMAGE_MIXERS)
    shapes = {"depths": [1] * count, "hidden_sizes": [16] * count, "padding": [1] * count}
    model = tiny(
        **shapes,
        token_mixer=IMAGE_MIXERS,
        initializer_range=0.3,
        patch_sizes=[4] + [3] * (count - 1),
        strides=[4] + [1] * (count - 1),
    ).eval()
    images = torch.randn(2, 3, 32, 32)
    more = torch.cat([images, images.flip(0) + 1])
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    program = torch.export.export(model, (images,), dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}})
    with torch.no_grad():
        expected = model(more).logits
        torch.testing.assert_close(compiled(more).logits, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(program.module()(more).logits, expected, atol=1e-4, rtol=1e-4)


def test_mixers_by_stage_and_with_options() -> None:
    model = tiny(token_mixer=["pooling", {"name": "pooling", "pool_size": 5}, "identity", "attention"], pool_size=7)
    mixers = [stage.blocks[0].token_mixer for stage in model.metaformer.stages]
    assert [type(mixer) for mixer in mixers] == [MIXERS[n] for n in ("pooling", "pooling", "identity", "attention")]
    assert [mixer.pool_size for mixer in mixers[:2]] == [[7], [5]]
    backward(model)


def test_a_misspelt_mixer_option_is_an_error() -> None:
    with pytest.raises((TypeError, ValueError), match="pool_sise"):
        tiny(token_mixer={"name": "pooling", "pool_sise": 5})


@pytest.mark.parametrize(
    "changes",
    [
        {"use_residual": False},
        {"use_channel_mlp": False},
        {"layer_scale_init_value": None},
        {"res_scale_init_value": [None, None, 1.0, 1.0], "layer_scale_init_value": None},
        {"mlp_bias": False, "norm_bias": False, "norm_eps": 1e-6},
        {"pool_size": [3, 7, "global", "left:2"]},
        {"hidden_dropout_prob": 0.1, "classifier_dropout": 0.1, "drop_path_rate": 0.5},
        {"depths": [1, 1], "hidden_sizes": [8, 12], "patch_sizes": [4, 2], "strides": [4, 2], "padding": [0, 0]},
        {"num_channels": 3, "image_size": [32, 32], "mlp_ratio": 2},
        *({"norm": norm} for norm in NORMS),
        *({"hidden_act": activation} for activation in ACTIVATIONS),
    ],
    ids=str,
)
def test_ablations_train(changes: dict[str, Any]) -> None:
    model = tiny(**changes)
    backward(model)
    if changes.get("use_channel_mlp") is False:
        assert not any("channel_mlp" in name for name, _ in model.named_parameters())


def test_the_start_of_the_weights() -> None:
    """The authors': linear layers truncated normal 0.02, stem and downsampling PyTorch's own, scales as given."""
    model = create_model("poolformer_s12")
    weights = dict(model.named_parameters())
    for name, tensor in weights.items():
        if "projection.weight" in name:
            bound = 1 / tensor[0].numel() ** 0.5  # what kaiming_uniform with a = sqrt(5) comes to
            assert tensor.abs().max() <= bound
            assert tensor.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        elif "projection.bias" in name:
            assert tensor.abs().max() > 0
        elif tensor.ndim == 2:
            assert tensor.std().item() == pytest.approx(0.02, rel=0.05)
        elif "layer_scale" in name:
            assert torch.equal(tensor, torch.full_like(tensor, 1e-5))
        elif name.endswith("bias"):
            assert not tensor.any()


def test_missing_weights_are_drawn_when_a_checkpoint_is_loaded(tmp_path: Path) -> None:
    """Hugging Face builds on a device without memory: what a checkpoint lacks must still get its proper start."""
    mixers = ["random", "separable_conv", "spatial_mlp", "attention"]
    model = tiny(token_mixer=mixers, norm="batch_norm", hidden_act="star_relu", layer_scale_init_value=0.25)
    kept = {name: x for name, x in model.state_dict().items() if "stages.1" in name}
    again = MetaFormerVisionForImageClassification.from_pretrained(None, config=model.config, state_dict=kept)
    for name, tensor in again.state_dict().items():
        start = model.state_dict()[name]
        if name in kept:
            assert torch.equal(tensor, start), name
        elif tensor.is_floating_point():
            assert tensor.isfinite().all(), name
            assert tensor.abs().max() <= 4 * max(start.abs().max(), 0.02), name
            if tensor.numel() > 1:
                assert tensor.std().item() == pytest.approx(start.std().item(), rel=1.0, abs=1e-3), name
    matrix = again.metaformer.stages[0].blocks[0].token_mixer.random_matrix
    torch.testing.assert_close(matrix.sum(-1), torch.ones(len(matrix)))


def test_hidden_states_and_tuples() -> None:
    model = tiny().eval()
    images = torch.randn(2, 3, 32, 32)
    out = model(images, output_hidden_states=True)
    assert [tuple(h.shape) for h in out.hidden_states] == [(2, 8, 16, 16), (2, 16, 8, 8), (2, 24, 4, 4), (2, 32, 2, 2)]
    picked = model(images, output_hidden_states=[-1]).hidden_states
    assert [h is None for h in picked] == [True, True, True, False]
    as_tuple = model(images, labels=torch.tensor([0, 1]), output_hidden_states=True, return_dict=False)
    assert len(as_tuple) == 3
    assert torch.equal(as_tuple[1], out.logits)


def test_any_size_but_not_for_fixed_mixers() -> None:
    assert tiny()(torch.randn(1, 3, 47, 33)).logits.shape == (1, 3)
    fixed = tiny(token_mixer=["pooling", "pooling", "pooling", "spatial_mlp"])
    assert fixed(torch.randn(1, 3, 32, 32)).logits.shape == (1, 3)
    with pytest.raises(ValueError, match=r"stage 4 .* 3x3 .*SpatialMLP.* 2x2"):
        fixed(torch.randn(1, 3, 48, 48))


@pytest.mark.parametrize("shape", [(1, 3, 2, 224), (1, 1, 64, 64), (3, 64, 64)])
def test_wrong_images_are_explained(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"at least 3x3|pixel_values must be"):
        create_model("poolformer_s12", depths=(1, 1, 1, 1))(torch.zeros(shape))


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = tiny(drop_path_rate=0.2)
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert all(block.gradient_checkpointing for stage in model.metaformer.stages for block in stage.blocks)
        torch.manual_seed(1)
        backward(model)
        grads.append([p.grad for p in model.parameters()])
    for plain, checkpointed in zip(*grads, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_mixer_whose_tensors_nobody_can_set_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A buffer that is not saved would be zeros after loading, and nobody would know."""

    class Gain(TokenMixer):
        def __init__(self, dim: int, token_shape: tuple[int, ...]) -> None:
            super().__init__(dim, token_shape)
            self.register_buffer("gain", torch.full((dim,), 3.0), persistent=False)

        def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
            return x * self.gain

    monkeypatch.setitem(MIXERS._entries, "gain", Gain)
    with pytest.raises(ValueError, match=r"token mixer Gain has tensors of its own \(gain\) but no reset_parameters"):
        tiny(token_mixer="gain")
    monkeypatch.setattr(Gain, "reset_parameters", lambda self: self.gain.fill_(3), raising=False)
    tiny(token_mixer="gain").save_pretrained(tmp_path)
    again = MetaFormerVisionForImageClassification.from_pretrained(tmp_path)
    gains = [value for name, value in again.named_buffers() if name.endswith("gain")]
    assert gains
    assert all((value == 3).all() for value in gains)


def test_losses() -> None:
    images = torch.randn(2, 3, 32, 32)
    model = tiny()
    single = model(images, labels=torch.tensor([0, 2]))
    torch.testing.assert_close(single.loss, nn.functional.cross_entropy(single.logits, torch.tensor([0, 2])))
    several = tiny()(images, labels=torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]))
    assert several.loss.isfinite()
    assert tiny(num_labels=1)(images, labels=torch.tensor([0.5, 1.0])).loss.isfinite()


def test_identity_with_a_token_norm_mixes_nothing() -> None:
    """With the whole-map norm even identity mixes, through the statistics; with a per-token norm nothing may."""
    for norm, mixes in (("layer_norm", False), ("group_norm", True)):
        torch.manual_seed(0)
        one_map = {"patch_sizes": [1], "strides": [1], "padding": [0], "depths": [2], "hidden_sizes": [8]}
        model = tiny(token_mixer="identity", norm=norm, **one_map).metaformer.eval()
        images = torch.randn(1, 3, 6, 6)
        changed = images.clone()
        changed[..., 0, 0] += 5
        with torch.no_grad():
            gap = (model(images).last_hidden_state - model(changed).last_hidden_state).abs().amax(dim=(0, 1))
        assert gap[0, 0] > 0
        gap[0, 0] = 0
        assert (gap.max() > 0) == mixes


def test_backbone(tmp_path: Path) -> None:
    model = tiny().eval()
    model.save_pretrained(tmp_path)
    backbone = MetaFormerVisionBackbone.from_pretrained(tmp_path, out_features=["stem", "stage2", "stage4"]).eval()
    assert backbone.channels == [8, 16, 32]
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        out = backbone(images, output_hidden_states=True)
        trunk = model.metaformer(images, output_hidden_states=True)
    assert [tuple(x.shape) for x in out.feature_maps] == [(2, 8, 16, 16), (2, 16, 8, 8), (2, 32, 2, 2)]
    assert_close_outputs(out.hidden_states[1:], trunk.hidden_states)
    assert out.feature_maps[-1].mean() == pytest.approx(0, abs=1e-5)
    assert isinstance(AutoBackbone.from_config(backbone.config), MetaFormerVisionBackbone)


def test_saved_folder_opens_in_a_fresh_process(tmp_path: Path) -> None:
    model = tiny().eval()
    model.save_pretrained(tmp_path)
    images = torch.randn(2, 3, 32, 32)
    torch.save({"images": images, "logits": model(images).logits.detach()}, tmp_path / "expected.pt")
    program = (
        "import functools, sys, torch, vision\n"
        "from transformers import AutoConfig, AutoModel, AutoModelForImageClassification\n"
        "expected = torch.load(sys.argv[1] + '/expected.pt', weights_only=True)\n"
        "model = AutoModelForImageClassification.from_pretrained(sys.argv[1])\n"
        f"close = functools.partial(torch.testing.assert_close, **{TOLERANCE})\n"
        "close(model(expected['images']).logits, expected['logits'])\n"
        "trunk = AutoModel.from_pretrained(sys.argv[1])\n"
        "assert type(trunk).__name__ == 'MetaFormerVisionModel', type(trunk)\n"
        "maps = [m(expected['images']).last_hidden_state for m in (trunk, model.metaformer)]\n"
        "close(*maps)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=120)


def test_pipeline(tmp_path: Path) -> None:
    model = tiny(id2label={0: "red", 1: "green", 2: "blue"}).eval()
    model.save_pretrained(tmp_path)
    image_processor(model.config).save_pretrained(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (41, 57, 3), dtype=np.uint8)
    classify = pipeline("image-classification", model=str(tmp_path))
    answers = classify(Image.fromarray(pixels))
    assert {answer["label"] for answer in answers} == {"red", "green", "blue"}
    assert sum(answer["score"] for answer in answers) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("name", "resized"), [("poolformer_s12", 248), ("poolformer_m36", 235)])
def test_image_processor_follows_crop_pct(name: str, resized: int) -> None:
    processor = image_processor(create_config(name))
    assert int(processor.size["shortest_edge"] / processor.crop_pct) == resized
    image = Image.new("RGB", (300, 400), (124, 116, 104))
    values = processor(image, return_tensors="pt")["pixel_values"]
    assert values.shape == (1, 3, 224, 224)
    assert values.abs().max() < 0.02  # ImageNet's mean colour comes out as 0


def test_auto_model_from_config() -> None:
    config = MetaFormerVisionConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 8])
    assert isinstance(AutoModel.from_config(config), MetaFormerVisionModel)
    assert isinstance(AutoModelForImageClassification.from_config(config), MetaFormerVisionForImageClassification)


def test_bfloat16() -> None:
    model = tiny(token_mixer=["pooling", "attention", "fourier", "depthwise_conv"]).to(torch.bfloat16)
    out = model(torch.randn(2, 3, 32, 32, dtype=torch.bfloat16), labels=torch.tensor([0, 1]))
    assert out.logits.dtype == torch.bfloat16
    assert out.loss.isfinite()


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression", "single_label_classification"])
def test_parts_of_a_batch_add_up_to_its_loss(problem: str) -> None:
    """As transformers' Trainer accumulates: each part is told the number of labels of the whole batch."""
    model = create_model("poolformer_nano", num_labels=1 if problem == "regression" else 3, problem_type=problem).eval()
    labels = {
        "multi_label_classification": torch.tensor([[1.0, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]]),
        "regression": torch.tensor([0.5, -1.0, 2.0, 0.0]),
        "single_label_classification": torch.tensor([0, 2, 1, 1]),
    }[problem]
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        whole = model(images, labels=labels).loss
        parts = [
            model(images[i : i + 1], labels=labels[i : i + 1], num_items_in_batch=labels.numel()).loss for i in range(4)
        ]
    torch.testing.assert_close(sum(parts), whole)
