"""What holds in several domains, and what hangs on the choice of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from metaformer_nlp.study.analysis.statistics import rank_agreement

Domains = Mapping[str, Mapping[str, Any]]


def across(references: Sequence[str], domains: Domains) -> dict[str, Any]:
    """``findings``: where each difference is shown; ``ranks``: whether each pair of domains orders the mixers alike."""
    arms = dict.fromkeys(arm["arm"] for domain in domains.values() for arm in domain["arms"])
    found = [_difference(domains, arm, reference) for arm in arms for reference in references if arm != reference]
    return {
        "findings": [item for item in [*found, _contrast(domains)] if item["domains"]],
        "ranks": list(_ranks(domains)),
    }


def _difference(domains: Domains, arm: str, reference: str) -> dict[str, Any]:
    """`arm` minus `reference` in every domain that has both, as its corrected test has it."""
    its = {name: one for name, domain in domains.items() for one in domain["arms"] if one["arm"] == arm}
    estimates = {
        name: {key: test[key] for key in ("value", "low", "high", "n", "label", "sign")}
        for name, one in its.items()
        if (test := one["against"].get(reference)) and test["value"] is not None
    }
    label = next((one["label"] for one in its.values()), arm)
    return _finding(domains, estimates, kind="arm", arm=arm, label=label, reference=reference)


def _contrast(domains: Domains) -> dict[str, Any]:
    """What a part of the architecture costs more than a mixer, as the verdict's rule has it."""
    estimates = {}
    for name, domain in domains.items():
        estimate = domain["effects"]["contrast"]
        if estimate["value"] is not None:
            sign = domain["effects"]["side"]
            label = "different" if sign else "cannot tell"
            estimates[name] = {key: estimate[key] for key in ("value", "low", "high", "n")} | {
                "label": label,
                "sign": sign,
            }
    label = "a part of the architecture costs more than a mixer"
    return _finding(domains, estimates, kind="contrast", arm=None, label=label, reference=None)


def _finding(domains: Domains, estimates: Mapping[str, dict[str, Any]], **what: Any) -> dict[str, Any]:
    """Domains of which nothing can be said (``counts`` is false) are listed, and count for nothing: no arm is above
    chance or, of what parts cost, the baseline is not.

    ``holds``: "all" where every domain that counts shows the same sign, "some" where some do and none the opposite,
    "contradicts" where both signs are shown, "none" where none is.
    """
    needed = "telling" if what["kind"] == "arm" else "learned"
    estimates = {name: {**item, "counts": domains[name][needed]} for name, item in estimates.items()}
    counted = {name: item for name, item in estimates.items() if item["counts"]}
    shown = {name: item["sign"] for name, item in counted.items() if item["sign"]}
    signs = set(shown.values())
    sign = signs.pop() if len(signs) == 1 else 0
    holds = "none" if not shown else "contradicts" if not sign else "all" if len(shown) == len(counted) else "some"
    first = sign or next(iter(shown.values()), 0)
    return {
        **what,
        "domains": estimates,
        "holds": holds,
        "sign": sign,
        "in": [name for name, its in shown.items() if its == first],
        "against": [name for name, its in shown.items() if its != first],
        "equivalent": [name for name, item in counted.items() if item["label"] == "equivalent"],
    }


def _ranks(domains: Domains) -> Iterable[dict[str, Any]]:
    for first, second in combinations(domains, 2):
        scores = [
            {arm["arm"]: list(arm["seeds"].values()) for arm in domains[name]["arms"] if arm["kind"] == "mixer"}
            for name in (first, second)
        ]
        agreement = rank_agreement(*scores)
        if agreement is not None:
            yield {"domains": [first, second], **agreement}
