"""torch.compile: every model in one graph, padded and packed, and the same graph for rows of other sizes.

What a graph may depend on: which arguments are given, a batch or a length of 1 (torch takes 0 and 1 for constants), and
whether rows are long, since averages over windows cut long rows into blocks (see `metaformer_nlp.core.bands`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from metaformer_nlp import text
from metaformer_nlp.core.bands import SHORT
from tests.mixers import ATTENTION_KINDS

HEADS = ["MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice"]
MODELS = ["Model", *(f"For{head}" for head in HEADS)]
MIXERS = [{"name": "pooling", "pool_size": [3, 15, "left:4", "global"]}, "depthwise_conv", "attention"]
LAYERS = [*MIXERS, "shift", "decaying_sum", *ATTENTION_KINDS]
Rows = dict[str, torch.Tensor]


def padded(model: str, batch: int, length: int) -> Rows:
    """All rows but the first end in padding."""
    shape = (batch, 2, length) if model == "ForMultipleChoice" else (batch, length)
    mask = torch.ones(shape, dtype=torch.long)
    mask[1:, ..., length - 3 :] = 0
    ids = torch.randint(5, 61, shape)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


def packed(model: str, batch: int, length: int) -> Rows:
    """Two documents a row."""
    inputs = padded(model, batch, length)
    documents = 1 + (torch.arange(length) > length // 3).long()
    return {"input_ids": inputs["input_ids"], "segment_ids": documents * inputs["attention_mask"]}


def labels(model: str, ids: torch.Tensor) -> Rows:
    if model == "Model":
        return {}
    if model == "ForQuestionAnswering":
        return {"start_positions": ids[:, 0] % 4, "end_positions": ids[:, 1] % 5}
    if model in ("ForMaskedLM", "ForTokenClassification"):
        return {"labels": ids % 3}
    return {"labels": ids.flatten(1)[:, 0] % 2}


def assert_one_graph(model: Any, backend: str, batches: list[Rows]) -> None:
    """The first batch is compiled without a break; the others run in its graph; all outputs are the plain model's."""
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    for number, inputs in enumerate(batches):
        with torch.no_grad():
            expected = model(**inputs)
            with torch.compiler.set_stance("fail_on_recompile" if number else "default"):
                given = compiled(**inputs)
        assert set(given) == set(expected)
        for name in expected:
            torch.testing.assert_close(given[name], expected[name], atol=1e-5, rtol=1e-5, msg=f"{name} {number}")


@pytest.mark.slow
@pytest.mark.parametrize("make", [padded, packed])
@pytest.mark.parametrize("model", MODELS)
def test_one_graph_for_all_sizes(model: str, make: Callable[..., Rows], text_config: Any, perturb: Any) -> None:
    """The encoder with all kinds of layers, which the heads share; the heads with a few."""
    layers = {"token_mixer": MIXERS, "num_hidden_layers": 3}
    if model == "Model":
        layers = {"token_mixer": LAYERS, "num_hidden_layers": len(LAYERS)}
    config = text_config(**layers, num_labels=3)
    batches = [make(model, *size) for size in [(3, 11), (2, 7), (4, 24), (3, 16)]]
    batches = [inputs | labels(model, inputs["input_ids"]) for inputs in batches]
    # The encoder also in the operators that code is made of; these may fix sizes too.
    backend = "aot_eager" if model == "Model" else "eager"
    assert_one_graph(perturb(getattr(text, f"MetaFormerText{model}")(config)), backend, batches)


@pytest.mark.slow
@pytest.mark.parametrize("make", [padded, packed])
def test_one_graph_for_all_long_rows(make: Callable[..., Rows], text_config: Any, perturb: Any) -> None:
    config = text_config(token_mixer=LAYERS, num_hidden_layers=len(LAYERS), max_position_embeddings=400)
    batches = [make("Model", *size) for size in [(3, SHORT + 1), (2, 400), (4, 256)]]
    assert_one_graph(perturb(text.MetaFormerTextModel(config)), "aot_eager", batches)


@pytest.mark.slow
def test_gradients_of_compiled_rows(text_config: Any, perturb: Any) -> None:
    """Training on packed rows, compiled without a break: the gradients of the plain model."""
    torch._dynamo.reset()
    model = perturb(text.MetaFormerTextForMaskedLM(text_config(token_mixer=LAYERS, num_hidden_layers=len(LAYERS))))
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for length in (11, 24):
        inputs = packed("ForMaskedLM", 3, length)
        gradients = []
        for each in (model, compiled):
            model.zero_grad()
            each(**inputs, labels=inputs["input_ids"]).loss.backward()
            gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-4, msg=name)
