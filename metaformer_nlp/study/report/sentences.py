"""The report's sentences: each follows from the numbers by a rule that is stated beside it, and says no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from metaformer_nlp.study.analysis.selection import arm_of, at_chance, mixers_of
from metaformer_nlp.study.analysis.statistics import side
from metaformer_nlp.study.analysis.statistics.estimates import student
from metaformer_nlp.study.runner.budgets import kept_budgets
from metaformer_nlp.study.words import PERCENT, capital, deviation, interval, listed, percent, points, share_of

RULES = (
    "Two arms are compared seed by seed. “Different” (below, above, costs, gains): the paired t-test is significant at "
    "5 % after Holm's correction for all arms compared with the same one in a domain: the 5 % are for each such family "
    "of comparisons, not for the report. “Equivalent”: two one-sided tests show, after correction, that the difference "
    "is smaller than the margin which the study file states. A difference can be both, real and too small to matter. "
    "“Cannot tell”: neither is shown, which does not mean equal.",
    "An architecture part is compared with the arm it was taken out of.",
    "Intervals are 95 % intervals, each for itself and not corrected; the words are, so that an interval may leave "
    "out zero where the words are “cannot tell”.",
    "Of a domain in which no arm is clearly above chance (its interval reaches down to it, at 95 % for all arms "
    "together, or there is only one run), nothing is concluded; where only the baseline is not, nothing is said of "
    "what it costs to change it or what is retained of it. A task in which the baseline is not above chance is named.",
)


def sentences_of(analysis: Mapping[str, Any]) -> dict[str, Any]:
    """{"domains": {name: [sentence, ...]}, "limits": [sentence, ...]} of an analysis."""
    return {
        "domains": {name: _sentences(domain, analysis["study"]) for name, domain in analysis["domains"].items()},
        "limits": _limits(analysis),
    }


def _sentences(domain: Mapping[str, Any], study: Mapping[str, Any]) -> list[str]:
    base = arm_of(domain, study["baseline"])
    if not base["score"]["n"]:
        return [f"The baseline, {base['label']}, has no finished run yet: nothing can be compared."]
    chance = f"chance is {points(domain['chance'])}" if domain["chance"] is not None else "chance is not known"
    lines = [f"The baseline, {base['label']}, scores {interval(base['score'])}; {chance}."]
    if base["score"]["n"] == 1:
        return [*lines, "One run has no interval: the numbers below are single runs, and no difference can be judged."]
    if not domain["telling"]:
        return [*lines, "No arm is clearly above chance, so this domain cannot tell the arms apart."]
    if not domain["learned"]:
        lines.append(
            "That is not clearly above chance: what others retain of it cannot be said, only how they differ from it."
        )
    present = {arm["arm"] for arm in domain["arms"]}
    references = [name for name in dict.fromkeys((study["baseline"], *study["references"])) if name in present]
    return [
        *lines,
        *_task_sentences(domain, base),
        *(sentence for name in references for sentence in _mixer_sentences(domain, study["baseline"], name)),
        *_weakest(domain, base),
        *_over_tasks(domain, base),
        *_part_sentences(domain),
        *_variance_sentence(domain),
    ]


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
    return [f"Not even {base['label']} is clearly above chance in {listed(unlearned)}: that tells nothing of the arms."]


def _mixer_sentences(domain: Mapping[str, Any], baseline: str, reference: str) -> list[str]:
    """The other mixers against `reference`, sorted by what is shown of them."""
    name = arm_of(domain, reference)["label"]
    groups: dict[str, list[str]] = {f"below {name}": [], f"above {name}": []}
    for arm in (*mixers_of(domain, baseline), *([] if reference == baseline else [arm_of(domain, baseline)])):
        pair = arm["against"].get(reference)
        if pair is not None and pair["value"] is not None:
            groups.setdefault(_standing(pair, name, domain), []).append(f"{arm['label']} ({interval(pair, True)})")
    parts = [f"{key}: {listed(its)}" for key, its in groups.items() if its]
    return [f"Mixers beside {name}, {'; '.join(parts)}."] if parts else []


def _standing(pair: Mapping[str, Any], name: str, domain: Mapping[str, Any]) -> str:
    """What is shown of an arm beside the arm called `name`."""
    margin = points(domain.get("margin"))
    return {
        "different": f"{'above' if pair['sign'] > 0 else 'below'} {name}",
        "different within the margin": f"different, but by less than the margin of {margin}",
        "equivalent": f"equivalent within {margin}",
        "cannot tell": "cannot tell",
    }[pair["label"]]


def _weakest(domain: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    known = [arm for arm in mixers_of(domain, base["arm"]) if arm["retention"]["value"] is not None]
    if not known or not domain["learned"]:
        return []
    weakest = min(known, key=lambda arm: arm["retention"]["value"])
    return [
        f"The weakest mixer here, {weakest['label']}, keeps {percent(weakest['retention'])}{PERCENT} of what "
        f"{base['label']} scores above chance."
    ]


def _over_tasks(domain: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Which differences would be expected of other tasks of the kind, too."""
    known = [
        (arm, arm["over_tasks"][base["arm"]])
        for arm in mixers_of(domain, base["arm"])
        if arm["over_tasks"].get(base["arm"], {}).get("low") is not None
    ]
    if not known:
        return []
    beyond = [f"{arm['label']} ({interval(its, True)})" for arm, its in known if side(its)]
    which = listed(beyond) if beyond else "none"
    return [
        f"Differences from {base['label']} whose interval over tasks and seeds leaves out zero, so that they need not "
        f"be of these {known[0][1]['tasks']} tasks alone: {which}."
    ]


def _part_sentences(domain: Mapping[str, Any]) -> list[str]:
    effects = domain["effects"]
    parts = [cost for cost in effects["costs"] if cost["kind"] == "architecture"]
    if not parts:
        return []
    labels = {arm["arm"]: arm["label"] for arm in domain["arms"]}
    lines = []
    for cost in parts:
        against = f"against {labels[cost['reference']]}"
        if cost["sign"] > 0:
            clause = f"costs {interval(cost)} points {against}"
        elif cost["sign"] < 0:
            gain = {"value": -cost["value"], "low": -cost["high"], "high": -cost["low"]}
            clause = f"gains {interval(gain)} points {against}"
        elif cost["shown"] == "equivalent":
            clause = f"makes no difference {against} beyond the margin (cost {interval(cost)} points)"
        else:
            clause = f"{against}: cannot tell (cost {interval(cost)} points)"
        lines.append(f"“{cost['label']}” {clause}.")
    if poor := [labels[name] for name in effects["nothing_to_lose"]]:
        lines.append(
            f"{capital(listed(poor))} {'is' if len(poor) == 1 else 'are'} not clearly above chance with all parts: "
            "what it costs to take one out cannot be said."
        )
        return lines
    if floored := at_chance(domain):
        lines.append(f"Not clearly above chance: {listed(floored)}. How much more such a part might cost is not known.")
    if effects["contrast"]["value"] is not None and domain["learned"]:
        without = ""
        if effects["without"]:
            without = f" ({interval(effects['without'], True)} without “{labels[effects['without']['arm']]}”)"
        if effects["same_arm"]:
            origin = listed(list(dict.fromkeys(labels[cost["reference"]] for cost in parts)))
            without += f"; with all costs measured from {origin}: {interval(effects['same_arm'], True)}"
        lines.append(
            f"Mean cost of the architecture arms: {interval(effects['architecture'])}; of swapping the mixer: "
            f"{interval(effects['mixer'])}; the difference: {interval(effects['contrast'], True)} points{without}."
        )
    return lines


def _variance_sentence(domain: Mapping[str, Any]) -> list[str]:
    variance = domain["variance"]
    if not variance:
        return []
    text = f"Share of the variance of scores that goes with each: {_shares(variance)}."
    if without := variance["without"]:
        name = arm_of(domain, without["arm"])["label"]
        text += f" Which is the largest hangs on one arm; without “{name}”: {_shares(without)}."
    return [text]


def _shares(variance: Mapping[str, Any]) -> str:
    titles = {"mixer": "the mixer", "architecture": "the architecture's parts", "seed": "the seed"}
    return listed(
        [
            f"{title} {percent(share_of(variance[name]))}{PERCENT}"
            for name, title in titles.items()
            if variance[name] is not None
        ]
    )


def _limits(analysis: Mapping[str, Any]) -> list[str]:
    study, cells = analysis["study"], analysis["cells"]
    finished = sum(row["status"] == "finished" for row in cells)
    counts = {arm["planned"] for domain in analysis["domains"].values() for arm in domain["arms"]}
    n, most = min((count for count in counts if count > 1), default=1), max(counts)
    lines = []
    if finished < len(cells):
        failed = sum(row["status"] == "failed" for row in cells)
        lines.append(
            f"The study is not complete: {finished} of {len(cells)} cells are finished and {failed} have failed. Arms "
            "are judged by the seeds they have, pairs by the seeds that both have."
        )
    if n == 1:
        lines.append("One seed has no spread: no interval and no judgement is possible.")
    else:
        factor = student(0.95, n - 1)
        seeds = f"{n}" if n == most else f"{n} to {most}"
        lines.append(
            f"{seeds} seeds an arm. Student's factor for {n} is {factor:.1f} (with very many it would be 2.0), so "
            "intervals are wide, and they trust that scores are spread normally over seeds, which so few cannot show."
        )
    for domain in analysis["domains"].values():
        lines += _broken_budgets(domain, analysis)
    lines += _detectable(list(analysis["domains"].values()), study["baseline"])
    lines.append(
        "Seeds vary the initial weights and the order of the samples. The intervals do not speak of other data, other "
        "sizes of the model, longer training or other settings, and the mean over arms depends on which arms there are."
    )
    return [*lines, *study["limits"]]


def _broken_budgets(domain: Mapping[str, Any], analysis: Mapping[str, Any]) -> list[str]:
    """Which arms differ from the baseline in what the study file asks to be equal: their scores may come of that."""
    study, labels = analysis["study"], {arm["arm"]: arm["label"] for arm in domain["arms"]}
    rows = [row for row in analysis["cells"] if row["domain"] == domain["name"]]
    unlike = []
    for entry in kept_budgets(study["domains"][domain["name"]]["equal"], study["baseline"], rows):
        if entry["broken"]:
            arms = [f"{labels[item['arm']]} {deviation(item['difference'])}" for item in entry["broken"]]
            unlike.append(f"{entry['budget']} ({listed(arms)})")
    if not unlike:
        return []
    return [
        f"In {domain['label']}, the study file asks arms to be equal to the baseline in what some of them are not: "
        f"{'; '.join(unlike)}. What these arms score may come of that."
    ]


def _detectable(domains: Sequence[Mapping[str, Any]], baseline: str) -> list[str]:
    """How large a difference must be to be seen, and whether equality could be shown at all."""
    sizes, open_ended = [], []
    for domain in domains:
        pairs = [arm["against"].get(baseline) for arm in domain["arms"] if arm["arm"] != baseline]
        known = [pair for pair in pairs if pair and pair["low_corrected"] is not None]
        if not known:
            continue
        half = median((pair["high_corrected"] - pair["low_corrected"]) / 2 for pair in known)
        size = "less than 0.1" if half < 0.0005 else "over 100 (hardly any)" if half >= 1 else f"about {points(half)}"
        sizes.append(f"{size} in {domain['label']}")
        open_ended += [domain["label"]] if domain["margin"] is None else []
    lines = []
    if sizes:
        lines.append(
            "The smallest difference from the baseline that could be seen, in points (median half-width of the "
            f"intervals, corrected for the number of comparisons): {listed(sizes)}."
        )
    if open_ended:
        lines.append(
            f"The study file states no margin in {listed(open_ended)}, so that no two arms can be shown to be equal "
            "there."
        )
    return lines
