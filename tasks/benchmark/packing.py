"""What packing is worth: steps on the same examples at their real lengths, padded and packed, in one run.

How it is measured stands in ``tasks/benchmark/clock.py``. A step has the same examples in each of three forms:

- padded: one example a row, every row padded to ``slots``;
- longest: one example a row, padded to the batch's longest;
- packed: examples share rows of ``slots``, as training and fine-tuning have it (``tasks/text/encoding.py``).

Beside them stand parts of the encoder alone on packed rows (:mod:`tasks.benchmark.limits`), without its head.

Training is a step of ``pretrain_text`` or ``finetune_glue``, forward, loss, backward and AdamW; inference the forward
pass of their evaluation. A masked language model is asked for 30 % of the tokens in training and for 15 % in inference.
Laying out the batch is not timed. Token ids are random; lengths are the quantiles of real ones.

Shapes: B rows, L slots, D examples, M masked tokens, V vocabulary.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from metaformer_nlp.text import (
    MetaFormerTextConfig,
    MetaFormerTextForMaskedLM,
    MetaFormerTextForSequenceClassification,
    MetaFormerTextModel,
)
from metaformer_nlp.text.packing import PackedClassifier
from tasks.benchmark import clock
from tasks.benchmark.clock import Report, columns, open_device
from tasks.benchmark.limits import PARTS
from tasks.benchmark.options import PackingBenchmarkConfig as Config
from tasks.benchmark.options import model_specs
from tasks.glue.files import read_split
from tasks.glue.tasks import task_named
from tasks.text.checkpoints import load_tokenizer
from tasks.text.data import EVAL_RATE, MaskingConfig
from tasks.text.encoding import encode_texts, pack_rows, pad_rows, trained_tokenizer
from tasks.text.masked_lm import MaskedPositions

__all__ = ["Config", "Contestant", "example_lengths", "run"]

# fmt: off
SST2_LENGTHS = (
    3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 13, 13, 14, 15, 16, 17, 18, 19, 20, 22,
    24, 25, 28, 30, 34, 39, 72,
)
# fmt: on
"""Every 2.5 % of the token counts of SST-2's training rows, [CLS] and [SEP] included (8192 pieces,
trained on them); their mean is 13.4."""
FORMS = ("padded", "longest", "packed")
LIMITS = {f"{part}, packed": part for part in PARTS}
"""Parts of the packed form alone, by the names of their rows."""
COLUMNS = columns(
    {
        "model": "model",
        "form": "form",
        "mode": "mode",
        "precision": "precision",
        "rows": "rows",
        "length": "slots of a row",
        "used": "used",
    },
    "examples",
    {"fewer_slots": "slots saved"},
)


def example_lengths(config: Config) -> NDArray[np.int64]:
    """Tokens of each of ``config.examples`` examples: the quantiles of the lengths, in an order drawn once: (D,).

    Raises:
        ValueError: ``lengths_from`` is not a folder of a task of GLUE.
    """
    counted = np.array(SST2_LENGTHS)
    if config.lengths_from is not None:
        folder = Path(config.lengths_from).expanduser()
        rows = read_split(task_named(folder.name), "train", str(folder.parent))
        texts = [text for row in rows for text in row.texts]
        tokenizer = (
            trained_tokenizer(texts, config.vocab_size)
            if config.tokenizer is None
            else load_tokenizer(config.tokenizer, "tokenizer")
        )
        counted = encode_texts([row.texts for row in rows], tokenizer, config.slots).lengths
    shares = (np.arange(config.examples) + 0.5) / config.examples
    lengths = np.quantile(counted, shares).round().astype(np.int64).clip(1, config.slots)
    return np.random.default_rng(0).permutation(lengths)


def lay_out(lengths: NDArray[np.int64], form: str, config: Config) -> dict[str, Tensor]:
    """Examples (B, L): ``input_ids``, ``token_type_ids`` and ``segment_ids``, or ``attention_mask`` if padded."""
    rng = np.random.default_rng(0)
    rows = [(rng.integers(1, config.vocab_size, length).astype(np.int32), int(length)) for length in lengths]
    if form == "packed":
        return pack_rows(rows, 0, config.slots)
    batch = pad_rows(rows, 0, config.slots)
    missing = config.slots - batch["input_ids"].shape[1] if form == "padded" else 0
    return {name: F.pad(value, (0, missing)) for name, value in batch.items()}


class PaddedPositions(nn.Module):
    """`MaskedPositions` for rows of one document: a padding mask spares attention a matrix over the tokens."""

    def __init__(self, model: MetaFormerTextForMaskedLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
        """(B, L), (B, L) and places (M,) in the flattened rows -> logits (M, V)."""
        hidden = self.model.encoder(input_ids, attention_mask=attention_mask).last_hidden_state
        logits: Tensor = self.model.lm_head(hidden.flatten(0, 1)[positions])
        return logits


class Contestant(clock.Contestant):
    """One model with a batch in one of the forms."""

    def __init__(
        self, fields: Mapping[str, Any], form: str, lengths: NDArray[np.int64], config: Config, mode: str, **how: Any
    ) -> None:
        inputs = lay_out(lengths, form, config)
        used = inputs["segment_ids" if form == "packed" else "attention_mask"] > 0
        rows, slots = used.shape
        self.examples = len(lengths)
        facts = {"form": form, "rows": rows, "length": slots, "used": float(used.float().mean())}
        facts["fewer_slots"] = len(lengths) * config.slots / used.numel()
        own = model_config(fields, config)
        model: nn.Module
        if config.task == "masked_lm":
            model = (MaskedPositions if form == "packed" else PaddedPositions)(MetaFormerTextForMaskedLM(own))
            del inputs["token_type_ids"]
            real = used.flatten().nonzero().flatten()
            share = MaskingConfig().rate if mode == "training" else EVAL_RATE
            chosen = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[: round(share * len(real))]
            inputs["positions"] = real[chosen].sort().values
            self.targets = inputs["input_ids"].flatten()[inputs["positions"]]
        else:
            classifier = MetaFormerTextForSequenceClassification(own)
            self.targets = torch.arange(self.examples) % 2
            model = PackedClassifier(classifier) if form == "packed" else classifier
        self.packed = isinstance(model, PackedClassifier)
        super().__init__(model, inputs, facts, mode=mode, amount=len(lengths), **how)
        self.targets = self.targets.to(self.device)

    def forward(self) -> Any:
        return self.model(**self.inputs, **({"num_documents": self.examples} if self.packed else {}))

    def loss(self, output: Any) -> Tensor:
        return F.cross_entropy(getattr(output, "logits", output).float(), self.targets)


def alone(
    part: str, fields: Mapping[str, Any], lengths: NDArray[np.int64], config: Config, **how: Any
) -> clock.Contestant:
    """A part of the encoder alone, on packed rows."""
    rows = lay_out(lengths, "packed", config)["segment_ids"]
    encoder = MetaFormerTextModel(model_config(fields, config))
    facts = {"rows": rows.shape[0], "length": rows.shape[1]}
    return clock.Limit(PARTS[part](encoder, {"input_ids": rows}), facts, amount=len(lengths), **how)


def model_config(fields: Mapping[str, Any], config: Config) -> MetaFormerTextConfig:
    """The configuration that ``fields`` say, of a model that drops nothing."""
    common: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "intermediate_size": 4 * config.hidden_size,
        "num_attention_heads": max(1, config.hidden_size // 32),
        "max_position_embeddings": config.slots,
        "pad_token_id": 0,
        "hidden_dropout_prob": 0.0,
    }
    return MetaFormerTextConfig(**{**common, **fields})


def run(config: Config) -> list[dict[str, Any]]:
    """Measure, print a table for each model, mode and precision, write ``config.output``; returns the rows."""
    device, environment = open_device(config)
    lengths = example_lengths(config)
    caption = (
        f"{config.examples} examples a step, {lengths.mean():.1f} tokens each, the longest {lengths.max()}. "
        "used: share of the slots that hold tokens. speed, slots saved: how many times less than padded"
    )
    report = Report(COLUMNS, config.output, environment, caption)
    for mode, precision in config.settings():
        for name, (fields, switches) in model_specs(config.models).items():
            print(f"{config.task}, {name}, {mode}, {precision}, {environment} ...", file=sys.stderr)
            how: dict[str, Any] = {"mode": mode, "precision": precision, "device": device, "switches": switches}
            makers: dict[str, Callable[[], clock.Contestant]] = {
                form: functools.partial(Contestant, fields, form, lengths, config, **how) for form in FORMS
            }
            makers |= {
                row: functools.partial(alone, part, fields, lengths, config, **how) for row, part in LIMITS.items()
            }
            measured = clock.compare(makers, config)
            common = {"model": name, "mode": mode, "precision": precision}
            report.add([{**common, "form": form, **row} for form, row in measured.items()])
    return report.rows
