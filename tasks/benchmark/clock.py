"""One clock and one report for all benchmarks: image models, text encoders, packed rows and input pipelines.

The models take turns: in each round every one of them does a few steps, in an order that shifts from round to round,
so that whatever slows the machine for a while slows all of them. Reported are medians over all steps and, as
``relative_speed``, the median over the rounds of the first model's time divided by this one's.

Weights are random and nothing is dropped: every model does all of its work. Memory is measured on CUDA only, as the
peak of one model's own tensors (weights, gradients, optimizer, activations).
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.core.cost import count_parameters
from metaformer_nlp.engine.processes import keep_freed_memory
from tasks.benchmark.options import ARITHMETIC, Options

__all__ = ["Contestant", "Limit", "Report", "Timed", "columns", "compare", "open_device"]


def columns(own: Mapping[str, str], unit: str, more: Mapping[str, str]) -> dict[str, str]:
    """Columns of a benchmark's results and their headings: its own, the measured ones, ``more`` facts, the error."""
    return {
        **own,
        "step_ms": "ms a step",
        "per_second": f"{unit}/s",
        "relative_speed": "speed",
        "times_first": "time",
        "fastest_ms": "fastest",
        "peak_memory_mb": "MB",
        **more,
        "error": "error",
    }


CAPTION = "speed: relative to the first, by rounds; more is faster. time: the inverse"


def open_device(options: Options) -> tuple[torch.device, str]:
    """The device that ``options`` ask for, set up, and a line about it for the results; the plugins are imported.

    Raises:
        ValueError: CUDA is asked for and torch sees none.
    """
    import_plugins(options.plugins)
    keep_freed_memory()  # as in training; all models have it
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device}: torch sees no CUDA device here; use --device cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)  # the events that take the time are those of the current device
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return device, f"torch {torch.__version__}, {hardware}"


class Timed:
    """Whatever takes turns: a step is what is timed.

    ``facts`` go into its row; ``amount`` is what a step does, in the unit of the table.
    """

    device = torch.device("cpu")

    def __init__(self, facts: Mapping[str, Any], amount: float) -> None:
        self.facts, self.amount = dict(facts), amount
        self.resident, self.peak = 0, 0
        self.times: list[list[float]] = []

    def timed(self) -> float:
        """Do a step; its milliseconds."""
        raise NotImplementedError

    def turn(self, steps: int, record: bool) -> None:
        """Do ``steps`` steps; with ``record`` one more comes first, and the times of the others are kept, in ms."""
        with self.memory():
            if not record:
                for _ in range(steps):
                    self.timed()
                return
            self.timed()
            self.times.append([self.timed() for _ in range(steps)])

    def row(self, first: Timed) -> dict[str, Any]:
        """The results; ``first`` is the one that the speed is relative to."""
        median = statistics.median(time for turn in self.times for time in turn)
        rounds = zip(first.times, self.times, strict=True)
        speed = statistics.median(statistics.median(a) / statistics.median(b) for a, b in rounds)
        return {
            **self.facts,
            "step_ms": median,
            "per_second": 1000 * self.amount / median,
            "relative_speed": speed,
            "times_first": 1 / speed,
            "fastest_ms": min(time for turn in self.times for time in turn),
            "peak_memory_mb": self.peak / 2**20 if self.device.type == "cuda" else None,
        }

    @contextlib.contextmanager
    def memory(self) -> Iterator[None]:
        """Note what this one holds on the CUDA device, and its peak, apart from what the others hold."""
        if self.device.type != "cuda":
            yield
            return
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        yield
        self.peak = max(self.peak, self.resident + torch.cuda.max_memory_allocated(self.device) - before)
        self.resident += torch.cuda.memory_allocated(self.device) - before


class Contestant(Timed):
    """One model with its inputs and, in training, its optimizer: a step is what is timed.

    A subclass says what a step computes: :meth:`forward` and, for training, :meth:`loss`. ``model`` and ``inputs``
    come from the CPU.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        facts: Mapping[str, Any],
        *,
        mode: str,
        precision: str,
        device: torch.device,
        switches: Sequence[str] = (),
        amount: float = 1,
    ) -> None:
        super().__init__({"param_count": count_parameters(model).total / 1e6, **facts}, amount)
        self.device = device
        weights, products = ARITHMETIC[precision]
        dtype: torch.dtype = getattr(torch, weights)
        self.autocast: torch.dtype | None = None if products is None else getattr(torch, products)
        layout = torch.channels_last if "channels_last" in switches else torch.contiguous_format
        with self.memory():
            model = model.to(device, dtype, memory_format=layout).train(mode == "training")  # type: ignore[call-overload]
            self.inputs = {name: value.to(device) for name, value in inputs.items()}
            for name, value in self.inputs.items():
                if value.is_floating_point():
                    self.inputs[name] = value.to(dtype).to(memory_format=layout)
            self.model: Callable[..., Any] = torch.compile(model) if "compile" in switches else model
            self.optimizer = self.scaler = None
            if mode == "training":
                trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
                trainable = trainable or [nn.Parameter(torch.zeros(1, device=device))]  # of a mixer that learns nothing
                self.optimizer = torch.optim.AdamW(trainable, lr=1e-6, fused=device.type == "cuda")
                self.scaler = torch.amp.GradScaler(device.type, enabled=self.autocast is torch.float16)

    def forward(self) -> Any:
        """What the model says of the inputs."""
        return self.model(**self.inputs)

    def loss(self, output: Any) -> Tensor:
        """A scalar, float32."""
        raise NotImplementedError

    def timed(self) -> float:
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
                self.forward()
            return
        with cast:
            output = self.forward()
            loss = self.loss(output)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()


class Limit(Contestant):
    """A part of a model alone (:mod:`tasks.benchmark.limits`), which holds its inputs itself and gives a scalar."""

    def __init__(self, part: nn.Module, facts: Mapping[str, Any], **how: Any) -> None:
        super().__init__(part, {}, facts, **how)

    def loss(self, output: Any) -> Tensor:
        scalar: Tensor = output
        return scalar


def compare(
    makers: Mapping[str, Callable[[], Timed]], options: Options, until: float = math.inf
) -> dict[str, dict[str, Any]]:
    """The results of each; one that cannot run here (memory, an operation that is missing) has an ``error`` only.

    After ``until``, by `time.monotonic`, no more models are made, and the round that runs is the last.
    """
    running: dict[str, Timed] = {}
    failed: dict[str, str] = {}

    @contextlib.contextmanager
    def attempt(name: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            running.pop(name, None)
            failed[name] = (str(error) or type(error).__name__).splitlines()[0]

    for name, make in makers.items():
        with attempt(name):
            if time.monotonic() > until:
                raise RuntimeError("out of time")
            running[name] = make()
            running[name].turn(options.warmup, record=False)
    for number in range(options.rounds):
        order = list(running)
        for name in order[number % max(len(order), 1) :] + order[: number % max(len(order), 1)]:
            with attempt(name):
                running[name].turn(options.steps, record=True)
        if time.monotonic() > until:
            break
    first = next(iter(running.values()), None)
    return {
        name: {"error": failed[name]} if name in failed or first is None else running[name].row(first)
        for name in makers
    }


class Report:
    """Tables on the screen and, where ``output`` names one, a file; ``columns`` are keys of rows and their headings."""

    def __init__(self, columns: Mapping[str, str], output: str | None, environment: str, caption: str) -> None:
        self.columns, self.environment, self.caption = columns, environment, caption
        self.path = None if output is None else Path(output)
        self.rows: list[dict[str, Any]] = []

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Show ``rows`` and write all there are: each time, so that what is measured outlives an interruption."""
        self.rows += rows
        self._show(rows)
        if self.path is not None:
            self._write(self.path)

    def _show(self, rows: list[dict[str, Any]]) -> None:
        """Columns without any entry are left out."""
        from rich.console import Console  # here, since models are also timed where it is not installed
        from rich.table import Table

        table = Table(title=self.environment, caption=self.caption)
        keys = [key for key in self.columns if any(row.get(key) is not None for row in rows)]
        for key in keys:
            words = any(isinstance(row.get(key), str) for row in rows)
            table.add_column(self.columns[key], justify="left" if words else "right")
        for row in rows:
            cells = (row.get(key) for key in keys)
            table.add_row(*("" if x is None else f"{x:.2f}" if isinstance(x, float) else str(x) for x in cells))
        Console(width=None if sys.stdout.isatty() else 160).print(table)

    def _write(self, path: Path) -> None:
        """The rows as csv (one line a model) or json."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            content = {"environment": self.environment, "rows": self.rows}
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            return
        further = dict.fromkeys(key for row in self.rows for key in row if key not in self.columns)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*self.columns, *further, "environment"])
            writer.writeheader()
            for row in self.rows:
                cells = {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
                writer.writerow({**cells, "environment": self.environment})
