"""Text encoders of equal cost: as many parameters, multiply-accumulates or milliseconds as a reference has.

A mixer without weights makes a cheaper model at the same depth and width. What it is worth at the same cost shows a
deeper one (``num_hidden_layers``), or one whose channel MLPs are wider (``intermediate_size``). Both are found here:

    deeper = match(reference, config, "parameters")
    wider = match(reference, config, "macs", knob="intermediate_size")

Costs are those of the encoder without a head, embeddings included; parameters are the trainable ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from metaformer_nlp.core.cost import count_parameters
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextForMaskedLM, MetaFormerTextModel
from tasks.benchmark import clock
from tasks.benchmark.options import KNOBS, SCALES, Knob, Options, Scale
from tasks.benchmark.text import Contestant
from tasks.text.model import encoder_macs

__all__ = ["KNOBS", "SCALES", "Cost", "cost", "match", "relative_times", "training_flops", "training_hours"]

PEAK_FLOPS = {"A100": 312e12, "H100": 990e12}
"""Dense bfloat16, from NVIDIA's data sheets of the SXM models."""
UTILISATION = 0.4
"""Share of the peak that a well-run training reaches; narrow models (fewer than some 500 channels) reach far less."""

Times = Callable[[Sequence[MetaFormerTextConfig]], list[float]]


class Cost(NamedTuple):
    """Of an encoder without head: trainable parameters, and multiply-accumulates of one row."""

    parameters: int
    macs: int


def cost(config: MetaFormerTextConfig, length: int) -> Cost:
    """Counted on a model without memory, for rows of ``length`` tokens."""
    with torch.device("meta"):
        model = MetaFormerTextModel(config)
    macs = encoder_macs(model, length)
    return Cost(count_parameters(model).trainable, macs or 0)  # an encoder of no layers has no MACs


def match(
    reference: MetaFormerTextConfig,
    config: MetaFormerTextConfig,
    scale: Scale,
    *,
    knob: Knob = "num_hidden_layers",
    length: int = 128,
    times: Times | None = None,
) -> MetaFormerTextConfig:
    """``config`` with the ``knob`` turned so that it costs as nearly as possible what ``reference`` does.

    ``times`` measures the times of configurations relative to the reference's, as :func:`relative_times` does; needed
    for ``scale="time"``, where the time is taken as a straight line through two sizes that are measured.

    Raises:
        ValueError: the knob changes nothing, or the configuration cannot have another depth.
    """
    step = KNOBS[knob]
    start = max(1, round(getattr(config, knob) / step))
    if scale == "time":
        if times is None:
            raise ValueError("scale='time' needs `times`, such as functools.partial(relative_times, reference, ...)")
        first, second = times([turned(config, knob, step * start), turned(config, knob, 2 * step * start)])
        _check_rises(first, second, knob)
        found = max(1, round(start * (1 + (1 - first) / (second - first))))
        return turned(config, knob, step * found)

    @functools.cache
    def costs(number: int) -> int:
        counted: int = getattr(cost(turned(config, knob, step * number), length), scale)
        return counted

    target = getattr(cost(reference, length), scale)
    _check_rises(costs(start), costs(2 * start), knob)
    high = start
    while costs(high) < target:
        high *= 2
    low = 1
    while low < high:  # the least that costs as much as the reference
        middle = (low + high) // 2
        low, high = (middle + 1, high) if costs(middle) < target else (low, middle)
    nearest = min({max(1, low - 1), low}, key=lambda number: abs(costs(number) - target))
    return turned(config, knob, step * nearest)


def turned(config: MetaFormerTextConfig, knob: Knob, value: int) -> MetaFormerTextConfig:
    """``config`` with another depth or width of its channel MLPs.

    Raises:
        ValueError: ``token_mixer`` lists the layers one by one and so has one depth.
    """
    try:
        return MetaFormerTextConfig.from_dict({**config.to_dict(), knob: value})
    except ValueError as error:
        error.add_note("a list of mixers must fit every depth: write 'pooling x rest' for the layers that are added")
        raise


def _check_rises(first: float, second: float, knob: str) -> None:
    if second <= first:
        raise ValueError(f"twice the {knob} costs no more ({first} and {second}): there is nothing to match by it")


def relative_times(
    reference: MetaFormerTextConfig,
    configs: Sequence[MetaFormerTextConfig],
    *,
    options: Options,
    device: torch.device,
    rows: int,
    length: int,
) -> list[float]:
    """Milliseconds of a step of each, divided by those of ``reference``; all take turns in one measurement.

    Raises:
        ValueError: one of them cannot run here; the reason is in it.
    """
    ((mode, precision),) = options.settings()

    def make(config: MetaFormerTextConfig) -> Contestant:
        quiet = {**config.to_dict(), "hidden_dropout_prob": 0.0, "drop_path_rate": 0.0}
        model = MetaFormerTextModel(MetaFormerTextConfig.from_dict(quiet))
        return Contestant(model, rows, length, 0.0, {}, mode=mode, precision=precision, device=device)

    everyone = [reference, *configs]
    makers = {str(number): functools.partial(make, config) for number, config in enumerate(everyone)}
    measured = clock.compare(makers, options)
    for number, row in measured.items():
        if "error" in row:
            raise ValueError(f"{everyone[int(number)].token_mixer} cannot run on {device}: {row['error']}")
    return [1 / measured[str(number)]["relative_speed"] for number in range(1, len(everyone))]


def training_flops(config: MetaFormerTextConfig, length: int = 128, rate: float = 0.3) -> float:
    """FLOPs of masked-LM training for each token of a full row, with the head at ``rate`` of them.

    Two for every multiply-accumulate, and the backward pass counts as two forward passes: 6 x MACs.
    """
    with torch.device("meta"):
        model = MetaFormerTextForMaskedLM(config)
    macs = encoder_macs(model, length, predictions=round(rate * length))
    return 6 * (macs or 0) / length


def training_hours(flops: float, gpu: str) -> float:
    """Hours that ``flops`` take on one ``gpu`` of :data:`PEAK_FLOPS`, calculated: nobody has measured them."""
    return flops / (UTILISATION * PEAK_FLOPS[gpu]) / 3600


def differences(reference: Cost, other: Cost) -> dict[str, float]:
    """Per cent that ``other`` costs more."""
    return {name: 100 * (getattr(other, name) / getattr(reference, name) - 1) for name in Cost._fields}
