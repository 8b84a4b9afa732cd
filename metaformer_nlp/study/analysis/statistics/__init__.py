"""The statistics of a study, apart from what a study is: numbers in, estimates with intervals out.

Verdicts: `moderated` has the arms of a domain as a family, whose variances lend each other strength, and every contrast
of their means; `composed` turns p values into yes, no or open, in one domain and over several; `gain` measures an arm
by what mixing adds over a control; `pairs` sets every part beside every swap; `failures` asks what failed runs leave
of an answer; `scaling` follows the gap over budgets; `settings` predicts another setting; `items` lets test items vary
too; `power` says what a study can see and when to stop.

Descriptions: `estimates` has means and retention; `comparisons` corrects many tests; `tasks` averages over tasks;
`ranks` compares two rankings.

Each method names its source. tests/study/analysis/test_statistics*.py hold each to a truth that is known, and
test_simulated_worlds.py (long: scripts/simulate_verdicts.py) the rules of the verdict to their error rates.
"""

from metaformer_nlp.study.analysis.statistics.comparisons import hochberg, holm
from metaformer_nlp.study.analysis.statistics.composed import Answer, Composed, answer, compose
from metaformer_nlp.study.analysis.statistics.estimates import (
    LEVEL,
    MIN_BOOTSTRAP,
    Estimate,
    mean_interval,
    paired_values,
    retention,
    side,
)
from metaformer_nlp.study.analysis.statistics.failures import (
    FailureRate,
    diverged,
    failure_rate,
    with_failures,
    without_and_with,
)
from metaformer_nlp.study.analysis.statistics.gain import Gain, share_of_gain
from metaformer_nlp.study.analysis.statistics.items import over_items
from metaformer_nlp.study.analysis.statistics.moderated import (
    Comparison,
    Contrast,
    Family,
    SeedCorrelation,
    compare_arms,
    seed_correlation,
)
from metaformer_nlp.study.analysis.statistics.pairs import Pair, Pairs, compare_pairs, every_pair
from metaformer_nlp.study.analysis.statistics.power import StoppingRule, minimal_detectable_difference
from metaformer_nlp.study.analysis.statistics.ranks import rank_agreement
from metaformer_nlp.study.analysis.statistics.scaling import (
    Envelope,
    Scaling,
    TakeOff,
    envelope,
    scaling,
    take_off,
    transform,
)
from metaformer_nlp.study.analysis.statistics.settings import OverSettings, over_settings
from metaformer_nlp.study.analysis.statistics.tasks import over_tasks

__all__ = [
    "LEVEL",
    "MIN_BOOTSTRAP",
    "Answer",
    "Comparison",
    "Composed",
    "Contrast",
    "Envelope",
    "Estimate",
    "FailureRate",
    "Family",
    "Gain",
    "OverSettings",
    "Pair",
    "Pairs",
    "Scaling",
    "SeedCorrelation",
    "StoppingRule",
    "TakeOff",
    "answer",
    "compare_arms",
    "compare_pairs",
    "compose",
    "diverged",
    "envelope",
    "every_pair",
    "failure_rate",
    "hochberg",
    "holm",
    "mean_interval",
    "minimal_detectable_difference",
    "over_items",
    "over_settings",
    "over_tasks",
    "paired_values",
    "rank_agreement",
    "retention",
    "scaling",
    "seed_correlation",
    "share_of_gain",
    "side",
    "take_off",
    "transform",
    "with_failures",
    "without_and_with",
]
