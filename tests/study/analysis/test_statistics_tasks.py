"""Averages over tasks and rank agreement, on simulated scores whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from metaformer_nlp.study.analysis.statistics import over_tasks, rank_agreement, side
from metaformer_nlp.study.analysis.statistics.tasks import DRAWS


def rows(table: np.ndarray) -> dict[str, dict[int, float]]:
    """A table (things, seeds) as thing -> seed -> score."""
    return {f"{place}": dict(enumerate(row.tolist())) for place, row in enumerate(table)}


def task_tables(tasks: float, seeds: float, noise: float, shape: tuple[int, int], count: int) -> Iterator[np.ndarray]:
    """Differences (tasks, seeds) with mean zero, from effects of tasks, of seeds and of both with these sds."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        own = tasks * rng.normal(size=(shape[0], 1)) + seeds * rng.normal(size=(1, shape[1]))
        yield own + noise * rng.normal(size=shape)


@pytest.mark.parametrize(
    ("tasks", "seeds", "noise", "shape"),
    [(1, 0, 0.5, (5, 3)), (1, 1, 0.5, (5, 3)), (0, 0, 1, (5, 3)), (1, 0, 1, (9, 5))],
)
def test_the_interval_over_tasks_covers_where_percentiles_do_not(
    tasks: float, seeds: float, noise: float, shape: tuple[int, int]
) -> None:
    hits, percentile_hits = [], []
    rng = np.random.default_rng(2)
    for table in task_tables(tasks, seeds, noise, shape, 250):
        estimate = over_tasks(rows(table))
        assert estimate.low is not None
        assert estimate.high is not None
        hits.append(estimate.low <= 0 <= estimate.high)
        drawn = table[rng.integers(0, shape[0], (400, shape[0], 1)), rng.integers(0, shape[1], (400, 1, shape[1]))]
        low, high = np.quantile(drawn.mean(axis=(1, 2)), [0.025, 0.975])
        percentile_hits.append(low <= 0 <= high)
    assert 0.91 <= np.mean(hits) <= 0.995
    if tasks and shape == (5, 3):
        assert np.mean(percentile_hits) < 0.91, "the reason why it is not the percentile bootstrap"


def test_an_average_over_tasks_speaks_of_other_tasks() -> None:
    table = np.array([[0.10, 0.11, 0.10], [0.0, 0.01, 0.0], [0.02, 0.02, 0.03], [-0.05, -0.05, -0.04]])
    estimate = over_tasks(rows(table))
    assert estimate.value == pytest.approx(table.mean())
    assert (side(estimate), estimate.method, estimate.n) == (0, "bootstrap-t", 3), "it depends on the task"
    assert side(over_tasks(rows(table + 1))) == 1
    assert over_tasks(rows(table)) == estimate, "the same each time"
    assert DRAWS >= 1000


def test_too_few_tasks_or_seeds_give_no_interval_over_tasks() -> None:
    assert over_tasks({}).value is None
    two_tasks = over_tasks(rows(np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.4]])))
    assert (two_tasks.value, two_tasks.low) == (pytest.approx(0.65 / 3), None)
    assert over_tasks(rows(np.array([[0.1], [0.2], [0.3]]))).low is None
    three_by_two = over_tasks(rows(np.array([[0.1, 0.2], [0.1, 0.2], [0.5, 0.4]])))
    assert (three_by_two.low, three_by_two.note) == (None, "too few tasks and seeds for an interval over tasks")
    same = over_tasks(rows(np.full((4, 3), 0.1)))
    assert (same.low, same.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert over_tasks({"a": {0: 0.1, 1: 0.2}, "b": {0: 0.3}, "c": {0: 0.5, 1: 0.2}}).n == 1, "seeds that all tasks have"


def lists(table: np.ndarray) -> dict[str, list[float]]:
    return {name: list(of_seed.values()) for name, of_seed in rows(table).items()}


@pytest.mark.parametrize("order", ["same", "opposite", "any"])
@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_the_interval_of_rank_agreement_covers(order: str, noise: float) -> None:
    rng = np.random.default_rng(4)
    hits, percentile_hits, widths = [], [], []
    for _ in range(200):
        first = rng.normal(size=7)
        second = {"same": first, "opposite": -first, "any": rng.normal(size=7)}[order]
        spread = noise * np.exp(rng.uniform(-0.5, 0.5, size=(2, 7, 1)) * np.log(4))  # arms vary up to fourfold
        runs = [
            mean[:, None] + own * rng.normal(size=(7, 3)) for mean, own in zip((first, second), spread, strict=True)
        ]
        truth = stats.kendalltau(first, second).statistic
        found = rank_agreement(lists(runs[0]), lists(runs[1]))
        assert found is not None
        hits.append(found.tau.low - 1e-9 <= truth <= found.tau.high + 1e-9)
        widths.append(found.tau.high - found.tau.low)
        if noise > 0.1 and order == "same":
            drawn = [run[:, rng.integers(0, 3, (200, 3))].mean(axis=2).T for run in runs]
            one, two = np.triu_indices(7, 1)
            taus = np.mean(np.prod([np.sign(means[:, one] - means[:, two]) for means in drawn], axis=0), axis=1)
            percentile_hits.append(np.quantile(taus, 0.975) >= truth)
    assert np.mean(hits) >= 0.95
    assert np.mean(widths) < (0.7 if noise < 0.1 else 1.97), "it says something where the arms are apart"
    if percentile_hits:
        assert np.mean(percentile_hits) < 0.6, "the reason why it is no bootstrap over seeds"


def test_orders_that_are_all_but_equal_are_called_unknown() -> None:
    """The hardest case: one domain in a clear order, the other with arms that hardly differ."""
    rng = np.random.default_rng(5)
    clear, close = np.arange(6.0), 1e-6 * np.arange(6.0)
    hits = []
    for _ in range(600):
        found = rank_agreement(
            lists(clear[:, None] + 0.1 * rng.normal(size=(6, 3))), lists(close[:, None] + 0.1 * rng.normal(size=(6, 3)))
        )
        assert found is not None
        hits.append(found.tau.high >= 1)
    assert np.mean(hits) >= 0.95


def test_rank_agreement_of_known_orders() -> None:
    first = {"a": [0.1, 0.11], "b": [0.2, 0.21], "c": [0.3, 0.31], "d": [0.4, 0.41], "only here": [0.5]}
    second = {"d": [0.9, 0.91], "c": [0.7, 0.71], "b": [0.8, 0.81], "a": [0.1, 0.11]}
    found = rank_agreement(first, second)
    assert found is not None
    assert found.tau.n == 4, "the arms of both"
    assert found.tau.value == pytest.approx(4 / 6)
    assert found.p == pytest.approx(8 / 24), "of 24 orders, 4 have at most one swap, and 4 at most one less than all"
    assert found.pairs == {"same": 5, "opposite": 1, "unknown": 0}
    assert (found.tau.low, found.tau.high) == (pytest.approx(4 / 6), pytest.approx(4 / 6))
    single = rank_agreement({name: its[:1] for name, its in first.items()}, second)
    assert single is not None
    assert (single.tau.value, single.tau.low) == (pytest.approx(4 / 6), None), "one run an arm: no interval"
    tied = rank_agreement(first, {name: [0.5, 0.5] for name in "abcd"})
    assert tied is not None
    assert (tied.tau.value, tied.tau.low) == (None, None)
    assert rank_agreement({"a": [1.0], "b": [2.0]}, second) is None
