"""Gain, pairs, failures and composed words on scores whose answer is plain."""

from __future__ import annotations

import pytest
from scipy import stats

from metaformer_nlp.study.analysis.statistics import (
    Answer,
    Family,
    compare_pairs,
    compose,
    diverged,
    every_pair,
    failure_rate,
    retention,
    share_of_gain,
    with_failures,
)
from metaformer_nlp.study.analysis.statistics.gain import NO_GAIN
from metaformer_nlp.study.analysis.statistics.moderated import Prior


def scores(**means: float) -> dict[str, dict[int, float]]:
    """Three runs of each arm, half a point around its mean; seeds have nothing in common."""
    turns = ((-0.5, 0.0, 0.5), (0.5, -0.5, 0.0), (0.0, 0.5, -0.5))
    return {
        arm: {seed: mean + off for seed, off in enumerate(turns[place % 3])}
        for place, (arm, mean) in enumerate(means.items())
    }


def family(**means: float) -> Family:
    return Family(scores(**means))


def gain(pooling: float, attention: float = 66.0, share: float = 0.5, control: float = 60.0):  # type: ignore[no-untyped-def]
    return share_of_gain(
        family(attention=attention, pooling=pooling, identity=control), "pooling", "attention", "identity", share
    )


@pytest.mark.parametrize(("pooling", "word"), [(66.0, "yes"), (63.2, "open"), (60.0, "no"), (57.0, "no")])
def test_the_share_of_the_gain_is_judged_against_the_share_asked(pooling: float, word: str) -> None:
    found = gain(pooling)
    assert found.answer.word == word
    assert found.value == pytest.approx((pooling - 60) / 6)
    low, high = found.interval
    assert low < found.value < high
    assert (low > 0.5, high < 0.5) == (word == "yes", word == "no"), "the interval and the test agree"


def test_where_the_baseline_is_not_above_the_control_it_is_open() -> None:
    found = gain(60.0, attention=60.2)
    assert (found.answer.word, found.answer.note, found.value) == ("open", NO_GAIN, None)
    assert gain(58.0, attention=50.0).answer.note == NO_GAIN, "nor where it is below"


def test_a_larger_share_is_harder_to_keep() -> None:
    assert [gain(64.8, share=share).answer.word for share in (0.5, 0.8, 1.3)] == ["yes", "open", "no"]


def test_without_a_prior_and_with_paired_seeds_the_interval_is_that_of_retention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Retention above chance is the same ratio with a control that does not vary."""
    runs = {"attention": {0: 80.0, 1: 82.0, 2: 81.0}, "pooling": {0: 75.0, 1: 74.0, 2: 77.0}}
    monkeypatch.setattr(Family, "paired", True)
    monkeypatch.setattr(Family, "prior", Prior(0.0, 0.0))
    chance = Family({**runs, "identity": dict.fromkeys(range(3), 10.0)})
    known = retention(runs["pooling"], runs["attention"], 10.0)
    found = share_of_gain(chance, "pooling", "attention", "identity")
    assert found.interval == pytest.approx((known.low, known.high), abs=1e-5)


def test_an_arm_without_runs_and_the_baseline_itself_are_open() -> None:
    arms = scores(attention=66.0, identity=60.0) | {"pooling": {}}
    assert share_of_gain(Family(arms), "pooling", "attention", "identity").answer.note == "no finished run"
    assert share_of_gain(Family(arms), "attention", "attention", "identity").value == 1
    assert share_of_gain(Family({**arms, "attention": {}}), "pooling", "attention", "identity").answer.word == "open"


def test_costs_of_opposite_sign_do_not_cancel() -> None:
    arms = {"attention": 60.0, "pooling": 60.0, "norm": 56.0, "better": 68.0, "worse": 52.0}
    found = compare_pairs(
        family(**arms), every_pair({"norm": "pooling"}, {"better": "attention", "worse": "attention"})
    )
    assert (found.answer.word, found.more, found.shown_less) == ("no", 0, 2)
    assert found.answer.p_no == pytest.approx(2 * min(pair.p_less for pair in found.pairs))
    near = {"attention": 60.0, "pooling": 60.0, "norm": 40.0, "better": 68.0, "worse": 52.0}
    found = compare_pairs(
        family(**near), every_pair({"norm": "pooling"}, {"better": "attention", "worse": "attention"})
    )
    assert (found.answer.word, found.more, found.shown_more) == ("yes", 2, 2)


def test_one_pair_not_shown_leaves_it_open_and_a_missing_arm_too() -> None:
    arms = {"attention": 60.0, "pooling": 60.0, "norm": 55.0, "small": 60.0, "large": 65.2}
    swaps = {"small": "attention", "large": "attention"}
    found = compare_pairs(family(**arms), every_pair({"norm": "pooling"}, swaps))
    assert (found.answer.word, found.shown_more) == ("open", 1)
    gone = Family(scores(**arms) | {"large": {}})
    assert compare_pairs(gone, every_pair({"norm": "pooling"}, swaps)).answer.word == "open"
    assert compare_pairs(gone, every_pair({"norm": "pooling"}, {"small": "attention"})).answer.word == "yes"
    assert compare_pairs(gone, every_pair({}, swaps)).answer.note == "no pair"


def test_a_removal_that_helps_costs_less_than_any_swap_but_changes_more_as_a_swap() -> None:
    arms = {"attention": 60.0, "pooling": 60.0, "norm": 70.0, "swap": 61.0}
    parts, swaps = {"norm": "pooling"}, {"swap": "attention"}
    assert compare_pairs(family(**arms), every_pair(parts, swaps)).answer.word == "no"
    assert compare_pairs(family(**arms), every_pair(parts, swaps), signed=False).answer.word == "yes"
    assert compare_pairs(family(**arms), every_pair(swaps, parts), signed=False).answer.word == "no"


def test_pairs_that_share_an_arm_are_contrasts_of_what_is_left() -> None:
    """The mixer and the norm both out of pooling: the difference of their scores is all that counts."""
    arms = family(pooling=60.0, identity=55.0, norm=52.0)
    pair = compare_pairs(arms, every_pair({"norm": "pooling"}, {"identity": "pooling"})).pairs[0]
    assert pair.p_more == pytest.approx(arms.contrast({"identity": 1, "norm": -1}).p_above())
    assert (pair.cost, pair.swap_cost) == (8, 5)


@pytest.mark.parametrize(("failed", "runs"), [(0, 5), (1, 3), (3, 10), (4, 4)])
def test_the_failure_rate_has_the_exact_interval(failed: int, runs: int) -> None:
    found, known = failure_rate(failed, runs), stats.binomtest(failed, runs).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((known.low, known.high))


def test_a_yes_must_also_stand_with_failed_runs_at_chance() -> None:
    def judge(runs: dict[str, dict[int, float]]) -> Answer:
        return share_of_gain(Family(runs), "pooling", "attention", "identity").answer

    arms = scores(attention=66.0, pooling=66.0, identity=60.0)
    assert with_failures(judge, arms, {}, 10.0).word == "yes"
    lost = {**arms, "pooling": {0: 66.0, 1: 66.3}}
    found = with_failures(judge, lost, {"pooling": [2]}, 10.0)
    assert found.word == "open", "it hangs on the lost run"
    assert found.note == "yes without the runs that failed, diverged or are missing, open with them"
    finished = {**arms, "pooling": {0: 66.0, 1: 66.3, 2: 65.9}}
    assert with_failures(judge, finished, {"pooling": [2]}, 10.0).word == "yes", "it has a score of its own"
    assert with_failures(judge, lost, {"pooling": [2], "attention": []}, 66.0).word == "yes"


def test_a_run_that_learned_nothing_is_named_and_a_spread_is_not() -> None:
    assert diverged({0: 66.0, 1: 12.0, 2: 65.0}, 10.0, 0.8) == (1,)
    assert diverged({0: 66.0, 1: 60.0, 2: 65.0}, 10.0, 0.8) == (), "far off, but it learned"
    assert diverged({0: 11.0, 1: 10.1, 2: 11.5}, 10.0, 0.8) == (), "an arm that is near chance altogether"
    assert diverged({0: 66.0, 1: 12.0}, 10.0, 0.8) == (), "of two, nobody knows which"


def test_words_over_domains() -> None:
    yes, no, open_ = Answer("yes", 0.01, 1.0), Answer("no", 1.0, 0.01), Answer("open", 0.3, 0.7)
    assert compose({"a": yes, "b": yes}).answer.word == "yes"
    assert compose({"a": yes, "b": open_}).answer.word == "open"
    assert compose({"a": yes, "b": no}).answer == Answer("no", 1.0, 0.02)
    three = compose({"a": no, "b": open_, "c": open_})
    assert (three.answer.word, three.shown_against) == ("open", ()), "0.01 times three is not enough"
    assert compose({"a": no, "b": no}).shown_against == ("a", "b")
    assert compose({}).answer.word == "open"
