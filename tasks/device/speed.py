"""How fast the models are beside their peers: images, text and dense tasks, taking turns as in scripts/benchmark.py."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metaformer_nlp.core import build_mixer
from tasks.benchmark import clock
from tasks.benchmark import images as image_benchmark
from tasks.benchmark import text as text_benchmark
from tasks.benchmark.limits import Copy
from tasks.benchmark.options import ImageBenchmarkConfig, Options, TextBenchmarkConfig, model_specs
from tasks.device.machine import LATE, Machine
from tasks.device.page import Result
from vision.dense.detection import create_detector
from vision.dense.segmentation import create_segmenter, pixel_losses

__all__ = ["dense", "images", "text"]

Maker = Callable[[], clock.Contestant]


def images(machine: Machine) -> Iterator[Result]:
    """PoolFormer-S12, CAFormer-S18 and PoolFormer-M48 beside timm's, eager and compiled."""
    both = ("{}", "timm/{}", "timm/{}+channels_last", "limit/{}")
    compiled = ("{}+compile", "timm/{}+channels_last+compile", "timm/{}+compile")
    groups: list[tuple[str, str, int, Sequence[str]]] = [
        ("poolformer_s12", "training", 128, (*both, *compiled)),
        ("poolformer_s12", "inference", 256, (*both, *compiled)),
        ("caformer_s18", "training", 128, (*both, *compiled[:2])),
        ("caformer_s18", "inference", 256, (*both, *compiled[:2])),
        ("poolformer_m48", "training", 64, (*both[:3], *compiled[:2])),
    ]
    if machine.toy:
        groups = [groups[0], groups[3]]
    for place, (model, mode, size, names) in enumerate(groups):
        if machine.toy:
            size, names = 2, both
        precision = _precision(machine, mode)
        config = ImageBenchmarkConfig(image_size=64 if machine.toy else None, batch_size=size, **_turns(machine))
        makers = {
            name.format(model): functools.partial(
                image_benchmark.make, name.format(model), mode, precision, config, machine.device
            )
            for name in names
        }
        setting = f"{mode}, {precision}, batch {size}"
        yield from _compared(machine, setting, makers, config, "images/s", len(groups) - place)


def text(machine: Machine) -> Iterator[Result]:
    """Encoders of 12 x 768 in training beside BERT, FNet and ModernBERT, and what their sublayers take."""
    names = ("pooling", "transformers/bert", "transformers/fnet", "transformers/modernbert", "limit/pooling")
    compiled = (
        "pooling+compile",
        "transformers/bert+compile",
        "transformers/modernbert+compile",
        "transformers/fnet+compile",
    )
    lengths = [32, 128] if machine.toy else [512, 128, 2048, 8192]  # the usual one first
    tokens = 128 if machine.toy else 32768
    for place, length in enumerate(lengths):
        models = ",".join(names if machine.toy else (*names, *compiled) if length == 512 else (*names, *compiled[:2]))
        sizes: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 500} if machine.toy else {}
        config = TextBenchmarkConfig(models=models, shapes=f"{tokens // length}x{length}", **sizes, **_turns(machine))
        precision = _precision(machine, "training")
        how: dict[str, Any] = {"mode": "training", "precision": precision, "device": machine.device}
        makers: dict[str, Maker] = {
            name: functools.partial(text_benchmark.make, fields, switches, config, config.pairs()[0], **how)
            for name, (fields, switches) in model_specs(config.models).items()
        }
        setting = f"training, {precision}, {tokens // length} x {length}"
        yield from _compared(machine, setting, makers, config, "tokens/s", len(lengths) - place + 1)
    yield from _sublayers(machine)


def _sublayers(machine: Machine) -> Iterator[Result]:
    """Pooling beside a copy of its input, and attention in a window beside attention to all."""
    options = Options(**_turns(machine))
    shapes = [(2, 64, 32), (2, 8, 8, 16)] if machine.toy else [(64, 512, 768), (128, 56, 56, 64)]
    for mode in ("inference", "training"):
        how: dict[str, Any] = {
            "mode": mode,
            "precision": "float32" if machine.toy else "bfloat16",
            "device": machine.device,
        }
        for shape in shapes:
            makers: dict[str, Maker] = {"copy": functools.partial(Sublayer, Copy(), shape, **how)}
            for name, switches in {"pooling": [], **({} if machine.toy else {"pooling+compile": ["compile"]})}.items():
                mixer = build_mixer("pooling", shape[-1], shape[1:-1])
                makers[name] = functools.partial(Sublayer, mixer, shape, switches=switches, **how)
            yield from _compared(machine, f"sublayer, {mode}, {shape}", makers, options, None, 8)
        for length in (64,) if machine.toy else (2048, 8192):
            shape = (max(1, 32768 // length), length, 768) if not machine.toy else (1, length, 32)
            makers = {
                f"attention, window {window}": functools.partial(
                    Sublayer, build_mixer({"name": "attention", "window": window}, shape[-1], shape[1:-1]), shape, **how
                )
                for window in (None, 8 if machine.toy else 64)
            }
            yield from _compared(machine, f"sublayer, {mode}, {shape}", makers, options, None, 8)


class Sublayer(clock.Contestant):
    """A token mixer on its own, or a copy: (B, *S, C) -> the same."""

    def __init__(self, module: nn.Module, shape: tuple[int, ...], **how: Any) -> None:
        super().__init__(module, {"x": torch.randn(shape)}, {}, **how)
        self.inputs["x"].requires_grad_(how["mode"] == "training")

    def loss(self, output: Any) -> Tensor:
        return output[(0,) * output.ndim].float()  # the gradient is a map of zeros, as large as any


def dense(machine: Machine) -> Iterator[Result]:
    """A training step of RetinaNet and of Semantic FPN."""
    size = (64, 64) if machine.toy else (800, 1216)
    options = Options(**_turns(machine))
    for precision in ("float32",) if machine.toy else ("float32", "amp_bfloat16"):
        how: dict[str, Any] = {"mode": "training", "precision": precision, "device": machine.device}
        makers: dict[str, Maker] = {
            "RetinaNet, PoolFormer-S12": functools.partial(Detection, size, **how),
            "Semantic FPN, PoolFormer-S12": functools.partial(
                Segmentation, (64, 64) if machine.toy else (512, 512), **how
            ),
        }
        yield from _compared(machine, f"training, {precision}, batch 2", makers, options, None, 2)


class Detection(clock.Contestant):
    """RetinaNet on two images of noise with ten objects each."""

    def __init__(self, size: tuple[int, int], **how: Any) -> None:
        self.count = 2
        super().__init__(
            create_detector("poolformer_s12", num_labels=80), {"images": torch.rand(2, 3, *size)}, {}, **how
        )
        corners = torch.rand(10, 2, device=self.device) * torch.tensor([size[1] / 2, size[0] / 2], device=self.device)
        boxes = torch.cat([corners, corners + min(size) / 4], 1)
        self.targets = [{"boxes": boxes, "labels": torch.arange(10, device=self.device)} for _ in range(2)]

    def forward(self) -> Any:
        return self.model(list(self.inputs["images"]), self.targets)

    def loss(self, output: Any) -> Tensor:
        return torch.stack(list(output.values())).sum()


class Segmentation(clock.Contestant):
    """Semantic FPN on two images of noise with 150 classes."""

    def __init__(self, size: tuple[int, int], **how: Any) -> None:
        super().__init__(
            create_segmenter("poolformer_s12", num_labels=150), {"pixel_values": torch.rand(2, 3, *size)}, {}, **how
        )
        self.labels = torch.arange(size[1], device=self.device).remainder(150).expand(2, *size)

    def loss(self, output: Any) -> Tensor:
        total, count = pixel_losses(output.logits, self.labels)
        return total / count


def _precision(machine: Machine, mode: str) -> str:
    """As trainers and servers have it on a GPU."""
    return "float32" if machine.toy else {"training": "amp_bfloat16", "inference": "bfloat16"}[mode]


def _turns(machine: Machine) -> dict[str, Any]:
    return {"rounds": 1, "steps": 1, "warmup": 1} if machine.toy else {"rounds": 5, "steps": 4, "warmup": 1}


def _compared(
    machine: Machine,
    setting: str,
    makers: Mapping[str, Maker],
    options: Options,
    unit: str | None,
    groups_left: int,
) -> Iterator[Result]:
    """What `clock.compare` finds, for which it has its part of the section's time; the first model is the measure."""
    until = time.monotonic() + machine.left() / groups_left
    group = dataclasses.replace(machine, deadline=until)

    def make(maker: Maker) -> clock.Contestant:
        with group.limited():
            contestant = maker()
            contestant.turn(2, record=False)  # torch.compile compiles, and once more for the second step
            return contestant

    if machine.left() <= 0:
        yield machine.late(", ".join(makers), setting)
        return
    found = clock.compare({name: functools.partial(make, maker) for name, maker in makers.items()}, options, until)
    if machine.device.type == "cuda":
        torch._dynamo.reset()
        torch.cuda.empty_cache()
    for name, row in found.items():
        if "error" in row:
            yield Result.missing(machine.section, name, setting, row["error"], late=LATE in row["error"])
            continue
        yield machine.measured(name, setting, "ms a step", row["step_ms"])
        yield machine.measured(name, setting, "speed, relative to the first", row["relative_speed"])
        if unit is not None:
            yield machine.measured(name, setting, unit, row["per_second"])
        if row["peak_memory_mb"] is not None:
            yield machine.measured(name, setting, "MB", row["peak_memory_mb"])
