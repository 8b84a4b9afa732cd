"""What users do to a model: half precision, gradient checkpointing, compiling, exporting, pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import pipeline

from metaformer_nlp.text import (
    MetaFormerTextForMaskedLM,
    MetaFormerTextForSequenceClassification,
    MetaFormerTextModel,
)
from metaformer_nlp.text.tokenizer import train_tokenizer
from tests.mixers import TEXT_MIXERS, mixer_id

MASK = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])


@pytest.mark.parametrize("mixer", TEXT_MIXERS, ids=mixer_id)
@pytest.mark.parametrize("masked", [True, False])
def test_bfloat16(mixer: Any, masked: bool, text_config: Any, perturb: Any) -> None:
    model = perturb(MetaFormerTextForSequenceClassification(text_config(token_mixer=mixer)))
    ids, mask = torch.randint(5, 61, (2, 9)), MASK if masked else None
    expected = model(ids, attention_mask=mask).logits
    with torch.autocast("cpu", torch.bfloat16):
        automatic = model(ids, attention_mask=mask, labels=torch.tensor([0, 1]))
    automatic.loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    cast = model.to(torch.bfloat16)(ids, attention_mask=mask).logits
    assert cast.dtype == torch.bfloat16
    for half in (automatic.logits, cast):
        assert half.isfinite().all()
        assert (half.float() - expected).abs().max() < 0.2


@pytest.mark.parametrize("mixer", TEXT_MIXERS, ids=mixer_id)
@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_changes_no_gradient(
    mixer: Any, reentrant: bool, text_config: Any, perturb: Any
) -> None:
    fields = {"hidden_dropout_prob": 0.0, "token_mixer": mixer, "norm": "group_norm"}
    model = perturb(MetaFormerTextForMaskedLM(text_config(**fields))).train()
    ids = torch.randint(5, 61, (2, 9))
    gradients = []
    for on in (False, True):
        if on:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
            assert all(layer.gradient_checkpointing for layer in model.encoder.layers)
        model.zero_grad()
        model(ids, attention_mask=MASK, labels=ids).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("mixer", ["pooling", "attention"])
def test_compile_and_export(mixer: Any, text_config: Any, perturb: Any) -> None:
    """Without a graph break, masked and unmasked, and exported for batches and lengths of any size."""
    model = perturb(MetaFormerTextForMaskedLM(text_config(token_mixer=mixer)))
    ids = torch.randint(5, 61, (2, 9))
    with torch.no_grad():
        expected, plain = model(ids, attention_mask=MASK).logits, model(ids).logits
        # The graph is what is tested here; the code made of it is the compiler's business.
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(ids, attention_mask=MASK).logits, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(compiled(ids).logits, plain, atol=1e-5, rtol=1e-5)
        batch, length = torch.export.Dim("batch", min=2, max=8), torch.export.Dim("length", min=4, max=24)
        shapes = {0: batch, 1: length}
        exported = torch.export.export(
            model,
            (),
            {"input_ids": ids, "attention_mask": MASK},
            dynamic_shapes={"input_ids": shapes, "attention_mask": shapes},
        )
        longer, mask = torch.randint(5, 61, (3, 13)), torch.ones(3, 13, dtype=torch.long)
        mask[1, 8:] = 0
        output = exported.module()(input_ids=longer, attention_mask=mask)
        torch.testing.assert_close(output.logits, model(longer, attention_mask=mask).logits, atol=1e-5, rtol=1e-5)


def test_layer_that_is_wrapped(text_config: Any, perturb: Any) -> None:
    """Layers may be compiled one by one, as sharded training does."""
    model = perturb(MetaFormerTextModel(text_config()))
    ids = torch.randint(5, 61, (2, 9))
    expected = model(ids, attention_mask=MASK).last_hidden_state
    model.layers[0] = torch.compile(model.layers[0], backend="eager")
    torch.testing.assert_close(model(ids, attention_mask=MASK).last_hidden_state, expected)


def test_pipelines(text_config: Any, tmp_path: Path) -> None:
    texts = ["the quick brown fox jumps over the lazy dog", "a lazy dog sleeps while the fox runs away"] * 10
    tokenizer = train_tokenizer(texts, 290)
    fields = {"vocab_size": len(tokenizer), "max_position_embeddings": 64}
    for name, head in (("mlm", MetaFormerTextForMaskedLM), ("classes", MetaFormerTextForSequenceClassification)):
        head(text_config(**fields, num_labels=2)).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)

    fill = pipeline("fill-mask", model=str(tmp_path / "mlm"), device="cpu")
    guesses = fill("the quick [MASK] fox", top_k=3)
    assert len(guesses) == 3
    assert all(set(guess) == {"score", "token", "token_str", "sequence"} for guess in guesses)

    classify = pipeline("text-classification", model=str(tmp_path / "classes"), device="cpu")
    long = "the lazy dog jumps over the fox"
    together = classify(["the fox", long, {"text": "the fox", "text_pair": "a dog"}], batch_size=3)
    apart = [classify(text) for text in ("the fox", long)]
    assert [answer["label"] in ("LABEL_0", "LABEL_1") for answer in together] == [True] * 3
    for answer, alone in zip(together, apart, strict=False):
        assert answer["score"] == pytest.approx(alone[0]["score"], abs=1e-5)
