"""Pre-training: packed rows are worth their documents, whatever mixes; budgets, whole words and kills."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, BertTokenizer

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.engine.order import sample_rng
from tasks.text import masked_lm
from tasks.text.data import MaskedRow
from tasks.text.masked_lm import MaskedLM
from tests.mixers import TEXT_MIXERS, mixer_id

TINY: dict[str, Any] = {
    "schedule": {"steps": 6, "warmup_steps": 2},
    "optim": {"lr": 1e-3},
    "model": {"hidden_size": 16, "num_hidden_layers": 2, "token_mixer": "pooling", "hidden_dropout_prob": 0.0},
    "data": {"max_length": 128, "vocab_size": 700},
}


def config_of(folder: Path, **values: Any) -> masked_lm.Config:
    run = {"folder": str(folder), "batch_size": 4, "log_every": 2, **values.pop("run", {})}
    merged = {key: {**TINY[key], **values.get(key, {})} for key in TINY}
    if "schedule" in values:
        merged["schedule"] = values["schedule"]
    return from_dict(masked_lm.Config, {**values, **merged, "run": run})


def alone(row: MaskedRow) -> list[MaskedRow]:
    """Each document of a row in a row of its own."""
    return [
        MaskedRow(*(part[row.segments == k] for part in (row.ids, row.segments, row.labels)))
        for k in range(1, int(row.segments.max()) + 1)
    ]


@pytest.mark.parametrize("mixer", TEXT_MIXERS, ids=mixer_id)
def test_packed_and_padded_batches_have_the_same_loss(tmp_path: Path, mixer: Any) -> None:
    """A row of 128 slots with several documents, against each of them padded to 128.

    Without position embeddings, so that the mixer alone can tell whether others are in its row.
    """
    task = MaskedLM(config_of(tmp_path, model={"token_mixer": mixer, "position_embedding": False}))
    torch.manual_seed(0)
    model = task.build_model().eval()
    for parameter in model.parameters():  # fresh weights would hide a leak
        if parameter.requires_grad:
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
            torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=scale)
    drawn = (task.train_data.sample(i, sample_rng(0, 0, i)) for i in range(len(task.train_data)))
    rows = [row for row, _ in zip((row for row in drawn if row.segments.max() > 2), range(3), strict=False)]
    documents = [document for row in rows for document in alone(row)]
    padded = task.collate(documents)
    empty = 128 - padded["input_ids"].shape[1]
    assert task.tokenizer.pad_token_id == 0
    before = padded["input_ids"].shape[1]
    padded = {
        **padded,
        **{name: torch.nn.functional.pad(padded[name], (0, empty)) for name in ("input_ids", "segment_ids")},
        "positions": padded["positions"] + padded["positions"] // before * empty,
    }
    with torch.no_grad():
        packed_sum, packed_count = task.loss(model, task.collate(rows))
        padded_sum, padded_count = task.loss(model, padded)
        mixed_sum, _ = task.loss(
            model, {**task.collate(rows), "segment_ids": (task.collate(rows)["input_ids"] > 0).long()}
        )
    assert packed_count == padded_count > 50
    assert abs(packed_sum - padded_sum) / packed_count < 1e-5
    if mixer != "identity":  # the comparison sees it where documents do mix
        assert abs(mixed_sum - packed_sum) / packed_count > 1e-4


def test_a_batch_without_masked_tokens_counts_nothing_but_has_a_gradient(tmp_path: Path) -> None:
    task = MaskedLM(config_of(tmp_path))
    model = task.build_model()
    sample = task.train_data.sample(0, None)
    nothing = MaskedRow(sample.ids, sample.segments, np.full_like(sample.labels, -100))
    total, count = task.loss(model, task.collate([nothing]))
    assert (total.item(), count.item()) == (0.0, 0)
    total.backward()


def test_tokens_are_counted_as_they_come(tmp_path: Path) -> None:
    config = config_of(tmp_path / "run", schedule={"tokens": 3000})
    task = MaskedLM(config)
    rows = [task.train_data.sample(i, None) for i in range(len(task.train_data))]
    assert task.tokens_per_sample() == pytest.approx(np.mean([len(row.ids) for row in rows]))
    result = masked_lm.run(config)
    assert result["train"]["steps"] == -(-3000 // (4 * task.tokens_per_sample()))
    assert result["train"]["tokens"] == pytest.approx(4 * result["train"]["steps"] * task.tokens_per_sample(), abs=1)
    assert result["tokens_per_second"] > 0


def test_whole_words_in_training_alone(tmp_path: Path) -> None:
    options = {"masking": {"whole_words": True, "mask_share": 1.0, "random_share": 0.0}}
    words, tokens = (MaskedLM(config_of(tmp_path, **extra)) for extra in (options, {}))
    begins = np.array(
        [piece.startswith("▁") for piece in words.tokenizer.convert_ids_to_tokens(list(range(len(words.tokenizer))))]
    )
    chosen = total = 0
    for i in range(40):
        assert np.array_equal(words.train_data.sample(i, None).ids, tokens.train_data.sample(i, None).ids)
        row = words.train_data.sample(i, sample_rng(0, 0, i))
        again = words.train_data.sample(i, sample_rng(0, 0, i))
        assert np.array_equal(row.ids, again.ids)
        original, _ = words._text["train"].row(i)
        letters = np.array([piece.strip("▁").isalpha() for piece in words.tokenizer.convert_ids_to_tokens(original)])
        goes_on = letters[1:] & letters[:-1] & ~begins[original[1:]]
        asked = row.labels != masked_lm.IGNORE
        assert np.array_equal(asked[1:][goes_on], asked[:-1][goes_on])
        assert (row.ids[asked] == words.tokenizer.mask_token_id).all()
        chosen, total = chosen + asked.sum(), total + (original > 4).sum()
    assert chosen / total == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("masking", "problem"),
    [
        ({"rate": 0.0}, "masking.rate is 0.0"),
        ({"mask_share": 0.9, "random_share": 0.2}, "together at most 1"),
        ({"random_share": -0.1}, "both at least 0"),
    ],
)
def test_wrong_masks_are_named(tmp_path: Path, masking: dict[str, float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        config_of(tmp_path, masking=masking)


def test_none_switches_a_scale_off(tmp_path: Path) -> None:
    scales = {"layer_scale_init_value": "none", "res_scale_init_value": "none"}
    plain, off = (MaskedLM(config_of(tmp_path, model=extra)) for extra in ({}, scales))
    assert off.model_config.layer_scale_init_value is off.model_config.res_scale_init_value is None
    assert off.build_model().state_dict().keys() == plain.build_model().state_dict().keys()
    with pytest.raises(ValueError, match="layer_scale_init_value"):
        config_of(tmp_path, model={"layer_scale_init_value": "off"})


def test_a_killed_run_ends_in_the_same_weights(tmp_path: Path) -> None:
    """From text files, with a budget of tokens and whole words, killed twice in training."""
    (tmp_path / "text").mkdir()
    for name, words in (("a", "the name of the file "), ("b", "a list of values is read ")):
        (tmp_path / "text" / f"{name}.txt").write_text("\n\n".join(words * (3 + i % 17) for i in range(60)))
    options: dict[str, Any] = {
        "data": {"text": str(tmp_path / "text"), "held_out": 0.1, "max_length": 32, "vocab_size": 279},
        "schedule": {"tokens": 1200},
        "masking": {"whole_words": True},
        "run": {"save_every": 2, "eval_every": 3},
    }
    whole = masked_lm.run(config_of(tmp_path / "whole", **options))
    for step in (3, 6):
        pid = os.fork()
        if pid == 0:
            try:
                torch.set_num_threads(1)
                original = MaskedLM.loss
                calls = 0

                def loss(self: MaskedLM, *arguments: Any, at: int = step, original: Any = original) -> Any:
                    nonlocal calls
                    calls += 1
                    if calls == at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return original(self, *arguments)

                MaskedLM.loss = loss  # type: ignore[method-assign]
                masked_lm.run(config_of(tmp_path / "killed", **options))
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    killed = masked_lm.run(config_of(tmp_path / "killed", **options))
    assert killed["metrics"] == whole["metrics"]
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("name", "millions"), [("minutes", 0.68), ("tiny", 4.3), ("small", 25.6), ("base", 82.6)])
def test_the_recipes_are_what_their_heads_say(name: str, millions: float) -> None:
    recipe = Path(masked_lm.__file__).parents[2] / "scripts" / "recipes" / "pretrain" / f"{name}.yaml"
    config = from_dict(masked_lm.Config, {}, [recipe])
    tokenizer = BertTokenizer(vocab={f"t{number}": number for number in range(config.data.vocab_size - 5)})
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(config.model.build_config(tokenizer, config.data.max_length))
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    assert str(recipe.relative_to(recipe.parents[3])) in recipe.read_text()


def test_what_the_place_alone_tells_is_the_floor(tmp_path: Path) -> None:
    """`context_free_accuracy`: the token that is seen or, where it is hidden, the most frequent one of the training."""
    task = MaskedLM(config_of(tmp_path))
    tokens = np.concatenate([task.train_data.text.row(i)[0] for i in range(len(task.train_data))])  # type: ignore[attr-defined]
    special = set(task.tokenizer.all_special_ids)
    often = max(set(tokens.tolist()) - special, key=lambda token: int((tokens == token).sum()))
    data = task.eval_data["validation"]
    samples = [data.sample(i, None) for i in range(len(data))]
    right, count = 0, 0
    for seen, sample in zip(samples, map(task.eval_data["validation"].text.row, range(len(data))), strict=True):  # type: ignore[attr-defined]
        for shown, truth, label in zip(seen.ids, sample[0], seen.labels, strict=True):
            if label >= 0:
                right += truth == (often if shown == task.tokenizer.mask_token_id else shown)
                count += 1
    model = task.build_model().eval()
    with torch.inference_mode():
        batches = [task.collate(samples[:3]), task.collate(samples[3:])]
        results = [task.evaluate_batch(model, batch) for batch in batches]
    found, items = task.summarize("validation", results), task.items("validation", results)
    assert items["correct"].sum() / count == found["accuracy"]
    shown = [sample.ids[sample.labels >= 0] == task.tokenizer.mask_token_id for sample in samples]
    assert np.array_equal(items["hidden"], np.concatenate(shown)), "in the order of the data"
    assert items["correct"].shape == items["hidden"].shape == (count,)
    assert found["context_free_accuracy"] == pytest.approx(right / count)
    assert 0.08 < found["context_free_accuracy"] < 0.25, "a tenth is left as it is, and a frequent token is guessed"


def test_places_that_show_the_mask_are_measured_alone(tmp_path: Path) -> None:
    task = MaskedLM(config_of(tmp_path))
    data = task.eval_data["validation"]
    samples = [data.sample(i, None) for i in range(len(data))]
    batch = task.collate(samples)
    model = task.build_model().eval()
    with torch.inference_mode():
        halves = [task.evaluate_batch(model, task.collate(samples[i::2])) for i in range(2)]
    found = task.summarize("validation", halves)
    shown = batch["input_ids"].flatten()[batch["positions"]] == task.tokenizer.mask_token_id
    with torch.inference_mode():
        logits = model(batch["input_ids"], batch["segment_ids"], batch["positions"])[shown]
    targets = batch["targets"][shown]
    assert 0.75 < shown.float().mean() < 0.85
    assert found["mask_loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, targets)), rel=1e-5)
    assert found["mask_accuracy"] == pytest.approx(float((logits.argmax(-1) == targets).double().mean()))
    often = float((targets == task._most_frequent).double().mean())
    assert found["mask_context_free_accuracy"] == pytest.approx(often)
    assert 0.02 < often < found["context_free_accuracy"] - 0.03, "no token is left as it is there"


def test_the_bias_starts_at_the_log_frequencies(tmp_path: Path) -> None:
    """Counted over all of the training text; the other weights are those of a model without; saved and read again."""
    plain, started = (MaskedLM(config_of(tmp_path, **extra)) for extra in ({}, {"decoder_bias": "log_frequency"}))
    weights = []
    for task in (plain, started):
        torch.manual_seed(0)
        weights.append(task.build_model().state_dict())
    name = "model.lm_head.decoder.bias"
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items() if key != name)
    text = started._text["train"]
    tokens = np.concatenate([text.row(i)[0] for i in range(len(text))])
    counts = np.bincount(tokens, minlength=700)
    counts[started.tokenizer.all_special_ids] = 0
    expected = np.log((counts + 1) / (counts + 1).sum())
    np.testing.assert_allclose(weights[1][name], expected, rtol=1e-6)
    assert (counts == 0).sum() > 5, "tokens that never come are finite, too"
    result = masked_lm.run(config_of(tmp_path / "run", decoder_bias="log_frequency", schedule={"steps": 0}))
    saved = AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "model")
    assert torch.equal(saved.lm_head.decoder.bias, weights[1][name])
    assert result["metrics"]["validation/loss"] < np.log(700) - 0.5
    assert result["metrics"]["validation/mask_accuracy"] == pytest.approx(
        result["metrics"]["validation/mask_context_free_accuracy"], abs=0.02
    )


def test_a_checkpoint_keeps_its_own_bias(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"decoder_bias=log_frequency is for fresh weights.*leave decoder_bias out"):
        config_of(tmp_path, decoder_bias="log_frequency", model={"checkpoint": str(tmp_path)})


def test_a_tokenizer_that_is_trained_here_may_fold_case(tmp_path: Path) -> None:
    """And the one that does not is another, which the option has not changed."""
    plain, folded = (MaskedLM(config_of(tmp_path, data=extra)).tokenizer for extra in ({}, {"lowercase": True}))
    assert folded.tokenize("The NAME") == folded.tokenize("the name")
    assert plain.tokenize("The NAME") != plain.tokenize("the name")
