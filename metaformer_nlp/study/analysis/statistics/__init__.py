"""The statistics of a study, apart from what a study is: numbers in, estimates with intervals out.

`estimates` has means, paired differences and retention; `comparisons` tests many arms against one reference, for
difference and for equivalence; `tasks` averages over tasks; `variance` shares the variance out; `ranks` compares two
rankings. Each method names its source, and tests/study/test_statistics*.py hold each to a truth that is known.
"""

from metaformer_nlp.study.analysis.statistics.comparisons import compare_family, hochberg, holm
from metaformer_nlp.study.analysis.statistics.estimates import (
    LEVEL,
    MIN_BOOTSTRAP,
    Estimate,
    mean_interval,
    mean_of_paired,
    paired_values,
    retention,
    side,
)
from metaformer_nlp.study.analysis.statistics.ranks import rank_agreement
from metaformer_nlp.study.analysis.statistics.tasks import over_tasks
from metaformer_nlp.study.analysis.statistics.variance import variance_shares

__all__ = [
    "LEVEL",
    "MIN_BOOTSTRAP",
    "Estimate",
    "compare_family",
    "hochberg",
    "holm",
    "mean_interval",
    "mean_of_paired",
    "over_tasks",
    "paired_values",
    "rank_agreement",
    "retention",
    "side",
    "variance_shares",
]
