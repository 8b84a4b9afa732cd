"""The answers to a domain's questions, by rules that ``report/templates/rules.md`` puts into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from metaformer_nlp.study.analysis.facts import Facts
from metaformer_nlp.study.analysis.results import Known, Removal, Swap
from metaformer_nlp.study.analysis.statistics import (
    Answer,
    Family,
    Pairs,
    answer,
    compare_arms,
    compare_pairs,
    compose,
    share_of_gain,
)
from metaformer_nlp.study.analysis.statistics.composed import ALPHA
from metaformer_nlp.study.analysis.statistics.pairs import Change

NOT_RUN = "not run yet"
ADDS_NOTHING = "is not shown above no mixing: without its mixer it has nothing to lose"
Beside = Sequence[tuple[Change, Change]]


def answers(
    facts: Facts, known: Sequence[Known], removals: Sequence[Removal], swaps: Sequence[Swap]
) -> tuple[dict[str, Answer], dict[str, Pairs]]:
    """By the question's name, and the pairs of those that pairs answer; questions that the arms do not allow are left
    out."""
    base, margin, found = facts.study.baseline, facts.domain.margin, dict[str, Answer]()
    if known:
        found["known"] = compose({str(place): item.answer for place, item in enumerate(known)}).answer
    if facts.control:
        found["mixing"] = _mixing(facts, base, facts.control)
    claim = facts.study.claim
    if claim and claim.arm in facts.arms and (facts.control or claim.retains is not None):
        found["claim"] = _claim(facts, claim.arm, found.get("mixing"))
    mixers = [arm.name for arm in facts.arms.values() if arm.kind == "mixer"]
    beside = _beside(facts, mixers, removals, swaps)
    for name, its in beside.items():
        found[name] = _by_pairs(facts, name, its)
    if len(mixers) > 1:
        found["mixers"] = facts.judge(mixers, lambda family: _differ(family, base, mixers, margin))
    if not facts.telling:
        return dict.fromkeys(found, Answer("open", 1.0, 1.0, "no arm is shown above chance here")), {}
    return found, {
        name: compare_pairs(facts.family, its, signed=name != "swaps")
        for name, its in beside.items()
        if found[name].note != NOT_RUN
    }


def _mixing(facts: Facts, base: str, control: str) -> Answer:
    """No if the baseline is shown to be above the control by less than the margin; else yes, if it is above it."""
    if not facts.above_chance(base):
        return Answer("open", 1.0, 1.0, f"{facts.arms[base].title} is not above chance")
    margin = facts.domain.margin or 0.0

    def judge(family: Family) -> Answer:
        gain = family.contrast({base: 1.0, control: -1.0})
        word = answer(gain.p_above(), gain.p_below(margin), gain.note)
        if word.p_no <= ALPHA:
            return Answer("no", 1.0, word.p_no, "by less than the margin, if at all" if margin else "")
        return word

    return facts.judge((base, control), judge)


def _claim(facts: Facts, arm: str, mixing: Answer | None) -> Answer:
    base, control, asked = facts.study.baseline, facts.control, facts.share_asked(arm)
    if control is None or mixing is None:
        return Answer("open", 1.0, 1.0, "there is no control, so that the gain of mixing is not known")
    if mixing.word != "yes":
        return Answer("open", 1.0, 1.0, mixing.note or "no gain of mixing is shown")
    return facts.judge((arm, base, control), lambda family: share_of_gain(family, arm, base, control, asked).answer)


def _beside(
    facts: Facts, mixers: Sequence[str], removals: Sequence[Removal], swaps: Sequence[Swap]
) -> Mapping[str, Beside]:
    """The pairs of each question that pairs answer, where there are any."""
    control = facts.control
    parts = [(item.arm, item.of) for item in removals if item.arm != control]
    of_parts = [(swap.arm, swap.of) for swap in swaps if not swap.mixer]
    found: dict[str, Beside] = {
        "removals": [(part, (control, part[1])) for part in parts if control and part[1] != control],
        "parts": [(part, (mixer, part[1])) for part in parts for mixer in mixers if mixer != part[1]],
        "swaps": [((swap.arm, swap.of), part) for swap in swaps if swap.mixer for part in of_parts],
    }
    return {name: beside for name, beside in found.items() if beside}


def _by_pairs(facts: Facts, name: str, beside: Beside) -> Answer:
    arms = {arm for pair in beside for change in pair for arm in change}
    waiting = {arm for arm in arms if not facts.began(arm)}
    missing = sum(any(arm in waiting for change in pair for arm in change) for pair in beside)
    if missing == len(beside):
        return Answer("open", 1.0, 1.0, NOT_RUN)
    if silent := [of for (_, of), _ in beside if not facts.above_chance(of)]:
        return Answer("open", 1.0, 1.0, f"{facts.arms[silent[0]].title} is not above chance: it has nothing to lose")

    def judge(family: Family) -> Answer:
        word = compare_pairs(family, beside, signed=name != "swaps").answer
        if name != "removals":
            return word
        # A mixer that adds nothing costs nothing to take out: any part would cost more.
        p_idle, of = max((family.contrast({of: 1.0, control: -1.0}).p_above(), of) for _, (control, of) in beside)
        if word.word == "yes" and p_idle > ALPHA:
            return Answer("open", p_idle, word.p_no, f"{facts.arms[of].title} {ADDS_NOTHING}")
        return replace(word, p_yes=max(word.p_yes, p_idle))

    word = facts.judge(arms - waiting, judge)
    if missing and word.word != "no":
        return Answer("open", 1.0, word.p_no, f"{missing} of {len(beside)} pairs have no finished run yet")
    return word


def _differ(family: Family, baseline: str, mixers: Sequence[str], margin: float | None) -> Answer:
    """Yes if some mixer is shown to differ from the baseline, no if all are shown to be equal to it."""
    found = compare_arms(family, baseline, margin, mixers).values()
    p_differ = [item.p_holm for item in found if item.p_holm is not None]
    p_equal = [1.0 if item.p_equivalent is None else item.p_equivalent for item in found]
    word = answer(min(p_differ, default=1.0) / 2, max(p_equal, default=1.0) / 2)  # both are tests at 5 %
    return Answer("yes", word.p_yes, 1.0) if word.word == "yes" else word
