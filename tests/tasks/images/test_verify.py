"""The scan of a data set: it lists what is broken and nothing ends it."""

from __future__ import annotations

import csv
import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.images.data import DataConfig
from tasks.images.verify import CheckConfig, run, scan

ROOT = Path(__file__).parents[3]


def folder(root: Path) -> Path:
    for part, names in {"train": "abcdef", "val": "ab"}.items():
        for number, name in enumerate(names):
            path = root / part / ("cat", "dog")[number % 2] / f"{name}.JPG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (10 + number, 20)).save(path, "JPEG")
    return root


def test_broken_images_are_listed_and_the_status_is_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path / "data")
    (root / "train/cat/a.JPG").write_bytes(b"")
    whole = (root / "val/dog/b.JPG").read_bytes()
    (root / "val/dog/b.JPG").write_bytes(whole[: len(whole) // 2])
    (root / "train/dog/x.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(root / "train/dog/pipe.png")
    report = tmp_path / "new" / "report.csv"
    options = {"data.name": "folder", "data.root": root, "report": report, "processes": 2}
    monkeypatch.setattr(sys, "argv", ["verify_data.py", *(f"--{key}={value}" for key, value in options.items())])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "scripts" / "verify_data.py"), run_name="__main__")
    assert ended.value.code == 1
    rows = list(csv.DictReader(report.open()))
    assert [(row["part"], row["class"], Path(row["name"]).name) for row in rows] == [
        ("train", "cat", "a.JPG"),
        ("train", "dog", "pipe.png"),
        ("train", "dog", "x.png"),
        ("validation", "dog", "b.JPG"),
    ]
    assert "empty" in rows[0]["why"]
    assert "not a file" in rows[1]["why"]
    assert "4 broken images" in capsys.readouterr().out


def test_a_good_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.json"
    data = DataConfig(name="folder", root=str(folder(tmp_path / "data")))
    report = run(CheckConfig(data, processes=2, report=str(path)))
    assert json.loads(path.read_text()) == report
    assert report["broken"] == []
    assert report["parts"]["train"]["class_counts"] == {"cat": 3, "dog": 3}
    assert report["parts"]["train"]["width"] == {"min": 10, "median": 12.5, "max": 15}
    assert "no broken images" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "message"), [({"report": "a.txt"}, r"\.json or"), ({"processes": -1}, "least 1")])
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(CheckConfig(**options))


class Deadly:
    """Images of which some end the process that reads them, or raise what nobody expects."""

    classes = ("a", "b")

    def __init__(self) -> None:
        self.labels = np.arange(100) % 2

    def __len__(self) -> int:
        return 100

    def name(self, index: int) -> str:
        return f"image {index}"

    def load(self, index: int, rng: np.random.Generator | None = None, *, lazy: bool = False) -> np.ndarray:
        if index in (5, 70):
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 6:
            raise MemoryError("no memory")
        return np.zeros((2, 3, 3), np.uint8)


def test_a_reader_that_dies_is_found_and_the_scan_goes_on() -> None:
    checked = scan(Deadly(), 2)
    assert [image.index for image in checked] == list(range(100))
    assert {image.name for image in checked if image.why} == {"image 5", "image 6", "image 70"}
    assert "ends the process" in checked[5].why
    assert "MemoryError" in checked[6].why
    assert (checked[0].width, checked[0].height) == (3, 2)
