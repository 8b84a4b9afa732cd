"""Probes on the text encoder: what is true of texts alone; test_probes_task.py has what is true of both domains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tasks.probes.abilities import Copying
from tasks.probes.text import DISTANCES, TextProbe, run
from tests.tasks.probes.test_task import MULTI_WINDOW, configured


@pytest.mark.parametrize(("mixer", "reach"), [("identity", 0), ("pooling", 2), (MULTI_WINDOW, 30), ("attention", 60)])
def test_copying_needs_half_the_window(mixer: Any, reach: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query itself must see the source: L (k - 1) / 2 to one side."""
    monkeypatch.setattr(Copying, "num_queries", 1)  # another query's source may stand near, and says nothing
    task = TextProbe(configured("text", "copying", mixer))
    torch.manual_seed(0)
    model = task.build_model().double().eval()
    for level, distance in enumerate(DISTANCES["copying"]):
        group, _ = task.eval_data["validation"].sample(level, None)
        batch = task.collate([(group, level)])
        with torch.no_grad():
            answers = task.logits(model, batch).flatten(0, 1)[batch["places"]].unflatten(0, (len(group.symbols), -1))
        assert (float(answers.std(0).max()) > 1e-6) == (distance <= reach), distance


def test_the_runs_seed_changes_no_data() -> None:
    def identity(**more: Any) -> dict[str, Any]:
        return TextProbe(configured("text", "agreement", **more)).fingerprint()

    assert identity() == identity(run={"seed": 5})
    other = identity(data={"probe": "agreement", "seed": 1, "train_groups": 8, "validation_groups": 3})
    assert other["content"] != identity()["content"]


def test_copying_runs(tmp_path: Path) -> None:
    result = run(configured("text", "copying", "identity", run={"folder": str(tmp_path / "run"), "batch_size": 2}))
    places = ["", *(f"distance-{distance}/" for distance in DISTANCES["copying"])]
    assert all(result["metrics"][f"validation/{place}accuracy"] == 1 / 8 for place in places)


def test_the_model_is_saved_with_a_tokenizer_that_reads_symbols(tmp_path: Path) -> None:
    task = TextProbe(configured("text", "matching"))
    task.save_model(task.build_model(), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("filler3 key0 key5")["input_ids"] == [3, 8, 13]
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).num_labels == 2


def test_an_unknown_probe_is_refused() -> None:
    with pytest.raises(ValueError, match="probe"):
        configured("text", "parity")
