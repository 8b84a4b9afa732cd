"""Studies of different arms, references and claims laid side by side: what is left of each, and that it can be read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from metaformer_nlp.study.analysis import analyse
from metaformer_nlp.study.merging import merge_studies
from metaformer_nlp.study.plan import Claim, Study
from metaformer_nlp.study.report import build_report, write_report
from metaformer_nlp.study.study_file import study_from_mapping, study_to_mapping
from tests.study.simulated import SKILLS, large_study_data, simulated_rows

Make = Callable[[dict[str, Any]], Study]


def parts_of_different_arms(make_study: Make) -> list[tuple[Study, list[dict[str, Any]]]]:
    """Images with pooling as reference and in the claim, text without the arm and with no claim."""
    data = large_study_data(3)
    images = make_study({**data, "name": "first", "domains": {"images": data["domains"]["images"]}})
    some = {name: arm for name, arm in data["arms"].items() if name not in ("pooling", "fourier", "no_residual")}
    some["no_channel_mlp"] = {**some["no_channel_mlp"], "of": "attention"}
    some["no_norm"] = {**some.pop("no_channel_mlp"), "label": "no norm"}
    rest = {"arms": some, "references": ["identity"], "claim": None, "domains": {"text": data["domains"]["text"]}}
    text = make_study({**data, **rest, "name": "second"})
    skills = {**SKILLS, "no_norm": SKILLS["no_residual"]}
    return [(study, simulated_rows(study, skills)) for study in (images, text)]


def test_what_not_all_studies_share_is_neither_judged_nor_referred_to(make_study: Make) -> None:
    parts = parts_of_different_arms(make_study)
    merged, _ = merge_studies(parts)
    assert merged.claim is None, "one of the two tests none"
    assert merged.references == ("identity",), "pooling has no runs in text"
    assert any("compared with pooling" in limit for limit in merged.limits)
    assert any("same claim" in limit for limit in merged.limits)
    assert study_from_mapping(study_to_mapping(merged), "merged") == merged
    same = [(replace(study, claim=Claim("hybrid", 0.9)), rows) for study, rows in parts]
    assert merge_studies(same)[0].claim == Claim("hybrid", 0.9)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_merged_report_of_different_arms_is_rebuilt_byte_for_byte(make_study: Make, tmp_path: Path) -> None:
    for study, its in parts_of_different_arms(make_study):
        write_report({**analyse(study, its), "text": study.text, "sessions": []}, tmp_path / study.name)
    page = build_report(tmp_path / "first", tmp_path / "second", output=tmp_path / "both")
    before = content(tmp_path / "both")
    assert before["report.md"].decode().startswith("# Studies “first” and “second”")
    text = before["report.md"].decode().partition("## Which findings hold where")[2].partition("\n### ")[0]
    assert "Left out, as only one domain has their runs: pooling, fourier, no residual" in text
    assert "| fourier |" not in text
    assert re.search(r"^\| identity \| 2 of 2 \| below .* \| below", text, re.MULTILINE)
    assert b"not compared with pooling here" in before["report.md"].replace(b"\n", b" ")
    build_report(page.parent)
    assert content(page.parent) == before
