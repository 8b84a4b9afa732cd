"""Seeds are added by the width of intervals alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from metaformer_nlp.study.analysis.more_seeds import with_further_seeds
from metaformer_nlp.study.analysis.statistics.power import WIDTH_LEVEL
from metaformer_nlp.study.protocol.file import study_from_mapping
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.runner.cell import cell_folder, write_outcome

NOISE = (0.0, 0.02, -0.02, 0.0, 0.02, -0.02, 0.0)  # of pooling's scores by seed


@pytest.fixture
def data(study_data: dict[str, Any]) -> dict[str, Any]:
    """Two domains, three seeds at first, six at most; the half-width after three of `NOISE` is known."""
    study_data["domains"]["text"]["tasks"] = {}
    study_data |= {"seeds": [0, 1, 2], "claim": {"arm": "pooling", "retains": 0.9}}
    study_data["until"] = {"half_width": 0.01, "most": 6}
    return study_data


def half_width(n: int) -> float:
    return float(stats.t.ppf((1 + WIDTH_LEVEL) / 2, n - 1) * stats.tstd(NOISE[:n]) / n**0.5)


def run(study: Study, folder: Path, gap: float = 0.1, quiet: tuple[str, ...] = (), fails: str = "") -> None:
    """Every run ends: attention scores 0.9, pooling less by `gap` and its noise, where its domain is not `quiet`."""
    for cell in study.cells():
        noise = 0.0 if cell.domain in quiet else NOISE[cell.seed]
        metrics = {"validation/accuracy": 0.9 - (gap + noise if cell.arm == "pooling" else 0.001 * cell.seed)}
        cell_folder(folder, cell).mkdir(parents=True, exist_ok=True)
        write_outcome(folder, cell, "it failed" if cell.key == fails else None, result={"metrics": metrics})


def seeds(data: dict[str, Any], folder: Path) -> int:
    return len(with_further_seeds(study_from_mapping(data, "file"), folder).seeds)


def test_one_seed_is_added_each_time_all_have_ended(data: dict[str, Any], tmp_path: Path) -> None:
    study = study_from_mapping(data, "file")
    assert with_further_seeds(study, tmp_path) == study, "nothing has run"
    for number in (3, 4, 5, 6):
        study = with_further_seeds(study, tmp_path)
        assert study.seeds == tuple(range(number))
        run(study, tmp_path)
    assert seeds(data, tmp_path) == 6, "from the file a start comes to the same, and to no more than there may be"
    data["until"]["most"] = 7
    assert seeds(data, tmp_path) == 7


@pytest.mark.parametrize("gap", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("quiet", [(), ("vision",), ("vision", "text")])
def test_the_widest_interval_decides_and_never_the_difference(
    gap: float, quiet: tuple[str, ...], data: dict[str, Any], tmp_path: Path
) -> None:
    run(study_from_mapping(data, "file"), tmp_path, gap, quiet)
    data["until"]["half_width"] = 1.05 * half_width(3)
    assert seeds(data, tmp_path) == 3
    data["until"]["half_width"] = 0.95 * half_width(3)
    assert seeds(data, tmp_path) == (3 if len(quiet) == 2 else 4)


def test_where_a_run_failed_nothing_is_added(data: dict[str, Any], tmp_path: Path) -> None:
    study = study_from_mapping(data, "file")
    run(study, tmp_path, fails="text/pooling/seed-1")
    assert seeds(data, tmp_path) == 3
    run(study, tmp_path, fails="text/identity/seed-1")
    assert seeds(data, tmp_path) == 4, "a run that is not looked at may fail"


def test_what_is_looked_at(data: dict[str, Any]) -> None:
    assert study_from_mapping(data, "file").looked_at() == ["pooling"]
    data["claim"] = None
    assert study_from_mapping(data, "file").looked_at() == ["pooling", "identity"]
    data["arms"]["identity"]["seeds"] = [0, 1]
    assert study_from_mapping(data, "file").looked_at() == ["pooling"]


def test_without_until_nothing_is_added(data: dict[str, Any], tmp_path: Path) -> None:
    data["until"] = None
    run(study_from_mapping(data, "file"), tmp_path)
    assert seeds(data, tmp_path) == 3
