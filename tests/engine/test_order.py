"""Order, augmentation and seeds are functions."""

import numpy as np
import pytest

from metaformer_nlp.engine.order import (
    BatchLayout,
    KeyedSamples,
    MicroBatches,
    evaluation_seed,
    key_at,
    model_seed,
    permutation,
    sample_rng,
    step_seed,
)


def test_an_epoch_is_a_permutation_of_its_own() -> None:
    for epoch in (0, 1):
        assert sorted(permutation(37, 5, epoch)) == list(range(37))
    orders = {tuple(permutation(37, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    keys = [key_at(position, 37, 5) for position in range(3 * 37)]
    assert [epoch for epoch, *_ in keys] == [0] * 37 + [1] * 37 + [2] * 37
    assert [index for _, index, _ in keys[37:74]] == permutation(37, 5, 1).tolist()


def test_the_order_is_the_one_that_was_published() -> None:
    """Golden values: a run must go on in its old order after an upgrade of this package or of numpy."""
    assert permutation(10, 0, 0).tolist() == [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]
    assert sample_rng(0, 1, 2).integers(1000, size=3).tolist() == [263, 667, 491]
    assert step_seed(1, 2, 3) % 10**6 == 425161


def test_draws_for_different_purposes_are_unrelated() -> None:
    seeds = [step_seed(0, step, rank) for step in range(20) for rank in range(4)]
    seeds += [evaluation_seed(0, batch) for batch in range(20)] + [model_seed(seed) for seed in range(20)]
    assert len(set(seeds)) == len(seeds)
    first = [sample_rng(*key).integers(2**62) for key in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))]
    assert len(set(first)) == 4
    assert sample_rng(3, 4, 5).integers(2**62) == sample_rng(3, 4, 5).integers(2**62)


def test_micro_batches_from_any_cursor() -> None:
    samples = MicroBatches(37, 3, BatchLayout.of(12, 3, 2), rank=1)
    everything = list(samples.between(0, 12 * 9))
    assert len(everything) == 9 * 2
    assert list(samples.between(12 * 4, 12 * 9)) == everything[8:]
    assert everything[5] == samples.keys(24, 1)


def test_a_sample_gets_its_own_generator_and_none_in_evaluation() -> None:
    class Data:
        def __len__(self) -> int:
            return 3

        def sample(self, index: int, rng: np.random.Generator | None) -> tuple[int, int | None]:
            return index, None if rng is None else int(rng.integers(2**62))

    assert KeyedSamples(Data(), 7)[(2, 1, 0)] == (1, int(sample_rng(7, 2, 1).integers(2**62)))
    assert KeyedSamples(Data(), None)[(0, 1, 0)] == (1, None)


@pytest.mark.parametrize(
    ("batch", "micro", "world", "words"),
    [
        (10, None, 4, ["run.batch_size 10", "4 processes", "for example 12", "run.fit_batch true"]),
    ],
)
def test_a_batch_that_cannot_be_cut_says_what_can(batch: int, micro: int | None, world: int, words: list[str]) -> None:
    with pytest.raises(ValueError, match="batch_size") as error:
        BatchLayout.of(batch, micro, world)
    assert all(word in str(error.value) for word in words), error.value
