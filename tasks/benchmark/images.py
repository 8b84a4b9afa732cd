"""Speed, memory and size of image models, ours beside timm's and transformers', in one run.

How it is measured stands in ``tasks/benchmark/clock.py``. Drop path and dropout are off, and the pixels are noise.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaformer_nlp.config.names import split_names
from tasks.benchmark import clock
from tasks.benchmark.clock import Report, open_device
from tasks.benchmark.limits import MatrixProducts
from tasks.benchmark.options import ImageBenchmarkConfig as Config
from tasks.benchmark.options import split_switches
from vision import create_model, macs, preprocessing

__all__ = ["Config", "Contestant", "build_model", "compare", "run"]

SWITCHES = ("channels_last", "compile")
COLUMNS = {
    "model": "model",
    "mode": "mode",
    "precision": "precision",
    "step_ms": "ms a step",
    "samples_per_sec": "images/s",
    "relative_speed": "speed",
    "fastest_ms": "fastest",
    "peak_memory_mb": "MB",
    "param_count": "M params",
    "gmacs": "G MACs",
    "img_size": "pixels",
    "batch_size": "batch",
    "error": "error",
}
"""Columns of the results and their headings on the screen."""


class Contestant(clock.Contestant):
    """One image model; in training its loss is the cross entropy of its classes."""

    def __init__(self, spec: str, mode: str, precision: str, config: Config, device: torch.device) -> None:
        name, switches = split_switches(spec, SWITCHES)
        source, _, rest = name.rpartition("/")
        model, size, products = build_model(rest if source == "limit" else name, config.image_size)
        pixels = torch.randn(config.batch_size, 3, size, size, generator=torch.Generator().manual_seed(0))
        if source == "limit":
            model = MatrixProducts(model, {"pixel_values": pixels})
        facts = {"gmacs": products / 1e9, "img_size": size, "batch_size": config.batch_size}
        super().__init__(
            model, {"pixels": pixels}, facts, mode=mode, precision=precision, device=device, switches=switches
        )
        self.labels = torch.arange(config.batch_size, device=device) % 10

    def forward(self) -> Any:
        return self.model(self.inputs["pixels"])

    def loss(self, output: Any) -> Tensor:
        return F.cross_entropy(getattr(output, "logits", output).float(), self.labels)

    def row(self, first: clock.Contestant) -> dict[str, Any]:
        row = super().row(first)
        return {**row, "samples_per_sec": 1000 * len(self.labels) / row["step_ms"]}


def build_model(name: str, image_size: int | None) -> tuple[nn.Module, int, int]:
    """A model with random weights that drops nothing, the side of its images in pixels, and its MACs for one image.

    timm's models come without the wrapper that other scripts use, so that its few microseconds are not counted.

    Raises:
        ValueError: unknown name, or a size that the model cannot have.
    """
    source, _, rest = name.rpartition("/")
    if source not in ("", "timm", "transformers"):
        raise ValueError(
            f"{name}: unknown source {source}/; there are timm/NAME, transformers/NAME, limit/NAME and plain names"
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
        spec: functools.partial(Contestant, spec, mode, precision, config, device)
        for spec in split_names(config.models)
    }
    measured = clock.compare(makers, config)
    return [{"model": spec, "mode": mode, "precision": precision, **row} for spec, row in measured.items()]


def run(config: Config) -> list[dict[str, Any]]:
    """Measure, print a table for each mode and precision, write ``config.output``; returns the rows."""
    device, environment = open_device(config)
    caption = "speed: relative to the first model, by rounds; more is faster"
    report = Report(COLUMNS, config.output, environment, caption)
    for mode, precision in config.settings():
        print(f"{mode}, {precision}, batch {config.batch_size}, {environment} ...", file=sys.stderr)
        report.add(compare(mode, precision, config, device))
    return report.rows
