"""The benchmarks of text: what each model is and is given, what a row says, and what a user can get wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertModel, FNetModel, ModernBertModel

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.text import MetaFormerTextModel
from tasks.benchmark import packing as packing_benchmark
from tasks.benchmark import text as text_benchmark
from tasks.benchmark.text import build_model, make, model_macs

KINDS = {
    "pooling": MetaFormerTextModel,
    "transformers/bert": BertModel,
    "transformers/fnet": FNetModel,
    "transformers/modernbert": ModernBertModel,
}
QUICK = {"rounds": 2, "steps": 1, "warmup": 1, "num_hidden_layers": 2, "vocab_size": 50, "device": "cpu"}
CPU = {"mode": "inference", "precision": "float32", "device": torch.device("cpu")}


def config(**options: Any) -> text_benchmark.Config:
    small = {"models": ",".join(KINDS), "shapes": "2x16", "hidden_size": 64, **QUICK}
    return from_dict(text_benchmark.Config, {**small, **options})


def packing(**options: Any) -> packing_benchmark.Config:
    small = {"models": "pooling", "examples": 8, "slots": 80, "hidden_size": 32, **QUICK}
    return from_dict(packing_benchmark.Config, {**small, **options})


def test_a_row_for_each_model_mode_precision_and_shape(tmp_path: Path) -> None:
    output = tmp_path / "rows.csv"
    rows = text_benchmark.run(
        config(mode="both", precision="float32,amp_bfloat16", shapes="2x16,1x32", rounds=1, output=str(output))
    )
    assert not [row["error"] for row in rows if "error" in row]
    assert [row["model"] for row in rows] == list(KINDS) * 8
    assert [row["length"] for row in rows[::4]] == [16, 32] * 4
    assert [row["times_first"] for row in rows[::4]] == [1.0] * 8
    assert rows[0]["per_second"] == pytest.approx(32000 / rows[0]["step_ms"])
    assert len(output.read_text().splitlines()) == 1 + len(rows)


def test_models_have_the_same_sizes_and_drop_nothing() -> None:
    ids = torch.arange(1, 17)[None]
    for name, kind in KINDS.items():
        model = build_model({"token_mixer": name}, config(), 16)
        assert type(model) is kind
        assert (model.config.num_hidden_layers, model.config.hidden_size, model.config.vocab_size) == (2, 64, 50)
        assert getattr(model.config, "num_attention_heads", 1) == 1
        model.train()
        assert torch.equal(model(ids).last_hidden_state, model(ids).last_hidden_state), name
        assert not [part for part, _ in model.named_parameters() if "pooler" in part]
    assert model.config._attn_implementation == "sdpa"
    wider = build_model({"token_mixer": "pooling", "num_hidden_layers": 3, "hidden_size": 32}, config(), 16)
    assert (wider.config.num_hidden_layers, wider.config.intermediate_size) == (3, 128)


def test_macs_are_those_of_the_formulas() -> None:
    width, length, layers = 64, 16, 2
    linear = {"bert": 12 * width**2, "fnet": 8 * width**2, "modernbert": (4 + 2 * 1.5 + 1.5) * width**2}
    for name, each in linear.items():
        macs = model_macs(build_model({"token_mixer": f"transformers/{name}"}, config(), length), length)
        mixing = 5 / 2 * length * width * 10 if name == "fnet" else 2 * length**2 * width  # log2(16 * 64) = 10
        embedding = length * width**2 if name == "fnet" else 0  # FNet projects it once more
        assert macs == embedding + layers * (length * each + mixing), name


def test_masks_are_given_to_all_but_fnet() -> None:
    for padding, real in ((None, None), (0.0, 32), (0.25, 28)):
        for name in KINDS:
            contestant = make({"token_mixer": name}, [], config(padding=padding), (2, 16), **CPU)
            mask = contestant.inputs.get("attention_mask")
            if padding is None or name == "transformers/fnet":
                assert mask is None
            else:
                assert mask is not None
                assert int(mask.sum()) == contestant.amount == real


def test_a_list_of_models_may_set_fields() -> None:
    specs = text_benchmark.model_specs(
        ["pooling+compile", {"token_mixer": {"name": "pooling", "pool_size": 7}, "num_hidden_layers": 3}]
    )
    assert specs["pooling+compile"] == ({"token_mixer": "pooling"}, ["compile"])
    assert specs["pooling pool_size=7 num_hidden_layers=3"][0]["num_hidden_layers"] == 3


def test_training_reaches_every_weight() -> None:
    for name in KINDS:
        contestant = make({"token_mixer": name}, [], config(), (2, 16), **{**CPU, "mode": "training"})
        contestant.loss(contestant.forward()).backward()
        assert isinstance(contestant.model, torch.nn.Module)
        assert not [part for part, weight in contestant.model.named_parameters() if weight.grad is None], name


def test_what_is_wrong_is_said() -> None:
    for options, message in (
        ({"models": "poolin"}, "pooling"),
        ({"models": "transformers/gpt"}, "transformers/bert"),
        ({"models": "pooling+fast"}, "unknown switch"),
        ({"models": []}, "empty list"),
        ({"models": [{"token_mixer": "pooling", "num_layers": 3}]}, "num_hidden_layers"),
        ({"models": [{"token_mixer": "transformers/bert", "num_hidden_layers": 3}]}, "only our own"),
        ({"shapes": "8*128"}, "ROWSxSLOTS"),
        ({"shapes": "0x128"}, "ROWSxSLOTS"),
        ({"padding": 1.0}, "share"),
        ({"hidden_size": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            text_benchmark.run(config(**options))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            text_benchmark.run(config(device="cuda"))


@pytest.mark.parametrize("task", ["masked_lm", "classification"])
def test_the_forms_have_the_same_examples_and_say_the_same(task: str) -> None:
    options = packing(task=task, models="attention")
    lengths = packing_benchmark.example_lengths(options)
    losses, tokens, shapes = [], [], []
    for form in packing_benchmark.FORMS:
        torch.manual_seed(0)
        fields = {"token_mixer": "attention"}
        one = packing_benchmark.Contestant(fields, form, lengths, options, **{**CPU, "mode": "training"})
        losses.append(one.loss(one.forward()).item())
        assert ("attention_mask" in one.inputs) == (form != "packed")  # as in training
        tokens.append(round(one.facts["used"] * one.facts["rows"] * one.facts["length"]))
        shapes.append((one.facts["rows"], one.facts["length"]))
    assert tokens == [int(lengths.sum())] * 3
    assert shapes == [(8, 80), (8, 32), (2, 80)]
    if task == "classification":  # which tokens are masked depends on where they lie
        assert losses == pytest.approx(losses[:1] * 3, abs=1e-5)


def test_a_row_for_each_form(tmp_path: Path) -> None:
    output = tmp_path / "rows.csv"
    rows = packing_benchmark.run(packing(mode="both", models="pooling,identity", output=str(output)))
    assert len(output.read_text().splitlines()) == 1 + len(rows)
    assert not [row["error"] for row in rows if "error" in row]
    assert [row["form"] for row in rows] == [*packing_benchmark.FORMS, *packing_benchmark.LIMITS] * 4
    assert [row["relative_speed"] for row in rows[::6]] == [1.0] * 4
    assert [row["fewer_slots"] for row in rows[:3]] == [1.0, 640 / 256, 640 / 160]


def test_lengths_come_from_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "SST-2"
    folder.mkdir()
    lines = [f"{' '.join(['film', str(number)] * (1 + number % 4))}\t1\n" for number in range(90)]
    (folder / "train.tsv").write_text("sentence\tlabel\n" + "".join(lines))
    lengths = packing_benchmark.example_lengths(packing(lengths_from=str(folder), vocab_size=290))
    assert len(np.unique(lengths)) > 3
    embedded = packing_benchmark.example_lengths(packing(examples=1000))
    assert embedded.mean() == pytest.approx(13.4, abs=0.3)
    with pytest.raises(ValueError, match="SST-2"):
        packing_benchmark.example_lengths(packing(lengths_from=str(tmp_path / "SST2")))
