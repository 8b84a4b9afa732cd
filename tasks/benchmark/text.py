"""Speed, memory and size of text encoders: any mixers of ours beside transformers' BERT, FNet and ModernBERT.

How it is measured stands in ``tasks/benchmark/clock.py``. All models have the same depth, width, vocabulary and heads,
and are built from their configurations: nothing is downloaded. What each computes:

- every one: token ids -> the last hidden states of all tokens. No head and no pooler. In training the loss is the mean
  of the squared hidden states, so that every weight gets its gradient and its AdamW step;
- ours and BERT: a channel MLP of four times the width (``intermediate_size``). BERT attends through SDPA;
- FNet: as BERT, but its transform of 2-D FFTs knows no mask: it never gets one and mixes padding in;
- ModernBERT: its own proportions, a gated MLP of 1.5 times the width; attention (SDPA) is global in every third layer
  and sees 128 neighbours in the others; rotary positions.

Shapes: B rows, L slots.
"""

from __future__ import annotations

import copy
import functools
import math
import sys
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertModel,
    FNetConfig,
    FNetModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
)

from metaformer_nlp.core.mixers.fourier import Fourier
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextModel
from tasks.benchmark import clock
from tasks.benchmark.clock import CAPTION, Report, columns, open_device
from tasks.benchmark.limits import PARTS, split_part
from tasks.benchmark.options import TextBenchmarkConfig as Config
from tasks.benchmark.options import described, model_specs
from tasks.text.model import encoder_macs

__all__ = ["Config", "Contestant", "build_model", "described", "model_specs", "run"]

COLUMNS = columns(
    {"model": "model", "mode": "mode", "precision": "precision", "batch_size": "batch", "length": "length"},
    "tokens",
    {"param_count": "M params", "gmacs": "G MACs a row"},
)


class Contestant(clock.Contestant):
    """One encoder with B rows of L random tokens."""

    def __init__(
        self,
        model: PreTrainedModel,
        rows: int,
        slots: int,
        padding: float | None,
        facts: Mapping[str, Any],
        **how: Any,
    ) -> None:
        inputs, tokens = batch_for(model, rows, slots, padding)
        super().__init__(model, inputs, {"batch_size": rows, "length": slots, **facts}, amount=tokens, **how)

    def loss(self, output: Any) -> Tensor:
        return output.last_hidden_state.float().square().mean()


def batch_for(model: PreTrainedModel, rows: int, slots: int, padding: float | None) -> tuple[dict[str, Tensor], int]:
    """Inputs of B rows of L random tokens, and how many of the tokens are real."""
    generator = torch.Generator().manual_seed(0)
    inputs = {"input_ids": torch.randint(1, model.config.vocab_size, (rows, slots), generator=generator)}
    mask = torch.ones((rows, slots), dtype=torch.long)
    mask[::2, slots - math.floor((padding or 0) * slots) :] = 0
    if padding is not None and not isinstance(model, FNetModel):
        inputs["attention_mask"] = mask
    return inputs, int(mask.sum())


def build_model(fields: Mapping[str, Any], config: Config, length: int) -> PreTrainedModel:
    """An encoder with random weights, for rows of up to ``length`` slots.

    ``fields`` are those of our configuration that differ from the common ones; ``token_mixer`` may name a model of
    transformers.

    Raises:
        ValueError: unknown name or field.
    """
    source, _, name = str(fields["token_mixer"]).rpartition("/")
    sizes: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "max_position_embeddings": length,
        "pad_token_id": 0,
    }
    quiet = config.dropout == "none"
    inner: dict[str, Any] = {
        "intermediate_size": 4 * config.hidden_size,
        "type_vocab_size": 2,
        **({"hidden_dropout_prob": 0.0} if quiet else {}),
    }
    heads: dict[str, Any] = {"num_attention_heads": max(1, config.hidden_size // 64)}
    if not source:
        width = fields.get("hidden_size", config.hidden_size)
        own = {**sizes, **inner, **heads, "intermediate_size": 4 * width, **fields}
        return MetaFormerTextModel(MetaFormerTextConfig(**own))
    if source != "transformers" or name not in ("bert", "fnet", "modernbert"):
        raise ValueError(
            f"{fields['token_mixer']}: unknown model; there are transformers/bert, transformers/fnet, "
            "transformers/modernbert, and the names of token mixers for ours"
        )
    if set(fields) != {"token_mixer"}:
        raise ValueError(f"{described(fields)}: only our own encoder has fields to set; give transformers' by name")
    if name == "bert":
        attention: dict[str, Any] = {**heads, "attn_implementation": "sdpa"}
        if quiet:
            attention["attention_probs_dropout_prob"] = 0.0
        return BertModel(BertConfig(**sizes, **inner, **attention), add_pooling_layer=False)
    if name == "fnet":
        return FNetModel(FNetConfig(**sizes, **inner), add_pooling_layer=False)
    proportions: dict[str, Any] = {"intermediate_size": 3 * config.hidden_size // 2, "attn_implementation": "sdpa"}
    tokens: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 1, "cls_token_id": 1, "sep_token_id": 1}
    return ModernBertModel(ModernBertConfig(**sizes, **heads, **proportions, **tokens))


def model_macs(model: PreTrainedModel, length: int) -> int:
    """Multiply-accumulates of a row: those that torch counts, and Fourier transforms, which it does not.

    Attention counts as if every token saw every other, a local window too.
    """
    macs = encoder_macs(model, length)
    if macs is not None:
        return macs
    shadow = copy.deepcopy(cast(nn.Module, model)).to("meta")  # computes nothing
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(torch.zeros((1, length), dtype=torch.long, device="meta"))
    transforms = 0
    if isinstance(model, FNetModel):
        transform = Fourier(model.config.hidden_size, (length,)).macs((length,))
        transforms = model.config.num_hidden_layers * transform
    return counter.get_total_flops() // 2 + transforms


def make(
    fields: Mapping[str, Any], switches: list[str], config: Config, pair: tuple[int, int], **how: Any
) -> clock.Contestant:
    """The contestant that ``fields`` describe, with (B, L) = ``pair``: an encoder, or a part of one alone."""
    rows, slots = pair
    mixer, part = fields["token_mixer"], None
    if isinstance(mixer, str):
        part, mixer = split_part(mixer)
    model = build_model({**fields, "token_mixer": mixer}, config, max(slots for _, slots in config.pairs()))
    facts = {"gmacs": model_macs(model, slots) / 1e9}
    if part is None:
        return Contestant(model, rows, slots, config.padding, facts, switches=switches, **how)
    inputs, tokens = batch_for(model, rows, slots, config.padding)
    facts |= {"batch_size": rows, "length": slots}
    return clock.Limit(PARTS[part](model, inputs), facts, amount=tokens, switches=switches, **how)


def run(config: Config) -> list[dict[str, Any]]:
    """Measure, print a table for each mode, precision and shape, write ``config.output``; returns the rows."""
    device, environment = open_device(config)
    specs = model_specs(config.models)
    report = Report(COLUMNS, config.output, environment, CAPTION)
    for mode, precision in config.settings():
        for pair in config.pairs():
            print(f"{mode}, {precision}, {pair[0]} x {pair[1]} tokens, {environment} ...", file=sys.stderr)
            how: dict[str, Any] = {"mode": mode, "precision": precision, "device": device}
            makers = {
                name: functools.partial(make, fields, switches, config, pair, **how)
                for name, (fields, switches) in specs.items()
            }
            measured = clock.compare(makers, config)
            report.add([{"model": name, "mode": mode, "precision": precision, **row} for name, row in measured.items()])
    return report.rows
