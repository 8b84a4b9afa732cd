"""Of which domains and arms of an analysis something can be said, and the three words for what is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SUPPORTED, NOT_SUPPORTED, CANNOT_TELL = "supported", "not supported", "cannot tell"

Domain = Mapping[str, Any]


def learned_domains(analysis: Mapping[str, Any]) -> list[Domain]:
    """The domains whose baseline is above chance: only there can anything be retained or lost."""
    return [domain for domain in analysis["domains"].values() if domain["learned"]]


def telling_domains(analysis: Mapping[str, Any]) -> list[Domain]:
    """The domains in which some arm is above chance: where none is, all arms are alike, and that says nothing."""
    return [domain for domain in analysis["domains"].values() if domain["telling"]]


def arm_of(domain: Domain, name: str) -> Mapping[str, Any]:
    """The domain's arm of this name."""
    return next(arm for arm in domain["arms"] if arm["arm"] == name)


def mixers_of(domain: Domain, baseline: str) -> list[Mapping[str, Any]]:
    """The mixer arms that have results, except the baseline."""
    return [arm for arm in domain["arms"] if arm["kind"] == "mixer" and arm["arm"] != baseline and arm["score"]["n"]]


def incomplete(domain: Domain, *kinds: str) -> list[str]:
    """The arms of these kinds that lack runs, with their numbers: "pooling (2 of 3 runs)"."""
    return [
        f"{arm['label']} ({arm['score']['n']} of {arm['planned']} runs)"
        for arm in domain["arms"]
        if arm["kind"] in kinds and arm["score"]["n"] < arm["planned"]
    ]


def at_chance(domain: Domain) -> list[str]:
    """The parts without which nothing is learned: the score's interval is not above chance."""
    return [
        arm["label"]
        for arm in domain["arms"]
        if arm["kind"] == "architecture" and arm["score"]["low"] is not None and arm["score"]["low"] <= domain["chance"]
    ]
