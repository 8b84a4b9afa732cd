"""A word for one question and its error rate: yes, no or open; in one place and over several domains.

Every question gives two one-sided p values: of "yes" being wrong and of "no" being wrong. A word is given at 2.5 %
each, as a two-sided interval of 95 % that lies wholly on one side would give it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from metaformer_nlp.study.analysis.statistics.comparisons import holm
from metaformer_nlp.study.analysis.statistics.estimates import LEVEL

ALPHA = (1 - LEVEL) / 2
Word = Literal["yes", "no", "open"]


@dataclass(frozen=True)
class Answer:
    """A word with the one-sided p values it rests on, and why it is open where that needs saying."""

    word: Word
    p_yes: float
    p_no: float
    note: str = ""


def answer(p_yes: float, p_no: float, note: str = "") -> Answer:
    """Yes or no where its one-sided p value is at most 2.5 %, else open."""
    return Answer("yes" if p_yes <= ALPHA else "no" if p_no <= ALPHA else "open", p_yes, p_no, note)


@dataclass(frozen=True)
class Composed:
    """The word over all domains, and the domains where "no" is shown after correction for their number."""

    answer: Answer
    domains: Mapping[str, Answer]
    shown_against: tuple[str, ...]


def compose(domains: Mapping[str, Answer]) -> Composed:
    """Does it hold in all domains? Yes if shown in each; no if shown against in some, corrected for their number.

    Error rates: a false "yes" in at most 2.5 % of studies, since all domains must pass (intersection-union test;
    Berger, Technometrics 24, 1982); a false "no" (no domain is truly against) in at most 2.5 %, by Holm's correction
    over domains. Together at most 5 % of studies get a wrong word, whatever the number of domains.
    """
    if not domains:
        return Composed(Answer("open", 1.0, 1.0, "no domain"), {}, ())
    against = dict(zip(domains, holm([each.p_no for each in domains.values()]), strict=True))
    whole = answer(max(each.p_yes for each in domains.values()), min(against.values()))
    return Composed(whole, dict(domains), tuple(name for name, p in against.items() if p <= ALPHA))
