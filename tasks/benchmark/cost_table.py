"""What other mixers cost beside a reference, and the options that make them cost the same: a table to choose from."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from metaformer_nlp.config.names import split_names
from metaformer_nlp.core import MIXERS
from metaformer_nlp.text import MetaFormerTextConfig
from tasks.benchmark.clock import Report, open_device
from tasks.benchmark.equal_cost import (
    PEAK_FLOPS,
    UTILISATION,
    cost,
    differences,
    match,
    relative_times,
    training_flops,
    training_hours,
)
from tasks.benchmark.options import KNOBS, Knob, Scale
from tasks.benchmark.options import CostTableConfig as Config

__all__ = ["Config", "run"]

COLUMNS = {
    "equal": "equal",
    "options": "options",
    "parameters": "M params",
    "parameters_percent": "%",
    "gmacs": "G MACs a row",
    "macs_percent": "%",
    "time_percent": "time %",
    "training_gflop": "GFLOP a token",
    **{f"hours_{gpu}": f"h {gpu}" for gpu in PEAK_FLOPS},
    "error": "error",
}
"""Columns of the results and their headings on the screen."""


@dataclass(frozen=True)
class _Vocabulary:
    """All that a configuration asks of a tokenizer."""

    size: int
    pad_token_id: int = 0
    mask_token_id: int = 1

    def __len__(self) -> int:
        return self.size


def reference_of(config: Config) -> MetaFormerTextConfig:
    """The reference's configuration, exactly as pretrain_text would build it."""
    tokenizer = cast(PreTrainedTokenizerBase, _Vocabulary(config.vocab_size))
    return cast(MetaFormerTextConfig, config.model.build_config(tokenizer, config.length))


def option_string(reference: MetaFormerTextConfig, config: MetaFormerTextConfig) -> str:
    """The options that make ``config`` of ``reference``'s, for a command line: ``--model.num_hidden_layers 18``."""
    parts = []
    for name in ("token_mixer", *KNOBS):
        value = getattr(config, name)
        if value != getattr(reference, name):
            text = value if isinstance(value, str) else json.dumps(value)
            parts.append(f"--model.{name} {shlex.quote(str(text))}")
    return " ".join(parts)


def run(config: Config) -> list[dict[str, Any]]:
    """Match, print the table, write ``config.output``; returns the rows: the reference, then each mixer's."""
    device, environment = open_device(config)
    reference = reference_of(config)
    times = functools.partial(
        relative_times, reference, options=config, device=device, rows=config.batch_size, length=config.length
    )
    timed = "time" in split_names(config.equal)
    found: list[tuple[str, MetaFormerTextConfig]] = [("reference", reference)]
    failed: list[dict[str, Any]] = []
    for mixer in _mixers(config, reference):
        other = MetaFormerTextConfig.from_dict({**reference.to_dict(), "token_mixer": mixer})
        found.append(("depth and width", other))
        for scale in cast(list[Scale], split_names(config.equal)):
            for knob in cast(list[Knob], split_names(config.change)):
                print(f"{mixer}: equal {scale} by {knob} ...", file=sys.stderr)
                try:
                    found.append((scale, match(reference, other, scale, knob=knob, length=config.length, times=times)))
                except ValueError as error:
                    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
                    failed.append(
                        {"equal": scale, "options": option_string(reference, other), "error": f"{error}{notes}"}
                    )
    measured = [1.0, *times([other for _, other in found[1:]])] if timed else [None] * len(found)
    rows = [_row(name, reference, other, time, config) for (name, other), time in zip(found, measured, strict=True)]
    caption = "options: beyond the reference's. %: more than the reference has. GFLOP: masked-LM training, 6 x MACs"
    if config.tokens is not None:
        caption += (
            f". h: calculated for {config.tokens:.3g} tokens on one GPU at {UTILISATION:.0%} of its bfloat16 peak"
        )
    report = Report(COLUMNS, config.output, f"beside {_described(reference)}; {environment}", caption)
    report.add(rows + failed)
    return report.rows


def _row(
    name: str, reference: MetaFormerTextConfig, other: MetaFormerTextConfig, time: float | None, config: Config
) -> dict[str, Any]:
    own = cost(other, config.length)
    percent = differences(cost(reference, config.length), own)
    flops = training_flops(other, config.length)
    hours = {gpu: training_hours(flops * config.tokens, gpu) for gpu in PEAK_FLOPS} if config.tokens else {}
    return {
        "equal": name,
        "options": option_string(reference, other),
        "parameters": own.parameters / 1e6,
        "parameters_percent": percent["parameters"],
        "gmacs": own.macs / 1e9,
        "macs_percent": percent["macs"],
        "time_percent": None if time is None else 100 * (time - 1),
        "training_gflop": flops / 1e9,
        **{f"hours_{gpu}": value for gpu, value in hours.items()},
    }


def _mixers(config: Config, reference: MetaFormerTextConfig) -> list[Any]:
    if config.mixers is None:
        return [name for name in MIXERS.names() if 1 in MIXERS[name].ranks and name != reference.token_mixer]
    return config.mixers if isinstance(config.mixers, list) else split_names(config.mixers)


def _described(reference: MetaFormerTextConfig) -> str:
    mixer = reference.token_mixer
    name = mixer.get("name") if isinstance(mixer, Mapping) else mixer
    return f"{name} {reference.num_hidden_layers} x {reference.hidden_size}"
