"""Runs on a few rows of RTE and MNLI: data, options and results, for the tests of fine-tuning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from metaformer_nlp.config.command_line import from_dict
from tasks.glue.finetuning import Config

WORDS = ["file", "line", "name", "list", "value", "string", "read", "write"]


def write_rows(folder: Path) -> None:
    """RTE and MNLI in GLUE's layout, of made-up rows."""
    rng = np.random.default_rng(0)
    labels = {"RTE": ["entailment", "not_entailment"], "MNLI": ["entailment", "neutral", "contradiction"]}
    sets = {"RTE": ("train", "dev"), "MNLI": ("train", "dev_matched", "dev_mismatched")}
    for name, parts in sets.items():
        (folder / name).mkdir()
        for part in parts:
            rows = [f"sentence1\tsentence2\t{'label' if name == 'RTE' else 'gold_label'}"]
            for _ in range(40 if part == "train" else 11):
                first, second = (" ".join(rng.choice(WORDS, rng.integers(1, 7))) for _ in range(2))
                rows.append(f"{first}\t{second}\t{rng.choice(labels[name])}")
            (folder / name / f"{part}.tsv").write_text("\n".join(rows) + "\n")


def options(folder: Path, root: str, words: str, **values: Any) -> Config:
    model = {"model.hidden_size": 16, "model.num_hidden_layers": 1} if "model.checkpoint" not in values else {}
    fixed = {
        "run.folder": str(folder), "run.batch_size": 4, "run.log_every": 1, "schedule.steps": 2, "optim.lr": 1e-2,
        "data.tasks": "RTE", "data.root": root, "data.max_length": 32, "data.tokenizer": words,
    }  # fmt: skip
    return from_dict(Config, {**fixed, **model, **values})


def read(path: Path) -> Any:
    return json.loads(path.read_text())
