"""A text model as a program: ids, mask and token types -> what its head gives, for any batch and any length.

Shapes: B batch, N choices, L tokens, C channels, K labels, V vocabulary. Inputs are int64 (B, L), for multiple choice
(B, N, L).
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from metaformer_nlp.config.names import split_names
from metaformer_nlp.config.plugins import import_plugins
from tasks.export.options import TextExportConfig as Config
from tasks.export.program import Exportable, output_paths, write
from tasks.text.checkpoints import load_tokenizer

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
HEADS = {
    "ForMaskedLM": ("AutoModelForMaskedLM", ("logits",)),
    "ForSequenceClassification": ("AutoModelForSequenceClassification", ("logits",)),
    "ForTokenClassification": ("AutoModelForTokenClassification", ("logits",)),
    "ForQuestionAnswering": ("AutoModelForQuestionAnswering", ("start_logits", "end_logits")),
    "ForMultipleChoice": ("AutoModelForMultipleChoice", ("logits",)),
    "Model": ("AutoModel", ("last_hidden_state",)),
}
"""How a saved class's name ends -> the Auto class that opens it, and what its program gives."""


class Outputs(nn.Module):
    """A model as a plain function of its inputs: the tensors named in ``outputs``."""

    def __init__(self, model: PreTrainedModel, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, ...]:
        given = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return tuple(given[name] for name in self.outputs)


def open_model(folder: str) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """The float32 model in ``folder`` with the head it was saved with, and the names of what it gives.

    Raises:
        ValueError: no model there, or one of another kind.
    """
    if not (Path(folder).expanduser() / "config.json").is_file():
        raise ValueError(f"model {folder}: no config.json there (looked in {Path.cwd()}); give a saved model's folder")
    saved: PreTrainedConfig = AutoConfig.from_pretrained(folder)
    kind = (saved.architectures or ["?"])[0]
    head = next((head for head in HEADS if kind.endswith(head)), None)
    if head is None:
        raise ValueError(f"model {folder} is a {kind}; exported are classes that end with {', '.join(HEADS)}")
    auto_class, outputs = HEADS[head]
    model: PreTrainedModel = getattr(transformers, auto_class).from_pretrained(folder, dtype=torch.float32)
    taken = inspect.signature(model.forward).parameters
    if lacking := [name for name in INPUTS if name not in taken]:
        raise ValueError(f"model {folder}: a {kind} takes no {', '.join(lacking)}; only encoders of BERT's kind do")
    return model.eval(), outputs


def exportable(model: PreTrainedModel, outputs: tuple[str, ...], tokenizer: PreTrainedTokenizerBase) -> Exportable:
    """The model as it is exported, for rows of 1 token up to as many as it has positions."""
    longest = min(int(getattr(model.config, "max_position_embeddings", 512)), tokenizer.model_max_length)
    axes: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    choices: tuple[int, ...] = ()
    if type(model).__name__.endswith("ForMultipleChoice"):
        axes, choices = {**axes, 1: torch.export.Dim("choices", min=1)}, (3,)
    axes[1 + len(choices)] = torch.export.Dim("length", min=1, max=longest)
    sizes = [(3, longest // 2 + 1), (1, 1), (2, min(5, longest)), (5, longest)]
    return Exportable(
        function=Outputs(model, outputs).eval(),
        outputs=outputs,
        shapes={name: dict(axes) for name in INPUTS},
        samples=[_sample((batch, *choices, length), model.config) for batch, length in sizes],
        described={
            "inputs": dict.fromkeys(INPUTS, "int64 (batch, choices, length)" if choices else "int64 (batch, length)"),
            "outputs": list(outputs),
            "max_length": longest,
            "labels": _labels(model) if "Classification" in type(model).__name__ else [],
            "problem_type": model.config.problem_type,
            "padding": "any amount, where attention_mask is 0",
            "tokenizer": {
                "class": type(tokenizer).__name__,
                "vocab_size": len(tokenizer),
                "special_tokens": dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)),
            },
        },
    )


def _labels(model: PreTrainedModel) -> list[str]:
    names: dict[Any, str] = dict(model.config.id2label or {})
    return [names[index] for index in sorted(names)]


def _sample(shape: tuple[int, ...], config: PreTrainedConfig) -> dict[str, Tensor]:
    """Random ids; every second row ends in padding, the second halves are of token type 1."""
    generator = torch.Generator().manual_seed(shape[-1])
    ids = torch.randint(0, int(config.vocab_size), shape, generator=generator)
    mask, types = torch.ones_like(ids), torch.zeros_like(ids)
    mask[1::2, ..., max(1, shape[-1] * 2 // 3) :] = 0
    if getattr(config, "type_vocab_size", 1) > 1:
        types[..., shape[-1] // 2 :] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types * mask}


def run(config: Config) -> dict[str, float]:
    """Write the files, each with a .json beside it that says how to feed it; returns file -> difference.

    Raises:
        ValueError: no such model, a file of no known kind, or a program that is not the model.
    """
    import_plugins(config.plugins)
    paths = output_paths(split_names(config.output))
    model, outputs = open_model(config.model)
    return write(exportable(model, outputs, load_tokenizer(config.model, "model")), paths, config.opset)
