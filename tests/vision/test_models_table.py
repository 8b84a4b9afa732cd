"""docs/models.md says what the code counts, and leaves no row out; its own rows are counted in test_variants.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import vision

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = sorted(set(re.findall(r"`([\w/.]+)` \| ([\d,]+) \| ([\d.]+) \|", PAGE)))


def check_against_the_page(model: torch.nn.Module, name: str) -> None:
    """The page's line for `name` has the model's parameters, and its MACs to the decimals given."""
    ((_, parameters, giga_macs),) = [row for row in ROWS if row[0] == name]
    assert sum(p.numel() for p in model.parameters()) == int(parameters.replace(",", ""))
    assert f"{vision.macs(model) / 1e9:.{len(giga_macs.split('.')[1])}f}" == giga_macs


def test_every_row_is_there() -> None:
    named = [name for name, _, _ in ROWS]
    assert set(vision.VARIANTS) <= set(named)
    assert len(named) == len(set(named)), "the page says two things about one model"
    assert sum(name.startswith("timm/") for name in named) >= 17


@pytest.mark.parametrize("name", [name for name, _, _ in ROWS if name.startswith("timm/")])
def test_counts_of_the_compared_systems(name: str) -> None:
    with torch.device("meta"):
        check_against_the_page(vision.create_model(name), name)
