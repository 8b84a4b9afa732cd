"""Growth: the exponents of known curves, memory that is really counted, and points that are left out."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tasks.benchmark import growth
from tasks.benchmark.growth import Config, exponent, measured, run


class Holder(nn.Module):
    """Holds a known number of bytes for a moment."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(self.size // 4).sum() + x


def make(size: int) -> growth.Made:
    return Holder(size), {"x": torch.zeros(1)}


def test_exponents_of_known_curves() -> None:
    tokens = [128 * 2**n for n in range(8)]
    assert exponent(tokens, [3.0 * n for n in tokens]) == pytest.approx(1)
    assert exponent(tokens, [n**2 / 7 for n in tokens]) == pytest.approx(2)
    assert exponent(tokens, [1e6 + n for n in tokens]) < 0.5  # type: ignore[operator]
    assert exponent(tokens[:2], [1.0, 2.0]) is None


def test_the_peak_of_memory_is_the_steps() -> None:
    for megabytes in (64, 128):
        _, found = measured(make, megabytes * 10**6, "inference", 1, 10.0)
        assert found / 1e6 == pytest.approx(megabytes, abs=16)


def test_a_failure_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"memory|alloc"):
        measured(make, 10**15, "inference", 1, 10.0)


@pytest.mark.parametrize("document", [None, 16])
def test_the_table_and_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: int | None) -> None:
    monkeypatch.setattr(growth, "TEXT", {"pooling": "pooling"})
    monkeypatch.setattr(growth, "IMAGES", {"nano": "poolformer_nano"})
    output, plot = tmp_path / "growth.csv", tmp_path / "growth.svg"
    settings = Config(
        mode="training", longest=512, largest=224, hidden_size=8, num_hidden_layers=1, document=document, steps=1,
        output=str(output), plot=str(plot),
    )  # fmt: skip
    rows = run(settings)
    assert [(row["domain"], row["size"]) for row in rows] == [
        ("text", 128), ("text", 256), ("text", 512), ("images", 224)
    ]  # fmt: skip
    assert all(row["step_ms"] > 0 for row in rows)
    assert rows[2]["time_exponent"] is not None
    assert "time_exponent" not in rows[1]
    assert len(list(csv.DictReader(output.open()))) == 4
    assert plot.read_text().lstrip().startswith("<?xml")


def test_what_would_take_too_long_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "measured", lambda make, size, *_: (size**2 / 1e3 * growth.rows_of(size), 8 * size))
    rows = growth.curve("text", "a", make, [128 << n for n in range(8)], Config(seconds=10.0))
    assert rows[-1]["error"] == "not measured: more than 10 s"
    assert rows[-2]["time_exponent"] == pytest.approx(2)
    assert rows[-1]["size"] == 2 * rows[-2]["size"]


@pytest.mark.parametrize("options", [{"longest": 0}, {"seconds": 0.0}, {"document": 0}, {"output": "rows.txt"}])
def test_wrong_options(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        Config(**options)  # type: ignore[arg-type]
