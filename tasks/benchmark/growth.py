"""How time and memory grow with the number of tokens: texts of 128 to 65,536 tokens, images of 224 to 1,792 pixels.

Each point is measured in a process of its own, forked from this one, so that none finds memory that another one left.

- Time: processor time of one thread, the median of steps after one that is not counted. Other programs on the machine
  change it little.
- Memory: what a step needs beside the model and its inputs: the process's peak of resident memory, which the system
  counts (VmHWM of ``/proc/self/status``), less what was resident before. The step that is not counted has loaded the
  libraries' code by then, and what it has freed is handed back to the system.

Short texts are measured several rows at a time. Exponents are slopes of a line through the upper points in logarithms
of both axes, of a whole row or image: 1 is linear.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextModel
from tasks.benchmark.clock import Report
from tasks.benchmark.options import GrowthConfig as Config
from vision import create_model

__all__ = ["Config", "draw", "exponent", "measured", "run"]

COLUMNS = {
    "domain": "domain",
    "model": "model",
    "mode": "mode",
    "size": "tokens or pixels",
    "tokens": "tokens",
    "step_ms": "ms",
    "time_per_token": "us a token",
    "memory_mb": "MB",
    "memory_per_token": "kB a token",
    "time_exponent": "time grows by",
    "memory_exponent": "memory grows by",
    "error": "error",
}
"""Columns of the results and their headings on the screen."""
TEXT: dict[str, Any] = {
    "pooling": "pooling",
    "depthwise convolution": "depthwise_conv",
    "attention, window 64": {"name": "attention", "window": 64},
    "attention": "attention",
}
"""Name in the results -> token mixer."""
IMAGES = {
    "PoolFormer-S12": "poolformer_s12",
    "ConvFormer-S18": "convformer_s18",
    "CAFormer-S18 (attention in two stages)": "caformer_s18",
}
"""Name in the results -> row of vision/variants.py."""
ROW_TOKENS = 4096
"""Rows of a step hold at least so many tokens together."""
UPPER = 4
"""How many of the largest points the exponent is fitted to."""
STEM = 4
"""Pixels of the side of a token of an image's first stage."""

Made = tuple[nn.Module, dict[str, Tensor]]


def text_maker(mixer: Any, config: Config) -> Callable[[int], Made]:
    """What makes an encoder and its rows of a length."""

    def make(length: int) -> Made:
        model = MetaFormerTextModel(
            MetaFormerTextConfig(
                vocab_size=1000,
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=max(1, config.hidden_size // 64),
                intermediate_size=4 * config.hidden_size,
                max_position_embeddings=length,
                token_mixer=mixer,
                hidden_dropout_prob=0.0,
            )
        )
        rows = rows_of(length)
        inputs = {"input_ids": torch.arange(rows * length).remainder(999).add(1).view(rows, length)}
        if config.document is None:
            inputs["attention_mask"] = torch.ones(rows, length, dtype=torch.long)
        else:
            inputs["segment_ids"] = (torch.arange(length) // config.document + 1).expand(rows, length)
        return model, inputs

    return make


def image_maker(name: str) -> Callable[[int], Made]:
    """What makes an image model and an image of a size."""
    return lambda side: (
        create_model(name, image_size=side, drop_path_rate=0.0),
        {"pixel_values": torch.zeros(1, 3, side, side)},
    )


def rows_of(length: int) -> int:
    """Rows of a step."""
    return max(1, ROW_TOKENS // length)


def measured(make: Callable[[int], Made], size: int, mode: str, steps: int, seconds: float) -> tuple[float, int]:
    """Milliseconds of a step and the bytes it needs; of ``steps`` steps, or as many as fit into ``seconds``.

    Raises:
        RuntimeError: the step fails, or its process is ended by the system.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_point, args=(sender, make, size, mode, steps, seconds))
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the process ended with status {process.exitcode}, perhaps for want of memory") from None
    process.join()
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


def _point(sender: Connection, make: Callable[[int], Made], size: int, mode: str, steps: int, seconds: float) -> None:
    try:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        model, inputs = make(size)
        model.train(mode == "training")

        def step() -> None:
            with torch.set_grad_enabled(mode == "training"):
                output = model(**inputs)
                if mode == "training":
                    output[0].float().square().mean().backward()
                    model.zero_grad()

        spent = _timed(step)
        before, times = _forget_peak(), [_timed(step)]
        while len(times) < steps and spent + sum(times) + times[-1] < seconds:
            times.append(_timed(step))
        sender.send((1e3 * statistics.median(times), _status("VmHWM") - before))
    except Exception as error:
        sender.send((str(error) or type(error).__name__).splitlines()[0])


def _timed(step: Callable[[], None]) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


def _forget_peak() -> int:
    """Hand freed memory back and have the peak counted anew; the bytes that are resident."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def _status(name: str) -> int:
    """Bytes that the system notes of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def exponent(tokens: Sequence[float], values: Sequence[float]) -> float | None:
    """The power of the number of tokens that the last points grow by; None for fewer than three points."""
    if len(tokens) < 3:
        return None
    upper = slice(-min(UPPER, len(tokens)), None)
    return float(np.polyfit(np.log(tokens[upper]), np.log(values[upper]), 1)[0])


def curve(domain: str, name: str, make: Callable[[int], Made], sizes: Sequence[int], config: Config) -> list[dict]:
    """The rows of a model in one mode, the largest with the exponents. A point that would take too long is the last."""
    rows: list[dict[str, Any]] = []
    for size in sizes:
        count = size if domain == "text" else (size // STEM) ** 2
        row: dict[str, Any] = {"domain": domain, "model": name, "mode": config.mode, "size": size, "tokens": count}
        times = [each["step_ms"] / 1e3 for each in rows]
        # From the growth so far; a step that is not counted comes before those that are.
        expected = 2 * times[-1] * max(2.0, times[-1] / times[-2] if len(times) > 1 else 2.0) if times else 0.0
        if expected > config.seconds:
            rows.append({**row, "error": f"not measured: more than {config.seconds:g} s"})
            break
        print(f"{domain}, {name}, {config.mode}, {size} ...", file=sys.stderr)
        at_once = rows_of(size) if domain == "text" else 1
        try:
            spent, memory = measured(make, size, config.mode, config.steps, config.seconds)
        except RuntimeError as error:
            rows.append({**row, "error": str(error)})
            break
        row |= {"step_ms": spent / at_once, "memory_mb": memory / at_once / 1e6}
        row |= {"time_per_token": 1e3 * row["step_ms"] / count, "memory_per_token": 1e3 * row["memory_mb"] / count}
        rows.append(row)
    points = [row for row in rows if "error" not in row]
    if points:
        tokens = [row["tokens"] for row in points]
        for kind, values in (("time", "step_ms"), ("memory", "memory_mb")):
            points[-1][f"{kind}_exponent"] = exponent(tokens, [row[values] for row in points])
    return rows


def run(config: Config) -> list[dict[str, Any]]:
    """Measure, print a table for each domain, write ``config.output`` and ``config.plot``; returns the rows."""
    environment = f"torch {torch.__version__}, one CPU thread, {config.mode}"
    caption = f"processor time; peak of resident memory; exponents from the {UPPER} largest sizes"
    report = Report(COLUMNS, config.output, environment, caption)
    lengths, sides = config.doublings()
    for name, mixer in TEXT.items():
        report.add(curve("text", name, text_maker(mixer, config), lengths, config))
    for name, row in IMAGES.items():
        report.add(curve("images", name, image_maker(row), sides, config))
    if config.plot is not None:
        draw(report.rows, Path(config.plot))
    return report.rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Time and memory a token against the number of tokens, one panel for each domain and quantity."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2)
    for column, domain in enumerate(("text", "images")):
        for line, (key, label) in enumerate((("time_per_token", "µs a token"), ("memory_per_token", "kB a token"))):
            panel = panels[line][column]
            for name in dict.fromkeys(row["model"] for row in rows if row["domain"] == domain):
                points = [row for row in rows if row["model"] == name and key in row]
                panel.plot([row["tokens"] for row in points], [row[key] for row in points], "o-", ms=3, label=name)
            panel.set(xscale="log", yscale="log", xlabel=f"tokens, {domain}", ylabel=label)
            for axis in (panel.xaxis, panel.yaxis):  # readable also where an axis spans less than a power of ten
                axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if axis is panel.xaxis else (1.0, 2.0, 5.0)))
                axis.set_major_formatter("{x:,g}")
                axis.set_minor_locator(NullLocator())
            panel.grid(alpha=0.3)
        panels[0][column].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
