"""Exported text models: run for any batch and length, compared with the model, described beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers import PreTrainedTokenizerBase

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.text import MetaFormerTextConfig
from tasks.export import program as export
from tasks.export import text as text_export
from tests.mixers import ATTENTION_KINDS, POOLING_WINDOWS, TEXT_MIXERS

#: One layer of each, so that one program shows them all.
MIXER_SPECS: list[Any] = [*TEXT_MIXERS, {"name": "pooling", "pool_size": [3, 7, 15, 31]}]


def redraw(model: nn.Module) -> nn.Module:
    """All weights anew, of order 1: with fresh ones the mixers' differences are too small to be seen."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                scale = max(parameter[0].numel(), 1) ** -0.5 if parameter.ndim > 1 else 0.3
                parameter.copy_(torch.randn_like(parameter) * scale + (1.0 if parameter.ndim == 1 else 0.0))
    return model.eval()


def saved(folder: Path, tokenizer: PreTrainedTokenizerBase, head: str, **fields: Any) -> Any:
    """A model of ``AutoModel<head>`` with visible mixing, saved with its tokenizer."""
    config = MetaFormerTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=40, num_labels=3, pad_token_id=tokenizer.pad_token_id,
        **{"num_hidden_layers": 1, **fields},
    )  # fmt: skip
    model = redraw(getattr(transformers, f"AutoModel{head}").from_config(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def export_config(folder: Path, output: Path, **options: Any) -> text_export.Config:
    return from_dict(text_export.Config, {"model": str(folder), "output": str(output), **options})


@pytest.mark.slow
def test_every_mixer_exports_for_any_batch_and_length(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    fields = {"token_mixer": MIXER_SPECS, "num_hidden_layers": len(MIXER_SPECS)}
    model = saved(tmp_path, tokenizer, "ForSequenceClassification", **fields)
    found = text_export.run(export_config(tmp_path, tmp_path / "a.pt2"))
    assert found[str(tmp_path / "a.pt2")] < 1e-5
    program = torch.export.load(tmp_path / "a.pt2").module()
    for batch, length in [(1, 2), (7, 1), (4, 3), (2, 23), (1, 40)]:
        ids = torch.randint(5, len(tokenizer), (batch, length))
        mask = (torch.arange(length) < torch.randint(1, length + 1, (batch, 1))).long()
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": mask * (ids % 2)}
        with torch.no_grad():
            (logits,), expected = program(**inputs), model(**inputs).logits
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_onnx(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    mixers: list[Any] = [
        "fourier",
        "attention",
        "depthwise_conv",
        {"name": "shift", "offsets": ["left:4", "right:1"], "gate": True},
        "decaying_sum",
    ]
    mixers += [POOLING_WINDOWS, MIXER_SPECS[-1], *ATTENTION_KINDS]
    fields = {"token_mixer": mixers, "num_hidden_layers": len(mixers)}
    model = saved(tmp_path, tokenizer, "ForSequenceClassification", **fields)
    assert text_export.run(export_config(tmp_path, tmp_path / "a.onnx"))[str(tmp_path / "a.onnx")] < 1e-5
    texts = ["a word", "many more words than that, and some numbers: 1 2 3", "x"]
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    inputs = tokenizer(texts, texts[::-1], padding=True, truncation=True, max_length=40, return_tensors="pt")
    (logits,) = session.run(["logits"], {key: value.numpy() for key, value in inputs.items()})
    with torch.no_grad():
        assert np.allclose(logits, model(**inputs).logits.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    "head", ["", "ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice"]
)
def test_every_head_exports(head: str, tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    labels = {"id2label": {0: "O", 1: "Ort", 2: "Tür"}, "problem_type": "single_label_classification"}
    model = saved(tmp_path, tokenizer, head, **({**labels} if head == "ForTokenClassification" else {}))
    text_export.run(export_config(tmp_path, tmp_path / "a.pt2"))
    program = torch.export.load(tmp_path / "a.pt2").module()
    ids = torch.randint(5, len(tokenizer), (2, 4, 9) if head == "ForMultipleChoice" else (2, 9))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    with torch.no_grad():
        given, expected = program(**inputs), model(**inputs)
    beside = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert beside["max_length"] == 40
    assert beside["tokenizer"]["special_tokens"]["[MASK]"] == tokenizer.mask_token_id
    assert beside["labels"] == (["O", "Ort", "Tür"] if head == "ForTokenClassification" else [])
    assert len(given) == len(beside["outputs"])
    for name, tensor in zip(beside["outputs"], given, strict=True):
        torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=1e-5)


def test_what_is_wrong_with_an_export_is_said(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = saved(tmp_path, tokenizer, "ForMaskedLM")
    with pytest.raises(ValueError, match=r"must end with \.pt2 or \.onnx"):
        text_export.run(export_config(tmp_path, tmp_path / "a.pt"))
    with pytest.raises(ValueError, match=r"no config\.json there"):
        text_export.run(export_config(tmp_path / "nowhere", tmp_path / "a.pt2"))
    assert not (tmp_path / "a.pt2").exists()
    exportable = text_export.exportable(model, ("logits",), tokenizer)

    def off_in_the_last_row(inputs: export.Inputs) -> tuple[torch.Tensor, ...]:
        (logits,) = exportable(inputs)
        logits[-1] += 0.01 * logits.abs().max() * (len(logits) == 5)
        return (logits,)

    with pytest.raises(ValueError, match=r"differs from the model by 0\.0.* at .*'input_ids': \(5, 40\)"):
        export.difference(off_in_the_last_row, exportable)
