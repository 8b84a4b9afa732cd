"""`load_model`: one call for saved folders, run folders and weight files; new heads, other sizes, refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from transformers import AutoModel, PoolFormerConfig, PoolFormerForImageClassification, ViTConfig

import vision
from metaformer_nlp.core import MIXERS
from tests.loaded import assert_close_outputs, assert_same_weights
from tests.mixers import IMAGE_MIXERS, mixer_id, mixer_of
from tests.parity.test_metaformer_baselines import sail_sg_names
from vision import MetaFormerVisionForImageClassification, create_model, load_model

ANY_SIZE = [spec for spec in IMAGE_MIXERS if not MIXERS[mixer_of(spec)].fixed_length]
VIT = "timm/vit_tiny_patch16_224"
HYBRID: dict[str, Any] = {
    "token_mixer": ["pooling", "pooling", "attention", "attention"],
    "position_embedding": [False, False, True, False],
    "norm": "layer_norm",
    "hidden_sizes": (8, 16, 24, 32),
}


@torch.no_grad()
def redrawn(model: Any) -> Any:
    for parameter in model.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def logits(model: nn.Module, size: int = 32) -> Tensor:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.eval()(images).logits


def test_a_saved_folder_and_a_run_folder(tmp_path: Path) -> None:
    model = redrawn(create_model("poolformer_nano", id2label={0: "a", 1: "b", 2: "c"}, **HYBRID))
    model.save_pretrained(tmp_path / "run" / "model")
    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        again = load_model(folder, drop_path_rate=0.3)
        assert_same_weights(again.state_dict(), model.state_dict())
        assert_close_outputs(logits(again), logits(model))
        assert again.config.id2label == {0: "a", 1: "b", 2: "c"}
        assert again.config.drop_path_rate == 0.3


def test_new_heads(tmp_path: Path) -> None:
    for head in ("linear", "mlp"):
        model = redrawn(create_model("poolformer_nano", num_labels=3, head=head, **HYBRID))
        model.save_pretrained(tmp_path / head)
        for options in ({"num_labels": 5}, {"keep_head": False}, {"id2label": {0: "x", 1: "y"}}):
            again = load_model(tmp_path / head, **options)
            own, loaded = model.state_dict(), again.state_dict()
            labels = {"num_labels": 5, "id2label": 2}
            assert again.num_labels == next((labels[key] for key in options if key in labels), 3)
            for name, tensor in loaded.items():
                same = tensor.shape == own[name].shape and torch.equal(tensor, own[name])
                assert same != name.startswith("classifier."), name
        renamed = load_model(tmp_path / head, id2label={0: "x", 1: "y", 2: "z"})
        assert_same_weights(renamed.state_dict(), model.state_dict())
        assert_close_outputs(logits(renamed), logits(model))
        assert renamed.config.id2label[2] == "z"


def test_classes_of_other_names_get_a_new_head(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = redrawn(create_model("poolformer_nano", id2label={0: "cat", 1: "crane"}))
    model.save_pretrained(tmp_path)
    for names, kept in ((("cat", "crane"), True), (("cat", "crane (n02012849)"), True), (("crane", "cat"), False),
                        (("ship", "truck"), False)):  # fmt: skip
        caplog.clear()
        loaded = load_model(tmp_path, id2label=dict(enumerate(names)))
        assert torch.equal(loaded.classifier.weight, model.classifier.weight) == kept
        assert torch.equal(loaded.norm.weight, model.norm.weight)
        assert ("other classes" in caplog.text) != kept


def test_synsets_and_names_of_imagenet_are_the_same_classes(tmp_path: Path) -> None:
    synsets, names = ({index: f"{kind}{index}" for index in range(1000)} for kind in ("n", "name "))
    model = create_model("poolformer_nano", id2label=synsets)
    model.save_pretrained(tmp_path)
    assert torch.equal(load_model(tmp_path, id2label=names).classifier.weight, model.classifier.weight)


def test_another_image_size_resizes_position_embeddings(tmp_path: Path) -> None:
    model = redrawn(create_model("poolformer_nano", **HYBRID))
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path, image_size=48)
    assert again.config.image_size == 48
    before, after = (m.metaformer.stages[2].position_embedding for m in (model, again))
    assert after.shape == (6, 6, 24)
    torch.testing.assert_close(after, vision.modeling.resize_positions(before, (6, 6)))
    torch.testing.assert_close(logits(again, 48), logits(model, 48))  # the same as seeing it resized


@pytest.mark.parametrize("size", [48, (64, 17), 16])
@pytest.mark.parametrize("mixer", ANY_SIZE, ids=mixer_id)
def test_every_mixer_opens_for_another_image_size(mixer: Any, size: Any, tmp_path: Path) -> None:
    """It answers what the model of the first size answers to such images."""
    model = redrawn(create_model("poolformer_nano", token_mixer=mixer, position_embedding=True))
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path, image_size=size)
    height, width = (size, size) if isinstance(size, int) else size
    images = torch.randn(2, 3, height, width)
    assert again.config.image_size == size
    with torch.no_grad():
        assert_close_outputs(again.eval()(images).logits, model(images).logits)


def test_a_mixer_of_fixed_length_is_refused_at_another_size(tmp_path: Path) -> None:
    mixers = ["pooling", "pooling", "pooling", "spatial_mlp"]
    create_model("poolformer_nano", token_mixer=mixers).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"shapes differ.*mixer of a fixed length .*SpatialMLP"):
        load_model(tmp_path, image_size=48)


def test_transformers_poolformer(tmp_path: Path) -> None:
    config = PoolFormerConfig(depths=[1, 2, 1, 1], hidden_sizes=[8, 16, 24, 32], num_labels=4, pool_size=5)
    theirs = redrawn(PoolFormerForImageClassification(config))
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    assert isinstance(ours, MetaFormerVisionForImageClassification)
    torch.testing.assert_close(logits(ours, 64), logits(theirs, 64), atol=1e-4, rtol=1e-4)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    torch.testing.assert_close(logits(load_model(tmp_path), 64), logits(theirs, 64), atol=1e-4, rtol=1e-4)
    again = load_model(tmp_path, num_labels=2, image_size=96)
    assert (again.num_labels, again.config.image_size) == (2, 96)


def test_folders_and_files_of_timm(tmp_path: Path) -> None:
    theirs = redrawn(create_model(VIT, num_labels=4, image_size=32))
    theirs.save_pretrained(tmp_path / "folder")
    torch.save(theirs.timm_model.state_dict(), tmp_path / "file.pth")
    for again in (load_model(tmp_path / "folder"), load_model(tmp_path / "file.pth", VIT, image_size=32)):
        assert_same_weights(again.state_dict(), theirs.state_dict())
        assert_close_outputs(logits(again), logits(theirs))
    larger = load_model(tmp_path / "file.pth", VIT, image_size=64, num_labels=2)
    assert larger.timm_model.pos_embed.shape[1] == 17
    assert logits(larger, 64).shape == (2, 2)
    assert torch.equal(larger.timm_model.blocks[0].mlp.fc1.weight, theirs.timm_model.blocks[0].mlp.fc1.weight)
    for other in ("timm/resnet18", "timm/poolformer_s12"):
        with pytest.raises(ValueError, match=r"holds no classifier|none of timm's|does not fit the model"):
            load_model(tmp_path / "file.pth", other)
    weights = theirs.timm_model.state_dict()
    torch.save({key: x for key, x in weights.items() if not key.startswith("head.")}, tmp_path / "headless.pth")
    with pytest.raises(ValueError, match="say num_labels"):
        load_model(tmp_path / "headless.pth", VIT, image_size=32)
    assert load_model(tmp_path / "headless.pth", VIT, image_size=32, num_labels=2).num_labels == 2


def test_the_authors_files_open_as_timms_models_too(tmp_path: Path) -> None:
    """timm's filter renames them; the head is kept, not silently drawn anew."""
    theirs = redrawn(timm.create_model("poolformerv2_s12", num_classes=1000))
    torch.save(sail_sg_names(theirs.state_dict()), tmp_path / "authors.pth")
    again = load_model(tmp_path / "authors.pth", "timm/poolformerv2_s12")
    assert_same_weights(again.timm_model.state_dict(), theirs.state_dict())


def test_the_row_is_found_where_only_one_fits(tmp_path: Path) -> None:
    nano = redrawn(create_model("poolformer_nano"))
    torch.save(nano.state_dict(), tmp_path / "nano.pt")
    again = load_model(tmp_path / "nano.pt")
    assert_same_weights(again.state_dict(), nano.state_dict())
    assert_close_outputs(logits(again), logits(nano))
    torch.save(timm.create_model("poolformerv2_s12", num_classes=6).state_dict(), tmp_path / "timm.pth")
    found = load_model(tmp_path / "timm.pth")
    assert (found.config.embedding_norm, found.num_labels) == ("layer_norm", 6)
    weights = create_model("poolformer_s12", num_labels=2).state_dict()
    official = timm.create_model("poolformer_s12", num_classes=2).state_dict()
    torch.save(official, tmp_path / "s12.pth")
    assert load_model(tmp_path / "s12.pth").config.token_mixer == "pooling"
    torch.save(weights, tmp_path / "ours.pth")
    for row, mixer in (("poolformer_s12", "pooling"), ("metaformer_id_s12", "identity")):
        torch.save(weights, tmp_path / f"{row}.pth.tar")
        assert load_model(tmp_path / f"{row}.pth.tar").config.token_mixer == mixer
    with pytest.raises(ValueError, match=r"fits .*metaformer_id_s12.*poolformer_s12.*say which by name"):
        load_model(tmp_path / "ours.pth")
    assert load_model(tmp_path / "ours.pth", "metaformer_id_s12").config.token_mixer == "identity"
    torch.save(create_model("poolformer_nano", depths=(1, 1, 1, 2)).state_dict(), tmp_path / "odd.pt")
    with pytest.raises(ValueError, match=r"fits no row.*poolformer_xs"):
        load_model(tmp_path / "odd.pt")


def test_a_trunk_gets_a_new_head(tmp_path: Path) -> None:
    """As after pre-training without labels: what is not of the trunk is left behind."""
    model = redrawn(create_model("poolformer_nano"))
    model.metaformer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="say num_labels"):
        load_model(tmp_path)
    again = load_model(tmp_path, num_labels=2)
    assert_same_weights(again.metaformer.state_dict(), model.metaformer.state_dict())
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert_close_outputs(*(m.metaformer.eval()(images).last_hidden_state for m in (again, model)))
    weights = {f"metaformer.{name}": x for name, x in model.metaformer.state_dict().items()}
    torch.save({**weights, "mask_token": torch.zeros(3), "decoder.weight": torch.zeros(4, 4)}, tmp_path / "mim.pt")
    again = load_model(tmp_path / "mim.pt", "poolformer_nano", num_labels=3)
    assert all(torch.equal(again.state_dict()[name], x) for name, x in weights.items())
    assert isinstance(AutoModel.from_pretrained(tmp_path), vision.MetaFormerVisionModel)


def test_strangers_are_refused(tmp_path: Path) -> None:
    ViTConfig().save_pretrained(tmp_path)
    torch.save({"embeddings.cls_token": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"model_type is 'vit'.*metaformer_vision, poolformer, timm_wrapper"):
        load_model(tmp_path)
    with pytest.raises(ValueError, match="model_type is 'vit'"):
        load_model(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no weight file"):
        load_model(tmp_path / "nothing.pth")
    with pytest.raises(ValueError, match="unknown model 'poolformer_s13'"):
        load_model(saved_nano(tmp_path), "poolformer_s13")
    with pytest.raises(ValueError, match=r"does not fit the model.*shapes differ"):
        load_model(saved_nano(tmp_path), "poolformer_xxs")


def saved_nano(folder: Path) -> Path:
    torch.save(create_model("poolformer_nano").state_dict(), folder / "nano.pt")
    return folder / "nano.pt"


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", [None, "poolformer_nano", "timm/resnet18"])
def test_a_pickle_with_code_is_refused_and_not_run(name: str | None, tmp_path: Path) -> None:
    torch.save({"state_dict": Malicious(tmp_path / "ran")}, tmp_path / "w.pth.tar")
    with pytest.raises(ValueError, match="refused"):
        load_model(tmp_path / "w.pth.tar", name)
    assert not (tmp_path / "ran").exists()


def test_old_configurations_still_open(tmp_path: Path) -> None:
    """A folder saved before the second paper's fields existed."""
    model = redrawn(create_model("poolformer_nano"))
    model.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    for field in ("embedding_norm", "position_embedding", "head", "head_norm", "convolution_init"):
        stored.pop(field, None)
    (tmp_path / "config.json").write_text(json.dumps(stored))
    again = load_model(tmp_path)
    assert_same_weights(again.state_dict(), model.state_dict())
    assert_close_outputs(logits(again), logits(model))


def test_a_saved_file_opens_as_the_model_beside_it(tmp_path: Path) -> None:
    """Mixers without parameters have the same tensors, so that these do not tell which it was."""
    model = redrawn(create_model("poolformer_nano", token_mixer="shift")).eval()
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path / "model.safetensors").eval()
    assert again.config.token_mixer == "shift"
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert_close_outputs(*(m(images).logits for m in (again, model)))


def test_as_many_classes_keep_their_names(tmp_path: Path) -> None:
    names = {0: "cat", 1: "dog", 2: "cow"}
    create_model("poolformer_nano", id2label=names, num_labels=3).save_pretrained(tmp_path)
    assert load_model(tmp_path, num_labels=3).config.id2label == names
    assert load_model(tmp_path, num_labels=4).config.id2label[3] == "LABEL_3"


def test_a_model_without_a_head_keeps_its_norm(tmp_path: Path) -> None:
    model = redrawn(create_model("poolformer_nano", num_labels=2))
    weights = {key: x for key, x in model.state_dict().items() if not key.startswith("classifier.")}
    torch.save(weights, tmp_path / "trunk.pt")
    again = load_model(tmp_path / "trunk.pt", "poolformer_nano", num_labels=5).state_dict()
    assert all(torch.equal(again[key], x) for key, x in weights.items())
    assert any(key.startswith("norm.") for key in weights)


def test_shards_and_compiled_models_open(tmp_path: Path) -> None:
    model = redrawn(create_model("poolformer_nano", num_labels=2))
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert not (tmp_path / "shards/model.safetensors").exists()
    assert_same_weights(load_model(tmp_path / "shards").state_dict(), model.state_dict())
    index = tmp_path / "shards/model.safetensors.index.json"
    first = min(path.name for path in index.parent.glob("*.safetensors"))
    index.write_text(index.read_text().replace(first, f"../{first}"))
    with pytest.raises(ValueError, match="no file of tensors beside it"):
        load_model(tmp_path / "shards")
    torch.save({f"_orig_mod.{name}": x for name, x in model.state_dict().items()}, tmp_path / "compiled.pt")
    assert_same_weights(load_model(tmp_path / "compiled.pt", "poolformer_nano").state_dict(), model.state_dict())
