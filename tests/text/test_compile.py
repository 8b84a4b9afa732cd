"""torch.compile on packed rows, without a graph break."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metaformer_nlp import text

MIXERS = [{"name": "pooling", "pool_size": [3, 15, "left:4", "global"]}, "depthwise_conv", "attention"]


def packed(batch: int, length: int) -> dict[str, torch.Tensor]:
    """Two documents a row; all rows but the first end in padding."""
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[1:, length - 3 :] = 0
    documents = 1 + (torch.arange(length) > length // 3).long()
    return {"input_ids": torch.randint(5, 61, (batch, length)), "segment_ids": documents * mask}


@pytest.mark.slow
def test_gradients_of_compiled_rows(text_config: Any, perturb: Any) -> None:
    """Training on packed rows, compiled without a break: the gradients of the plain model."""
    torch._dynamo.reset()
    model = perturb(text.MetaFormerTextForMaskedLM(text_config(token_mixer=MIXERS, num_hidden_layers=3)))
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for length in (11, 24):
        inputs = packed(3, length)
        gradients = []
        for each in (model, compiled):
            model.zero_grad()
            each(**inputs, labels=inputs["input_ids"]).loss.backward()
            gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-4, msg=name)
