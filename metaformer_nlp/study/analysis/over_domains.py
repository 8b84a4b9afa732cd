"""What holds over several domains: the order of mixers, effects over settings, and trends over budgets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, groupby
from math import fsum

from metaformer_nlp.study.analysis.results import Domain, Ranks, Setting, Trends
from metaformer_nlp.study.analysis.statistics import (
    LEVEL,
    Answer,
    Family,
    compose,
    envelope,
    over_settings,
    rank_agreement,
    scaling,
    side,
)
from metaformer_nlp.study.analysis.statistics.settings import MIN_SETTINGS
from metaformer_nlp.study.protocol.study import Scale, Study

MOST_FIRST = 5  # domains that one screen has room for
Domains = Mapping[str, Domain]


def primary_domains(study: Study, domains: Domains) -> dict[str, Domain]:
    """The domains that answers are composed over: those outside of any scale, and of each scale whose experiment none
    of them has the largest in which the baseline has run."""
    scaled = {name for scale in study.scale for name in scale.domains}
    outside = [name for name in domains if name not in scaled]
    experiments = {study.domain(name).experiment for name in outside}
    largest = []
    for scale in study.scale:
        ran = [name for name in scale.domains if domains[name].arms[study.baseline].seeds]
        largest.append((ran or list(scale.domains))[-1])
    alone = [name for name in largest if study.domain(name).experiment not in experiments]
    return {name: domain for name, domain in domains.items() if name in (*outside, *alone)}


def first_domains(study: Study, domains: Domains, against: Collection[str] = ()) -> tuple[str, ...]:
    """The primary domains of the first screen: those that show the opposite (`against`), then one of each experiment,
    then others while there is room."""
    names, seen = sorted(domains, key=lambda name: name not in against), set[str]()
    for name in domains:
        experiment = study.domain(name).experiment
        if experiment in seen and name not in against:
            names.remove(name)
            names.append(name)
        seen.add(experiment)
    chosen = names[:MOST_FIRST]
    return tuple(name for name in domains if name in chosen)


def ranks(domains: Domains) -> tuple[Ranks, ...]:
    """For each pair of domains that can tell arms apart: do they order their mixers alike?"""
    found = []
    for pair in combinations([domain for domain in domains.values() if domain.telling], 2):
        scores = [{arm.name: list(arm.seeds.values()) for arm in domain.runs if arm.kind == "mixer"} for domain in pair]
        if (its := rank_agreement(*scores)) is not None:
            found.append(Ranks((pair[0].name, pair[1].name), its.tau, its.p, its.pairs))
    return tuple(found)


def agreement(baseline: str, domains: Domains, ranks: Sequence[Ranks]) -> Answer:
    """Do the domains agree on the mixers?

    No where some mixer is shown above the baseline in one domain and below it in another, both corrected for the
    number of domains too. Yes where, in addition to that not being so, the interval of the rank agreement lies above
    zero for every pair of domains.
    """
    telling = [domain for domain in domains.values() if domain.telling]
    if len(telling) < 2:
        return Answer("open", 1.0, 1.0, "of fewer than two domains can anything be said")
    mixers = [arm for domain in telling for arm in domain.arms.values() if arm.kind == "mixer"]
    if any(arm.absent or arm.diverged for arm in mixers):
        return Answer("open", 1.0, 1.0, "runs failed, diverged or are missing")
    alpha = (1 - LEVEL) / len(telling)
    shown: dict[str, set[str]] = {}
    labels = {arm.name: arm.label for arm in mixers}
    for arm in mixers:
        difference = arm.against.get(baseline)
        if difference and difference.p_holm is not None and difference.p_holm < alpha:
            shown.setdefault(arm.name, set()).add("above" if (difference.estimate.value or 0) > 0 else "below")
    if turned := [labels[name] for name, words in shown.items() if len(words) > 1]:
        return Answer("no", 1.0, 0.0, f"above in one domain and below in another: {', '.join(turned)}")
    every_pair = len(ranks) == len(telling) * (len(telling) - 1) // 2
    alike = every_pair and all(side(rank.tau) > 0 for rank in ranks)
    return Answer("yes", 0.0, 1.0) if alike else Answer("open", 1.0, 1.0, "")


def settings(study: Study, domains: Domains, references: Iterable[str]) -> tuple[Setting, ...]:
    """The differences between arms over domains that are settings of one experiment, where there are three or more."""

    def kind(name: str) -> tuple[str, str]:
        return study.domain(name).experiment, study.domain(name).metric

    found = []
    for _, names in groupby(sorted((name for name in domains if domains[name].telling), key=kind), kind):
        its = [domains[name] for name in names]
        if len(its) < MIN_SETTINGS:
            continue
        families = {domain.name: Family({arm.name: arm.seeds for arm in domain.runs}) for domain in its}  # type: ignore[misc]
        for reference in references:
            for arm in study.arms:
                effects = {
                    name: contrast
                    for name, family in families.items()
                    if {arm.name, reference} <= set(family.scores)
                    and (contrast := family.contrast({arm.name: 1.0, reference: -1.0})).error is not None
                }
                if arm.name != reference and len(effects) >= MIN_SETTINGS:
                    values = [contrast.value or 0.0 for contrast in effects.values()]
                    errors = [contrast.error or 0.0 for contrast in effects.values()]
                    found.append(Setting(arm.name, reference, tuple(effects), over_settings(values, errors)))
    return tuple(found)


def trends(study: Study, scale: Scale, domains: Domains) -> Trends | None:
    """The gaps to the baseline over the budgets of `scale` that have run; None where there is none.

    A word stands where it holds without the runs that diverged, and with those that have no score at chance.
    """
    ran = {name: budget for name, budget in scale.domains.items() if domains[name].arms[study.baseline].seeds}
    its = {budget: domains[name] for name, budget in ran.items() if domains[name].chance is not None}
    if not its:
        return None
    chance = fsum(domain.chance or 0.0 for domain in its.values()) / len(its)

    def scores(full: bool) -> dict[float, dict[str, list[float]]]:
        return {
            budget: {
                arm.name: [score for seed, score in arm.seeds.items() if full or int(seed) not in arm.diverged]
                + [chance] * (full * len(arm.absent))
                for arm in domain.runs
            }
            for budget, domain in its.items()
        }

    runs = scores(full=False)
    margin = None if scale.margin is None else _in_logits(scale.margin, runs, study.baseline, chance)
    lines = scaling(runs, study.baseline, chance, floor=chance, margin=margin)
    if any(arm.absent or arm.diverged for domain in its.values() for arm in domain.arms.values()):
        others = scaling(scores(full=True), study.baseline, chance, floor=chance, margin=margin)
        note = "not with the runs that failed, diverged or are missing"
        lines = {
            name: line if others[name].trend == line.trend else replace(line, trend="open", note=note)
            for name, line in lines.items()
        }
    beyond = {name: drawn for name, line in lines.items() if (drawn := envelope(line)) is not None}
    return Trends(scale, margin, lines, beyond, tuple(name for name in scale.domains if name not in ran))


def _in_logits(
    margin: float, runs: Mapping[float, Mapping[str, Sequence[float]]], baseline: str, chance: float
) -> float | None:
    """A margin in the metric's unit as logits, where the baseline stands: d logit = d p / (p (1 - p)), a mean over the
    budgets at which it is above chance."""
    slopes = []
    for by_arm in runs.values():
        if found := by_arm.get(baseline):
            share = (fsum(found) / len(found) - chance) / (1 - chance)
            slopes += [1 / (share * (1 - share))] if 0.01 < share < 1 else []
    return margin / (1 - chance) * fsum(slopes) / len(slopes) if slopes else None


def composed(domains: Domains, name: str) -> tuple[Answer, dict[str, Answer], tuple[str, ...]] | None:
    """The answers to one question over all domains that ask it, and in each, "no" corrected for their number; None if
    none does."""
    its = {domain.name: domain.answers[name] for domain in domains.values() if name in domain.answers}
    if not its:
        return None
    if len(its) == 1:
        ((only, word),) = its.items()
        return word, its, (only,) if word.word == "no" else ()
    whole = compose(its)
    corrected = {
        domain: replace(word, word="open") if word.word == "no" and domain not in whole.shown_against else word
        for domain, word in its.items()
    }
    return whole.answer, corrected, whole.shown_against
