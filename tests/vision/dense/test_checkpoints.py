"""Weights by the authors' names, saved folders, and classifiers that start a trunk."""

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from tests.vision.dense.small import TRUNK, detector, segmenter
from vision import create_model
from vision.dense import (
    MetaFormerVisionDetectionConfig,
    MetaFormerVisionForObjectDetection,
    MetaFormerVisionSegmentationConfig,
    create_detector,
    create_segmenter,
    load_checkpoint,
    load_dense_model,
    load_published,
    load_trunk,
)

KINDS = ("retinanet", "mask_rcnn", "semantic_fpn")
HEADS = [  # ours -> the authors'
    (r"fpn\.inner_blocks\.(\d)\.0\.", r"neck.lateral_convs.\1.conv."),
    (r"fpn\.layer_blocks\.(\d)\.0\.", r"neck.fpn_convs.\1.conv."),
    (r"fpn\.extra_blocks\.p6\.", "neck.fpn_convs.3.conv."),
    (r"fpn\.extra_blocks\.p7\.", "neck.fpn_convs.4.conv."),
    (r"head\.classification_head\.conv\.(\d)\.0\.", r"bbox_head.cls_convs.\1.conv."),
    (r"head\.regression_head\.conv\.(\d)\.0\.", r"bbox_head.reg_convs.\1.conv."),
    (r"head\.classification_head\.cls_logits\.", "bbox_head.retina_cls."),
    (r"head\.regression_head\.bbox_reg\.", "bbox_head.retina_reg."),
    (r"rpn\.head\.conv\.0\.0\.", "rpn_head.rpn_conv."),
    (r"rpn\.head\.cls_logits\.", "rpn_head.rpn_cls."),
    (r"rpn\.head\.bbox_pred\.", "rpn_head.rpn_reg."),
    (r"roi_heads\.box_head\.fc6\.", "roi_head.bbox_head.shared_fcs.0."),
    (r"roi_heads\.box_head\.fc7\.", "roi_head.bbox_head.shared_fcs.1."),
    (r"roi_heads\.box_predictor\.cls_score\.", "roi_head.bbox_head.fc_cls."),
    (r"roi_heads\.box_predictor\.bbox_pred\.", "roi_head.bbox_head.fc_reg."),
    (r"roi_heads\.mask_head\.(\d)\.0\.", r"roi_head.mask_head.convs.\1.conv."),
    (r"roi_heads\.mask_predictor\.conv5_mask\.", "roi_head.mask_head.upsample."),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.", "roi_head.mask_head.conv_logits."),
    (r"decode_head\.classifier\.", "decode_head.conv_seg."),
]


def build(kind: str, seed: int = 0) -> Any:
    return segmenter(seed=seed, head_norm="batch_norm") if kind == "semantic_fpn" else detector(kind, seed=seed)


def authors(model: Any) -> dict[str, Tensor]:
    """The weights of `model` as its authors' code would have saved them."""
    found = {}
    for key, tensor in model.state_dict().items():
        name = key.removeprefix("detector.").removeprefix("backbone.")
        if name.startswith("body."):
            name = name.removeprefix("body.")
            name = re.sub(r"^hidden_states_norms\.stage(\d)", lambda x: f"norm{2 * int(x[1]) - 2}", name)
            name = name.replace("metaformer.stages.0.embedding.projection", "patch_embed.proj")
            name = re.sub(
                r"metaformer\.stages\.(\d)\.embedding\.projection", lambda x: f"network.{2 * int(x[1]) - 1}.proj", name
            )
            name = re.sub(r"metaformer\.stages\.(\d)\.blocks\.(\d+)", lambda x: f"network.{2 * int(x[1])}.{x[2]}", name)
            name = re.sub(r"residual(\d)\.layer_scale", r"layer_scale_\1", name).replace("channel_mlp", "mlp")
            if ".mlp." in name and name.endswith("weight"):
                tensor = tensor[:, :, None, None]
            found[f"backbone.{name}"] = tensor
            continue
        if branch := re.match(r"decode_head\.branches\.(\d)\.(\d)\.(\d)\.(.+)", name):
            part = "conv" if branch[3] == "0" else "bn"
            found[f"decode_head.scale_heads.{branch[1]}.{2 * int(branch[2])}.{part}.{branch[4]}"] = tensor
            continue
        if "cls_score" in name:  # the background is their last class
            tensor = torch.cat([tensor[1:], tensor[:1]])
        tensor = tensor[4:] if "box_predictor.bbox_pred" in name else tensor[1:] if "mask_fcn" in name else tensor
        (pattern, new) = next(pair for pair in HEADS if re.match(pair[0], name))
        found[re.sub(pattern, new, name)] = tensor
    return found


def saved(weights: dict[str, Tensor], folder: Path) -> Path:
    """As mmcv saves."""
    file = folder / "epoch_12.pth"
    torch.save({"meta": {"mmdet_version": "2.19.0", "CLASSES": ("a", "b")}, "state_dict": weights}, file)
    return file


def same(left: Any, right: Any) -> bool:
    ours, others = left.state_dict(), right.state_dict()
    return ours.keys() == others.keys() and all(torch.equal(ours[key], others[key]) for key in ours)


@pytest.mark.parametrize("kind", KINDS)
def test_the_authors_files_fill_a_model(kind: str, tmp_path: Path) -> None:
    source = build(kind)
    if kind == "mask_rcnn":  # the background has no box and no mask there
        predictor = source.detector.roi_heads
        with torch.no_grad():
            for layer, rows in ((predictor.box_predictor.bbox_pred, 4), (predictor.mask_predictor.mask_fcn_logits, 1)):
                layer.weight[:rows], layer.bias[:rows] = 0, 0
    for load in (load_published, load_checkpoint):
        model = build(kind, seed=1)
        assert not same(source, model)
        load(model, saved(authors(source), tmp_path))
        assert same(source, model)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_and_missing_names_are_named(kind: str, tmp_path: Path) -> None:
    weights, model = authors(build(kind, seed=1)), build(kind)
    names = [next(iter(weights)), next(name for name in weights if name.startswith("neck.")), list(weights)[-1]]
    for name in names:
        rest = {key: x for key, x in weights.items() if key != name}
        with pytest.raises(ValueError, match="the file lacks"):
            load_published(model, saved(rest, tmp_path))
        with pytest.raises(ValueError, match=f"no place for|has no .*{re.escape(name.split('.')[-1])}s"):
            load_published(model, saved({**weights, name + "s": weights[name]}, tmp_path))
        with pytest.raises(ValueError, match="shapes differ"):
            load_published(model, saved({**weights, name: torch.zeros(7, 7)}, tmp_path))
    for name in ("backbone.network.6.0.mlp.fc3.weight", "neck.downsample.weight", "backbone.head.weight"):
        with pytest.raises(ValueError, match=rf"no place for {name.removeprefix('backbone.')}|for: {name}"):
            load_published(model, saved({**weights, name: torch.zeros(1)}, tmp_path))
    assert same(model, build(kind))


def test_the_authors_numbers_of_tensors() -> None:
    with torch.device("meta"):
        counts = [
            len(authors(create_detector("poolformer_s12", detector="retinanet", num_labels=80))),
            len(authors(create_detector("poolformer_s12", detector="mask_rcnn", num_labels=80))),
            len(authors(create_segmenter("poolformer_s12", num_labels=150, head_norm="batch_norm"))),
        ]
    assert counts == [170, 178, 196]


@pytest.mark.parametrize("kind", [*KINDS, "resnet"])
def test_saved_folders_open_to_the_bit(kind: str, tmp_path: Path) -> None:
    model = (detector("retinanet", "timm/resnet18") if kind == "resnet" else build(kind)).eval()
    model.save_pretrained(tmp_path / "model")
    opened = load_dense_model(tmp_path)  # as a run folder
    assert type(opened) is type(model)
    assert same(opened, model)
    assert not opened.training
    if kind != "resnet":
        load_checkpoint(other := build(kind, seed=1), tmp_path)
        assert same(other, model)
    assert opened.config.to_diff_dict() == model.config.to_diff_dict()
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        if kind == "semantic_fpn":
            assert torch.equal(opened(image).logits, model(image).logits)
        else:
            ours, others = (x([image[0]])[0] for x in (opened, model))
            assert all(torch.equal(ours[key], others[key]) for key in ours)


def test_a_folder_keeps_the_data_sets_categories(tmp_path: Path) -> None:
    names = {0: "person", 1: "bicycle", 2: "street sign"}
    detector("retinanet", id2label=names, category_ids=[1, 2, 12]).save_pretrained(tmp_path)
    config = MetaFormerVisionDetectionConfig.from_pretrained(tmp_path)
    assert (config.id2label, config.categories()) == (names, [1, 2, 12])
    assert detector("retinanet").config.categories() == [0, 1, 2]
    with pytest.raises(ValueError, match="must be 3 rising numbers"):
        MetaFormerVisionDetectionConfig(num_labels=3, category_ids=[1, 12, 2]).categories()


def test_a_folder_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    model = detector("retinanet")
    weights = model.state_dict()
    lost = weights.pop("detector.head.regression_head.bbox_reg.weight")
    model.save_pretrained(tmp_path, state_dict={**weights, "detector.head.other": lost})
    with pytest.raises(ValueError, match=r"missing keys: .*bbox_reg\.weight; unexpected keys: .*head\.other"):
        MetaFormerVisionForObjectDetection.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds no model"):
        load_dense_model(tmp_path / "nothing")
    create_model("poolformer_s12", **TRUNK).save_pretrained(tmp_path / "classifier")
    with pytest.raises(ValueError, match="model_type is 'metaformer_vision'"):
        load_dense_model(tmp_path / "classifier")


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_starts_a_trunk(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    classifier, model = create_model("poolformer_s12", num_labels=7, **TRUNK), build(kind)
    before = {key: x.clone() for key, x in model.state_dict().items()}
    classifier.save_pretrained(tmp_path / "model")
    with caplog.at_level(logging.WARNING):
        new = load_trunk(model, tmp_path)
        load_checkpoint(started := build(kind), tmp_path)
    assert same(started, model)
    start = "backbone.body.metaformer." if kind == "semantic_fpn" else "detector.backbone.body.metaformer."
    assert new == [name for name in before if not name.startswith(start)]
    assert f"New are its {start.removesuffix('metaformer.')}hidden_states_norms.stage" in caplog.text
    for name, tensor in model.state_dict().items():
        source = before[name] if name in new else classifier.metaformer.state_dict()[name.removeprefix(start)]
        assert torch.equal(tensor, source), name
    other = create_model("poolformer_s12", num_labels=7, **{**TRUNK, "hidden_sizes": [8, 16, 24, 40]})
    other.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="shapes differ"):
        load_trunk(model, tmp_path)


def test_positions_of_a_trunk_are_resized(tmp_path: Path) -> None:
    options = {**TRUNK, "position_embedding": True, "position_embedding_std": 0.02}
    create_model("poolformer_s12", num_labels=7, image_size=64, **options).save_pretrained(tmp_path)
    model = create_segmenter("poolformer_s12", trunk_options={**options, "image_size": 128}, num_labels=2)
    load_trunk(model, tmp_path)
    assert model.backbone.body.metaformer.stages[0].position_embedding.shape == (32, 32, 8)


@pytest.mark.parametrize("name", ["resnet18", "pvt_v2_b0"])
def test_a_classifier_of_timm_starts_a_trunk(name: str, tmp_path: Path) -> None:
    classifier = timm.create_model(name)
    torch.save(classifier.state_dict(), tmp_path / "file.pth")
    model = detector("retinanet", f"timm/{name}")
    new = load_trunk(model, tmp_path / "file.pth")
    assert not any(".body." in key for key in new)
    ours = model.pyramid.body.body.state_dict()
    source = classifier.state_dict()
    assert all(torch.equal(x, source[re.sub(r"^stages_(\d)", r"stages.\1", key)]) for key, x in ours.items())
    torch.save({key: x for key, x in source.items() if "conv1" not in key and "proj" not in key}, tmp_path / "less.pth")
    with pytest.raises(ValueError, match="the file lacks"):
        load_trunk(model, tmp_path / "less.pth")


def test_wrong_options() -> None:
    for options, said in (
        ({"detecter": "retinanet"}, "the nearest is 'detector'|unknown key 'detecter'"),
        ({"extra_levels": 3}, "extra_levels is 3"),
        ({"trunk": {"depth": [1]}}, "unknown key 'depth'"),
        ({"trunk": {"architecture": "resnet18", "depths": [1]}}, "fixed by its architecture"),
        ({"frozen_stages": 1}, "trained whole"),
        ({"short_side": 0}, "short_side is 0"),
        ({"mask_head_channels": []}, "mask_head_channels"),
    ):
        with pytest.raises(ValueError, match=said):
            MetaFormerVisionDetectionConfig(**options)
    with pytest.raises(ValueError, match="multiple of 4"):
        MetaFormerVisionSegmentationConfig(head_channels=30)
    with pytest.raises(ValueError, match=r"resnet18"):
        create_detector("timm/resnett18")
    with pytest.raises(ValueError, match="poolformer_s12"):
        create_segmenter("poolformer_s13")


@pytest.mark.slow
@pytest.mark.parametrize("first", ["vision", "transformers"])
def test_either_may_be_imported_first(first: str, tmp_path: Path) -> None:
    segmenter().save_pretrained(tmp_path / "segmenter")
    detector("retinanet").save_pretrained(tmp_path / "detector")
    second = {"vision": "transformers", "transformers": "vision"}[first]
    program = (
        f"import {first}, {second}\n"
        "from transformers import AutoConfig, AutoModelForSemanticSegmentation\n"
        "model = AutoModelForSemanticSegmentation.from_pretrained(sys.argv[1] + '/segmenter')\n"
        "print(type(model).__name__, type(AutoConfig.from_pretrained(sys.argv[1] + '/detector')).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}", str(tmp_path)],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == ["MetaFormerVisionForSemanticSegmentation", "MetaFormerVisionDetectionConfig"], (
        done.stderr[-2000:]
    )


def test_a_trunk_takes_no_weights_of_another_mixer(tmp_path: Path) -> None:
    create_model("poolformer_nano", token_mixer="shift", num_labels=3).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="token_mixer 'shift' there and 'pooling' here"):
        load_trunk(create_segmenter("poolformer_nano", num_labels=3), tmp_path)
    load_trunk(create_segmenter("poolformer_nano", num_labels=3, trunk_options={"token_mixer": "shift"}), tmp_path)


def test_timms_trunks_freeze_what_is_asked_and_give_channels_first() -> None:
    with pytest.raises(ValueError, match="efficientnet_b0 has 0 stages to freeze"):
        create_segmenter("timm/efficientnet_b0", num_labels=3, frozen_stages=1)
    with pytest.raises(ValueError, match="resnet18 has 4 stages to freeze"):
        create_segmenter("timm/resnet18", num_labels=3, frozen_stages=5)
    model = create_segmenter("timm/swin_tiny_patch4_window7_224", num_labels=3).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 224, 224)).logits.shape == (1, 3, 56, 56)
