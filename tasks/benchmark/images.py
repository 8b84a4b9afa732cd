"""Speed, memory and size of image models, ours beside timm's and transformers', in one run.

How it is measured stands in ``tasks/benchmark/clock.py``. Drop path and dropout are off, and the pixels are noise.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaformer_nlp.config.names import split_names
from tasks.benchmark import clock
from tasks.benchmark.clock import CAPTION, Report, columns, open_device
from tasks.benchmark.limits import PARTS, split_part
from tasks.benchmark.options import ImageBenchmarkConfig as Config
from tasks.benchmark.options import split_switches
from vision import create_model, macs, preprocessing

__all__ = ["Config", "Contestant", "build_model", "compare", "make", "run"]

SWITCHES = ("channels_last", "compile")
COLUMNS = columns(
    {"model": "model", "mode": "mode", "precision": "precision"},
    "images",
    {"param_count": "M params", "gmacs": "G MACs", "img_size": "pixels", "batch_size": "batch"},
)


class Contestant(clock.Contestant):
    """One image model; in training its loss is the cross entropy of its classes."""

    def __init__(self, model: nn.Module, pixels: Tensor, facts: Mapping[str, Any], **how: Any) -> None:
        super().__init__(model, {"pixels": pixels}, facts, amount=len(pixels), **how)
        self.labels = torch.arange(len(pixels), device=self.device) % 10

    def forward(self) -> Any:
        return self.model(self.inputs["pixels"])

    def loss(self, output: Any) -> Tensor:
        return F.cross_entropy(getattr(output, "logits", output).float(), self.labels)


def make(spec: str, mode: str, precision: str, config: Config, device: torch.device) -> clock.Contestant:
    """The contestant that ``spec`` names: a model, or a part of one alone."""
    name, switches = split_switches(spec, SWITCHES)
    part, name = split_part(name)
    model, size, products = build_model(name, config.image_size)
    pixels = torch.randn(config.batch_size, 3, size, size, generator=torch.Generator().manual_seed(0))
    facts = {"gmacs": products / 1e9, "img_size": size, "batch_size": config.batch_size}
    how: dict[str, Any] = {"mode": mode, "precision": precision, "device": device, "switches": switches}
    if part is not None:
        return clock.Limit(PARTS[part](model, {"pixel_values": pixels}), facts, amount=len(pixels), **how)
    return Contestant(model, pixels, facts, **how)


def build_model(name: str, image_size: int | None) -> tuple[nn.Module, int, int]:
    """A model with random weights that drops nothing, the side of its images in pixels, and its MACs for one image.

    timm's models come without the wrapper that other scripts use, so that its few microseconds are not counted.

    Raises:
        ValueError: unknown name, or a size that the model cannot have.
    """
    source, _, rest = name.rpartition("/")
    if source not in ("", "timm", "transformers"):
        raise ValueError(
            f"{name}: unknown source {source}/; there are timm/NAME, transformers/NAME, plain names, and before them "
            + ", ".join(f"{part}/" for part in PARTS)
        )
    fields: dict[str, Any] = {} if image_size is None else {"image_size": image_size}
    if source == "timm":
        wrapped = create_model(name, **fields)
        return cast(nn.Module, wrapped.timm_model), preprocessing(wrapped).image_size[0], macs(wrapped)
    ours = create_model(rest, drop_path_rate=0.0, classifier_dropout=0.0, **fields)
    side = preprocessing(ours).image_size[0]
    return (_transformers_model(rest, ours.config) if source else ours), side, macs(ours)


def _transformers_model(name: str, row: Any) -> nn.Module:
    from transformers import PoolFormerConfig, PoolFormerForImageClassification

    if row.token_mixer != "pooling" or row.norm != "group_norm" or row.layer_scale_init_value is None:
        raise ValueError(f"transformers/{name}: transformers has PoolFormer only, the poolformer_* rows")
    same = ("depths", "hidden_sizes", "patch_sizes", "strides", "padding", "mlp_ratio", "pool_size", "hidden_act")
    fields = {key: getattr(row, key) for key in (*same, "layer_scale_init_value", "num_labels")}
    return PoolFormerForImageClassification(PoolFormerConfig(**fields, drop_path_rate=0.0))


def compare(mode: str, precision: str, config: Config, device: torch.device) -> list[dict[str, Any]]:
    """One row a model; a model that cannot run here (memory, an operation that is missing) has an ``error``."""
    makers = {
        spec: functools.partial(make, spec, mode, precision, config, device) for spec in split_names(config.models)
    }
    measured = clock.compare(makers, config)
    return [{"model": spec, "mode": mode, "precision": precision, **row} for spec, row in measured.items()]


def run(config: Config) -> list[dict[str, Any]]:
    """Measure, print a table for each mode and precision, write ``config.output``; returns the rows."""
    device, environment = open_device(config)
    report = Report(COLUMNS, config.output, environment, CAPTION)
    for mode, precision in config.settings():
        print(f"{mode}, {precision}, batch {config.batch_size}, {environment} ...", file=sys.stderr)
        report.add(compare(mode, precision, config, device))
    return report.rows
