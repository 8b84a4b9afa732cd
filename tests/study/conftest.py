"""A small study of the toy experiment, and ways to change it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from metaformer_nlp.study.protocol.file import load_study
from metaformer_nlp.study.protocol.study import Study

TOY = Path(__file__).with_name("toy_experiment.py")


@pytest.fixture
def study_data() -> dict[str, Any]:
    """The content of a study file with two domains, three mixers, one ablation and two seeds: 16 cells."""
    domain = {"experiment": str(TOY), "config": [{"seconds": 0.0}], "metric": "validation/accuracy", "chance": 0.1}
    tasks = {"topic": {"metric": "validation/topic", "chance": 0.2}, "order": "validation/order"}
    return {
        "name": "toy",
        "question": "Does it work?",
        "baseline": "attention",
        "domains": {"vision": {**domain, "label": "images"}, "text": {**domain, "tasks": tasks}},
        "arms": {
            "attention": {"kind": "mixer", "set": {"model.token_mixer": "attention"}},
            "pooling": {"kind": "mixer", "set": {"model.token_mixer": "pooling"}},
            "identity": {"kind": "mixer", "set": {"model.token_mixer": "identity"}},
            "no_residual": {
                "kind": "architecture",
                "of": "pooling",
                "set": {"model.token_mixer": "pooling", "model.use_residual": False},
            },
        },
        "seeds": [0, 1],
        "parallel": 2,
    }


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def write(data: dict[str, Any]) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return write


@pytest.fixture
def make_study(write_study: Callable[[dict[str, Any]], Path]) -> Callable[[dict[str, Any]], Study]:
    return lambda data: load_study(write_study(data))
