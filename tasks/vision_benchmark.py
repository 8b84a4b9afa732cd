"""Speed, memory and size of image models, ours beside timm's and transformers', in one run.

The models take turns: in each round every one of them does a few steps, in an order that shifts from round to round,
so that whatever slows the machine for a while slows all of them. Reported are medians over all steps and, as
``relative_speed``, the median over the rounds of the first model's time divided by this one's.

Weights are random, drop path and dropout are off, and the pixels are noise: every model does all of its work. Memory
is measured on CUDA only, as the peak of one model's own tensors (weights, gradients, optimizer, activations).
"""

from __future__ import annotations

import contextlib
import csv
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from metaformer_nlp.core.cost import count_parameters
from tasks.image_checkpoints import split_names
from tasks.plugins import import_plugins
from vision import create_model, macs, preprocessing

ARITHMETIC: dict[str, tuple[torch.dtype, torch.dtype | None]] = {
    "float32": (torch.float32, None),
    "bfloat16": (torch.bfloat16, None),
    "float16": (torch.float16, None),
    "amp_bfloat16": (torch.float32, torch.bfloat16),
    "amp_float16": (torch.float32, torch.float16),
}
"""Type of weights and pixels, and what autocast turns products into (None: no autocast)."""

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


@dataclass(frozen=True)
class Config:
    """Time image models against each other."""

    models: str | list[str] = (
        "poolformer_s12,timm/poolformer_s12,timm/poolformer_s12+channels_last,transformers/poolformer_s12"
    )
    """Names, separated by commas (or a list): a row of vision/variants.py, timm/NAME for any model of timm,
    transformers/NAME for transformers' PoolFormer of that row. "+channels_last" and "+compile" after a name run it in
    that memory format and through torch.compile. The first one is what the others are compared with."""
    mode: Literal["inference", "training", "both"] = "inference"
    """training: forward, cross entropy, backward and an AdamW step."""
    precision: str | list[str] = "float32"
    """float32; bfloat16 or float16: weights and pixels in that type; amp_bfloat16 or amp_float16: float32 weights under
    autocast, as trainers do (float16 training with a gradient scaler). Several, separated by commas, are measured one
    by one."""
    batch_size: int = 8
    """Images a step. 1 gives the latency of a single image."""
    image_size: int | None = None
    """Pixels of the side; null: each model's own."""
    rounds: int = 7
    """How often the models take turns."""
    steps: int = 3
    """Measured steps of a model in a turn, after one that is not."""
    warmup: int = 3
    """Steps before all measuring; torch.compile compiles in them."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; null: cuda where there is one."""
    threads: int | None = None
    """CPU threads; null: torch's choice."""
    output: str | None = None
    """File for the results, .csv or .json; null: only the screen."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "rounds", "steps", "warmup", "threads", "image_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} {value}: must be at least 1")
        for precision in split_names(self.precision):
            if precision not in ARITHMETIC:
                raise ValueError(f"precision {precision}: must be one of {', '.join(ARITHMETIC)}")
        if self.output is not None and Path(self.output).suffix not in (".csv", ".json"):
            raise ValueError(f"output {self.output}: must end with .csv or .json")


class Contestant:
    """One model with its pixels and, in training, its optimizer: :meth:`step` is what is timed."""

    def __init__(self, spec: str, mode: str, precision: str, config: Config, device: torch.device) -> None:
        name, *switches = spec.split("+")
        for switch in switches:
            if switch not in SWITCHES:
                raise ValueError(f"{spec}: unknown switch +{switch}; there are {', '.join('+' + s for s in SWITCHES)}")
        self.device, self.resident, self.peak = device, 0, 0
        self.times: list[list[float]] = []
        dtype, self.autocast = ARITHMETIC[precision]
        layout = torch.channels_last if "channels_last" in switches else torch.contiguous_format
        with self._memory():
            model, size, products = build_model(name, config.image_size)
            self.facts = {"param_count": count_parameters(model).total / 1e6, "gmacs": products / 1e9}
            self.facts |= {"img_size": size, "batch_size": config.batch_size}
            model = model.to(device, dtype, memory_format=layout).train(mode == "training")  # type: ignore[call-overload]
            pixels = torch.randn(config.batch_size, 3, size, size, generator=torch.Generator().manual_seed(0))
            self.pixels = pixels.to(device, dtype).to(memory_format=layout)
            self.labels = torch.arange(config.batch_size, device=device) % 10
            self.model: Callable[[Tensor], Any] = torch.compile(model) if "compile" in switches else model
            self.optimizer = self.scaler = None
            if mode == "training":
                trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
                self.optimizer = torch.optim.AdamW(trainable, lr=1e-6, fused=device.type == "cuda")
                self.scaler = torch.amp.GradScaler(device.type, enabled=self.autocast is torch.float16)

    def turn(self, steps: int, record: bool) -> None:
        """Do ``steps`` steps; with ``record`` one more comes first, and the times of the others are kept, in ms."""
        with self._memory():
            if not record:
                for _ in range(steps):
                    self._timed()
                return
            self._timed()
            self.times.append([self._timed() for _ in range(steps)])

    def row(self, first: Contestant) -> dict[str, Any]:
        """The results; ``first`` is the model that the speed is relative to."""
        median = statistics.median(time for turn in self.times for time in turn)
        rounds = zip(first.times, self.times, strict=True)
        return {
            **self.facts,
            "step_ms": median,
            "fastest_ms": min(time for turn in self.times for time in turn),
            "samples_per_sec": 1000 * len(self.labels) / median,
            "relative_speed": statistics.median(statistics.median(a) / statistics.median(b) for a, b in rounds),
            "peak_memory_mb": self.peak / 2**20 if self.device.type == "cuda" else None,
        }

    def _timed(self) -> float:
        """Milliseconds of one step."""
        if self.device.type != "cuda":
            began = time.perf_counter()
            self._step()
            return 1000 * (time.perf_counter() - began)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        self._step()
        end.record()
        torch.cuda.synchronize(self.device)
        return start.elapsed_time(end)

    def _step(self) -> None:
        cast = torch.autocast(self.device.type, self.autocast) if self.autocast else contextlib.nullcontext()
        if self.optimizer is None or self.scaler is None:
            with torch.inference_mode(), cast:
                self.model(self.pixels)
            return
        with cast:
            output = self.model(self.pixels)
            loss = F.cross_entropy(getattr(output, "logits", output).float(), self.labels)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    @contextlib.contextmanager
    def _memory(self) -> Iterator[None]:
        """Note what this model holds on the CUDA device, and its peak, apart from what the other models hold."""
        if self.device.type != "cuda":
            yield
            return
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        yield
        self.peak = max(self.peak, self.resident + torch.cuda.max_memory_allocated(self.device) - before)
        self.resident += torch.cuda.memory_allocated(self.device) - before


def build_model(name: str, image_size: int | None) -> tuple[nn.Module, int, int]:
    """A model with random weights that drops nothing, the side of its images in pixels, and its MACs for one image.

    timm's models come without the wrapper that other scripts use, so that its few microseconds are not counted.

    Raises:
        ValueError: unknown name, or a size that the model cannot have.
    """
    source, _, rest = name.rpartition("/")
    if source not in ("", "timm", "transformers"):
        raise ValueError(f"{name}: unknown source {source}/; there are timm/NAME, transformers/NAME and plain names")
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
    specs = list(dict.fromkeys(split_names(config.models)))
    running: dict[str, Contestant] = {}
    failed: dict[str, str] = {}

    @contextlib.contextmanager
    def attempt(spec: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            running.pop(spec, None)
            failed[spec] = str(error).splitlines()[0]

    for spec in specs:
        with attempt(spec):
            running[spec] = Contestant(spec, mode, precision, config, device)
            running[spec].turn(config.warmup, record=False)
    for number in range(config.rounds):
        order = list(running)
        for spec in order[number % max(len(order), 1) :] + order[: number % max(len(order), 1)]:
            with attempt(spec):
                running[spec].turn(config.steps, record=True)
    first = next(iter(running.values()), None)
    rows = []
    for spec in specs:
        measured = {"error": failed[spec]} if spec in failed or first is None else running[spec].row(first)
        rows.append({"model": spec, "mode": mode, "precision": precision, **measured})
    return rows


def run(config: Config) -> list[dict[str, Any]]:
    """Measure, print a table for each mode and precision, write ``config.output``; returns the rows."""
    import_plugins(config.plugins)
    device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device}: torch sees no CUDA device here; use --device cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)  # the events that take the time are those of the current device
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    environment = f"torch {torch.__version__}, {hardware}"
    modes = ("inference", "training") if config.mode == "both" else (config.mode,)
    rows: list[dict[str, Any]] = []
    for mode in modes:
        for precision in split_names(config.precision):
            print(f"{mode}, {precision}, batch {config.batch_size}, {environment} ...", file=sys.stderr)
            measured = compare(mode, precision, config, device)
            show(measured, environment)
            rows += measured
            if config.output is not None:  # each time, so that what is measured outlives an interruption
                write(rows, Path(config.output), environment)
    return rows


def show(rows: list[dict[str, Any]], title: str) -> None:
    """The table on the screen; columns without any entry are left out."""
    table = Table(title=title, caption="speed: relative to the first model, by rounds; more is faster")
    keys = [key for key in COLUMNS if any(row.get(key) is not None for row in rows)]
    for key in keys:
        table.add_column(COLUMNS[key], justify="left" if key in ("model", "mode", "precision") else "right")
    for row in rows:
        cells = (row.get(key) for key in keys)
        table.add_row(*("" if x is None else f"{x:.2f}" if isinstance(x, float) else str(x) for x in cells))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def write(rows: list[dict[str, Any]], path: Path, environment: str) -> None:
    """The rows as csv (one line a model) or json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps({"environment": environment, "rows": rows}, indent=2) + "\n", encoding="utf-8")
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "environment"])
        writer.writeheader()
        for row in rows:
            cells = {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
            writer.writerow({**cells, "environment": environment})
