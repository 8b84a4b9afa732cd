"""Several texts in one row: which share a row, and a classifier that reads each of them by itself.

Shapes: B rows, L slots of a row, D documents of the batch, C channels, K labels.

In a packed batch ``segment_ids`` (B, L) number the documents over the whole batch: 0 is padding, d > 0 the d-th of
them, so that the D answers come in the documents' order, whatever rows they lie in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer_nlp.core.segments import same_segment
from metaformer_nlp.text.heads import MetaFormerTextForSequenceClassification

__all__ = ["PackedClassifier", "document_means", "pack"]


def pack(lengths: Sequence[int], slots: int) -> list[list[int]]:
    """Rows of numbers of documents, each row's ``lengths`` adding up to at most ``slots``.

    First-fit decreasing: the longest first, each into the first row with room for it, which needs at most 11/9 of the
    fewest rows, and one more (Johnson, 1973). Equal lengths keep their order.

    Raises:
        ValueError: a document that is longer than a row.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        length = lengths[number]
        if length > slots:
            raise ValueError(f"a document of {length} tokens does not fit into a row of {slots}; cut it first")
        row = next((row for row, free in enumerate(room) if length <= free), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(slots)
        rows[row].append(number)
        room[row] -= length
    return rows


def document_means(x: Tensor, segment_ids: Tensor, num_documents: int) -> Tensor:
    """(B, L, C) -> (D, C): the mean over the tokens of each document, in float32; zeros for one without tokens.

    A document lies in one row. Every token gets the mean of its document by a product with the matrix (B, L, L) of who
    belongs together, of which the one at the document's first token is taken. Scattered addition would be as short, but
    its rounding differs from call to call on a GPU.
    """
    slots = torch.arange(segment_ids.numel(), device=x.device)
    first = slots.new_full((num_documents + 1,), len(slots)).scatter_reduce(0, segment_ids.flatten(), slots, "amin")
    with torch.autocast(x.device.type, enabled=False):
        together = same_segment(segment_ids).float()
        means = (together @ x.float() / together.sum(-1, keepdim=True)).flatten(0, 1)
        return F.pad(means, (0, 0, 0, 1))[first[1:]].to(x.dtype)  # zeros for a document that is nowhere


class PackedClassifier(nn.Module):
    """A classifier of texts that is given several in a row, and answers for each as if it stood alone.

    What is drawn at random for a row in training is drawn for all its documents together: drop path.
    """

    def __init__(self, model: MetaFormerTextForSequenceClassification) -> None:
        super().__init__()
        self.model = model
        self._no_split_modules = model._no_split_modules  # accelerate shards by these

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, segment_ids: Tensor, num_documents: int) -> Tensor:
        """(B, L) each -> logits (D, K)."""
        outputs = self.model.encoder(input_ids, token_type_ids=token_type_ids, segment_ids=segment_ids)
        means = document_means(outputs.last_hidden_state, segment_ids, num_documents)
        logits: Tensor = self.model.classifier(self.model.dropout(means))
        return logits
