"""What is hidden in a row is a function of where it is."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from metaformer_nlp.engine.order import sample_rng
from tasks.text.data import MaskedRows, MaskingConfig
from tasks.text.packed import pack_text
from tests.tasks.text.test_sources import sentences, source_of


@pytest.fixture
def rows(tokenizer: PreTrainedTokenizerBase) -> MaskedRows:
    return MaskedRows(pack_text(source_of(sentences(100)), tokenizer, 64), tokenizer, MaskingConfig(rate=0.3))


def test_masks_are_functions_of_seed_epoch_and_index(rows: MaskedRows) -> None:
    def mask(seed: int, epoch: int, index: int) -> bytes:
        sample = rows.sample(index, sample_rng(seed, epoch, index))
        return sample.ids.tobytes() + sample.labels.tobytes()

    assert mask(0, 0, 3) == mask(0, 0, 3)
    assert len({mask(0, 0, 3), mask(1, 0, 3), mask(0, 1, 3), mask(0, 0, 4)}) == 4


def test_training_and_evaluation_have_their_own_rates(rows: MaskedRows, tokenizer: PreTrainedTokenizerBase) -> None:
    for evaluation, rate in ((False, 0.3), (True, 0.15)):
        chosen = total = kept = 0
        for i in range(len(rows)):
            sample = rows.sample(i, None if evaluation else sample_rng(0, 0, i))
            original, segments = rows.text.row(i)
            special = np.isin(original, tokenizer.all_special_ids)
            asked = sample.labels != -100
            assert not (asked & special).any()
            assert np.array_equal(sample.ids[~asked], original[~asked])
            assert np.array_equal(sample.labels[asked], original[asked])
            assert np.array_equal(sample.segments, segments)
            chosen, total = chosen + asked.sum(), total + (~special).sum()
            kept += (sample.ids[asked] == tokenizer.mask_token_id).sum()
        assert abs(chosen / total - rate) < 0.01
        assert abs(kept / chosen - 0.8) < 0.1


def test_evaluation_masks_never_change(rows: MaskedRows) -> None:
    first, second = (rows.sample(5, None) for _ in range(2))
    assert np.array_equal(first.ids, second.ids)
    assert np.array_equal(first.labels, second.labels)
