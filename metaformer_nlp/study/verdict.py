"""The answer of a study in three sentences: "supported", "not supported" or "cannot tell", each by a stated rule.

A pure function of the analysis: no number is read off a picture or by a person, and other numbers give other sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metaformer_nlp.study.wording import PERCENT, capital, interval, listed, percent, points, ratio

SUPPORTED, NOT_SUPPORTED, CANNOT_TELL = "supported", "not supported", "cannot tell"
SEVERAL_DOMAINS = (
    "With several domains, a statement is supported if it is in all of them, not supported if it is not in at least "
    "one, and otherwise nobody can tell. A domain whose baseline is not clearly above chance does not count."
)


def verdict(analysis: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Three answers: {"statement", "verdict", "sentence", "rule", "domains": {domain's name: its own verdict}}."""
    judged = judged_domains(analysis)
    answers = [_architecture(analysis, judged), _claim(analysis, judged)]
    if len(analysis["domains"]) > 1:
        return [*answers, _agreement(analysis, judged, answers)]
    return [*answers, _mixers(analysis, judged)]


def judged_domains(analysis: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The domains of which anything is said: a baseline that is not above chance gives nothing to compare with."""
    return [domain for domain in analysis["domains"].values() if domain["learned"]]


def side(estimate: Mapping[str, Any]) -> int:
    """+1 or -1 if the interval lies wholly on that side of zero, else 0."""
    if estimate["low"] is None:
        return 0
    return int(estimate["low"] > 0) - int(estimate["high"] < 0)


def arm_of(domain: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The domain's arm of this name."""
    return next(arm for arm in domain["arms"] if arm["arm"] == name)


def mixers_of(domain: Mapping[str, Any], baseline: str) -> list[Mapping[str, Any]]:
    """The mixer arms that have results, except the baseline."""
    return [arm for arm in domain["arms"] if arm["kind"] == "mixer" and arm["arm"] != baseline and arm["score"]["n"]]


def _architecture(analysis: Mapping[str, Any], judged: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    labels, told = {}, {}
    for domain in judged:
        contrast = domain["effects"]["contrast"]
        if contrast["value"] is not None:
            labels[domain["name"]] = {1: SUPPORTED, -1: NOT_SUPPORTED, 0: CANNOT_TELL}[side(contrast)]
            told[domain["name"]] = f"{interval(contrast, signed=True)} points"
    if not any(arm["kind"] == "architecture" for arm in analysis["study"]["arms"].values()):
        why = "no part of the architecture was taken out in this study"
    else:
        why = "no domain has the runs that this takes"
    return _answer(
        analysis,
        "Taking out a part of the architecture costs more than swapping the token mixer",
        "The mean cost of the architecture arms minus the mean cost of the mixer arms, seed by seed: supported if its "
        "95 % interval lies wholly above zero, not supported if wholly below, cannot tell otherwise.",
        labels,
        told,
        why,
    )


def _claim(analysis: Mapping[str, Any], judged: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    study = analysis["study"]
    claim = study["claim"]
    if claim is None:
        return {
            "statement": "A claim decided before the first run",
            "verdict": CANNOT_TELL,
            "sentence": "The study file makes no claim to be tested beforehand.",
            "rule": "A study file may name an arm and the share of the baseline's score above chance it should retain.",
            "domains": {},
        }
    names = {arm["arm"]: arm["label"] for domain in analysis["domains"].values() for arm in domain["arms"]}
    share = f"{100 * claim['retains']:g}{PERCENT}"
    labels, told = {}, {}
    for domain in judged:
        kept = (domain["claim"] or {}).get("retention")
        if kept is not None and kept["value"] is not None:
            labels[domain["name"]] = _against(kept, claim["retains"])
            told[domain["name"]] = f"retains {percent(kept)}{PERCENT}"
    return _answer(
        analysis,
        f"{capital(names[claim['arm']])} retains at least {share} of {names[study['baseline']]}'s score above chance",
        "Decided in the study file beforehand. Supported if the 95 % interval of the retention lies wholly at "
        f"or above {share}, not supported if wholly below, cannot tell otherwise.",
        labels,
        told,
        "no domain has the runs that this takes",
    )


def _against(kept: Mapping[str, Any], bound: float) -> str:
    if kept["low"] is not None and kept["low"] >= bound:
        return SUPPORTED
    if kept["high"] is not None and kept["high"] < bound:
        return NOT_SUPPORTED
    return CANNOT_TELL


def _agreement(
    analysis: Mapping[str, Any], judged: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Whether the domains say the same of the mixers."""
    baseline = analysis["study"]["baseline"]
    names, titles = [domain["name"] for domain in judged], [domain["label"] for domain in judged]
    base = arm_of(next(iter(analysis["domains"].values())), baseline)["label"]
    ranks = [rank for rank in analysis["across"]["ranks"] if set(rank["domains"]) <= set(names)]
    known = [rank for rank in ranks if rank["value"] is not None]
    findings = [item for item in analysis["across"]["findings"] if item["reference"] == baseline]
    mixers = {arm["arm"] for domain in judged for arm in mixers_of(domain, baseline)}
    findings = [item for item in findings if item["arm"] in mixers]
    turned = [item["label"] for item in findings if item["holds"] == "contradicts"]
    torn = [one for one in answers if {SUPPORTED, NOT_SUPPORTED} <= set(one["domains"].values())]
    equal = len(judged) > 1 and bool(mixers) and all(_equivalent(domain, baseline) for domain in judged)
    label = CANNOT_TELL
    if turned or torn or any(rank["high"] is not None and rank["high"] < 0 for rank in known):
        label = NOT_SUPPORTED
    elif equal or (known and len(known) == len(ranks) and all((rank["low"] or 0) > 0 for rank in known)):
        label = SUPPORTED
    if len(judged) < 2:
        sentence = f"Cannot tell: {_few(titles)}, so that there is nothing to lay side by side."
    else:
        parts = [_told_ranks(known, analysis), _told_findings(findings, base)]
        if turned:
            parts.append(f"above {base} in one domain and below it in another: {listed(turned)}")
        if torn:
            parts.append("a statement above is supported in one domain and not in another")
        if equal:
            parts.append(f"no difference: every mixer is equivalent to {base} in every domain")
        sentence = f"{capital(label)}: {'; '.join(part for part in parts if part)}."
    return {
        "statement": "The domains agree on the token mixers",
        "verdict": label,
        "sentence": sentence,
        "rule": "Not supported if a mixer is shown to be above the baseline in one domain and below it in another, if "
        "a statement above is supported in one domain and not supported in another, or if the interval of Kendall's "
        "rank agreement of the mixers' scores lies wholly below zero for a pair of domains. Supported if it lies "
        "wholly above zero for every pair, or if every mixer is equivalent to the baseline in every domain. Cannot "
        "tell otherwise.",
        "domains": {},
    }


def _few(titles: Sequence[str]) -> str:
    return f"only of {titles[0]} can anything be said" if titles else "of no domain can anything be said"


def _told_ranks(ranks: Sequence[Mapping[str, Any]], analysis: Mapping[str, Any]) -> str:
    if not ranks:
        return "there is no ranking of mixers to compare"
    ordered = sorted(ranks, key=lambda rank: rank["value"])

    def one(rank: Mapping[str, Any]) -> str:
        pair = listed([analysis["domains"][name]["label"] for name in rank["domains"]])
        return f"{ratio(rank)} between {pair}"

    if len(ranks) == 1:
        return f"rank agreement (τ) of {ranks[0]['n']} mixers is {one(ranks[0])}"
    return f"rank agreement (τ) of the mixers goes from {one(ordered[0])} to {one(ordered[-1])}"


def _told_findings(findings: Sequence[Mapping[str, Any]], base: str) -> str:
    shown = [item for item in findings if item["holds"] != "none"]
    if not shown:
        return f"no mixer's difference from {base} is shown in any domain"
    everywhere = [item["label"] for item in shown if item["holds"] == "all"]
    text = f"of {len(findings)} mixers, {len(shown)} {'differs' if len(shown) == 1 else 'differ'} from {base} somewhere"
    return f"{text}, in all domains alike: {listed(everywhere)}" if everywhere else f"{text}, none in all domains alike"


def _mixers(analysis: Mapping[str, Any], judged: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a study of one domain says in the third place: whether any mixer differs from the baseline at all."""
    baseline = analysis["study"]["baseline"]
    domain = next(iter(analysis["domains"].values()))
    base = arm_of(domain, baseline)["label"]
    pairs = [(arm, arm["against"][baseline]) for arm in mixers_of(domain, baseline)] if judged else []
    differ = [f"{arm['label']} ({interval(its, signed=True)})" for arm, its in pairs if its["label"] == "different"]
    same = [arm["label"] for arm, its in pairs if its["label"] in ("equivalent", "different within the margin")]
    unclear = [arm["label"] for arm, its in pairs if its["label"] == "cannot tell"]
    label = NOT_SUPPORTED if differ else SUPPORTED if pairs and not unclear else CANNOT_TELL
    parts = []
    if differ:
        parts.append(f"{listed(differ)} {'differs' if len(differ) == 1 else 'differ'} from {base}, in points")
    elif pairs:
        parts.append(f"no difference from {base} is shown")
    if same:
        parts.append(f"equivalent to it within {points(domain['margin'])} points: {listed(same)}")
    if unclear:
        parts.append(f"nobody can tell of {listed(unclear)}")
    if not pairs:
        parts = ["nothing is said of this domain, since its baseline is not clearly above chance"]
        if judged:
            parts = ["no other mixer has a finished run"]
    return {
        "statement": f"No token mixer differs from {base}",
        "verdict": label,
        "sentence": f"{capital(label)}: {'; '.join(parts)}.",
        "rule": "Not supported if a mixer's difference from the baseline is significant (paired t-test, 5 % for all "
        "arms together after Holm). Supported if all mixers are equivalent to the baseline within the margin of the "
        "study file (two one-sided tests, corrected for their number). Cannot tell otherwise.",
        "domains": {domain["name"]: label} if judged else {},
    }


def _equivalent(domain: Mapping[str, Any], baseline: str) -> bool:
    labels = {arm["against"][baseline]["label"] for arm in mixers_of(domain, baseline)}
    return bool(labels) and labels <= {"equivalent", "different within the margin"}


def _answer(
    analysis: Mapping[str, Any],
    statement: str,
    rule: str,
    labels: Mapping[str, str],
    told: Mapping[str, str],
    why: str,
) -> dict[str, Any]:
    """One verdict from those of the domains, with the number of each."""
    overall = _overall(labels.values())
    titles = {name: domain["label"] for name, domain in analysis["domains"].items()}
    groups = []
    for label in (SUPPORTED, NOT_SUPPORTED, CANNOT_TELL):
        its = [f"{titles[name]} ({told[name]})" for name, own in labels.items() if own == label]
        if its:
            groups.append(f"{label} in {listed(its)}")
    silent = [titles[name] for name in titles if name not in labels]
    if labels and silent:
        groups.append(f"nothing is said of {listed(silent)}")
    own = "; ".join(groups) if groups else f"{CANNOT_TELL}: {why}"
    several = len(set(labels.values())) > 1
    return {
        "statement": statement,
        "verdict": overall,
        "sentence": f"{capital(overall)} as a whole: {own}." if several else f"{capital(own)}.",
        "rule": rule,
        "domains": dict(labels),
    }


def _overall(labels: Iterable[str]) -> str:
    found = set(labels)
    if NOT_SUPPORTED in found:
        return NOT_SUPPORTED
    return SUPPORTED if found == {SUPPORTED} else CANNOT_TELL
