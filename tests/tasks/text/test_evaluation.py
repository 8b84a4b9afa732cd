"""The numbers of scripts/evaluate_text.py against pre-training's own and against one forward pass for each token."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM, PreTrainedTokenizerBase

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextForSequenceClassification
from tasks.text import evaluation as masked_lm_evaluation
from tasks.text import masked_lm

TEXT = "the name of a file is read from the list\n\nand its value\n\nis set to the first line of the string, " * 30


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "held_out.txt"
    path.write_text("\n\n".join(f"{TEXT[i : i + 7 * i]} {i}" for i in range(1, 80)))
    return path


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory, text: Path) -> tuple[Path, dict[str, float]]:
    """A finished run and its metrics; weights so large that the model has opinions."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    values = {
        "run": {"folder": str(folder), "batch_size": 4},
        "schedule": {"steps": 0},
        "model": {"hidden_size": 16, "num_hidden_layers": 2, "token_mixer": "attention", "initializer_range": 0.5},
        "data": {"max_length": 32, "vocab_size": 700, "validation": str(text)},
    }
    return folder, masked_lm.run(from_dict(masked_lm.Config, values))["metrics"]


def evaluate(model: Path, text: Path, **values: Any) -> dict[str, Any]:
    data = {"text": str(text), "max_length": 32, **values.pop("data", {})}
    return masked_lm_evaluation.run(
        from_dict(masked_lm_evaluation.Config, {"model": str(model), "data": data, **values})
    )


def one_by_one(folder: Path, text: Path, max_length: int) -> tuple[float, int]:
    """Pseudo-perplexity as its paper writes it, and the number of tokens."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder).eval()
    losses = []
    for document in text.read_text().split("\n\n"):
        tokens = tokenizer(document, add_special_tokens=False)["input_ids"]
        for start in range(0, len(tokens), max_length - 2):
            piece = tokens[start : start + max_length - 2]
            for place, token in enumerate(piece):
                ids = [*piece]
                ids[place] = tokenizer.mask_token_id
                ids = [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
                with torch.no_grad():
                    logits = model(torch.tensor([ids])).logits[0, place + 1]
                losses.append(float(F.cross_entropy(logits, torch.tensor(token))))
    return math.exp(sum(losses) / len(losses)), len(losses)


def test_the_masked_loss_is_that_of_pretraining(
    pretrained: tuple[Path, dict[str, float]], text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, metrics = pretrained
    result = evaluate(folder, text, pseudo_characters=600, json=str(tmp_path / "new" / "numbers.json"))
    assert result["masked_loss"] == pytest.approx(metrics["validation/loss"], rel=1e-5)
    assert result["masked_accuracy"] == pytest.approx(metrics["validation/accuracy"], abs=1e-9)
    assert result["masked_perplexity"] == pytest.approx(metrics["validation/masked_perplexity"], rel=1e-4)
    assert json.loads((tmp_path / "new" / "numbers.json").read_text()) == result
    assert 590 <= result["pseudo_characters"] <= 600
    assert 100 < result["pseudo_tokens"] < 600
    said = capsys.readouterr().out
    assert f"pseudo-perplexity {result['pseudo_perplexity']:.2f}" in said
    assert "15% hidden at once" in said
    assert "pseudo_perplexity" not in evaluate(folder / "model", text, pseudo_characters=0)


def test_the_pseudo_perplexity_hides_one_token_at_a_time(
    pretrained: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    text = tmp_path / "short.txt"
    text.write_text(TEXT[:300])
    result = evaluate(pretrained[0], text, pseudo_characters=10**6, batch_tokens=100)
    expected, count = one_by_one(pretrained[0] / "model", text, 32)
    assert result["pseudo_tokens"] == count == result["tokens"]
    assert result["pseudo_perplexity"] == pytest.approx(expected, rel=1e-5)
    assert result["pseudo_perplexity"] != pytest.approx(result["masked_perplexity"], rel=0.01)
    bits = count * math.log2(result["pseudo_perplexity"])
    characters = sum(len(document.strip()) for document in TEXT[:300].split("\n\n"))
    assert result["pseudo_characters"] == characters
    assert result["pseudo_bits_per_character"] == pytest.approx(bits / characters, rel=1e-9)


def test_passages_are_of_the_text_and_know_no_tokenizer(
    pretrained: tuple[Path, dict[str, float]], text: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    documents = [f"{n} " + "Some  words, " * n for n in range(400)]
    passages = masked_lm_evaluation.draw_passages(iter(documents), 5000)
    assert 4900 <= sum(map(len, passages)) <= 5000
    assert max(map(len, passages)) <= 2000
    assert all(any(passage in document for document in documents) for passage in passages)
    longer = masked_lm_evaluation.draw_passages(iter(documents), 9000)
    assert longer[: len(passages) - 1] == passages[:-1]  # more of the same
    # A model with other tokens is asked about the same characters.
    folder = tmp_path / "other"
    other = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    BertForMaskedLM(other).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    first, second = (evaluate(model, text, pseudo_characters=900) for model in (pretrained[0], folder))
    assert first["pseudo_tokens"] != second["pseudo_tokens"]
    for key in ("pseudo_characters", "pseudo_passages"):
        assert first[key] == second[key]


def test_other_models_are_scored_as_well(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=40, initializer_range=0.5, **sizes)
    BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    text = tmp_path / "short.txt"
    text.write_text(TEXT[:200])
    result = evaluate(tmp_path / "bert", text)
    expected, count = one_by_one(tmp_path / "bert", text, 32)
    assert result["pseudo_tokens"] == count
    assert result["pseudo_perplexity"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"data.max_length=41, but .* has positions for 40 tokens"):
        evaluate(tmp_path / "bert", text, data={"max_length": 41})


def test_a_model_without_the_head_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerBase, text: Path) -> None:
    config = MetaFormerTextConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, intermediate_size=16)
    MetaFormerTextForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"is no masked language model: it lacks .*lm_head"):
        evaluate(tmp_path, text)
    with pytest.raises(ValueError, match="model=/nowhere is not a folder"):
        evaluate(Path("/nowhere"), text)
    with pytest.raises(ValueError, match="pseudo_characters -1"):
        evaluate(tmp_path, text, pseudo_characters=-1)
