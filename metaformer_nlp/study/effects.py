"""What taking out a part of the architecture does beside what swapping the mixer does, in one domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import fsum
from typing import Any

from metaformer_nlp.study.plan import Arm, Study
from metaformer_nlp.study.statistics import (
    compare_family,
    mean_interval,
    mean_of_paired,
    paired_values,
    variance_shares,
)

Scores = Mapping[str, Mapping[int, float]]  # arm -> seed -> score


def effects(study: Study, arms: Sequence[Arm], scores: Scores, margin: float | None) -> dict[str, Any]:
    """What each arm costs: a mixer against the baseline mixer, an architecture part against the arm it was taken from.

    `contrast` is the mean cost of the architecture arms minus that of the mixer arms, both in the same seeds. The costs
    are one family of comparisons; `shown` is the label of a cost's test.
    """
    costs: dict[str, dict[str, dict[int, float]]] = {"mixer": {}, "architecture": {}}
    for arm in arms:
        cost = paired_values(scores[arm.of or study.baseline], scores[arm.name])
        if cost and arm.name != study.baseline:
            costs[arm.kind][arm.name] = cost
    groups = {kind: list(group.values()) for kind, group in costs.items()}
    every = [set(cost) for cost in groups["mixer"] + groups["architecture"]]
    common = sorted(set[int].intersection(*every)) if all(costs.values()) else []
    contrast = [_average(groups["architecture"], seed) - _average(groups["mixer"], seed) for seed in common]
    mixer_means = [fsum(scores[arm.name].values()) / len(scores[arm.name]) for arm in _mixers(arms, scores)]
    both = {**costs["mixer"], **costs["architecture"]}
    tests = compare_family({arm.name: list(both[arm.name].values()) for arm in arms if arm.name in both}, margin)
    return {
        "costs": [_cost(study, arm, tests[arm.name], both[arm.name]) for arm in arms if arm.name in both],
        "mixer": asdict(mean_of_paired(groups["mixer"])),
        "architecture": asdict(mean_of_paired(groups["architecture"])),
        "contrast": asdict(mean_interval(contrast)),
        "mixer_range": max(mixer_means) - min(mixer_means) if len(mixer_means) > 1 else None,
    }


def variance(arms: Sequence[Arm], scores: Scores) -> dict[str, Any] | None:
    """The shares of variance of mixers, parts and seeds; arms without a finished run are left out."""
    mixers = {arm.name: scores[arm.name] for arm in _mixers(arms, scores)}
    parts = {
        arm.name: (scores[arm.of], scores[arm.name]) for arm in arms if arm.of and scores[arm.name] and scores[arm.of]
    }
    return variance_shares(mixers, parts)


def _cost(study: Study, arm: Arm, test: Mapping[str, Any], seeds: Mapping[int, float]) -> dict[str, Any]:
    named = {"arm": arm.name, "kind": arm.kind, "label": arm.title, "reference": arm.of or study.baseline}
    kept = {key: value for key, value in test.items() if key != "label"}
    return {**named, **kept, "shown": test["label"], "seeds": {str(seed): cost for seed, cost in seeds.items()}}


def _mixers(arms: Sequence[Arm], scores: Scores) -> list[Arm]:
    return [arm for arm in arms if arm.kind == "mixer" and scores[arm.name]]


def _average(costs: Sequence[Mapping[int, float]], seed: int) -> float:
    return fsum(cost[seed] for cost in costs) / len(costs)
