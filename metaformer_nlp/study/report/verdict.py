"""The answer of a study: a few statements, each "supported", "not supported" or "cannot tell" by a stated rule.

A pure function of the analysis: no number is read off a picture or by a person, and other numbers give other sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metaformer_nlp.study.analysis.selection import (
    CANNOT_TELL,
    NOT_SUPPORTED,
    SUPPORTED,
    arm_of,
    at_chance,
    incomplete,
    learned_domains,
)
from metaformer_nlp.study.report.agreement import agreement, sameness
from metaformer_nlp.study.runner.sessions import changes_of
from metaformer_nlp.study.words import PERCENT, capital, interval, listed, percent

_MANY = 3  # domains whose numbers can be read in one sentence
SEVERAL_DOMAINS = (
    "With several domains, a statement is supported if it is in every domain that has the arms for it, not supported "
    "if it is not in at least one, and otherwise left open. A domain of which nothing can be said, since its "
    "baseline is not clearly above chance, therefore leaves open what would be supported without it."
)


def verdict(analysis: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The answers: {"statement", "verdict", "sentence", "rule", "domains": {domain's name: its own verdict}}.

    On the architecture's parts if the study takes some out, on its claim if it makes one, and on the mixers.
    """
    study, learned, answers = analysis["study"], learned_domains(analysis), []
    if any(arm["kind"] == "architecture" for arm in study["arms"].values()):
        answers.append(_architecture(analysis, learned))
    if study["claim"] and "retains" in study["claim"]:
        answers.append(_claim(analysis, learned))
    return [*answers, agreement(analysis, answers) if len(analysis["domains"]) > 1 else sameness(analysis)]


def _architecture(analysis: Mapping[str, Any], learned: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    baseline = analysis["study"]["baseline"]
    planned = [name for name, domain in analysis["domains"].items() if _has_both(domain, baseline)]
    labels, numbers = {}, {}
    for domain in learned:
        if domain["name"] in planned:
            labels[domain["name"]] = {1: SUPPORTED, -1: NOT_SUPPORTED, 0: CANNOT_TELL}[domain["effects"]["side"]]
            numbers[domain["name"]] = _contrast_text(domain)
    return _answer(
        analysis,
        "Taking out a part of the architecture costs more than swapping the token mixer",
        "The mean cost of the architecture arms minus the mean cost of the mixer arms, seed by seed: supported if its "
        "95 % interval lies wholly above zero, still does so without the part that costs most if there are several, so "
        "that no single one that fails to train makes the difference, and still does so with the mixers' cost measured "
        "from the arm that the parts were taken from, so that a baseline that most mixers surpass does not make it "
        "either; not supported if the interval lies wholly below zero; cannot tell otherwise, where an arm has no run "
        "to compare, and where the arm that parts were taken from is not clearly above chance itself, so that it has "
        "nothing to lose.",
        labels,
        numbers,
        planned,
    )


def _has_both(domain: Mapping[str, Any], baseline: str) -> bool:
    kinds = {arm["kind"] for arm in domain["arms"] if arm["arm"] != baseline}
    return {"mixer", "architecture"} <= kinds


def _contrast_text(domain: Mapping[str, Any]) -> str:
    """The contrast, what it owes to a single part, and the arms whose runs are not all there."""
    effects = domain["effects"]
    parts = []
    if effects["contrast"]["value"] is not None:
        parts.append(f"{interval(effects['contrast'], signed=True)} points")
    if effects["without"] and effects["without"]["value"] is not None:
        costliest = arm_of(domain, effects["without"]["arm"])["label"]
        parts.append(f"{interval(effects['without'], signed=True)} without “{costliest}”, which costs most")
    if len(its := [cost["label"] for cost in effects["costs"] if cost["kind"] == "architecture"]) == 1:
        parts.append(f"of one part alone, “{its[0]}”")
    if effects["same_arm"] and effects["same_arm"]["value"] is not None:
        parts.append(f"{interval(effects['same_arm'], signed=True)} with all costs measured from {_origins(domain)}")
    if floored := at_chance(domain):
        parts.append(f"at chance: {listed(floored)}")
    if effects["nothing_to_lose"]:
        parts.append(f"not clearly above chance with all its parts: {_labels(domain, effects['nothing_to_lose'])}")
    if effects["left_out"]:
        parts.append(f"left out, with no run to compare: {_labels(domain, effects['left_out'])}")
    if few := [text for text in incomplete(domain, "mixer", "architecture") if not text.startswith("0")]:
        parts.append(f"only seeds that all arms have: {listed(few)}")
    return "; ".join(parts)


def _origins(domain: Mapping[str, Any]) -> str:
    """The arms that parts were taken from."""
    costs = [cost for cost in domain["effects"]["costs"] if cost["kind"] == "architecture"]
    return _labels(domain, list(dict.fromkeys(cost["reference"] for cost in costs)))


def _labels(domain: Mapping[str, Any], names: Sequence[str]) -> str:
    return listed([arm_of(domain, name)["label"] for name in names])


def _claim(analysis: Mapping[str, Any], learned: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    study = analysis["study"]
    claim = study["claim"]
    names = {arm["arm"]: arm["label"] for domain in analysis["domains"].values() for arm in domain["arms"]}
    share = f"{100 * claim['retains']:g}{PERCENT}"
    planned = [name for name, domain in analysis["domains"].items() if domain["claim"]]
    labels, numbers = {}, {}
    for domain in learned:
        if domain["claim"]:
            kept = domain["claim"]["retention"]
            labels[domain["name"]] = _against(kept, claim["retains"])
            arm = arm_of(domain, claim["arm"])
            numbers[domain["name"]] = f"retains {percent(kept)}{PERCENT}" if arm["score"]["n"] else "no finished run"
            if 0 < arm["score"]["n"] < arm["planned"]:
                numbers[domain["name"]] += f"; {arm['score']['n']} of {arm['planned']} runs"
    return _answer(
        analysis,
        f"{capital(names[claim['arm']])} retains at least {share} of {names[study['baseline']]}'s score above chance",
        f"{_decided(analysis)} Supported if the 95 % interval of the retention lies wholly at or above {share}, "
        "not supported if wholly below, cannot tell otherwise.",
        labels,
        numbers,
        planned,
    )


def _decided(analysis: Mapping[str, Any]) -> str:
    """When the claim was made, and what it rests on: before the first run, or by somebody who had seen some."""
    for change in changes_of(analysis.get("sessions", ())):
        ends = tuple(field.rsplit(".", 1)[-1] for field in change["changed"])
        if change["finished"] and {"claim", "baseline", "metric", "chance"} & set(ends):
            seen = "1 run was" if change["finished"] == 1 else f"{change['finished']} runs were"
            return f"In the study file; what it says of this was changed when {seen} finished."
    return "Decided in the study file beforehand."


def _against(kept: Mapping[str, Any], bound: float) -> str:
    if kept["low"] is not None and kept["low"] >= bound:
        return SUPPORTED
    if kept["high"] is not None and kept["high"] < bound:
        return NOT_SUPPORTED
    return CANNOT_TELL


def _answer(
    analysis: Mapping[str, Any],
    statement: str,
    rule: str,
    labels: Mapping[str, str],
    numbers: Mapping[str, str],
    planned: Sequence[str],
) -> dict[str, Any]:
    """One verdict from those of the domains, with the number of each; `planned` are those that have the arms for it.

    Of many domains the numbers are a list of their own, ``details``.
    """
    overall = _overall([labels.get(name, CANNOT_TELL) for name in planned])
    titles = {name: domain["label"] for name, domain in analysis["domains"].items()}
    groups, many = [], len(labels) > _MANY
    for label in (SUPPORTED, NOT_SUPPORTED, CANNOT_TELL):
        its = [
            titles[name] if many else f"{titles[name]} ({numbers[name]})"
            for name, own in labels.items()
            if own == label
        ]
        if its:
            groups.append(f"{label} in {listed(its)}")
    silent = [titles[name] for name in titles if name not in labels]
    if labels and silent:
        groups.append(f"nothing is said of {listed(silent)}")
    own = "; ".join(groups) if groups else f"{CANNOT_TELL}: no domain has the runs that this takes"
    several = set(labels.values()) not in ({overall}, set())
    return {
        "statement": statement,
        "verdict": overall,
        "sentence": f"{capital(overall)} as a whole: {own}." if several else f"{capital(own)}.",
        "details": [f"{capital(titles[name])}: {numbers[name]}." for name in labels] if many else [],
        "rule": rule,
        "domains": dict(labels),
    }


def _overall(labels: Iterable[str]) -> str:
    found = set(labels)
    if NOT_SUPPORTED in found:
        return NOT_SUPPORTED
    return SUPPORTED if found == {SUPPORTED} else CANNOT_TELL
