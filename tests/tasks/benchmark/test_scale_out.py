"""The formulas of data-parallel training, by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tasks.benchmark.options import ScaleOutConfig
from tasks.benchmark.scale_out import Work, calculated, efficiency, run, sent_bytes


def test_what_is_sent() -> None:
    assert sent_bytes("DDP", 2, 100) == 400
    assert sent_bytes("FSDP", 2, 100) == 600
    assert sent_bytes("DDP", 1, 100) == 0
    assert sent_bytes("DDP", 8, 10**6) == pytest.approx(7e6)
    assert sent_bytes("FSDP", 512, 10**6) / sent_bytes("DDP", 512, 10**6) == pytest.approx(1.5)


def test_efficiency() -> None:
    assert efficiency(3.0, 1.0) == pytest.approx(0.75)
    assert efficiency(3.0, 1.0, hidden=2 / 3) == 1  # fits beside the backward pass
    assert efficiency(3.0, 4.0, hidden=2 / 3) == pytest.approx(0.6)  # 2 of the 4 seconds do not
    assert efficiency(1.0, 0.0) == 1


def test_a_row_by_hand() -> None:
    work = Work("a model", 10**8, 1e12, 512)
    ddp = calculated(work, "A100", 0.5, 64)[0]
    assert ddp["link"] == "1 NDR port a node"
    assert ddp["compute_ms"] == pytest.approx(1e3 * 8e12 / 156e12)  # 8 samples at half of 312 TFLOP/s
    assert ddp["transfer_ms"] == pytest.approx(1e3 * 2 * 63 / 64 * 4e8 / 50e9)
    assert ddp["overlap_percent"] > ddp["efficiency_percent"]
    assert {row["link"] for row in calculated(work, "A100", 0.5, 8)} == {"NVLink"}


def test_the_table(tmp_path: Path) -> None:
    rows = run(ScaleOutConfig(output=str(tmp_path / "rows.csv")))
    assert len(rows) == len(list(csv.DictReader((tmp_path / "rows.csv").open()))) == 2 * 2 * (1 + 2 + 2)
    m48 = [row for row in rows if row["model"].startswith("PoolFormer-M48") and row["method"] == "DDP"]
    assert m48[0]["sent_mb"] == pytest.approx(2 * 7 / 8 * 73.473448 * 4)
    assert [row["batch_size"] for row in m48] == [512, 64, 64, 8, 8]


@pytest.mark.parametrize("options", [{"gpus": [0]}, {"utilisation": 0.0}, {"processes": 0}, {"output": "rows.txt"}])
def test_wrong_options(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        ScaleOutConfig(**options)  # type: ignore[arg-type]
