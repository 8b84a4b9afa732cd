"""What taking out a part of the architecture does beside what swapping the mixer does, in one domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import fsum
from typing import Any

from metaformer_nlp.study.analysis.statistics import (
    Estimate,
    compare_family,
    mean_interval,
    mean_of_paired,
    paired_values,
    side,
    variance_shares,
)
from metaformer_nlp.study.protocol.study import KINDS, Arm, Study

Scores = Mapping[str, Mapping[int, float]]  # arm -> seed -> score
_SHARES = ("mixer", "architecture", "seed")
Families = Mapping[str, Mapping[str, Mapping[str, Any]]]  # reference -> arm -> comparison of arm minus reference


def effects(
    study: Study,
    arms: Sequence[Arm],
    scores: Scores,
    families: Families,
    margin: float | None,
    chance: float | None,
) -> dict[str, Any]:
    """What each arm costs: a mixer against the baseline mixer, an architecture part against the arm it was taken from.

    - ``costs``: each arm's cost with its test, which is that of the same difference in `families` (reference -> arm ->
      its comparison); parts of an arm that nobody else is compared with are a family of their own. ``shown`` is the
      test's label, ``sign`` +1 where a cost is shown.
    - ``contrast``: the mean cost of the architecture arms minus that of the mixer arms, both in the same seeds;
      ``without``, if there are several parts, the same less the part that costs most, whose name is in ``arm``.
    - ``same_arm``: the same with every mixer's cost measured from the arm that the parts were taken from, as theirs
      is; None where that is the baseline. A baseline far from the other mixers moves the contrast, and not this.
    - ``side``: +1 if all of these lie above zero, so that neither a single part nor the choice of the baseline makes
      the difference; -1 if the contrast lies below zero; else 0, and 0 if an arm had to be left out or parts were taken
      from an arm without anything to lose.
    - ``left_out``: the mixers and parts that have no run to compare.
    - ``nothing_to_lose``: the arms that parts were taken from and that are not above `chance` themselves.
    """
    costs: dict[str, dict[str, dict[int, float]]] = {kind: {} for kind in KINDS}
    left_out = []
    for arm in arms:
        cost = paired_values(scores[arm.of or study.baseline], scores[arm.name])
        if cost and arm.name != study.baseline:
            costs[arm.kind][arm.name] = cost
        elif not cost and arm.kind != "variant":
            left_out.append(arm.name)
    mixers, parts = costs["mixer"], costs["architecture"]
    tests = _tests(study, arms, {**mixers, **parts, **costs["variant"]}, families, margin)
    contrast, without = asdict(mean_interval(_contrast(mixers, parts))), None
    if len(parts) > 1:
        costliest = max(parts, key=lambda name: tests[name]["value"])
        rest = {name: cost for name, cost in parts.items() if name != costliest}
        without = {"arm": costliest, **asdict(mean_interval(_contrast(mixers, rest)))}
    same_arm = None
    if any(arm.of not in (None, study.baseline) for arm in arms if arm.name in parts):
        same_arm = asdict(mean_interval(_contrast_in_same_arm(arms, scores, set(parts))))
    clear = all(side(estimate) > 0 for estimate in (contrast, without, same_arm) if estimate is not None)
    origins = dict.fromkeys(arm.of for arm in arms if arm.of and arm.name in parts)
    nothing_to_lose = [name for name in origins if not above(chance, mean_interval(list(scores[name].values())))]
    return {
        "costs": [tests[arm.name] for arm in arms if arm.name in tests],
        "mixer": asdict(mean_of_paired(list(mixers.values()))),
        "architecture": asdict(mean_of_paired(list(parts.values()))),
        "contrast": contrast,
        "without": without,
        "same_arm": same_arm,
        "side": 0 if left_out or nothing_to_lose else 1 if clear else min(side(contrast), 0),
        "left_out": left_out,
        "nothing_to_lose": nothing_to_lose,
    }


def above(chance: float | None, score: Estimate) -> bool:
    """Whether a score's interval lies wholly above chance."""
    return chance is not None and score.low is not None and score.low > chance


def variance(arms: Sequence[Arm], scores: Scores) -> dict[str, Any] | None:
    """The shares of variance of mixers, parts and seeds; arms without a finished run are left out.

    ``without``: the ``arm`` without which another of the three has the largest share, and the shares then: a single arm
    that fails to train would otherwise speak for all of its kind. Of several such arms, the one without which the
    largest share falls lowest; None if there is none, or if no share is clearly the largest (by their intervals) with
    all arms.
    """
    mixers = {arm.name: scores[arm.name] for arm in _mixers(arms, scores)}
    parts = {
        arm.name: (scores[arm.of], scores[arm.name])
        for arm in arms
        if arm.of and arm.kind == "architecture" and scores[arm.name] and scores[arm.of]
    }
    whole = variance_shares(mixers, parts)
    if whole is None:
        return None
    without = dict[str, dict[str, Any]]()
    largest = _largest_share(whole)
    for name in (*mixers, *(parts if len(parts) > 1 else ())) if parts and _is_clear(whole, largest) else ():
        rest = variance_shares(_less(mixers, name), _less(parts, name))
        if rest and _largest_share(rest) != largest:
            without[name] = {"arm": name, **{kind: rest[kind] for kind in _SHARES}}
    return {**whole, "without": min(without.values(), key=lambda its: its[largest]["share"], default=None)}


def _largest_share(variance: Mapping[str, Any]) -> str:
    return max((kind for kind in _SHARES if variance[kind]), key=lambda kind: variance[kind]["share"])


def _is_clear(variance: Mapping[str, Any], largest: str) -> bool:
    """Whether the intervals of the others lie below that of the largest share."""
    low = variance[largest]["share_low"]
    return low is not None and all(variance[kind]["share_high"] < low for kind in _SHARES if kind != largest)


def _less(its: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in its.items() if key != name}


def _tests(
    study: Study, arms: Sequence[Arm], costs: Scores, families: Families, margin: float | None
) -> dict[str, dict[str, Any]]:
    """Each arm's cost with what its comparison shows, in the order of `arms`."""
    families = dict(families)
    for arm in arms:
        if arm.of and arm.of not in families:
            its = {part.name: costs[part.name] for part in arms if part.of == arm.of and part.name in costs}
            families[arm.of] = compare_family(
                {name: [-value for value in cost.values()] for name, cost in its.items()}, margin
            )
    return {
        arm.name: _cost(arm, reference, families[reference][arm.name], costs[arm.name])
        for arm in arms
        if arm.name in costs and (reference := arm.of or study.baseline)
    }


def _cost(arm: Arm, reference: str, test: Mapping[str, Any], seeds: Mapping[int, float]) -> dict[str, Any]:
    """The comparison of `arm` minus `reference`, turned about: what the reference has more."""
    turned = {
        key: None if test[end] is None else 0.0 - test[end]
        for key, end in (("value", "value"), ("low", "high"), ("high", "low"))
    }
    return {
        **{"arm": arm.name, "kind": arm.kind, "label": arm.title, "reference": reference},
        **turned,
        **{key: test[key] for key in ("n", "sd", "method", "note", "p", "p_holm", "comparisons")},
        "sign": -test["sign"],
        "shown": test["label"],
        "seeds": {str(seed): cost for seed, cost in seeds.items()},
    }


def _mixers(arms: Sequence[Arm], scores: Scores) -> list[Arm]:
    return [arm for arm in arms if arm.kind == "mixer" and scores[arm.name]]


def _contrast(mixers: Scores, parts: Scores) -> list[float]:
    """What the parts cost more than the mixers, in every seed that all of them have."""
    if not mixers or not parts:
        return []
    every = [*mixers.values(), *parts.values()]
    common = sorted(set[int].intersection(*(set(cost) for cost in every)))
    return [_average(parts, seed) - _average(mixers, seed) for seed in common]


def _contrast_in_same_arm(arms: Sequence[Arm], scores: Scores, parts: set[str]) -> list[float]:
    """What the parts cost more than another mixer would in the arm they were taken from, in every common seed.

    Both costs start from that arm's score, which falls out: how far the other mixers' mean lies above the part's arm.
    """
    mixers = [arm.name for arm in _mixers(arms, scores)]
    pairs = [(arm.name, [name for name in mixers if name != arm.of]) for arm in arms if arm.name in parts]
    pairs = [(part, others) for part, others in pairs if others]
    common = sorted(set[int].intersection(*(set(scores[name]) for name in {*mixers, *parts}))) if pairs else []
    return [
        fsum(_average({name: scores[name] for name in others}, seed) - scores[part][seed] for part, others in pairs)
        / len(pairs)
        for seed in common
    ]


def _average(costs: Scores, seed: int) -> float:
    return fsum(cost[seed] for cost in costs.values()) / len(costs)
