"""The report's sentences: each follows from the numbers by a rule that is stated beside it, and says no more.

Rules. A difference counts if its 95 % interval lies wholly on one side of zero; otherwise the sentence says "not
distinguishable", which does not mean equal. Nothing is said of a domain whose baseline is not above chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from scipy import stats

RULES = (
    "A difference counts if its 95 % interval lies wholly on one side of zero. Otherwise it is called not "
    "distinguishable, which does not mean equal.",
    "A mixer is compared with the baseline, seed by seed. An architecture part is compared, seed by seed, with the arm "
    "it was taken out of.",
    "“Costs more” in the first sentence compares the mean cost over the architecture arms with the mean cost over the "
    "mixer arms, in the same seeds.",
    "Of a domain whose baseline is not above chance, nothing is concluded; a task in which the baseline is not above "
    "chance is named.",
)


def points(value: float | None, signed: bool = False) -> str:
    """A score or difference as points of a hundred: 0.871 -> "87.1", with the true minus sign."""
    if value is None:
        return "–"
    text = f"{100 * value:{'+' if signed else ''}.1f}"
    return ("0.0" if text in ("-0.0", "+0.0") else text).replace("-", "\N{MINUS SIGN}")


def interval(estimate: Mapping[str, Any], signed: bool = False) -> str:
    """An estimate with its interval: "87.1 [85.0, 89.2]"; only the number where there is no interval."""
    text = points(estimate["value"], signed)
    if estimate["low"] is None:
        return text
    space = "\N{NO-BREAK SPACE}"  # an interval is read in one go
    return f"{text}{space}[{points(estimate['low'], signed)},{space}{points(estimate['high'], signed)}]"


def side(estimate: Mapping[str, Any]) -> int:
    """+1 or -1 if the interval lies wholly on that side of zero, else 0."""
    if estimate["low"] is None:
        return 0
    return int(estimate["low"] > 0) - int(estimate["high"] < 0)


def learned(domain: Mapping[str, Any], baseline: str) -> bool:
    """Whether the baseline's interval lies above chance: without that there is nothing to compare with."""
    score = _arm(domain, baseline)["score"]
    return score["low"] is not None and domain["chance"] is not None and score["low"] > domain["chance"]


def findings(analysis: Mapping[str, Any]) -> dict[str, Any]:
    """{"headline": str, "domains": {name: [sentence, ...]}, "limits": [sentence, ...]} of an analysis."""
    study = analysis["study"]
    domains: dict[str, Any] = analysis["domains"]
    return {
        "headline": _headline(domains, study["baseline"]),
        "domains": {name: _sentences(domain, study["baseline"]) for name, domain in domains.items()},
        "limits": _limits(analysis),
    }


def _headline(domains: Mapping[str, Any], baseline: str) -> str:
    clauses = {
        1: "taking out a part of the architecture costs more, on average, than swapping the token mixer",
        -1: "taking out a part of the architecture costs less, on average, than swapping the token mixer",
        0: "this study cannot tell whether a part of the architecture or the token mixer matters more",
        "mixers": "only token mixers were compared, no part of the architecture was taken out",
        None: "nothing can be concluded",
    }
    verdicts: dict[int | str | None, list[str]] = {}
    for domain in domains.values():
        verdict: int | str | None = None
        if learned(domain, baseline) and all(arm["kind"] == "mixer" for arm in domain["arms"]):
            verdict = "mixers"
        elif learned(domain, baseline) and domain["effects"]["contrast"]["value"] is not None:
            verdict = side(domain["effects"]["contrast"])
        verdicts.setdefault(verdict, []).append(domain["label"])
    first = "; ".join(f"in {_list(labels)}, {clauses[verdict]}" for verdict, labels in verdicts.items())
    below = []
    for domain in domains.values():
        if learned(domain, baseline):
            worse = [arm["label"] for arm in _mixers(domain, baseline) if side(arm["difference"]) < 0]
            below.append(f"in {domain['label']}, {_list(worse) if worse else 'no mixer'}")
    second = f" Clearly below {_arm(domain, baseline)['label']}: {'; '.join(below)}." if below else ""
    return f"{first[:1].upper()}{first[1:]}.{second}"


def _sentences(domain: Mapping[str, Any], baseline: str) -> list[str]:
    base = _arm(domain, baseline)
    if not base["score"]["n"]:
        return [f"The baseline, {base['label']}, has no finished run yet: nothing can be compared."]
    chance = f"chance is {points(domain['chance'])}" if domain["chance"] is not None else "chance is not known"
    said = [f"The baseline, {base['label']}, scores {interval(base['score'])}; {chance}."]
    if base["score"]["low"] is None:
        return [*said, "One run has no interval: the numbers below are single runs, and no difference can be judged."]
    if not learned(domain, baseline):
        return [*said, "That is not clearly above chance, so this domain cannot tell the arms apart."]
    return [*said, *_task_sentences(domain, base), *_mixer_sentences(domain, base, baseline), *_part_sentences(domain)]


def _task_sentences(domain: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Names the tasks that not even the baseline has learned: they dilute every difference of the average."""
    unlearned = [
        f"{task} ({interval(score)}, chance {points(domain['task_chance'][task])})"
        for task, score in base["tasks"].items()
        if domain["task_chance"][task] is not None
        and (score["low"] is None or score["low"] <= domain["task_chance"][task])
    ]
    if not unlearned:
        return []
    return [f"Not even {base['label']} is clearly above chance in {_list(unlearned)}: that tells nothing of the arms."]


def _mixer_sentences(domain: Mapping[str, Any], base: Mapping[str, Any], baseline: str) -> list[str]:
    mixers = _mixers(domain, baseline)
    groups = ((-1, f"below {base['label']}"), (1, f"above {base['label']}"), (0, "not distinguishable from it"))
    clauses = []
    for sign, name in groups:
        its = [
            f"{arm['label']} ({interval(arm['difference'], True)})" for arm in mixers if side(arm["difference"]) == sign
        ]
        if its:
            clauses.append(f"{name}: {_list(its)}")
    said = [f"Mixers, {'; '.join(clauses)}."] if clauses else []
    judged = [arm for arm in mixers if arm["retention"]["value"] is not None]
    if judged:
        weakest = min(judged, key=lambda arm: arm["retention"]["value"])
        said.append(
            f"The weakest mixer here, {weakest['label']}, keeps {interval(weakest['retention'])} % of what "
            f"{base['label']} scores above chance."
        )
    return said


def _part_sentences(domain: Mapping[str, Any]) -> list[str]:
    effects = domain["effects"]
    parts = [cost for cost in effects["costs"] if cost["kind"] == "architecture"]
    if not parts:
        return []
    labels = {arm["arm"]: arm["label"] for arm in domain["arms"]}
    said = []
    for cost in parts:
        against = f"against {labels[cost['reference']]}"
        if side(cost) > 0:
            clause = f"costs {interval(cost)} points {against}"
        elif side(cost) < 0:
            gain = {"value": -cost["value"], "low": -cost["high"], "high": -cost["low"]}
            clause = f"gains {interval(gain)} points {against}"
        else:
            clause = f"makes no distinguishable difference {against} (cost {interval(cost)} points)"
        said.append(f"“{cost['label']}” {clause}.")
    if effects["contrast"]["value"] is not None:
        said.append(
            f"Mean cost of the architecture arms: {interval(effects['architecture'])}; of swapping the mixer: "
            f"{interval(effects['mixer'])}; the difference: {interval(effects['contrast'], True)} points."
        )
    return said


def _limits(analysis: Mapping[str, Any]) -> list[str]:
    study, cells = analysis["study"], analysis["cells"]
    finished = sum(row["status"] == "finished" for row in cells)
    n = len(study["seeds"])
    said = []
    if finished < len(cells):
        failed = sum(row["status"] == "failed" for row in cells)
        said.append(
            f"The study is not complete: {finished} of {len(cells)} cells are finished and {failed} have failed. Arms "
            "are judged by the seeds they have, pairs by the seeds that both have."
        )
    if n == 1:
        said.append("One seed has no spread: no interval and no judgement is possible.")
    else:
        factor = stats.t.ppf(0.975, n - 1)
        said.append(
            f"{n} seeds an arm. Student's factor for so many is {factor:.1f} (with very many it would be 2.0), so "
            "intervals are wide, and they trust that scores are spread normally over seeds, which so few cannot show."
        )
    for domain in analysis["domains"].values():
        halves = [
            (arm["difference"]["high"] - arm["difference"]["low"]) / 2
            for arm in domain["arms"]
            if arm["arm"] != study["baseline"] and arm["difference"]["low"] is not None
        ]
        if halves:
            said.append(
                f"In {domain['label']}, a difference from the baseline smaller than about {points(median(halves))} "
                "points could not have been seen (median half-width of the intervals)."
            )
    comparisons = sum(len(domain["arms"]) - 1 for domain in analysis["domains"].values())
    if comparisons > 1:
        said.append(
            f"The {comparisons} comparisons are not corrected for their number: where nothing differs, about one in "
            "twenty would still be called a difference."
        )
    said.append(
        "Seeds vary the initial weights and the order of the samples. The intervals do not speak of other data, other "
        "sizes of the model, longer training or other settings, and the mean over arms depends on which arms there are."
    )
    return [*said, *study["limits"]]


def _mixers(domain: Mapping[str, Any], baseline: str) -> list[Mapping[str, Any]]:
    """The mixer arms that have results, except the baseline."""
    return [arm for arm in domain["arms"] if arm["kind"] == "mixer" and arm["arm"] != baseline and arm["score"]["n"]]


def _arm(domain: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next(arm for arm in domain["arms"] if arm["arm"] == name)


def _list(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
