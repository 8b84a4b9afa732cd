"""Texts that share a row get what each of them gets alone: values, gradients, and answers in their own order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer_nlp.text import MetaFormerTextForSequenceClassification
from metaformer_nlp.text.packing import PackedClassifier, document_means, pack
from tests.mixers import TEXT_MIXERS, mixer_id

LENGTHS = (9, 5, 7, 24, 1, 12, 3)  # 24 is a whole row
SLOTS = 24


def test_rows_hold_every_document_once_and_never_too_much() -> None:
    rng = np.random.default_rng(0)
    for slots in (8, 64, 128):
        lengths = rng.integers(1, slots + 1, 200).tolist()
        rows = pack(lengths, slots)
        assert sorted(number for row in rows for number in row) == list(range(200))
        assert all(sum(lengths[number] for number in row) <= slots for row in rows)
        # First fit: what lies in a later row has no room in an earlier one, else the earlier one would have it.
        for first, second in pairwise(rows):
            assert sum(lengths[number] for number in first) + max(lengths[number] for number in second) > slots
    assert pack([3, 3, 3], 6) == [[0, 1], [2]]
    assert pack([], 6) == []
    with pytest.raises(ValueError, match="9 tokens does not fit into a row of 8"):
        pack([3, 9], 8)


def test_means_are_of_the_tokens_of_each_document() -> None:
    x = torch.randn(2, 5, 3)
    segments = torch.tensor([[2, 2, 1, 0, 0], [4, 0, 0, 4, 4]])
    means = document_means(x, segments, 4)
    assert torch.allclose(means[1], x[0, :2].mean(0))
    assert torch.allclose(means[0], x[0, 2])
    assert means[2].tolist() == [0, 0, 0]
    assert torch.allclose(means[3], x[1, [0, 3, 4]].mean(0))
    # Summed in float32 whatever comes in: in bfloat16, 4096 ones would add up to 256.
    ones = torch.ones(1, 4096, 1, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert document_means(ones, torch.ones(1, 4096, dtype=torch.long), 1).item() == 1


@pytest.fixture(params=TEXT_MIXERS, ids=mixer_id)
def model(request: pytest.FixtureRequest, text_config: Any, perturb: Any) -> MetaFormerTextForSequenceClassification:
    config = text_config(token_mixer=request.param, id2label={0: "a", 1: "b", 2: "c"})
    return perturb(MetaFormerTextForSequenceClassification(config))


def batches() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same documents, of two sentences each, in a row of their own and packed."""
    torch.manual_seed(1)
    texts = [torch.randint(5, 61, (length,)) for length in LENGTHS]
    types = [(torch.arange(length) >= length // 2).long() for length in LENGTHS]
    alone = {key: torch.zeros(len(LENGTHS), SLOTS, dtype=torch.long) for key in ("ids", "types", "mask")}
    rows = pack(LENGTHS, SLOTS)
    packed = {key: torch.zeros(len(rows), SLOTS, dtype=torch.long) for key in ("ids", "types", "segments")}
    for number, length in enumerate(LENGTHS):
        alone["ids"][number, :length], alone["types"][number, :length] = texts[number], types[number]
        alone["mask"][number, :length] = 1
    for place, row in enumerate(rows):
        start = 0
        for number in row:
            here = slice(start, start + LENGTHS[number])
            packed["ids"][place, here], packed["types"][place, here] = texts[number], types[number]
            packed["segments"][place, here] = number + 1
            start += LENGTHS[number]
    assert len(rows) < len(LENGTHS)
    return alone, packed


def losses(model: MetaFormerTextForSequenceClassification, labels: Tensor) -> tuple[Tensor, Tensor]:
    alone, packed = batches()
    padded = model(alone["ids"], attention_mask=alone["mask"], token_type_ids=alone["types"]).logits
    together = PackedClassifier(model)(packed["ids"], packed["types"], packed["segments"], len(labels))
    assert (padded - together).abs().max() < 1e-5
    return F.cross_entropy(padded, labels), F.cross_entropy(together, labels)


def test_packed_texts_get_the_loss_and_the_gradients_of_padded_ones(
    model: MetaFormerTextForSequenceClassification,
) -> None:
    labels = torch.arange(len(LENGTHS)) % 3
    padded, packed = losses(model, labels)
    assert (padded - packed).abs() < 1e-5
    parameters = [p for p in model.parameters() if p.requires_grad]
    first, second = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (padded, packed))
    for a, b in zip(first, second, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert (a - b).abs().max() < 1e-5 * max(1.0, float(a.abs().max()))


def test_it_can_be_compiled_whole_for_any_number_of_documents(text_config: Any, perturb: Any) -> None:
    model = PackedClassifier(perturb(MetaFormerTextForSequenceClassification(text_config())))
    compiled: nn.Module = torch.compile(model, fullgraph=True, backend="eager")  # type: ignore[assignment]
    _, packed = batches()
    ids, types, segments = packed["ids"], packed["types"], packed["segments"]
    with torch.no_grad():
        for number in (len(LENGTHS), 3, 5):
            kept = torch.where(segments > number, 0, segments)
            assert torch.allclose(compiled(ids, types, kept, number), model(ids, types, kept, number), atol=1e-6)
