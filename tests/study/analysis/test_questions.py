"""The answers follow from the numbers: planted studies, in which every word is known beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from scipy.special import expit

from metaformer_nlp.study.analysis.analyse import analyse
from metaformer_nlp.study.analysis.results import Analysis
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.render import conclusion, markdown
from metaformer_nlp.study.report.tables import Tables
from metaformer_nlp.study.report.wording import table
from tests.study.simulated import MIXERS, PARTS, Truth, planted_rows, small_study_data, without_result, words

Make = Callable[[dict[str, Any]], Study]
SAME: Truth = dict.fromkeys((*MIXERS, *PARTS, "batch_norm"), 0.6)
GAIN: Truth = {**SAME, "attention": 0.66, "pooling": 0.66, "batch_norm": 0.66}  # pooling keeps all of 6 points
DEAR: Truth = {**GAIN, **dict.fromkeys(PARTS, 0.3)}


@pytest.fixture
def plant(make_study: Make) -> Callable[..., Analysis]:
    """The analysis of a small study with this truth; `alter` changes its rows, `changes` its file."""

    def make(
        truth: Truth,
        seeds: int = 5,
        noise: float = 0.008,
        alter: Callable[..., Any] = list,
        draw: int = 0,
        **changes: Any,
    ) -> Analysis:
        study = make_study(small_study_data(seeds, **changes))
        return analyse(study, alter(planted_rows(study, truth, noise, draw)))

    return make


@pytest.fixture
def counted(make_study: Make) -> Callable[..., dict[str, Counter[str]]]:
    """How often each word is the answer to each question, in many studies of one truth."""

    def count(truth: Truth, seeds: int, studies: int, **changes: Any) -> dict[str, Counter[str]]:
        study = make_study(small_study_data(seeds, **changes))
        found: dict[str, Counter[str]] = {}
        for draw in range(studies):
            for name, word in words(analyse(study, planted_rows(study, truth, 0.008, draw))).items():
                found.setdefault(name, Counter())[word] += 1
        return found

    return count


def test_a_study_of_one_model_finds_no_difference(counted: Any, plant: Any) -> None:
    """Mixing is worthless in it, and pooling scores like attention: that is no yes to the claim."""
    found = counted(SAME, 3, 60)
    assert found["claim"]["yes"] == found["parts"]["yes"] == found["removals"]["yes"] == 0
    for name, most in (("mixing", 0.025), ("mixers", 0.05)):
        assert found[name]["yes"] <= 60 * most + 3.3 * (60 * most * (1 - most)) ** 0.5, name
    clear = plant(SAME, seeds=12)
    assert (words(clear)["mixing"], words(clear)["mixers"], words(clear)["claim"]) == ("no", "no", "open")
    assert "by less than the margin" in clear.question("claim").answer.note
    assert "In vision mixing hardly helps (" in conclusion(clear)
    open_ended = plant(SAME, seeds=3, noise=0.03, draw=1)
    assert words(open_ended)["mixing"] == "open"
    assert "In vision mixing is not shown to help." in conclusion(open_ended)


def test_the_claim_turns_with_what_pooling_keeps(counted: Any, plant: Any) -> None:
    assert counted(GAIN, 3, 40)["claim"]["yes"] > 0.7 * 40
    assert counted({**GAIN, "pooling": 0.63}, 3, 40)["claim"]["open"] > 0.85 * 40, "half of it is the bound itself"
    assert counted({**GAIN, "pooling": 0.60}, 3, 40)["claim"]["no"] > 0.5 * 40
    share = plant(GAIN).domains["vision"].arms["pooling"].share
    assert share.interval[0] < 1 < share.interval[1]
    assert share.asked == 0.5
    assert words(plant(GAIN, claim={"arm": "pooling", "gain": 0.99}))["claim"] == "open"


def test_a_study_without_a_control_does_not_judge_retention(plant: Any) -> None:
    found = plant(GAIN, control=None, claim={"arm": "pooling", "retains": 0.9})
    assert found.question("mixing") is found.question("removals") is None
    answer = found.question("claim").answer
    assert (answer.word, "no control" in answer.note) == ("open", True)
    assert found.domains["vision"].arms["pooling"].retention.value == pytest.approx(1.0, abs=0.03)
    assert plant(GAIN, claim=None).question("claim") is None, "a study that makes no claim is not asked about one"


def test_parts_are_set_beside_mixers_pair_by_pair(counted: Any, plant: Any) -> None:
    dear = plant(DEAR)
    assert (words(dear)["parts"], words(dear)["removals"]) == ("yes", "yes")
    assert "Each part that was taken out costs more than any change of the mixer." in conclusion(dear)
    pairs = dear.domains["vision"].pairs["parts"]
    assert (len(pairs.pairs), pairs.more, pairs.shown_more, pairs.shown_less) == (8, 8, 8, 0)
    cheap = {**DEAR, "fourier": 0.1}
    reversed_pair = plant(cheap)
    assert words(reversed_pair)["parts"] == "no", "one mixer costs more than both parts"
    assert words(reversed_pair)["removals"] == "yes", "it is not the one that is left when the mixer is taken out"
    assert reversed_pair.domains["vision"].pairs["parts"].shown_less == 2
    assert "Not every part costs more" in conclusion(reversed_pair)
    assert words(plant({**DEAR, "identity": 0.1}))["removals"] == "no"


def test_a_mixer_that_adds_nothing_makes_no_part_dear(plant: Any) -> None:
    """Pooling is as good as no mixing: whatever is taken out costs more than its mixer."""
    found = plant({**DEAR, "pooling": 0.6, "batch_norm": 0.6})
    answer = found.question("removals").domains["vision"]
    assert (answer.word, answer.note.startswith("pooling is not shown above no mixing")) == ("open", True)
    assert words(plant({**DEAR, "pooling": 0.6, "no_norm": 0.75}))["removals"] == "no", "a part that helps"


def test_arms_that_have_not_run_are_neither_evidence_nor_forgotten(plant: Any) -> None:
    def without(rows: list[dict[str, Any]], *arms: str) -> list[dict[str, Any]]:
        for arm in arms:
            rows = without_result(rows, arm, range(5), "missing")
        return rows

    expected = [{"arm": "no_norm", "reference": "pooling", "sign": "lower", "source": "Table 5"}]
    some = plant(DEAR, alter=lambda rows: without(rows, "no_norm", "fourier"), expected=expected).domains["vision"]
    assert some.answers["removals"].note == "1 of 2 pairs have no finished run yet"
    assert some.answers["parts"].note == "5 of 8 pairs have no finished run yet"
    assert (some.known[0].answer.word, some.known[0].answer.note) == ("open", "not run yet")
    assert some.arms["conv"].against["attention"].comparisons == 7, "all that the file compares with it"
    none = plant(DEAR, alter=lambda rows: without(rows, *PARTS)).domains["vision"]
    assert {none.answers[name].note for name in ("removals", "parts")} == {"not run yet"}
    assert not none.pairs.keys() & {"removals", "parts"}
    dear = {**DEAR, "fourier": 0.1}
    assert words(plant(dear, alter=lambda rows: without(rows, "no_norm")))["parts"] == "no", "it is shown already"


def test_a_contradiction_that_does_not_stand_over_domains_is_open_in_all_places(plant: Any) -> None:
    lower = {"arm": "identity", "reference": "pooling", "sign": "lower", "source": "Table 5"}
    domains = [f"v{number}" for number in range(8)]
    data = small_study_data(5, domains)
    truth = {**GAIN, "identity": dict.fromkeys(domains, 0.6) | {"v3": 0.6725}}
    found = plant(truth, expected=[lower], domains=data["domains"])
    words_of = {name: (its.known[0].answer.word, its.answers["known"].word) for name, its in found.domains.items()}
    assert found.domains["v3"].known[0].answer.p_no < 0.025, "it is shown in the domain alone"
    assert words_of["v3"] == ("open", "open")
    assert {words_of[name] for name in domains if name != "v3"} == {("yes", "yes")}


def test_mixers_far_apart_with_cancelling_signs_make_no_part_dear(counted: Any) -> None:
    """The mean of their signed costs is zero, and parts cost 4 points."""
    apart = {**GAIN, "attention": 0.74, "conv": 0.58, "fourier": 0.74, "identity": 0.58}
    found = counted({**apart, **dict.fromkeys(PARTS, 0.62)}, 5, 30)
    assert found["parts"]["yes"] == 0
    assert found["parts"]["no"] > 0.7 * 30


def test_swaps_are_set_beside_swaps(plant: Any) -> None:
    mixers = {**GAIN, "pooling": 0.56, "batch_norm": 0.56, "conv": 0.76, "fourier": 0.5}
    assert words(plant(mixers))["swaps"] == "yes", "gains and losses alike"
    assert words(plant({**SAME, "batch_norm": 0.4}))["swaps"] == "no"
    assert words(plant(SAME))["swaps"] == "open"
    arms = {name: arm for name, arm in small_study_data()["arms"].items() if name != "batch_norm"}
    assert plant(SAME, arms=arms).question("swaps") is None


def test_runs_without_a_score_hold_a_word_back(plant: Any) -> None:
    assert words(plant(DEAR))["claim"] == "yes"
    for status in ("failed", "missing"):
        broken = plant(DEAR, alter=lambda rows, status=status: without_result(rows, "pooling", [3, 4], status))
        answer = broken.question("claim").answer
        assert (answer.word, answer.note) == (
            "open",
            "yes without the runs that failed, diverged or are missing, open with them",
        )
        arm = broken.domains["vision"].arms["pooling"]
        assert (arm.absent, len(arm.seeds), arm.planned) == ((3, 4), 3, 5)
        assert (arm.failures.failed, arm.failures.runs) == ((2, 5) if status == "failed" else (0, 3))
        assert words(broken)["parts"] == "open"
    gone = plant(DEAR, alter=lambda rows: without_result(rows, "pooling", range(5)))
    assert {words(gone)[name] for name in ("claim", "parts", "removals", "swaps")} == {"open"}
    assert words(gone)["mixing"] == "yes", "it rests on other arms"


def test_a_word_that_stands_with_the_failed_runs_at_chance_is_said(plant: Any) -> None:
    """Identity is near chance anyhow, so that its failed run changes nothing."""
    truth = {**DEAR, "identity": 0.11}
    broken = plant(truth, alter=lambda rows: without_result(rows, "identity", [4]))
    assert broken.domains["vision"].arms["identity"].absent == (4,)
    assert (words(broken)["claim"], words(broken)["mixing"]) == ("yes", "yes")


def test_a_run_that_diverged_is_named_and_judged_with_and_without(plant: Any) -> None:
    def diverging(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"score": 0.12} if (row["arm"], row["seed"]) == ("pooling", 2) else row for row in rows]

    found = plant(GAIN, alter=diverging)
    arm = found.domains["vision"].arms["pooling"]
    assert (arm.diverged, arm.absent) == ((2,), ())
    assert arm.score.n == 5, "it is not dropped"
    answer = found.question("claim").answer
    assert (answer.word, answer.note) == (
        "open",
        "yes without the runs that failed, diverged or are missing, open with them",
    )
    assert words(found)["mixing"] == "yes"
    assert all(not other.diverged for name, other in found.domains["vision"].arms.items() if name != "pooling")


def test_published_differences_are_reproduced_or_contradicted(plant: Any) -> None:
    lower = {"arm": "identity", "reference": "pooling", "sign": "lower", "size": 0.06, "source": "Table 5"}
    better = {"arm": "conv", "reference": "fourier", "sign": "higher", "source": "Table 6"}
    found = plant(GAIN, expected=[lower, better])
    first, second = found.domains["vision"].known
    assert (first.answer.word, first.size_inside, second.answer.word) == ("yes", True, "open")
    assert words(found)["known"] == "open", "not all are reproduced"
    assert words(plant(GAIN, expected=[lower]))["known"] == "yes"
    assert plant(GAIN, expected=[{**lower, "size": 0.3}]).domains["vision"].known[0].size_inside is False
    against = plant({**GAIN, "identity": 0.72}, expected=[lower, better])
    assert words(against)["known"] == "no"
    assert conclusion(against).startswith("Against what is published, identity scores more than pooling in vision.")


def test_one_domain_against_is_enough_and_one_at_chance_leaves_open(plant: Any) -> None:
    two, three = ("vision", "text"), ("vision", "text", "probe")
    assert words(plant(DEAR, domains=two))["claim"] == "yes"
    against = plant({**DEAR, "pooling": {"vision": 0.66, "text": 0.60, "probe": 0.66}}, domains=three, noise=0.004)
    question = against.question("claim")
    assert (question.answer.word, question.against) == ("no", ("text",))
    assert {name: answer.word for name, answer in question.domains.items()} == {
        "vision": "yes",
        "text": "no",
        "probe": "yes",
    }
    lost = {arm: {"vision": score, "text": 0.1} for arm, score in DEAR.items()}
    chance = plant(lost, domains=two)
    assert {word for name, word in words(chance).items() if name != "agreement"} == {"open"}
    assert chance.question("claim").domains["text"].note == "no arm is shown above chance here"
    assert not chance.domains["text"].telling
    assert "In text no arm is shown above chance." in conclusion(chance)


def test_a_contradicted_answer_is_named_wherever_it_is(plant: Any) -> None:
    lower = {"arm": "identity", "reference": "pooling", "sign": "lower", "source": "Table 5"}
    turned = {**GAIN, "identity": {"vision": GAIN["identity"], "text": 0.9}}
    found = plant(turned, domains=("vision", "text"), expected=[lower])
    assert words(found)["known"] == "no"
    assert conclusion(found).startswith("Against what is published, identity scores more than pooling in text.")


def test_a_gain_counts_where_the_baseline_is_above_chance_and_beyond_the_margin(plant: Any) -> None:
    low = {**GAIN, "attention": 0.095, "identity": 0.06}  # chance is 0.1
    assert (words(plant(low, seeds=8, noise=0.002))["mixing"], words(plant(low, seeds=8, noise=0.002))["claim"]) == (
        "open",
        "open",
    )
    small = {**dict.fromkeys(GAIN, 0.8), "attention": 0.805}
    assert words(plant(small, seeds=8, noise=0.001))["mixing"] == "no", "shown, and within the margin"
    assert words(plant(small, seeds=8, noise=0.001))["claim"] == "open"


def test_domains_agree_or_turn(plant: Any) -> None:
    order = {**SAME, **{name: 0.9 - 0.08 * place for place, name in enumerate(MIXERS)}}
    both = ("vision", "text")
    assert words(plant(order, domains=both))["agreement"] == "yes"
    missing = plant(order, domains=both, alter=lambda rows: without_result(rows, "conv", [1], "missing", "text"))
    assert missing.question("agreement").answer.note == "runs failed, diverged or are missing"
    turned = plant({**order, "conv": {"vision": 0.95, "text": 0.8}}, domains=both).question("agreement").answer
    assert (turned.word, turned.note) == ("no", "above in one domain and below in another: conv")
    assert words(plant(SAME, domains=both))["agreement"] == "open"
    assert plant(order).question("agreement") is None, "one domain has none to agree with"
    tau = plant(order, domains=both).ranks[0]
    assert (tau.tau.value, tau.pairs) == (pytest.approx(1.0), {"same": 10, "opposite": 0, "unknown": 0})


def test_a_single_seed_judges_nothing(plant: Any) -> None:
    expected = [{"arm": "identity", "reference": "pooling", "sign": "lower", "source": "Table 5"}]
    found = plant(DEAR, seeds=1, domains=("vision", "text"), expected=expected)
    assert set(words(found).values()) == {"open"}
    assert len(words(found)) == 8


def test_domains_of_one_experiment_are_settings_of_it(plant: Any) -> None:
    four = ("a", "b", "c", "d")
    costs = {name: 0.66 - cost for name, cost in zip(four, (0.02, 0.06, 0.04, 0.08), strict=True)}
    found = plant({**GAIN, "conv": costs}, domains=four)
    setting = next(item for item in found.settings if (item.arm, item.reference) == ("conv", "attention"))
    assert (setting.domains, setting.over.settings) == (four, 4)
    assert setting.over.interval[0] < -0.05 < setting.over.interval[1] < 0
    assert setting.over.prediction[0] < setting.over.interval[0]
    assert setting.over.between == pytest.approx(0.026, abs=0.01)
    assert plant(GAIN, domains=four[:2]).settings == ()


def test_the_gap_closes_widens_or_stays_as_the_budget_grows(plant: Any) -> None:
    """Planted in logits of the share above chance, over four budgets."""
    sizes = ("tiny", "small", "large", "huge")

    def grows(start: float, slope: float) -> dict[str, float]:
        return {name: 0.1 + 0.9 * float(expit(start + slope * place)) for place, name in enumerate(sizes)}

    truth = {**dict.fromkeys(SAME, grows(-0.6, 0.4)), "attention": grows(0.0, 0.4)}
    truth |= {"pooling": grows(-1.2, 0.7), "conv": grows(-0.2, 0.1), "identity": 0.1}
    scale = [{"axis": "tokens", "domains": {name: 1000 * 2**place for place, name in enumerate(sizes)}, "margin": 0.02}]
    found = plant(truth, domains=sizes, noise=0.003, scale=scale)
    (trends,) = found.trends
    assert {name: trends.lines[name].trend for name in ("pooling", "conv", "fourier", "identity")} == {
        "pooling": "closes",
        "conv": "widens",
        "fourier": "steady",
        "identity": "open",
    }
    assert trends.lines["pooling"].slope.value == pytest.approx(-0.3, abs=0.05)
    assert trends.lines["identity"].budgets == (), "it is at chance, so that it has no logit"
    assert max(trends.beyond["pooling"].budgets) <= 4 * 8000
    assert found.first == ("huge",), "the largest budget speaks for the scale"
    assert set(found.question("claim").domains) == {"huge"}
    assert "With more tokens (huge) the gap of pooling to attention closes." in conclusion(found)
    head, _, *rows = str(Tables(found, table).by_budget(trends)).splitlines()
    assert head == "| budget | attention adds to identity | pooling keeps | conv keeps | fourier keeps |"
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in sizes]
    assert rows[0] != rows[-1]
    vague = plant(truth, domains=sizes, noise=0.08, scale=scale).trends[0]
    assert vague.lines["fourier"].trend == "open"

    def without_huge(rows: Any) -> Any:
        for arm in truth:
            rows = without_result(rows, arm, range(5), "missing", "huge")
        return rows

    begun = plant(truth, domains=sizes, noise=0.003, scale=scale, alter=without_huge)
    assert begun.trends[0].lines["pooling"].trend == "closes"
    assert begun.first == ("large",), "the largest budget that has run"
    assert "With more tokens (large) the gap of pooling to attention closes." in conclusion(begun)


def test_take_off_is_when_runs_leave_what_no_mixing_scores(plant: Any) -> None:
    def with_curves(starts: dict[str, int | None]) -> Callable[..., Any]:
        def score(arm: str, step: int) -> float:
            start = starts.get(arm)
            return 0.3 if start is not None and step >= start else 0.1 + 1e-4 * (step % 200)

        return lambda rows: [
            row | {"curve": [[s, score(row["arm"], s), 32 * s] for s in range(0, 1001, 100)]} for row in rows
        ]

    arms = plant(GAIN, alter=with_curves({"attention": 300, "pooling": 600})).domains["vision"].arms
    assert (arms["attention"].take_off.tokens, arms["pooling"].take_off.tokens) == (32 * 300, 32 * 600)
    assert (arms["conv"].take_off.tokens, arms["conv"].take_off.left, arms["conv"].take_off.seen) == (None, 0, 32_000)
    assert arms["identity"].take_off is None


def test_a_part_taken_out_of_the_control_has_a_word(plant: Any) -> None:
    arms = small_study_data()["arms"] | {
        "no_mlp": {"kind": "architecture", "of": "identity", "set": {"model.no": True}}
    }
    found = plant({**GAIN, "no_mlp": 0.2}, arms=arms).domains["vision"]
    (removal,) = (item for item in found.removals if item.arm == "no_mlp")
    assert (removal.of, removal.word) == ("identity", "below")


def test_domains_agree_only_where_each_pair_could_be_compared(plant: Any) -> None:
    """Two of three domains have two mixers in common, and nothing is known of their orders."""
    truth = {name: 0.2 + 0.1 * place for place, name in enumerate((*MIXERS[::-1], *PARTS, "batch_norm"))}
    arms = small_study_data()["arms"]
    assert plant(truth, domains=("a", "b", "c")).question("agreement").answer.word == "yes"
    for name, domains in (("pooling", ["a", "b"]), ("conv", ["b", "c"]), ("fourier", ["b", "c"])):
        arms[name] = {**arms[name], "domains": domains}
    for name in (*PARTS, "batch_norm"):
        arms[name] = {**arms[name], "domains": ["a", "b"]}
    found = plant(truth, domains=("a", "b", "c"), arms=arms, claim=None)
    assert len(found.ranks) == 2
    assert found.question("agreement").answer.word == "open"


def test_arms_of_one_label_do_not_speak_for_each_other(plant: Any) -> None:
    arms = small_study_data()["arms"]
    for name in ("conv", "fourier"):
        arms[name] = {**arms[name], "label": "the other"}
    truth = {**GAIN, "conv": 0.8, "fourier": 0.4}
    assert plant(truth, domains=("a", "b"), arms=arms).question("agreement").answer.word != "no"


def test_a_study_of_one_mixer_and_its_parts_has_a_report(make_study: Make) -> None:
    data = small_study_data(3)
    arms = {"attention": data["arms"]["attention"]}
    arms |= {name: {**data["arms"][name], "of": "attention"} for name in PARTS}
    study = make_study({**data, "arms": arms, "control": None, "claim": None})
    analysis = analyse(study, planted_rows(study, {"attention": 0.6, **dict.fromkeys(PARTS, 0.3)}))
    assert set(words(analysis)) == {"removals", "parts"} - set() or words(analysis) == {}
    assert "# Study" in markdown(analysis, {})


def test_arms_that_have_not_run_are_no_best_mixer(plant: Any) -> None:
    """Nor is there a mixer that scores above an arm that does not run in a domain."""

    def none_of_pooling(rows: Any) -> Any:
        return without_result(rows, "pooling", range(5), "missing")

    row = next(line for line in first_screen(plant(GAIN, alter=none_of_pooling)) if "best mixer, over pooling" in line)
    assert row.endswith("| not run yet |")
    arms = small_study_data()["arms"]
    for name in ("pooling", *PARTS, "batch_norm"):
        arms[name] = {**arms[name], "domains": ["a"]}
    elsewhere = first_screen(plant(GAIN, domains=("a", "b"), arms=arms))
    row = next(line for line in elsewhere if "best mixer, over pooling" in line)
    assert row.endswith("| – |")


def first_screen(analysis: Analysis) -> list[str]:
    return str(markdown(analysis, {})).partition("<details>")[0].splitlines()


def test_runs_that_failed_are_not_called_runs_to_come(plant: Any) -> None:
    def failed(rows: Any) -> Any:
        return without_result(rows, "no_norm", range(5), "failed")

    row = next(line for line in first_screen(plant(DEAR, alter=failed)) if "than the mixer, each taken out" in line)
    assert "1 more have no finished run" in row


def test_a_single_seed_has_no_talk_of_intervals(plant: Any) -> None:
    text = str(markdown(plant(DEAR, seeds=1), {}))
    assert "One seed an arm: there are no intervals, and nothing is shown." in text
    assert "Student's factor" not in text
