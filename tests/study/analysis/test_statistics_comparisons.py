"""p values corrected for their number."""

from __future__ import annotations

import pytest

from metaformer_nlp.study.analysis.statistics import hochberg, holm


def test_corrections_of_known_p_values() -> None:
    p = [0.01, 0.04, 0.03, 0.005]  # the worked values of R's p.adjust
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert hochberg(p) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert hochberg([0.049, 0.049, 0.049]) == [0.049] * 3, "all pass, so all hold"
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
