"""The experiment in docs/new_task.md, really run."""

from __future__ import annotations

import re
from pathlib import Path

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.runner.cell import load_experiment

PAGE = Path(__file__).parents[2] / "docs" / "new_task.md"


def test_the_experiment_of_the_page(tmp_path: Path) -> None:
    block = re.search(r"```python\n(# ends\.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    (tmp_path / "ends.py").write_text(block[1], encoding="utf-8")
    experiment = load_experiment(str(tmp_path / "ends.py"))
    accuracy = {}
    for mixer in ("spatial_mlp", "pooling"):
        settings = {"token_mixer": mixer, "run.folder": str(tmp_path / mixer), "run.batch_size": 50, "optim.lr": 3e-3}
        config = from_dict(experiment.Config, {**settings, "schedule.steps": 200})
        cost, result = experiment.cost(config), experiment.run(config)
        assert cost.pop("parameters") == result["parameters"]
        assert cost == {"steps": 200, "samples": 10000}
        assert cost.items() <= result["train"].items()
        accuracy[mixer] = result["metrics"]["validation/accuracy"]
    assert accuracy["spatial_mlp"] > 0.95
    assert accuracy["pooling"] < 0.65
