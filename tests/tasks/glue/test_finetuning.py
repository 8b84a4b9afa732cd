"""Fine-tuning over seeds and from MNLI's model: folders, files, and what is in which average."""

from __future__ import annotations

import multiprocessing
import os
import socket
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaModel,
    pipeline,
)

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.engine import read_items
from tasks.glue.evaluation import Config as EvaluationConfig
from tasks.glue.evaluation import run as evaluate
from tasks.glue.finetuning import run
from tasks.glue.submission import predict, write_submission
from tests.tasks.glue.glue_runs import WORDS, options, read


def test_seeds_are_runs_of_their_own_and_one_table(
    tmp_path: Path, glue_root: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(options(tmp_path / "all", glue_root, words, seeds=[3, 1]))
    assert "95 %" in capsys.readouterr().out
    scores = []
    for seed in (3, 1):
        folder = tmp_path / "all" / f"seed-{seed}"
        assert read(folder / "RTE" / "config.json")["run"]["seed"] == seed
        own = read(folder / "result.json")["metrics"]
        assert own == result["seeds"][str(seed)]
        scores.append(own["validation/RTE/loss"])
    assert scores[0] != scores[1]
    assert result["metrics"]["validation/RTE/loss"] == pytest.approx(np.mean(scores))
    assert read(tmp_path / "all" / "result.json") == result

    # One seed alone is the same run without the folder; the same seed twice gives the same answers to the last bit.
    alone = run(options(tmp_path / "alone", glue_root, words, **{"run.seed": 1}))
    assert alone["metrics"] == result["seeds"]["1"]
    files = [tmp_path / name / "RTE" / "predictions-validation.tsv" for name in ("all/seed-1", "alone")]
    assert files[0].read_bytes() == files[1].read_bytes()
    # Finished runs are not run again, and seeds can be added.
    before = (tmp_path / "all" / "seed-3" / "RTE" / "metrics.jsonl").stat().st_mtime_ns
    run(options(tmp_path / "all", glue_root, words, seeds=[3, 1, 0]))
    assert (tmp_path / "all" / "seed-3" / "RTE" / "metrics.jsonl").stat().st_mtime_ns == before

    lines = evaluate(from_dict(EvaluationConfig, {"runs": str(tmp_path / "all")}))
    assert lines[0].seeds == 3


def test_answers_on_the_dev_set_are_kept_in_the_files_order(tmp_path: Path, glue_root: str, words: str) -> None:
    result = run(options(tmp_path, glue_root, words))
    header, *lines = (tmp_path / "RTE" / "predictions-validation.tsv").read_text().splitlines()
    assert header == "index\tprediction\tlabel"
    cells = [line.split("\t") for line in lines]
    assert [int(index) for index, _, _ in cells] == list(range(11))
    expected = [line.split("\t")[2] for line in (Path(glue_root) / "RTE" / "dev.tsv").read_text().splitlines()[1:]]
    assert [label for _, _, label in cells] == expected
    accuracy = np.mean([prediction == label for _, prediction, label in cells])
    assert accuracy == pytest.approx(result["metrics"]["validation/RTE/accuracy"])
    (name, correct), *rest = read_items(tmp_path).items()
    assert (name, rest) == ("validation/RTE/correct", [])
    assert correct.tolist() == [prediction == label for _, prediction, label in cells]
    assert correct.sum() / 11 == result["metrics"]["validation/RTE/accuracy"]


def test_a_start_from_mnli_is_a_column_of_its_own(tmp_path: Path, glue_root: str, words: str) -> None:
    first = run(options(tmp_path / "mnli", glue_root, words, **{"data.tasks": "MNLI"}))
    assert set(first["tasks"]) == {"MNLI"}
    model = tmp_path / "mnli" / "MNLI" / "model"
    moved = {name: value + 0.25 for name, value in load_file(model / "model.safetensors").items()}
    save_file(moved, model / "model.safetensors", {"format": "pt"})

    values = {"mnli_checkpoint": str(model), "schedule.steps": 0}
    plain = run(options(tmp_path / "plain", glue_root, words, **{"schedule.steps": 0}))["metrics"]
    result = run(options(tmp_path / "both", glue_root, words, **values))
    metrics = result["metrics"]
    assert set(result["tasks"]) == {"RTE", "RTE-from-MNLI"}
    assert metrics["validation/average"] == plain["validation/average"] == metrics["validation/RTE/score"]
    assert metrics["validation/RTE-from-MNLI/loss"] != metrics["validation/RTE/loss"]
    started = load_file(tmp_path / "both" / "RTE-from-MNLI" / "model" / "model.safetensors")
    for name, value in started.items():
        if name.startswith("classifier."):
            assert value.abs().max() < 0.2  # three answers there, two here
        else:
            assert torch.equal(value, moved[name])
    lines = evaluate(from_dict(EvaluationConfig, {"runs": str(tmp_path / "both")}))
    assert [line.task for line in lines] == ["RTE", "RTE-from-MNLI"]

    own = options(tmp_path / "own", glue_root, words, mnli_checkpoint="own", **{"data.tasks": ["RTE", "MNLI"]})
    assert list(run(own)["tasks"]) == ["RTE", "MNLI", "RTE-from-MNLI"]
    tasks = ("validation/MNLI", "validation/RTE", "validation/RTE-from-MNLI", "validation_mismatched/MNLI")
    assert set(read_items(tmp_path / "own")) == {f"{task}/correct" for task in tasks}
    with pytest.raises(ValueError, match=r"MNLI is not among data\.tasks"):
        run(options(tmp_path / "x", glue_root, words, mnli_checkpoint="own"))
    with pytest.raises(ValueError, match=r"mnli_checkpoint=nowhere is not a folder .* makes runs/glue/MNLI/model"):
        run(options(tmp_path / "early", glue_root, words, mnli_checkpoint="nowhere"))
    assert not (tmp_path / "early").exists(), "said before the first task is trained"
    with pytest.raises(ValueError, match="none of MRPC, STS-B, RTE"):
        run(options(tmp_path / "x", glue_root, words, mnli_checkpoint=str(model), **{"data.tasks": "MNLI"}))


def test_a_checkpoint_whose_weights_have_changed_is_another_start(tmp_path: Path, glue_root: str, words: str) -> None:
    encoder = tmp_path / "first" / "RTE" / "model"
    run(options(tmp_path / "first", glue_root, words))
    given = options(tmp_path / "run", glue_root, words, **{"model.checkpoint": str(encoder)})
    result = run(given)
    assert run(given) == result  # finished before
    moved = {name: value + 0.25 for name, value in load_file(encoder / "model.safetensors").items()}
    save_file(moved, encoder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"another start.*\n  fingerprint\.checkpoint: "):
        run(given)
    (tmp_path / "run" / "RTE" / "result.json").unlink()  # neither is an unfinished run taken up again
    with pytest.raises(ValueError, match=r"fingerprint\.checkpoint: "):
        run(given)


def test_a_test_set_is_predicted_by_the_trained_model(tmp_path: Path, glue_root: str, words: str) -> None:
    run(options(tmp_path / "run", glue_root, words, **{"schedule.steps": 0, "model.initializer_range": 1.0}))
    model, pairs = tmp_path / "run" / "RTE" / "model", []
    rng = np.random.default_rng(1)
    for _ in range(30):
        pairs.append(tuple(" ".join(rng.choice(WORDS, rng.integers(1, 7))) for _ in range(2)))
    (tmp_path / "test" / "RTE").mkdir(parents=True)
    lines = ["index\tsentence1\tsentence2", *(f"{row}\t{one}\t{two}" for row, (one, two) in enumerate(pairs))]
    (tmp_path / "test" / "RTE" / "test.tsv").write_text("\n".join(lines) + "\n")
    made = write_submission({"RTE": model}, str(tmp_path / "test"), tmp_path / "all.zip", max_length=32)
    assert made["RTE"].startswith(f"{model}, 30 rows (the published test set has 3000")
    answer = pipeline("text-classification", model=str(model), device="cpu")
    expected = [answer({"text": one, "text_pair": two})["label"] for one, two in pairs]  # one at a time, unpadded
    assert len(set(expected)) == 2, "a constant would not show the order"
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        header, *rows = archive.read("RTE.tsv").decode().splitlines()
    assert (header, rows) == ("index\tprediction", [f"{row}\t{label}" for row, label in enumerate(expected)])


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_encoders_of_other_people_are_fine_tuned_padded(
    kind: str, tmp_path: Path, glue_root: str, words: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    small = {"vocab_size": len(tokenizer), "max_position_embeddings": 48, "pad_token_id": tokenizer.pad_token_id}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = {
        "bert": lambda: BertModel(BertConfig(**small, **sizes)),
        "distilbert": lambda: DistilBertModel(DistilBertConfig(**small, dim=16, n_layers=1, n_heads=2, hidden_dim=32)),
        "roberta": lambda: RobertaModel(RobertaConfig(**small, **sizes, type_vocab_size=1)),
    }[kind]()
    model.save_pretrained(tmp_path / "encoder")
    result = run(options(tmp_path / "run", glue_root, words, **{"model.checkpoint": str(tmp_path / "encoder")}))
    saved = tmp_path / "run" / "RTE" / "model"
    assert AutoModelForSequenceClassification.from_pretrained(saved).config.model_type == kind
    rows = [line.split("\t") for line in (Path(glue_root) / "RTE" / "dev.tsv").read_text().splitlines()[1:]]
    answers = predict(saved, [(first, second) for first, second, _ in rows], 32).argmax(axis=1)
    right = [answer == (label == "not_entailment") for answer, (_, _, label) in zip(answers, rows, strict=True)]
    assert np.mean(right) == pytest.approx(result["metrics"]["validation/RTE/accuracy"])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"seeds": []}, "seeds is"),
        ({"seeds": [1, 1]}, "seeds is"),
        ({"sweep.lr": []}, "sweep.lr is"),
        ({"sweep.share": 1.0}, "sweep.share is 1.0"),
        ({"sweep.epochs": [1.0]}, "sweep.epochs needs schedule.epochs"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, glue_root: str, words: str, values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        options(tmp_path, glue_root, words, **values)


@pytest.mark.distributed
def test_two_processes_end_as_one(tmp_path: Path, glue_root: str, words: str) -> None:
    """Packed batches under DDP, seeds and sweep included; without dropout, which every process draws for itself."""
    values = {"seeds": [0, 1], "sweep.lr": [1e-2, 1e-3], "model.hidden_dropout_prob": 0.0, "schedule.steps": 4}
    alone = run(options(tmp_path / "one", glue_root, words, **values))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def work(rank: int) -> None:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
        os.environ.update(address | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"})
        run(options(tmp_path / "two", glue_root, words, **values))

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    together = read(tmp_path / "two" / "result.json")
    assert read(tmp_path / "two" / "seed-0" / "result.json")["tasks"]["RTE"]["world_size"] == 2
    assert together["metrics"] == pytest.approx(alone["metrics"], abs=1e-6)
    for seed in (0, 1):
        files = [tmp_path / name / f"seed-{seed}" / "RTE" / "predictions-validation.tsv" for name in ("one", "two")]
        assert files[0].read_bytes() == files[1].read_bytes()
