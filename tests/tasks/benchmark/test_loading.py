"""The comparison of input pipelines: it runs, and all pipelines see the same pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.benchmark.loading import Batches, Pipeline, SpeedConfig, _pipelines, _same_numbers, run


@pytest.fixture
def root(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    for number in range(24):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return str(tmp_path / "images")


def test_table_and_report(root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        rows = run(SpeedConfig(root, image_size=32, images=3, rounds=1, output=str(tmp_path / "speed.csv")))
    finally:
        torch.set_num_threads(threads)
    assert [(row["part"], row["pipeline"]) for row in rows][:2] == [("training", "timm"), ("training", "ours")]
    assert [row["pipeline"] for row in rows[4:7]] == [
        f"limit: decoding {how}" for how in ("by Pillow", "at half size by Pillow", "by torchvision")
    ]
    assert all(row["per_second"] == pytest.approx(3000 / row["step_ms"]) for row in rows)
    assert rows[0]["relative_speed"] == rows[7]["relative_speed"] == 1
    fast = rows[2]
    assert fast["pipeline"] == "ours, fast pixels"
    assert 0 < fast["difference"] < 1
    assert fast["psnr"] > 40
    assert "3 images, 1 rounds" in capsys.readouterr().out
    assert len(list(csv.DictReader((tmp_path / "speed.csv").open()))) == 13


def test_both_do_the_same_work(root: str) -> None:
    training, evaluation, count = _pipelines(SpeedConfig(root, image_size=32, images=5))
    assert count == 5
    for pipelines in (training, evaluation):
        for turn, index in ((0, 1), (3, 4)):
            ours, label = pipelines["ours"].sample(turn, index)
            with _same_numbers(turn, index):
                theirs, theirs_label = pipelines["timm"].sample(turn, index)
            batch = pipelines["ours"].batch([(ours, label)])
            torch.testing.assert_close(batch[0], theirs, atol=2e-6, rtol=0)
            assert label == theirs_label


def test_all_pipelines_prepare_the_same_images() -> None:
    seen: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}
    made = {
        name: Batches(Pipeline(lambda turn, index, name=name: seen[name].append((turn, index)), len), 5, 3)  # type: ignore[misc]
        for name in seen
    }
    for each in made.values():
        each.turn(1, record=False)
        each.turn(2, record=True)
    assert seen["a"] == seen["b"] == [divmod(number, 5) for number in range(12)]


@pytest.mark.parametrize("options", [{"rounds": 0}, {"batch_size": 0}, {"images": 0}, {"output": "speed.txt"}])
def test_wrong_options(root: str, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        run(SpeedConfig(root, **options))  # type: ignore[arg-type]
