"""Does a part cost more than a swap? Every part beside every swap, so that costs of opposite sign cannot cancel.

Removal stands beside removal (the mixer, the norm, the residual, the channel MLP out of the same arm), and swap beside
swap (another mixer, another norm, another activation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from metaformer_nlp.study.analysis.statistics.comparisons import hochberg
from metaformer_nlp.study.analysis.statistics.composed import ALPHA, Answer, answer
from metaformer_nlp.study.analysis.statistics.moderated import Contrast, Family

Change = tuple[str, str]  # an arm, and the arm it was made from


@dataclass(frozen=True)
class Pair:
    """One part beside one swap: what each costs, and the one-sided p values of "more" and of "less" (uncorrected)."""

    part: str
    swap: str
    part_of: str
    swap_of: str
    cost: float | None
    swap_cost: float | None
    p_more: float
    p_less: float


@dataclass(frozen=True)
class Pairs:
    """All pairs and the answer to: does every part cost more than every swap changes?"""

    pairs: tuple[Pair, ...]
    more: int  # pairs in which the part's cost is the larger, as estimated
    shown_more: int  # pairs in which that is shown, corrected by Hochberg: all where all pass by themselves
    shown_less: int  # pairs in which the opposite is shown, corrected for the number of pairs
    answer: Answer


def every_pair(parts: Mapping[str, str], swaps: Mapping[str, str]) -> list[tuple[Change, Change]]:
    """Every part beside every swap (arm -> the arm it was made from)."""
    return list(product(parts.items(), swaps.items()))


def compare_pairs(family: Family, beside: Sequence[tuple[Change, Change]], signed: bool = True) -> Pairs:
    """Is the first change's cost larger than the size of the second's, in every pair?

    `signed`: the first cost counts as it is (a removal that helps costs less than nothing); else its size counts, as
    that of the second does (swap beside swap).

    "More" must hold against the swap's cost and against its negative (intersection-union; Berger, Technometrics 24,
    1982), and "less" against one of the two (Bonferroni). Over pairs: yes if more is shown in all (intersection-union,
    no correction), no if less is shown in some pair (Bonferroni). Each is wrong in at most 2.5 % of studies. A pair
    needs the runs of its own arms alone.
    """
    pairs = tuple(_pair(family, *first, *second, signed) for first, second in beside)
    if not pairs:
        return Pairs((), 0, 0, 0, Answer("open", 1.0, 1.0, "no pair"))
    level = ALPHA / len(pairs)
    known = [(pair.cost if signed else abs(pair.cost), abs(pair.swap_cost), pair) for pair in pairs
             if pair.cost is not None and pair.swap_cost is not None]  # fmt: skip
    return Pairs(
        pairs,
        sum(cost > swap for cost, swap, _ in known),
        sum(p <= ALPHA for p in hochberg([pair.p_more for pair in pairs])),
        sum(pair.p_less <= level for pair in pairs),
        answer(max(pair.p_more for pair in pairs), min(1.0, len(pairs) * min(pair.p_less for pair in pairs))),
    )


def _pair(family: Family, part: str, part_of: str, swap: str, swap_of: str, signed: bool) -> Pair:
    def combined(sign: int) -> Contrast:
        """Cost of the part plus `sign` times that of the swap; the arms may be the same, so that weights add."""
        weights: dict[str, float] = {}
        for arm, weight in ((part_of, 1), (part, -1), (swap_of, sign), (swap, -sign)):
            weights[arm] = weights.get(arm, 0.0) + weight
        return family.contrast(weights)

    minus, plus = combined(-1), combined(1)
    more = max(minus.p_above(), plus.p_above())
    less = min(1.0, 2 * min(minus.p_below(), plus.p_below()))
    if not signed:
        more = min(1.0, 2 * min(more, max(minus.p_below(), plus.p_below())))  # in either direction: Bonferroni
        less = min(1.0, 2 * min(max(minus.p_below(), plus.p_above()), max(minus.p_above(), plus.p_below())))
    cost = family.contrast({part_of: 1.0, part: -1.0}).value
    swap_cost = family.contrast({swap_of: 1.0, swap: -1.0}).value
    return Pair(part, swap, part_of, swap_of, cost, swap_cost, more, less)
