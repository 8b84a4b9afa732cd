"""Exact match and F1 of answers, as the official evaluation script of SQuAD 2.0 defines them.

Values are shares of the questions; the official script prints 100 times as much. The definition for version 1.1 differs
in one case alone: an answer of nothing but articles and punctuation.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_threshold", "exact_match", "f1", "normalize"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation and articles, words separated by one space."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if the prediction is one of the answers, normalised; no answers: if it is empty."""
    return float(normalize(prediction) in _gold(answers))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over words, of the answer where it is largest."""
    return max(_word_f1(normalize(prediction).split(), gold.split()) for gold in _gold(answers))


def _gold(answers: Sequence[str]) -> list[str]:
    """The answers, normalised, without those of which nothing is left; the empty text if there are none."""
    return [text for answer in answers if (text := normalize(answer))] or [""]


def _word_f1(prediction: Sequence[str], gold: Sequence[str]) -> float:
    if not prediction or not gold:
        return float(prediction == gold)
    same = sum((Counter(prediction) & Counter(gold)).values())
    return 2 * same / (len(prediction) + len(gold))


def best_threshold(
    scores: NDArray[np.float64], answerable: NDArray[np.bool_], differences: NDArray[np.float64]
) -> tuple[float, float]:
    """The largest mean score that a threshold can give, and that threshold.

    A question is answered where its difference is at most the threshold. The threshold is chosen on the very questions
    it is measured on, so that the score is an upper bound. Unlike the official script, equal differences stay together.

    Args:
        scores: (N,) of the answer to each question.
        answerable: (N,) whether the question has an answer; of one without, no answer scores 1 and any answer 0.
        differences: (N,) score of "no answer" minus that of the answer.
    """
    order = np.argsort(differences, kind="stable")
    gains = np.where(answerable, scores, -1.0)[order]
    totals = np.concatenate([[0.0], np.cumsum(gains)]) + (~answerable).sum()
    ordered = np.concatenate([[differences.min() - 1.0], differences[order]])
    last = np.append(ordered[1:] > ordered[:-1], True)  # of equal differences
    best = np.flatnonzero(last)[np.argmax(totals[last])]
    return float(totals[best] / len(scores)), float(ordered[best])
