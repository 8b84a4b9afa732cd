"""The verdict follows from the numbers: other numbers make the page say the opposite."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.analysis.analyse import analyse
from metaformer_nlp.study.analysis.selection import CANNOT_TELL, NOT_SUPPORTED, SUPPORTED
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.render import build_document
from metaformer_nlp.study.report.sentences import sentences_of
from metaformer_nlp.study.report.verdict import verdict
from tests.study.simulated import SKILLS, large_study_data, simulated_rows

Make = Callable[[dict[str, Any]], Study]
Skills = dict[str, tuple[float, ...]]
SAME: Skills = dict.fromkeys(SKILLS, (0.6, 0.6, 0.6))


@pytest.fixture
def answers(make_study: Make) -> Callable[..., list[dict[str, Any]]]:
    """The verdict of the large study with these skills; `domains` leaves out the other domains."""

    def make(skills: Skills, domains: tuple[str, ...] = ("images", "text", "probe"), **changes: Any) -> Any:
        data = {**large_study_data(changes.pop("seeds", 5)), **changes}
        data = copy.deepcopy(data)
        data["domains"] = {name: domain for name, domain in data["domains"].items() if name in domains}
        study = make_study(data)
        return verdict(analyse(study, simulated_rows(study, skills)))

    return make


def test_architecture_beside_mixer_turns_with_the_numbers(answers: Any) -> None:
    large = {**SAME, "no_residual": (0.2,) * 3, "no_channel_mlp": (0.3,) * 3}
    first = answers(large)[0]
    assert first["verdict"] == SUPPORTED
    assert first["sentence"].startswith("Supported in CIFAR-10 images (+")
    assert set(first["domains"].values()) == {SUPPORTED}
    small = {**dict.fromkeys(SKILLS, (0.3, 0.3, 0.3)), **dict.fromkeys(("attention", "pooling"), (0.8,) * 3)}
    small |= dict.fromkeys(("no_residual", "no_channel_mlp"), (0.78,) * 3)
    assert answers(small)[0]["verdict"] == NOT_SUPPORTED
    assert answers(SAME)[0]["verdict"] == CANNOT_TELL


@pytest.mark.parametrize(("baseline", "others"), [(0.8, 0.3), (0.4, 0.8)])
def test_an_arm_at_chance_has_no_part_to_lose(baseline: float, others: float, answers: Any, make_study: Make) -> None:
    """The parts would seem cheap beside mixers that lose, and dear beside mixers that gain."""
    skills: Skills = {**dict.fromkeys(SKILLS, (others,) * 3), "attention": (baseline,) * 3}
    parts = dict.fromkeys(("no_residual", "no_channel_mlp"), (-0.02,) * 3)
    first = answers({**skills, "pooling": (-0.02,) * 3, **parts}, ("images",))[0]
    assert first["verdict"] == CANNOT_TELL
    assert "not clearly above chance with all its parts: pooling" in first["sentence"]
    assert answers({**skills, "pooling": (0.05,) * 3, **parts}, ("images",))[0]["verdict"] != CANNOT_TELL
    study = make_study(large_study_data(3))
    analysis = analyse(study, simulated_rows(study, {**skills, "pooling": (-0.02,) * 3, **parts}))
    assert any(
        text.startswith("Pooling is not clearly above chance") for text in sentences_of(analysis)["domains"]["images"]
    )


def test_one_domain_against_it_is_enough(answers: Any) -> None:
    mixed = {**SAME, "no_residual": (0.2, 0.2, 0.62), "no_channel_mlp": (0.3, 0.3, 0.62), "identity": (0.6, 0.6, 0.1)}
    first, _, third = answers(mixed)
    assert first["verdict"] == NOT_SUPPORTED
    assert first["domains"] == {"images": SUPPORTED, "text": SUPPORTED, "probe": NOT_SUPPORTED}
    assert re.match(
        r"Not supported as a whole: supported in CIFAR-10 images .* and text .*; not sup", first["sentence"]
    )
    assert third["verdict"] == NOT_SUPPORTED
    assert "a statement above is supported in one domain and not in another" in third["sentence"]


def test_the_claim_turns_with_the_numbers(answers: Any) -> None:
    keeps = {**SAME, "pooling": (0.59, 0.59, 0.6)}
    second = answers(keeps)[1]
    assert second["statement"].startswith("Pooling retains at least 90")
    assert second["verdict"] == SUPPORTED
    assert answers({**SAME, "pooling": (0.3, 0.3, 0.3)})[1]["verdict"] == NOT_SUPPORTED
    assert answers({**SAME, "pooling": (0.54,) * 3}, ("images",))[1]["verdict"] == CANNOT_TELL, "the bound itself"
    statements = [answer["statement"] for answer in answers(keeps, claim=None)]
    assert len(statements) == 2, "a study that makes no claim is not asked about one"
    assert not any("retains" in statement for statement in statements)


def test_the_numbers_of_many_domains_are_a_list(answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keeps = {**SAME, "pooling": (0.59, 0.59, 0.6)}
    assert answers(keeps)[1]["details"] == []
    monkeypatch.setattr("metaformer_nlp.study.report.verdict._MANY", 2)
    second = answers(keeps)[1]
    assert second["sentence"] == "Supported in CIFAR-10 images, text (GLUE) and matching probe."
    assert [text.split(" retains")[0] for text in second["details"]] == [
        "CIFAR-10 images:",
        "Text (GLUE):",
        "Matching probe:",
    ]


def test_domains_that_agree_and_domains_that_turn(answers: Any) -> None:
    order = {name: (0.9 - 0.06 * place,) * 3 for place, name in enumerate(SKILLS)}
    order |= dict.fromkeys(("no_residual", "no_channel_mlp"), (0.1,) * 3)
    third = answers(order, ("images", "text"))[2]
    assert third["verdict"] == SUPPORTED
    assert "rank agreement (τ) of 9 mixers is 1.00 [" in third["sentence"]
    turned = {
        name: (a, b, b) for (name, (a, _, _)), (_, b, _) in zip(order.items(), reversed(order.values()), strict=True)
    }
    turned["attention"] = (0.7, 0.7, 0.7)
    third = answers(turned, ("images", "text"))[2]
    assert third["verdict"] == NOT_SUPPORTED
    turns = third["sentence"].split("; ")
    assert "pooling and multi window are above attention in CIFAR-10 images and below it in text (GLUE)" in turns
    assert "random and hybrid are above attention in text (GLUE) and below it in CIFAR-10 images" in turns


def test_mixers_that_turn_beside_another_than_the_baseline_are_named(answers: Any) -> None:
    """Pooling is the other reference; hybrid is below the baseline everywhere, and the rule asks for no more."""
    low = dict.fromkeys(SKILLS, (0.4, 0.4, 0.4)) | {"attention": (0.9,) * 3}
    third = answers(low | {"hybrid": (0.3, 0.6, 0.6)}, ("images", "text"))[2]
    assert third["verdict"] == CANNOT_TELL
    turn = "; hybrid is above pooling in text (GLUE) and below it in CIFAR-10 images (told, not judged: the rule looks"
    assert turn in third["sentence"]
    assert "fourier is" not in third["sentence"]
    same = answers(low, ("images", "text"))[2]
    assert "pooling" not in same["sentence"].replace("pooling, ", "", 1), same["sentence"]


def test_each_pair_of_mixers_that_turn_is_named_once(answers: Any) -> None:
    low = dict.fromkeys(SKILLS, (0.4, 0.4, 0.4)) | {"attention": (0.9,) * 3, "hybrid": (0.3, 0.6, 0.6)}
    third = answers(low, ("images", "text"), references=["pooling", "hybrid"])[2]
    turns = [part for part in third["sentence"].split("; ") if " it in " in part]
    assert sum("pooling" in part and "hybrid" in part for part in turns) == 1, turns
    assert any(part.startswith("multi window, depthwise conv") and "above hybrid" in part for part in turns), turns


def test_of_equal_rank_agreements_the_clearest_is_named(make_study: Make) -> None:
    study = make_study(large_study_data(5))
    analysis = analyse(study, simulated_rows(study))
    ends = {"images": -1.0, "text": -0.5, "probe": -0.9}
    pairs = [("images", "text"), ("images", "probe"), ("text", "probe")]

    def said(values: tuple[float, float, float]) -> str:
        ranks = [
            {"domains": list(pair), "n": 3, "value": value, "low": ends[pair[0]], "high": value}
            for pair, value in zip(pairs, values, strict=True)
        ]
        third = verdict({**analysis, "across": {**analysis["across"], "ranks": ranks}})[-1]
        return str(third["sentence"]).replace("\N{NO-BREAK SPACE}", " ").partition("; of ")[0]

    clear = "between text (GLUE) and matching probe (the same τ for 1 other pair)"
    assert f" to 0.33 [−0.50, 0.33] {clear}" in said((-0.3, 1 / 3, 1 / 3 - 1e-9))
    assert f" to 0.33 [−0.50, 0.33] {clear}" in said((1 / 3, -0.3, 1 / 3))
    first = "between CIFAR-10 images and text (GLUE) (the same τ for 2 other pairs)"
    assert said((1.0, 1.0, 1.0)).endswith(f"rank agreement (τ) of the mixers is 1.00 [−1.00, 1.00] {first}")
    assert "other pair" not in said((-0.3, 0.1, 0.5))


def test_the_same_model_in_all_arms_is_no_difference(answers: Any, make_study: Make) -> None:
    """An A/A study: equivalent where the seeds suffice to show it, otherwise "cannot tell", never a difference."""
    third = answers(SAME, ("images",), seeds=12)[2]
    assert third["statement"] == "No token mixer differs from attention"
    assert third["verdict"] == SUPPORTED
    assert "no difference from attention is shown; equivalent to it within 2.0 points: pooling" in third["sentence"]
    few = answers(SAME, ("images",), seeds=3)[2]
    assert few["verdict"] == CANNOT_TELL
    assert "no difference from attention is shown" in few["sentence"]
    both = answers(SAME, ("images", "text"), seeds=12)[2]
    assert both["verdict"] == SUPPORTED
    assert "no difference: every mixer is equivalent to attention in every domain" in both["sentence"]


def test_a_planted_difference_is_named_with_its_interval(answers: Any) -> None:
    third = answers({**SAME, "identity": (0.5,) * 3}, ("images",), seeds=8)[2]
    assert third["verdict"] == NOT_SUPPORTED
    named = re.search(r"identity \(−(\S+) \[−([\d.]+),\s−([\d.]+)\]\) differs from attention", third["sentence"])
    assert named
    assert float(named[3]) < 9.0 < float(named[2]), "0.1 of the 0.9 above chance"


def test_nothing_is_said_of_a_domain_that_was_not_learned(answers: Any) -> None:
    lost = {name: (0.6 if name == "pooling" else 0.5, 0.5, -1.0) for name in SKILLS}
    first, second, third = answers(lost, ("images", "probe"))
    assert first["domains"].keys() == second["domains"].keys() == {"images"}
    assert first["sentence"].endswith("nothing is said of matching probe.")
    gone = {**SAME, "attention": (0.6, 0.6, -1.0), "no_residual": (0.2,) * 3, "no_channel_mlp": (0.3,) * 3}
    first, second, _ = answers({**gone, "pooling": (0.59, 0.59, 0.6)})
    assert set(first["domains"].values()) == set(second["domains"].values()) == {SUPPORTED}
    assert first["verdict"] == second["verdict"] == CANNOT_TELL, "a domain of which nothing is said leaves it open"
    assert first["sentence"].startswith("Cannot tell as a whole: supported in CIFAR-10 images (+")
    assert third["sentence"].startswith("Cannot tell: only of CIFAR-10 images can anything be said")
    nobody = dict.fromkeys(SKILLS, (-1.0, -1.0, -1.0))
    none = answers(nobody)
    assert [answer["verdict"] for answer in none] == [CANNOT_TELL] * 3
    assert "of no domain can anything be said" in none[2]["sentence"]
    assert "nothing is said of this domain" in answers(nobody, ("images",), seeds=12)[2]["sentence"]


def test_a_baseline_at_chance_is_beaten_by_others(answers: Any) -> None:
    first, second, third = answers({**SAME, "attention": (-0.1,) * 3}, ("images",))
    assert (first["verdict"], second["verdict"]) == (CANNOT_TELL, CANNOT_TELL), "nothing to lose or to retain"
    assert third["verdict"] == NOT_SUPPORTED
    assert "differ from attention" in third["sentence"]


def test_a_single_part_that_collapses_does_not_speak_for_all(answers: Any) -> None:
    first = answers({**SAME, "no_residual": (0.0,) * 3}, ("images",))[0]
    assert first["verdict"] == CANNOT_TELL
    assert re.search(
        r"\(\+2\d.*; [−+]?\d.* without “no residual”, which costs most; "
        r".* measured from pooling; at chance: no residual\)",
        first["sentence"],
    )


@pytest.fixture
def with_failures(make_study: Make) -> Callable[..., list[dict[str, Any]]]:
    """The verdict of a study whose verdict would be "supported", with failed runs of one arm from this seed on."""

    def make(skills: Skills, arm: str, first_failed: int, domains: tuple[str, ...] = ("images",)) -> Any:
        data = copy.deepcopy(large_study_data(12))
        data["domains"] = {name: domain for name, domain in data["domains"].items() if name in domains}
        study = make_study(data)
        made = simulated_rows(study, skills)
        failed = {"status": "failed", "score": None, "problem": "diverged", "tasks": {}, "curve": []}
        hit = [row["arm"] == arm and row["domain"] == domains[-1] and row["seed"] >= first_failed for row in made]
        return verdict(analyse(study, [row | failed if out else row for row, out in zip(made, hit, strict=True)]))

    return make


def test_arms_that_failed_hold_the_verdict_back(with_failures: Any) -> None:
    skills = {**SAME, "no_residual": (0.2,) * 3, "no_channel_mlp": (0.3,) * 3}
    whole = with_failures(skills, "identity", 12)
    assert [answer["verdict"] for answer in whole] == [SUPPORTED] * 3
    first, _, third = with_failures(skills, "identity", 0)
    assert (first["verdict"], third["verdict"]) == (CANNOT_TELL, CANNOT_TELL)
    assert "left out, with no run to compare: identity" in first["sentence"]
    assert "runs are missing: identity (0 of 12 runs)" in third["sentence"]
    first, _, third = with_failures(skills, "identity", 8)
    assert (first["verdict"], third["verdict"]) == (SUPPORTED, CANNOT_TELL)
    assert "only seeds that all arms have: identity (8 of 12 runs)" in first["sentence"]
    assert with_failures(skills, "no_residual", 0)[0]["verdict"] == CANNOT_TELL
    second = with_failures(skills, "pooling", 0)[1]
    assert second["verdict"] == CANNOT_TELL
    assert "no finished run" in second["sentence"]
    first, second, third = with_failures(skills, "pooling", 0, ("images", "text"))
    assert [answer["verdict"] for answer in (first, second, third)] == [CANNOT_TELL] * 3
    assert second["sentence"].startswith("Cannot tell as a whole: supported in CIFAR-10 images (")


def test_studies_without_parts_are_not_asked_of_them_and_with_one_seed_none_can_tell(answers: Any) -> None:
    arms = large_study_data()["arms"]
    mixers = {name: arm for name, arm in arms.items() if arm["kind"] == "mixer"}
    assert not any("Taking out a part" in answer["statement"] for answer in answers(SKILLS, arms=mixers))
    assert [answer["verdict"] for answer in answers(SKILLS, seeds=1)] == [CANNOT_TELL] * 3


def test_the_page_says_the_opposite_when_the_numbers_do(make_study: Make, tmp_path: Path) -> None:
    """The cells' scores alone are altered; the verdict, the sentences and the tables turn with them."""
    data = large_study_data()
    data["domains"] = {"images": data["domains"]["images"]}
    study = make_study(data)
    rows = simulated_rows(study)

    def page() -> str:
        analysis = {**analyse(study, rows), "text": study.text, "sessions": []}
        return build_document(analysis, {}).html()

    assert 'architecture costs more than swapping the token mixer: <span class="label">supported' in page()
    assert "“no residual” costs" in page()
    highest = max(row["score"] for row in rows)
    for row in rows:
        row["score"] = highest + 0.1 - row["score"]
    turned = page()
    assert 'architecture costs more than swapping the token mixer: <span class="label">not supported' in turned
    assert "“no residual” gains" in turned


def test_the_words_beside_the_numbers_are_the_corrected_ones(make_study: Make) -> None:
    study = make_study(large_study_data())
    analysis = analyse(study, simulated_rows(study))
    domain = analysis["domains"]["images"]
    arm = next(arm for arm in domain["arms"] if arm["arm"] == "depthwise_conv")
    assert any("above attention: depthwise conv" in said for said in sentences_of(analysis)["domains"]["images"])
    arm["against"]["attention"] |= {"label": "equivalent", "sign": 0}
    assert any("equivalent within 2.0: depthwise conv" in said for said in sentences_of(analysis)["domains"]["images"])
    limits = " ".join(sentences_of(analysis)["limits"])
    assert "corrected for the number of comparisons" in limits
    assert "The study file states no margin in matching probe, so that no two arms" in limits
