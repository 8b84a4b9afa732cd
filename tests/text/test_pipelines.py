"""transformers' pipelines on saved folders, against the model itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, pipeline

from metaformer_nlp.text import (
    MetaFormerTextForMaskedLM,
    MetaFormerTextForSequenceClassification,
    MetaFormerTextForTokenClassification,
    MetaFormerTextModel,
)
from metaformer_nlp.text.tokenizer import train_tokenizer

TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "a lazy dog sleeps while the fox runs away",
    "Ada lived in Rome",
]
Save = Callable[..., tuple[Any, str]]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(TEXTS * 10, 295)


@pytest.fixture
def save(tokenizer: PreTrainedTokenizerBase, text_config: Any, perturb: Any, tmp_path: Path) -> Save:
    def save_model(head: Any, **fields: Any) -> tuple[Any, str]:
        model = perturb(head(text_config(vocab_size=len(tokenizer), max_position_embeddings=64, **fields)))
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        return model, str(tmp_path)

    return save_model


def logits(model: Any, tokenizer: PreTrainedTokenizerBase, *texts: str) -> torch.Tensor:
    with torch.no_grad():
        return model(**tokenizer(*texts, return_tensors="pt")).logits[0]


def test_fill_mask(save: Save, tokenizer: PreTrainedTokenizerBase) -> None:
    model, folder = save(MetaFormerTextForMaskedLM)
    fill = pipeline("fill-mask", model=folder, device="cpu")
    text = "the quick [MASK] fox"
    guesses = fill(text, top_k=3)
    place = tokenizer(text)["input_ids"].index(tokenizer.mask_token_id)
    shares, tokens = logits(model, tokenizer, text)[place].softmax(-1).topk(3)
    assert [guess["token"] for guess in guesses] == tokens.tolist()
    assert [guess["score"] for guess in guesses] == pytest.approx(shares.tolist(), abs=1e-5)
    both = fill(["[MASK] dog", "a very long sentence with [MASK] in it"], batch_size=2, top_k=1)
    assert both[0][0]["token"] == fill("[MASK] dog", top_k=1)[0]["token"]


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification", "regression"])
def test_text_classification(problem: str, save: Save, tokenizer: PreTrainedTokenizerBase) -> None:
    """Single texts and pairs, of several lengths in one batch; scores are what the kind of problem makes of logits."""
    names = {0: "bad", 1: "fair", 2: "good"}
    model, folder = save(
        MetaFormerTextForSequenceClassification,
        problem_type=problem,
        **({"num_labels": 1} if problem == "regression" else {"id2label": names}),
    )
    classify = pipeline("text-classification", model=folder, device="cpu", top_k=None)
    pair = {"text": TEXTS[0], "text_pair": "the fox"}
    found = classify([TEXTS[0], pair, "a dog"], batch_size=3)
    squash = {"single_label_classification": lambda x: x.softmax(-1), "multi_label_classification": torch.sigmoid}
    for answer, texts in zip(found, ((TEXTS[0],), (TEXTS[0], "the fox"), ("a dog",)), strict=True):
        expected = squash.get(problem, lambda x: x)(logits(model, tokenizer, *texts))
        scores = {each["label"]: each["score"] for each in answer}
        for label, value in zip(names.values() if problem != "regression" else ["LABEL_0"], expected, strict=True):
            assert scores[label] == pytest.approx(float(value), abs=1e-4)


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "max", "average"])
def test_token_classification(strategy: str, save: Save, tokenizer: PreTrainedTokenizerBase) -> None:
    """Every entity is a piece of the text, of the class of the tokens in it."""
    names = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
    model, folder = save(MetaFormerTextForTokenClassification, id2label=names)
    tag = pipeline("token-classification", model=folder, device="cpu", aggregation_strategy=strategy)
    text = TEXTS[2]
    encoded = tokenizer(text, return_offsets_mapping=True)
    classes = logits(model, tokenizer, text).argmax(-1).tolist()
    found = tag(text)
    assert found, "the redrawn weights see no entity: choose another seed"
    covered = set()
    for entity in found:
        assert 0 <= entity["start"] < entity["end"] <= len(text)
        covered |= set(range(entity["start"], entity["end"]))
    if strategy in ("none", "simple"):
        spans = [span for span, each in zip(encoded["offset_mapping"], classes, strict=True) if each and span[1]]
        assert covered == {slot for start, end in spans for slot in range(start, end)}
    alone = tag([text, TEXTS[0]], batch_size=2)[0]
    assert [(each["start"], each["end"]) for each in alone] == [(each["start"], each["end"]) for each in found]


def test_zero_shot_classification(save: Save, tokenizer: PreTrainedTokenizerBase) -> None:
    """An entailment model: the hypothesis goes in as the second text, and entailment is found by its name."""
    names = {0: "entailment", 1: "neutral", 2: "contradiction"}
    model, folder = save(MetaFormerTextForSequenceClassification, id2label=names)
    classify = pipeline("zero-shot-classification", model=folder, device="cpu")
    labels = ["dog", "fox", "Rome"]
    found = classify(TEXTS[1], labels, hypothesis_template="a {} runs")
    entails = [logits(model, tokenizer, TEXTS[1], f"a {label} runs")[0] for label in labels]
    expected = dict(zip(labels, torch.stack(entails).softmax(0).tolist(), strict=True))
    assert dict(zip(found["labels"], found["scores"], strict=True)) == pytest.approx(expected, abs=1e-4)


def test_feature_extraction(save: Save, tokenizer: PreTrainedTokenizerBase) -> None:
    model, folder = save(MetaFormerTextModel)
    found = pipeline("feature-extraction", model=folder, device="cpu")(TEXTS, batch_size=3)
    reloaded = AutoTokenizer.from_pretrained(folder)
    for text, features in zip(TEXTS, found, strict=True):
        inputs = reloaded(text, return_tensors="pt")
        with torch.no_grad():
            expected = model(**inputs).last_hidden_state[0]
        given = torch.tensor(features[0])[: len(expected)]  # in a batch the rows are padded
        torch.testing.assert_close(given, expected, atol=1e-4, rtol=1e-4)
