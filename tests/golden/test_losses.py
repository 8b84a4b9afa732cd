"""Twenty steps on each domain, against committed numbers: a change that is no change of the computation keeps them.

A deliberate change of the computation (data, initial weights, order, arithmetic) brings its new numbers:
``python -m pytest tests/golden -s`` prints them.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.text.tokenizer import train_tokenizer
from tasks.glue import finetuning as glue_finetuning
from tasks.images import classification as image_classification

RUN = {"run.batch_size": 16, "run.log_every": 5, "schedule.steps": 20, "optim.lr": 3e-3}
GOLDEN: dict[str, list[float]] = {
    "images": [2.37241, 2.34932, 2.35409, 2.35366],
    "text": [0.64572, 0.61489, 0.58203, 0.5493],
}


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [round(line["loss"], 5) for line in lines if "loss" in line]


def check(name: str, found: list[float]) -> None:
    print(f'\n    "{name}": {found},')
    # Other processors round otherwise; what a changed computation does is larger by orders of magnitude.
    assert found == pytest.approx(GOLDEN[name], rel=1e-3)


def test_images(tmp_path: Path) -> None:
    options: dict[str, Any] = {**RUN, "run.folder": str(tmp_path / "run"), "model.name": "poolformer_nano"}
    image_classification.run(from_dict(image_classification.Config, options))
    check("images", losses(tmp_path / "run"))


def test_text(tmp_path: Path) -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices("abdeiklmnorstu", k=draw.randint(2, 7))) for _ in range(200)]
    for split, count in (("train", 64), ("dev", 16)):
        rows = [" ".join(draw.choices(words, k=draw.randint(3, 12))) for _ in range(count)]
        folder = tmp_path / "glue" / "SST-2"
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["sentence\tlabel", *(f"{row}\t{int('a' in row.split()[-1])}" for row in rows)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        if split == "train":  # of these rows: the embedded English is Python's own, and each version's is another
            train_tokenizer(rows, 400, max_length=32).save_pretrained(tmp_path / "tokenizer")
    options: dict[str, Any] = {
        **RUN,
        "run.folder": str(tmp_path / "run"),
        "data.tasks": ["SST-2"],
        "data.root": str(tmp_path / "glue"),
        "data.tokenizer": str(tmp_path / "tokenizer"),
        "data.max_length": 32,
        "model.hidden_size": 32,
        "model.num_hidden_layers": 2,
    }
    glue_finetuning.run(from_dict(glue_finetuning.Config, options))
    check("text", losses(tmp_path / "run" / "SST-2"))
