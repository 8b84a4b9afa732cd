"""The third answer of a study: whether its domains agree on the mixers or, in one domain, whether mixers differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

from metaformer_nlp.study.analysis.selection import (
    CANNOT_TELL,
    NOT_SUPPORTED,
    SUPPORTED,
    arm_of,
    incomplete,
    mixers_of,
    telling_domains,
)
from metaformer_nlp.study.analysis.statistics import side
from metaformer_nlp.study.words import capital, interval, listed, points, ratio


def agreement(analysis: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether the domains say the same of the mixers; `answers` are the answers before this one."""
    baseline, telling = analysis["study"]["baseline"], telling_domains(analysis)
    names, titles = [domain["name"] for domain in telling], [domain["label"] for domain in telling]
    base = arm_of(next(iter(analysis["domains"].values())), baseline)["label"]
    ranks = [rank for rank in analysis["across"]["ranks"] if set(rank["domains"]) <= set(names)]
    known = [rank for rank in ranks if rank["value"] is not None]
    mixers = {arm["arm"] for domain in telling for arm in mixers_of(domain, baseline)}
    differences = [item for item in analysis["across"]["findings"] if item["arm"] in mixers]
    from_base = [item for item in differences if item["reference"] == baseline]
    turned = [item for item in from_base if item["holds"] == "contradicts"]
    # Reported, but without a say in the verdict. Of two references each is an arm beside the other: once is enough.
    others = [item for item in differences if item["reference"] in mixers and item["holds"] == "contradicts"]
    others = list({frozenset((item["arm"], item["reference"])): item for item in others}.values())
    torn = [one for one in answers if {SUPPORTED, NOT_SUPPORTED} <= set(one["domains"].values())]
    equal = len(telling) > 1 and bool(mixers) and all(_equivalent(domain, baseline) for domain in telling)
    alike = len(known) == comb(len(telling), 2) and all(side(rank) > 0 for rank in known)
    silent = [domain["label"] for domain in analysis["domains"].values() if not domain["telling"]]
    few = {domain["label"]: its for domain in telling if (its := incomplete(domain, "mixer"))}
    label = CANNOT_TELL
    if turned or torn or any(side(rank) < 0 for rank in known):
        label = NOT_SUPPORTED
    elif (equal or alike) and not silent and not few:
        label = SUPPORTED
    if len(telling) < 2:
        sentence = f"Cannot tell: {_few(titles)}, so that there is nothing to lay side by side."
    else:
        parts = [_ranks_text(known, analysis), _differences_text(from_base, base)]
        parts += _turns_text(turned, analysis)
        if others:
            turns = "; ".join(_turns_text(others, analysis))
            parts.append(f"{turns} (told, not judged: the rule looks at differences from {base} alone)")
        if torn:
            parts.append("a statement above is supported in one domain and not in another")
        if equal:
            parts.append(f"no difference: every mixer is equivalent to {base} in every domain")
        if silent:
            parts.append(f"nothing is said of {listed(silent)}, where no arm is clearly above chance")
        parts += [f"runs are missing in {title}: {listed(its)}" for title, its in few.items()]
        sentence = f"{capital(label)}: {'; '.join(part for part in parts if part)}."
    return {
        "statement": "The domains agree on the token mixers",
        "verdict": label,
        "sentence": sentence,
        "rule": "Not supported if a mixer is shown to be above the baseline in one domain and below it in another, if "
        "a statement above is supported in one domain and not supported in another, or if the interval of Kendall's "
        "rank agreement of the mixers' scores lies wholly below zero for a pair of domains. Supported if it lies "
        "wholly above zero for every pair, or if every mixer is equivalent to the baseline in every domain, and if no "
        "run is missing. Cannot tell otherwise.",
        "domains": {},
    }


def _few(titles: Sequence[str]) -> str:
    return f"only of {titles[0]} can anything be said" if titles else "of no domain can anything be said"


def _ranks_text(ranks: Sequence[Mapping[str, Any]], analysis: Mapping[str, Any]) -> str:
    if not ranks:
        return "there is no ranking of mixers to compare"
    shown = [f"{rank['value']:.2f}" for rank in ranks]

    def one(rank: Mapping[str, Any]) -> str:
        pair = listed([analysis["domains"][name]["label"] for name in rank["domains"]])
        others = shown.count(f"{rank['value']:.2f}") - 1
        alike = f" (the same τ for {others} other pair{'s' if others > 1 else ''})" if others else ""
        return f"{ratio(rank)} between {pair}{alike}"

    if len(ranks) == 1:
        return f"rank agreement (τ) of {ranks[0]['n']} mixers is {one(ranks[0])}"

    def place(rank: Mapping[str, Any]) -> tuple[float, float]:
        """Of equal values the interval decides: few mixers have few possible orders, and ties are common."""
        return round(rank["value"], 2), (rank["low"] or 0) + (rank["high"] or 0)

    lowest, highest = min(ranks, key=place), max(ranks, key=place)
    if len(set(shown)) == 1:
        return f"rank agreement (τ) of the mixers is {one(lowest)}"
    return f"rank agreement (τ) of the mixers goes from {one(lowest)} to {one(highest)}"


def _turns_text(items: Sequence[Mapping[str, Any]], analysis: Mapping[str, Any]) -> list[str]:
    """Differences that are shown in both directions: "pooling and identity are above attention in A and below it in B".

    Mixers that turn in the same domains beside the same one share a sentence.
    """
    domains, groups = analysis["domains"], dict[tuple[str, str, str], list[str]]()
    for item in items:
        first, second = (listed([domains[name]["label"] for name in item[key]]) for key in ("in", "against"))
        above, below = (first, second) if item["domains"][item["in"][0]]["sign"] > 0 else (second, first)
        reference = arm_of(domains[item["in"][0]], item["reference"])["label"]
        groups.setdefault((reference, above, below), []).append(item["label"])
    return [
        f"{listed(its)} {'is' if len(its) == 1 else 'are'} above {reference} in {above} and below it in {below}"
        for (reference, above, below), its in groups.items()
    ]


def _differences_text(differences: Sequence[Mapping[str, Any]], base: str) -> str:
    shown = [item for item in differences if item["holds"] != "none"]
    if not shown:
        return f"no mixer's difference from {base} is shown in any domain"
    everywhere = [item["label"] for item in shown if item["holds"] == "all" and len(item["in"]) > 1]
    text = (
        f"of {len(differences)} mixers, {len(shown)} {'differs' if len(shown) == 1 else 'differ'} from {base} somewhere"
    )
    return f"{text}, in all domains alike: {listed(everywhere)}" if everywhere else f"{text}, none in all domains alike"


def sameness(analysis: Mapping[str, Any]) -> dict[str, Any]:
    """What a study of one domain says in the third place: whether any mixer differs from the baseline at all."""
    baseline = analysis["study"]["baseline"]
    (domain,) = analysis["domains"].values()
    telling, few = domain["telling"], incomplete(domain, "mixer")
    base = arm_of(domain, baseline)["label"]
    pairs = [(arm, arm["against"][baseline]) for arm in mixers_of(domain, baseline)] if telling else []
    differ = [f"{arm['label']} ({interval(its, signed=True)})" for arm, its in pairs if its["label"] == "different"]
    same = [arm["label"] for arm, its in pairs if its["label"] in ("equivalent", "different within the margin")]
    unclear = [arm["label"] for arm, its in pairs if its["label"] == "cannot tell"]
    label = NOT_SUPPORTED if differ else SUPPORTED if pairs and not unclear and not few else CANNOT_TELL
    parts = []
    if differ:
        parts.append(f"{listed(differ)} {'differs' if len(differ) == 1 else 'differ'} from {base}, in points")
    elif pairs:
        parts.append(f"no difference from {base} is shown")
    if same:
        parts.append(f"equivalent to it within {points(domain['margin'])} points: {listed(same)}")
    if unclear:
        parts.append(f"cannot tell of {listed(unclear)}")
    if not pairs:
        parts = ["nothing is said of this domain, since no arm is clearly above chance"]
        if telling:
            parts = ["no other mixer has a finished run"]
    if few:
        parts.append(f"runs are missing: {listed(few)}")
    return {
        "statement": f"No token mixer differs from {base}",
        "verdict": label,
        "sentence": f"{capital(label)}: {'; '.join(parts)}.",
        "rule": "Not supported if a mixer's difference from the baseline is significant (paired t-test, 5 % for all "
        "arms together after Holm). Supported if all mixers are equivalent to the baseline within the margin of the "
        "study file (two one-sided tests, corrected for their number) and no run is missing. Cannot tell "
        "otherwise.",
        "domains": {domain["name"]: label} if telling else {},
    }


def _equivalent(domain: Mapping[str, Any], baseline: str) -> bool:
    labels = {arm["against"][baseline]["label"] for arm in mixers_of(domain, baseline)}
    return bool(labels) and labels <= {"equivalent", "different within the margin"}
