"""How much of what mixing adds does an arm keep? A share of the baseline's gain over a control that mixes nothing.

Against chance instead of a control, no mixing at all may retain 98 %: a comparison with an active control finds
something only if that control beats the placebo (ICH E10, 2000, section 1.5; "preservation of effect").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from metaformer_nlp.study.analysis.statistics.composed import ALPHA, Answer, answer
from metaformer_nlp.study.analysis.statistics.moderated import Contrast, Family

NO_GAIN = "mixing makes no difference here: the baseline is not shown above the control"


@dataclass(frozen=True)
class Gain:
    """The share (arm - control) / (baseline - control), its interval, and whether it is above the share asked for."""

    arm: str
    asked: float  # the share that is asked for
    gain: Contrast  # baseline - control
    value: float | None
    interval: tuple[float, float] | None  # Fieller's; None where no gain is shown
    answer: Answer


def share_of_gain(family: Family, arm: str, baseline: str, control: str, share: float = 0.5) -> Gain:
    """Does `arm` keep at least `share` of what `baseline` gains over `control`?

    First the gain itself must be shown (one-sided, 2.5 %); else the answer is open. Then the answer is the one-sided
    test of arm - share x baseline - (1 - share) x control, which needs no ratio. Since both must pass, "yes" is wrong
    in at most 2.5 % of studies. The interval holds every share that this test leaves (Fieller, J. R. Stat. Soc. B 16,
    1954), and is found by bisection, as degrees of freedom change with the share.
    """

    def over(ratio: float) -> Contrast:
        weights = {arm: 1.0}
        for name, weight in ((baseline, -ratio), (control, ratio - 1)):
            weights[name] = weights.get(name, 0.0) + weight
        return family.contrast(weights)

    gain = family.contrast({baseline: 1.0, control: -1.0})
    if gain.p_above() > ALPHA:
        return Gain(arm, share, gain, None, None, Answer("open", 1.0, 1.0, gain.note or NO_GAIN))
    if arm == baseline:
        return Gain(arm, share, gain, 1.0, None, Answer("open", 1.0, 1.0, "the baseline, by definition"))
    difference, above = family.contrast({arm: 1.0, control: -1.0}), over(share)
    if difference.value is None or gain.value is None or above.error is None:
        return Gain(arm, share, gain, None, None, Answer("open", 1.0, 1.0, above.note))
    value = difference.value / gain.value
    ends = _end(over, value, -1), _end(over, value, 1)
    return Gain(arm, share, gain, value, ends, answer(max(gain.p_above(), above.p_above()), above.p_below()))


def _end(over: Callable[[float], Contrast], value: float, side: int) -> float:
    """The share, on one side of the estimate, that is just not rejected; infinite where none is rejected."""

    def rejected(ratio: float) -> bool:
        contrast = over(ratio)
        return (contrast.p_below() if side > 0 else contrast.p_above()) <= ALPHA

    inside, step = value, 0.01
    while not rejected(value + side * step):
        inside, step = value + side * step, 2 * step
        if step > 1e4:
            return side * math.inf
    outside = value + side * step
    for _ in range(24):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
    return outside
