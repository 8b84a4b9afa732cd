"""Saving and loading: through the Auto classes, in a fresh process, with everything that is not in the file set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from metaformer_nlp.core import MIXERS, NORMS, TokenMixer
from metaformer_nlp.text import MetaFormerTextForMaskedLM, MetaFormerTextModel
from tests.loaded import assert_close_outputs, assert_same_weights
from tests.mixers import TEXT_MIXERS, mixer_id

AUTO_CLASSES = {
    AutoModel: "MetaFormerTextModel",
    AutoModelForPreTraining: "MetaFormerTextForMaskedLM",
    AutoModelForMaskedLM: "MetaFormerTextForMaskedLM",
    AutoModelForSequenceClassification: "MetaFormerTextForSequenceClassification",
    AutoModelForTokenClassification: "MetaFormerTextForTokenClassification",
    AutoModelForQuestionAnswering: "MetaFormerTextForQuestionAnswering",
    AutoModelForMultipleChoice: "MetaFormerTextForMultipleChoice",
}


@pytest.mark.parametrize("auto_class", AUTO_CLASSES, ids=lambda auto_class: auto_class.__name__)
def test_auto_classes(auto_class: Any, text_config: Any, tmp_path: Path) -> None:
    model = auto_class.from_config(text_config())
    assert type(model).__name__ == AUTO_CLASSES[auto_class]
    model.save_pretrained(tmp_path)
    again = auto_class.from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert_same_weights(again.state_dict(), model.state_dict())


@pytest.mark.parametrize("mixer", TEXT_MIXERS, ids=mixer_id)
def test_reload_is_the_same(mixer: Any, text_config: Any, perturb: Any, tmp_path: Path) -> None:
    """Weights, logits, and what is trained: frozen parameters (the random mixer's matrix) are saved and stay frozen."""
    model = perturb(MetaFormerTextForMaskedLM(text_config(token_mixer=mixer)))
    model.save_pretrained(tmp_path)
    torch.manual_seed(1)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path)
    ids = torch.randint(5, 61, (2, 9))
    assert_same_weights(again.state_dict(), model.state_dict())
    assert_close_outputs(again(ids).logits, model(ids).logits)
    trained = [{name: p.requires_grad for name, p in each.named_parameters()} for each in (model, again)]
    assert trained[0] == trained[1]


def test_a_checkpoint_from_before_positions_were_a_choice(text_config: Any, perturb: Any, tmp_path: Path) -> None:
    model = perturb(MetaFormerTextForMaskedLM(text_config()))
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text())
    assert fields.pop("position_embedding") is True
    path.write_text(json.dumps(fields))
    ids = torch.randint(5, 61, (2, 9))
    again = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert_same_weights(again.state_dict(), model.state_dict())
    assert_close_outputs(again(ids).logits, model(ids).logits)


def test_fresh_process(text_config: Any, perturb: Any, tmp_path: Path) -> None:
    model = perturb(MetaFormerTextForMaskedLM(text_config(token_mixer=["random", "pooling"])))
    ids = torch.randint(5, 61, (2, 9))
    model.save_pretrained(tmp_path)
    torch.save({"ids": ids}, tmp_path / "ids.pt")
    program = f"""
import torch, metaformer_nlp
from transformers import AutoModelForMaskedLM
folder = {str(tmp_path)!r}
model = AutoModelForMaskedLM.from_pretrained(folder)
torch.save(model(**{{"input_ids": torch.load(folder + "/ids.pt")["ids"]}}).logits, folder + "/logits.pt")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
    assert_close_outputs(torch.load(tmp_path / "logits.pt"), model(ids).logits)


def test_core_needs_no_transformers() -> None:
    program = """
import sys
from importlib.abc import MetaPathFinder
class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("transformers", "huggingface_hub", "tokenizers"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "transformers" else real(name, package)
import metaformer_nlp.core
assert "pooling" in metaformer_nlp.core.MIXERS
assert "metaformer_nlp.text" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


@pytest.mark.parametrize("mixer", TEXT_MIXERS, ids=mixer_id)
def test_what_a_checkpoint_lacks_gets_its_first_value(mixer: Any, text_config: Any, tmp_path: Path) -> None:
    """`from_pretrained` builds without memory: what nobody sets would be whatever the memory held."""
    fields = {
        "token_mixer": mixer,
        "hidden_act": "star_relu",
        "layer_scale_init_value": 0.25,
        "res_scale_init_value": 2.0,
    }
    config = text_config(**fields, norm="batch_norm")
    model = MetaFormerTextModel(config)
    model.save_pretrained(tmp_path, state_dict={"norm.weight": torch.full((32,), 5.0)})
    again = MetaFormerTextModel.from_pretrained(tmp_path)
    assert again.norm.weight.unique() == 5
    for name, value in {**dict(again.named_parameters()), **dict(again.named_buffers())}.items():
        reference = {**dict(model.named_parameters()), **dict(model.named_buffers())}[name]
        assert value.isfinite().all(), name
        assert value.requires_grad == reference.requires_grad, name
        if name == "norm.weight":
            continue
        if reference.std(unbiased=False) == 0:
            assert torch.equal(value, reference), name
        else:
            assert 0.5 < value.std() / reference.std() < 2, name
            assert not torch.equal(value, reference), name


@pytest.mark.parametrize("norm", NORMS)
def test_initial_values(norm: str, text_config: Any) -> None:
    model = MetaFormerTextForMaskedLM(text_config(norm=norm, initializer_range=0.05))
    assert model.encoder.embeddings.word_embeddings.weight[0].abs().max() == 0
    assert model.encoder.embeddings.word_embeddings.weight[1:].std().item() == pytest.approx(0.05, rel=0.1)
    assert model.encoder.layers[0].channel_mlp.fc1.weight.std().item() == pytest.approx(0.05, rel=0.1)
    assert model.encoder.layers[0].channel_mlp.fc1.bias.abs().max() == 0


def test_mixer_made_of_torch_modules_needs_nothing(
    text_config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Recurrent(TokenMixer):
        def __init__(self, dim: int, token_shape: tuple[int, ...]) -> None:
            super().__init__(dim, token_shape)
            self.gru, self.norm = torch.nn.GRU(dim, dim, batch_first=True), torch.nn.BatchNorm1d(dim)

        def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
            return self.norm(self.gru(x)[0].mT).mT

    monkeypatch.setitem(MIXERS._entries, "recurrent", Recurrent)
    model = MetaFormerTextModel(text_config(token_mixer="recurrent"))
    model.save_pretrained(tmp_path, state_dict={"norm.weight": torch.full((32,), 5.0)})
    again = MetaFormerTextModel.from_pretrained(tmp_path).state_dict()
    for name, value in model.state_dict().items():
        if name != "norm.weight":
            spreads = [each.float().std(unbiased=False) + 1e-6 for each in (again[name], value)]
            assert 0.5 < spreads[0] / spreads[1] < 2, name
            assert (again[name] - value).abs().max() < 1, name


def test_encoder_of_a_model_with_a_head_loads_silently(
    text_config: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = MetaFormerTextForMaskedLM(text_config())
    model.save_pretrained(tmp_path)
    encoder, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert torch.equal(encoder.layers[0].channel_mlp.fc1.weight, model.encoder.layers[0].channel_mlp.fc1.weight)
    _, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("tied", [True, False])
def test_tied_decoder(tied: bool, text_config: Any, tmp_path: Path) -> None:
    model = MetaFormerTextForMaskedLM(text_config(tie_word_embeddings=tied))
    model.save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path)
    for each in (model, again):
        assert (each.lm_head.decoder.weight is each.encoder.embeddings.word_embeddings.weight) == tied
    assert torch.equal(again.lm_head.decoder.weight, model.lm_head.decoder.weight)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", [70, 40])
def test_resize_token_embeddings(tied: bool, size: int, text_config: Any, tmp_path: Path) -> None:
    model = MetaFormerTextForMaskedLM(text_config(tie_word_embeddings=tied)).eval()
    ids = torch.randint(5, 40, (2, 9))
    with torch.no_grad():
        before = model(ids).logits
    model.resize_token_embeddings(size, mean_resizing=False)
    assert model.config.vocab_size == size
    assert model.lm_head.decoder.bias.shape == (size,)
    assert (model.lm_head.decoder.weight is model.encoder.embeddings.word_embeddings.weight) == tied
    kept = min(size, 61)
    torch.testing.assert_close(model(ids).logits[..., :kept], before[..., :kept])
    model(ids, labels=ids).loss.backward()
    model.save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert_same_weights(again.state_dict(), model.state_dict())
    assert_close_outputs(again(ids).logits, model(ids).logits)
