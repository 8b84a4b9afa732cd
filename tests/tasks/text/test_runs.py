"""The text experiments end to end, tiny: through the loop, saved, opened again, and resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import tasks.glue.finetuning as glue_finetuning
import tasks.text.masked_lm as masked_lm
from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.engine import EXIT_CODE, read_items
from metaformer_nlp.text.packing import PackedClassifier
from tasks.glue.tasks import task_named

TINY: dict[str, Any] = {
    "schedule": {"steps": 6, "warmup_steps": 2},
    "optim": {"lr": 1e-3},
    "model": {"hidden_size": 16, "num_hidden_layers": 1, "token_mixer": "pooling"},
    "data": {"max_length": 32, "vocab_size": 700},
}


def glue_config(folder: Path, **values: Any) -> glue_finetuning.Config:
    run = {"folder": str(folder), "batch_size": 4, "eval_batch_size": 16, "log_every": 2}
    return from_dict(glue_finetuning.Config, {**TINY, "run": run, **values})


def glue_task(config: glue_finetuning.Config, name: str) -> glue_finetuning.GlueFinetuning:
    tokenizer = glue_finetuning._tokenizer(config, [name])
    return glue_finetuning.GlueFinetuning(config.data, config.model, task_named(name), tokenizer)


def lm_config(folder: Path, **values: Any) -> masked_lm.Config:
    run = {"folder": str(folder), "batch_size": 4, "log_every": 2}
    return from_dict(masked_lm.Config, {**TINY, "run": run, **values})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GLUE's layout with made-up rows: a class told by one word, and scores."""
    folder = tmp_path_factory.mktemp("glue")
    rng = np.random.default_rng(0)
    words = ["file", "line", "name", "list", "value", "string", "read", "write"]

    def sentence(extra: str) -> str:
        return " ".join([*rng.choice(words, rng.integers(1, 12)), extra])

    for name, header in (("SST-2", "sentence\tlabel"), ("STS-B", "sentence1\tsentence2\tscore")):
        (folder / name).mkdir()
        for split, number in (("train", 40), ("dev", 37)):  # a prime number
            rows = [header]
            for i in range(number):
                label = i % 3 != 0
                text = sentence("good" if label else "bad")
                rows.append(
                    f"{text}\t{int(label)}" if name == "SST-2" else f"{text}\t{sentence('x')}\t{i % 6 * 1.0:.3f}"
                )
            (folder / name / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return folder


def test_the_suite_in_one_call(tmp_path: Path) -> None:
    result = glue_finetuning.run(glue_config(tmp_path / "run"))
    metrics = result["metrics"]
    for name in ("topic", "order", "pairs"):
        own = json.loads((tmp_path / "run" / name / "result.json").read_text())
        assert own["metrics"]["validation/accuracy"] == metrics[f"validation/{name}/accuracy"]
        assert result["tasks"][name]["data"]["train"]["rows"] > 1000
        assert own["macs"] > 0
    scores = [metrics[f"validation/{name}/accuracy"] for name in ("topic", "order", "pairs")]
    assert metrics["validation/average"] == pytest.approx(np.mean(scores))
    assert metrics["constant/order/accuracy"] == metrics["constant/pairs/accuracy"] == 0.5
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    # Finished runs are not run again, and a list without one of the tasks does not disturb the others.
    again = glue_finetuning.run(
        glue_config(tmp_path / "run", data={**TINY["data"], "tasks": ["topic", "order", "pairs"]})
    )
    assert again["metrics"] == metrics


def test_local_folders_learn_and_open_again(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = glue_finetuning.run(
        glue_config(
            tmp_path / "run",
            data={**TINY["data"], "tasks": "all", "root": str(root)},
            schedule={"steps": 60, "warmup_steps": 5},
            optim={"lr": 1e-2},
            model={**TINY["model"], "hidden_dropout_prob": 0.0, "initializer_range": 0.1},
        )
    )
    metrics = result["metrics"]
    assert set(result["tasks"]) == {"SST-2", "STS-B"}
    (correct,) = read_items(tmp_path / "run").values()  # of STS-B there are only scores
    assert correct.sum() / 37 == metrics["validation/SST-2/accuracy"]
    assert metrics["validation/SST-2/accuracy"] > metrics["constant/SST-2/accuracy"] + 0.1
    assert -1 <= metrics["validation/STS-B/pearson"] <= 1
    table = capsys.readouterr().out
    assert "SST-2" in table
    assert "most frequent answer" in table

    saved = tmp_path / "run" / "SST-2" / "model"
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
    rows = [line.split("\t") for line in (root / "SST-2" / "dev.tsv").read_text().splitlines()[1:]]
    answers = classify([text for text, _ in rows])
    accuracy = np.mean([answer["label"] == label for answer, (_, label) in zip(answers, rows, strict=True)])
    assert accuracy == pytest.approx(metrics["validation/SST-2/accuracy"])
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "STS-B" / "model").num_labels == 1


def test_evaluation_does_not_depend_on_the_batch_size(tmp_path: Path, root: Path) -> None:
    task = glue_task(glue_config(tmp_path, data={**TINY["data"], "tasks": ["SST-2"], "root": str(root)}), "SST-2")
    model, data = task.build_model().eval(), task.eval_data["validation"]
    summaries = []
    for size in (1, 8, 37):
        batches = [range(start, min(start + size, len(data))) for start in range(0, len(data), size)]
        with torch.no_grad():
            results = [
                task.evaluate_batch(model, task.collate([data.sample(i, None) for i in batch])) for batch in batches
            ]
        summaries.append(task.summarize("validation", results))
    for summary in summaries[1:]:
        assert summary == pytest.approx(summaries[0], abs=1e-6)


def test_packed_batches_have_the_loss_of_padded_ones(tmp_path: Path, root: Path) -> None:
    """What collate makes of real rows, pairs and scores included, against a row a text."""
    for name, mixer in (("SST-2", "attention"), ("STS-B", {"name": "pooling", "pool_size": [3, 7, "global"]})):
        model_options = {**TINY["model"], "token_mixer": mixer, "hidden_dropout_prob": 0.0, "initializer_range": 0.3}
        data = {**TINY["data"], "tasks": [name], "root": str(root)}
        config = glue_config(tmp_path, data=data, model=model_options)
        task = glue_task(config, name)
        samples = [task.train_data.sample(i, None) for i in (5, 30, 2, 17, 11, 8, 39, 0)]
        model = task.build_model()
        assert isinstance(model, PackedClassifier)
        packed = task.collate(samples)
        assert packed["input_ids"].shape[0] < len(samples)
        assert packed["input_ids"].shape[1] <= 32
        loss, count = task.loss(model, packed)
        task.packs = False
        padded = task.collate(samples)
        assert padded["input_ids"].shape[0] == len(samples)
        expected, number = task.loss(model.model, padded)
        assert count == number == len(samples)
        assert torch.allclose(loss / count, expected / number, atol=1e-5)
        names = [key for key, _ in model.model.named_parameters()]
        gradients = [torch.autograd.grad(value, list(model.parameters())) for value in (loss, expected)]
        for key, a, b in zip(names, *gradients, strict=True):
            assert torch.allclose(a, b, atol=1e-5 * max(1.0, float(b.abs().max()))), key


def test_twins_are_drawn_together(tmp_path: Path) -> None:
    config = glue_config(tmp_path)
    task = glue_task(config, "order")
    batch = task.collate([task.train_data.sample(i, None) for i in (5, 0)])
    assert batch["rows"].tolist() == [10, 11, 0, 1]
    assert batch["labels"].tolist() == [0, 1, 0, 1]
    assert sorted(batch["input_ids"][0].tolist()) != batch["input_ids"][0].tolist()


def test_a_stopped_run_ends_as_one_that_was_left_alone(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"data": {**TINY["data"], "tasks": ["SST-2", "STS-B"], "root": str(root)}}
    whole = glue_finetuning.run(glue_config(tmp_path / "whole", **values))

    calls = 0
    collate = glue_finetuning.GlueFinetuning.collate

    def interrupting(self: Any, samples: list[Any]) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls in (3, 12):
            os.kill(os.getpid(), signal.SIGTERM)
        return collate(self, samples)

    monkeypatch.setattr(glue_finetuning.GlueFinetuning, "collate", interrupting)
    for _ in range(2):
        with pytest.raises(SystemExit) as stop:
            glue_finetuning.run(glue_config(tmp_path / "stopped", **values))
        assert stop.value.code == EXIT_CODE
        assert not (tmp_path / "stopped" / "result.json").exists()
    stopped = glue_finetuning.run(glue_config(tmp_path / "stopped", **values))
    assert stopped["metrics"] == whole["metrics"]
    for name in ("SST-2", "STS-B"):
        files = [tmp_path / run / name / "model" / "model.safetensors" for run in ("whole", "stopped")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_masked_lm_then_finetuning(tmp_path: Path) -> None:
    result = masked_lm.run(lm_config(tmp_path / "lm"))
    metrics = result["metrics"]
    names = [f"{of}{name}" for of in ("", "mask_") for name in ("loss", "accuracy", "context_free_accuracy")]
    assert set(metrics) == {f"validation/{name}" for name in [*names, "masked_perplexity"]}
    assert metrics["validation/masked_perplexity"] == pytest.approx(np.exp(metrics["validation/loss"]))
    fill = pipeline("fill-mask", model=str(tmp_path / "lm" / "model"))
    assert len(fill("Return the [MASK] of the file.")) == 5

    values = {
        "model": {"checkpoint": str(tmp_path / "lm" / "model")},
        "data": {"tasks": "topic", "max_length": 32, "max_train_rows": 100},
        "schedule": {"steps": 0},
    }
    started = glue_finetuning.run(glue_config(tmp_path / "topic", **values))
    assert started["tasks"]["topic"]["data"]["train"]["rows"] == 100
    lm = AutoModelForSequenceClassification.from_pretrained(tmp_path / "topic" / "topic" / "model").state_dict()
    saved = load_file(tmp_path / "lm" / "model" / "model.safetensors")
    shared = [key for key in lm if key.startswith("encoder.")]
    assert shared
    assert all(torch.equal(lm[key], saved[key]) for key in shared)


def test_a_checkpoint_of_another_task_gives_its_encoder_only(
    tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tasks.text.model")

    def model(name: str, folder: str, checkpoint: Path | None = None) -> dict[str, torch.Tensor]:
        values: dict[str, Any] = {
            "data": {**TINY["data"], "tasks": [name], "root": None if name == "order" else str(root)},
            "schedule": {"steps": 0},
        }
        if checkpoint is not None:
            values["model"] = {"checkpoint": str(checkpoint)}
        glue_finetuning.run(glue_config(tmp_path / folder, **values))
        return load_file(tmp_path / folder / name / "model" / "model.safetensors")

    root = Path(shutil.copytree(root, tmp_path / "glue"))
    (root / "CoLA").mkdir()
    for split in ("train", "dev"):
        (root / "CoLA" / f"{split}.tsv").write_text("x\t0\t*\tthe file\nx\t1\t\tread the file\n" * 4)
    first = model("SST-2", "a")
    # Far from any fresh draw, so that what was taken over can be told from what was drawn.
    path = tmp_path / "a" / "SST-2" / "model"
    changed = {name: value + 0.25 for name, value in first.items()}
    save_file(changed, path / "model.safetensors", {"format": "pt"})

    for name, kept in (("order", False), ("STS-B", False), ("CoLA", False), ("SST-2", True)):
        caplog.clear()
        found = model(name, f"from-{name}", path)
        for key in found:
            if key.startswith("classifier.") and not kept:
                assert found[key].shape != changed[key].shape or not torch.equal(found[key], changed[key])
                assert found[key].abs().max() < 0.2
            else:
                assert torch.equal(found[key], changed[key]), key
        assert ("its classifier is kept" in caplog.text) == kept
        assert ("the classifier is fresh" in caplog.text) != kept


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"data": {"tasks": "SST2"}}, "unknown task 'SST2'"),
        ({"data": {"tasks": "AX"}}, "AX has no training data"),
        ({"data": {"tasks": []}}, "data.tasks is empty"),
        ({"data": {"tasks": "all", "root": "/nowhere"}}, "data.root=/nowhere is not a folder"),
        ({"data": {"tasks": "topic", "tokenizer": "/nowhere"}}, "data.tokenizer=/nowhere is not a folder"),
        ({"model": {"checkpoint": "/nowhere"}}, "model.checkpoint=/nowhere is not a folder"),
        ({"model": {"token_mixer": "atention"}}, "attention"),
        ({"model": {"token_mixer": ["pooling"], "num_hidden_layers": 2}}, "names 1 mixers for 2 layers"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        glue_finetuning.run(glue_config(tmp_path, **values))


def test_a_checkpoint_that_does_not_fit_lists_what_differs(tmp_path: Path) -> None:
    masked_lm.run(lm_config(tmp_path / "lm", schedule={"steps": 0}))
    checkpoint = str(tmp_path / "lm" / "model")
    wrong = {"model": {"checkpoint": checkpoint, "hidden_size": 32}, "data": {"tasks": "topic", "max_length": 32}}
    with pytest.raises(ValueError, match="hidden_size: 16 in the checkpoint, 32 given"):
        glue_finetuning.run(glue_config(tmp_path / "a", **wrong))
    long = {"model": {"checkpoint": checkpoint}, "data": {"tasks": "topic", "max_length": 64}}
    with pytest.raises(ValueError, match=r"positions for 32 tokens; set data.max_length to at most 32"):
        glue_finetuning.run(glue_config(tmp_path / "b", **long))
