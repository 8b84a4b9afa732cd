"""Studies laid side by side, also of different arms, references and claims: what is left of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.analysis.analyse import analyse, analyse_folders
from metaformer_nlp.study.analysis.merge import merge_studies
from metaformer_nlp.study.protocol.file import study_from_mapping, study_to_mapping
from metaformer_nlp.study.protocol.study import Claim, Study, Until
from metaformer_nlp.study.report.write import build_report, to_json, write_report
from metaformer_nlp.study.runner.cell import write_json
from tests.study.simulated import SKILLS, content, large_study_data, planted_rows, simulated_rows

Make = Callable[[dict[str, Any]], Study]
TRUTH = {"attention": 0.9, "pooling": 0.85, "identity": 0.7, "no_residual": 0.3}


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


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("attention (rotary)", "attention (rotary, windows of 4)", "attention"),
        ("attention", "attention", "attention"),
        ("slopes", "rotary (axial)", "slopes / rotary"),
    ],
)
def test_an_arm_is_called_what_it_is_in_all_studies(make_study: Make, first: str, second: str, both: str) -> None:
    """One study's positions of attention do not stand for the other's."""
    parts = parts_of_different_arms(make_study)
    named = [
        (
            replace(
                study, arms=tuple(replace(arm, label=label) if arm.name == "attention" else arm for arm in study.arms)
            ),
            [],
        )
        for (study, _), label in zip(parts, (first, second), strict=True)
    ]
    assert next(arm.title for arm in merge_studies(named)[0].arms if arm.name == "attention") == both


def test_what_a_later_analysis_uses_survives_merging(make_study: Make) -> None:
    data = large_study_data(3)
    data |= {"control": "identity", "claim": {"arm": "pooling", "gain": 0.5}}
    answer = {"arm": "identity", "reference": "pooling", "sign": "lower", "source": "a paper"}
    scale = [{"axis": "epochs", "domains": {name: 1 + place for place, name in enumerate(data["domains"])}}]
    for domain in data["domains"].values():
        domain["metric"] = "validation/accuracy"
    first, second = (
        make_study({**data, "name": name, "expected": expected, "scale": scale})
        for name, expected in (("a", [answer]), ("b", [{**answer, "domains": ["images"]}]))
    )
    merged, _ = merge_studies([(first, []), (second, [])])
    assert (merged.control, merged.claim) == ("identity", Claim("pooling", gain=0.5))
    assert [its.domains for its in merged.expected] == [("a-images", "a-text", "a-probe", "b-images")]
    assert [list(its.domains)[:2] for its in merged.scale] == [["a-images", "a-text"], ["b-images", "b-text"]]
    assert study_from_mapping(study_to_mapping(merged), "merged") == merged
    other, _ = merge_studies([(first, []), (replace(second, control="fourier"), [])])
    assert (other.control, other.claim) == (None, None), "half of another gain is another claim"
    assert any("same control" in limit for limit in other.limits)


def test_a_merged_report_of_different_arms_is_rebuilt_byte_for_byte(
    make_study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaformer_nlp.study.report.figures.draw_all", lambda *_: {})  # it takes most of the time
    for study, its in parts_of_different_arms(make_study):
        write_report(analyse(study, its, text=study.text), tmp_path / study.name)
    page = build_report(tmp_path / "first", tmp_path / "second", output=tmp_path / "both")
    before = content(tmp_path / "both")
    text = before["report.md"].decode()
    assert text.startswith("# Studies “first” and “second”")
    assert "Arms are not compared with pooling here, as not all domains have runs of it" in text
    assert "- Study “second” (text (GLUE)): Is it the architecture" in text
    images = text.partition("### CIFAR-10 images")[2].partition("### Text (GLUE)")[0]
    assert "\n| fourier |" in images
    assert "\n| fourier |" not in text.partition("### Text (GLUE)")[2].partition("</details>")[0]
    build_report(page.parent)
    assert content(page.parent) == before


def side_by_side(study_data: dict[str, Any], make_study: Make) -> tuple[Study, Study]:
    """A study of images and text, and one of images alone that knows another pooling and one more arm."""
    arms = study_data["arms"]
    other_arms = {
        "attention": arms["attention"],
        "pooling": {"kind": "mixer", "set": {"model.token_mixer": {"type": "pooling", "size": 5}}},
        "conv": {"kind": "mixer", "set": {"model.token_mixer": "conv"}, "domains": ["large"]},
    }
    vision = study_data["domains"]["vision"]
    domains = {"vision": vision, "large": {**vision, "label": "large images"}}
    other = {**study_data, "name": "other", "arms": other_arms, "domains": domains, "seeds": [0, 1, 7]}
    return make_study(study_data), make_study({**other, "references": ["pooling"]})


def test_studies_side_by_side_keep_their_cells(study_data: dict[str, Any], make_study: Make) -> None:
    first, second = side_by_side(study_data, make_study)
    truth = {**TRUTH, "conv": 0.8}
    parts = [(first, planted_rows(first, truth)), (second, planted_rows(second, truth, seed=1))]
    study, merged = merge_studies(parts)
    assert [domain.name for domain in study.domains] == ["toy-vision", "text", "other-vision", "large"]
    assert [domain.title for domain in study.domains][0:3:2] == ["images (toy)", "images (other)"]
    assert (study.name, study.references, study.seeds) == ("toy-other", ("pooling",), (0, 1, 7))
    stored = study_to_mapping(study)
    assert study_to_mapping(study_from_mapping(stored, "merged")) == stored, "its report can be read again"

    names = {"toy": {"vision": "toy-vision"}, "other": {"vision": "other-vision"}}
    asked = {(cell.domain, cell.arm, cell.seed): cell.config for cell in study.cells()}
    for part, _ in parts:
        for cell in part.cells():
            domain = names[part.name].get(cell.domain, cell.domain)
            assert asked[domain, cell.arm, cell.seed] == cell.config
    assert len(merged) == len(parts[0][1]) + len(parts[1][1])

    analysis = analyse(study, merged)
    alone, together = analyse(*parts[0]).domains["vision"], analysis.domains["toy-vision"]
    assert together.arms["pooling"] == alone.arms["pooling"]
    assert (together.removals, together.answers) == (alone.removals, alone.answers)
    assert analysis.domains["other-vision"].arms["pooling"].planned == 3
    assert analysis.ranks[0].domains == ("toy-vision", "text")


def test_domains_that_start_from_others_keep_their_cells_side_by_side(
    study_data: dict[str, Any], make_study: Make
) -> None:
    first, second = side_by_side(study_data, make_study)
    domains = {**study_data["domains"], "tuned": {**study_data["domains"]["text"], "after": "vision"}}
    first = make_study({**study_data, "domains": domains})
    study, _ = merge_studies([(first, []), (second, [])])
    assert study.domain("tuned").after == "toy-vision"
    asked = {(cell.domain, cell.arm, cell.seed): cell.config for cell in study.cells()}
    for cell in first.cells():
        if cell.domain == "tuned":
            assert asked["tuned", cell.arm, cell.seed] == cell.config, "what an arm sets is not repeated there"
    stored = study_to_mapping(study)
    assert study_to_mapping(study_from_mapping(stored, "merged")) == stored


def test_studies_that_cannot_be_laid_side_by_side_say_why(study_data: dict[str, Any], make_study: Make) -> None:
    first, second = side_by_side(study_data, make_study)
    with pytest.raises(ValueError, match="can be given once"):
        merge_studies([(first, []), (first, [])])
    data = {**study_data, "name": "third", "baseline": "pooling"}
    with pytest.raises(ValueError, match="toy: attention, third: pooling"):
        merge_studies([(first, []), (make_study(data), [])])
    arms = {**study_data["arms"], "identity": {"kind": "architecture", "of": "pooling", "set": {}}}
    with pytest.raises(ValueError, match="'identity' is architecture of pooling in study third"):
        merge_studies([(first, []), (make_study({**study_data, "name": "third", "arms": arms}), [])])
    assert merge_studies([(second, [])]) == (second, [])


def test_run_folders_and_reports_are_laid_side_by_side(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    first, second = side_by_side(study_data, make_study)
    write_json(tmp_path / "run" / "study.json", {"study": study_to_mapping(first), "text": "name: toy\n"})
    (tmp_path / "run" / "sessions.jsonl").write_text('{"seconds": 1}\n')
    its = analyse(second, planted_rows(second, {**TRUTH, "conv": 0.8}), (), "name: other\n", ['{"seconds": 2}'])
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text(to_json(its, "x"))
    analysis = analyse_folders([tmp_path / "run", tmp_path / "report"])
    assert list(analysis.domains) == ["toy-vision", "text", "other-vision", "large"]
    assert analysis.sessions == ['{"seconds": 1}', '{"seconds": 2}']
    assert analysis.text == "name: toy\n\n---\nname: other\n"
    assert analysis.domains["large"].telling
    assert not analysis.domains["text"].telling
    (tmp_path / "report" / "report.json").write_text(to_json(analysis, "x"))
    assert to_json(analyse_folders([tmp_path / "report"]), "x") == to_json(analysis, "x")


def test_rules_that_add_seeds_or_keep_a_setting_do_not_outlive_merging(make_study: Make) -> None:
    """The first study may have fewer seeds than the other, and the control may be gone: the report is read again."""
    first, second = (study for study, _ in parts_of_different_arms(make_study))
    first = replace(first, until=Until(0.02, 4), control="identity")
    tune = replace(first.domains[0].tune, beat_control=True)  # type: ignore[type-var]
    first = replace(first, domains=(replace(first.domains[0], tune=tune),))
    merged, _ = merge_studies([(first, []), (replace(second, seeds=tuple(range(8))), [])])
    assert merged.until is None
    assert any(limit.startswith("In first seeds were added until") for limit in merged.limits)
    assert merged.domains[0].tune is not None
    assert not merged.domains[0].tune.beat_control
    assert study_from_mapping(study_to_mapping(merged), "merged") == merged
