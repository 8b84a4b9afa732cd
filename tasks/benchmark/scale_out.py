"""What data-parallel training on many GPUs is to reach, calculated; and the same formula against processes of a CPU.

A step computes for c seconds and sends for m seconds. Without overlap its efficiency is c / (c + m). With overlap the
transfer runs beside the computation, and only what does not fit beside it is waited for: DDP sends gradients, beside
the backward pass, two thirds of c; FSDP gathers weights as well, beside all of c.

Bytes that each of n GPUs sends in a step, for parameters of P bytes in all:

- DDP: one ring all-reduce of the gradients, 2 (n - 1) / n P.
- FSDP: the weights are gathered for the forward and for the backward pass and the gradients are reduced and scattered,
  3 (n - 1) / n P.

Left out: latency (a ring of n has 2 (n - 1) hops), other traffic, input, and processes that wait for a slower one.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from metaformer_nlp.core.cost import count_parameters
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextForMaskedLM
from tasks.benchmark.clock import Report
from tasks.benchmark.equal_cost import PEAK_FLOPS
from tasks.benchmark.options import ScaleOutConfig as Config
from tasks.text.model import encoder_macs
from vision import create_model, macs

__all__ = ["Config", "Work", "calculated", "efficiency", "run", "sent_bytes"]

GPUS_PER_NODE = 8
NVLINK = 450e9
"""Bytes a second that a GPU sends: NVIDIA's data sheet of the H100 SXM has 900 GB/s for both directions."""
NDR = 50e9
"""Bytes a second of an InfiniBand NDR port: 400 Gb/s, NVIDIA's data sheet of ConnectX-7. A DGX H100 has eight."""
NUMBER_BYTES = 4
"""Weights and gradients stay float32 under autocast, and are sent so."""
COPIES = {"DDP": 2, "FSDP": 3}
HIDDEN = {"DDP": 2 / 3, "FSDP": 1.0}
"""The share of the computation that the transfer can run beside."""
COLUMNS = {
    "model": "model",
    "method": "method",
    "gpus": "GPUs",
    "link": "link",
    "batch_size": "samples a GPU",
    "sent_mb": "MB sent by each",
    "compute_ms": "compute, ms",
    "transfer_ms": "transfer, ms",
    "efficiency_percent": "%, no overlap",
    "overlap_percent": "%, overlap",
    "measured_percent": "%, measured",
    "from_one_percent": "%, from one process",
}
"""Columns of the results and their headings on the screen."""


class Work(NamedTuple):
    """A model and what a sample costs it in training."""

    name: str
    parameters: int
    flops: float
    """Of forward and backward pass, for a sample: 6 x MACs."""
    batch_size: int
    """Samples of a step of all GPUs together."""


def sent_bytes(method: str, gpus: int, parameters: int) -> float:
    """Bytes that each GPU sends in a step."""
    return COPIES[method] * (gpus - 1) / gpus * parameters * NUMBER_BYTES


def efficiency(compute: float, transfer: float, hidden: float = 0.0) -> float:
    """The share of a step that is computation, where ``hidden`` of it lets the transfer run beside."""
    return compute / (compute + max(0.0, transfer - hidden * compute))


def links(gpus: int) -> dict[str, float]:
    """The narrowest link of a ring through all GPUs -> bytes a second."""
    if gpus <= GPUS_PER_NODE:
        return {"NVLink": NVLINK}
    # With a port for each GPU there are as many rings as ports, each for its part of the bytes.
    return {"1 NDR port a node": NDR, "8 NDR ports a node": GPUS_PER_NODE * NDR}


def works() -> list[Work]:
    """The largest PoolFormer with the paper's batch, and the encoder of the recipe pretrain/base."""
    with torch.device("meta"):
        image = create_model("poolformer_m48")
        config = MetaFormerTextConfig(
            vocab_size=32768, hidden_size=768, num_hidden_layers=12, intermediate_size=3072, max_position_embeddings=128
        )
        text = MetaFormerTextForMaskedLM(config)
    row = encoder_macs(text, 128, predictions=round(0.3 * 128)) or 0
    return [
        Work("PoolFormer-M48, 224 pixels", count_parameters(image).total, 6 * macs(image), 4096),
        Work("text base, rows of 128", count_parameters(text).total, 6 * row, 4096),
    ]


def calculated(work: Work, gpu: str, utilisation: float, gpus: int) -> list[dict[str, Any]]:
    """A row for each method and link; each GPU computes its share of the batch at ``utilisation`` of its peak."""
    share = work.batch_size / gpus
    compute = share * work.flops / (utilisation * PEAK_FLOPS[gpu])
    rows = []
    for method in COPIES:
        sent = sent_bytes(method, gpus, work.parameters)
        for link, bandwidth in links(gpus).items():
            rows.append(
                {
                    "model": work.name,
                    "method": method,
                    "gpus": gpus,
                    "link": link,
                    "batch_size": share,
                    "sent_mb": sent / 1e6,
                    **_shares(compute, sent / bandwidth, HIDDEN[method]),
                }
            )
    return rows


def _shares(compute: float, transfer: float, hidden: float) -> dict[str, float]:
    return {
        "compute_ms": 1e3 * compute,
        "transfer_ms": 1e3 * transfer,
        "efficiency_percent": 100 * efficiency(compute, transfer),
        "overlap_percent": 100 * efficiency(compute, transfer, hidden),
    }


def run(config: Config) -> list[dict[str, Any]]:
    """Calculate, and with ``config.processes`` measure; print a table of each, write ``config.output``."""
    environment = f"{config.gpu}, {config.utilisation:.0%} of {PEAK_FLOPS[config.gpu] / 1e12:.0f} TFLOP/s"
    report = Report(COLUMNS, config.output, environment, "calculated; the batch of all GPUs is the same in all rows")
    for work in works():
        report.add([row for gpus in config.gpus for row in calculated(work, config.gpu, config.utilisation, gpus)])
    if config.processes > 1:
        report.environment = f"torch {torch.__version__}, {config.processes} CPU processes, gloo, one thread each"
        report.caption = "measured and calculated from the time of the computation and of the transfer, each alone"
        report.add([measured(config.processes, config.steps)])
    return report.rows


# ---- processes of this machine ----


def measured(processes: int, steps: int) -> dict[str, Any]:
    """DDP's efficiency on CPU processes, beside the formula's for the compute and transfer times that they show.

    The computation is timed while all processes compute, so that what they take from each other (memory, caches) is no
    transfer; "from one process" counts that as well.
    """
    with TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_process, (processes, steps, folder), processes)
        times = torch.load(Path(folder, "times"), weights_only=True)
    parameters = int(times["parameters"])
    compute, transfer = float(times["compute"]), float(times["transfer"])
    return {
        "model": "PoolFormer-S12, 224 pixels",
        "method": "DDP",
        "gpus": processes,
        "link": f"memory, {sent_bytes('DDP', processes, parameters) / transfer / 1e9:.1f} GB/s",
        "batch_size": BATCH,
        "sent_mb": sent_bytes("DDP", processes, parameters) / 1e6,
        **_shares(compute, transfer, HIDDEN["DDP"]),
        "measured_percent": 100 * compute / float(times["together"]),
        "from_one_percent": 100 * float(times["single"]) / float(times["together"]),
    }


BATCH = 4
"""Images of a process's step."""


def _process(rank: int, processes: int, steps: int, folder: str) -> None:
    """Take the times in turns; the first process writes the medians, in seconds."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes, timeout=timedelta(minutes=5)
    )
    torch.manual_seed(0)
    alone = create_model("poolformer_s12").train()
    together = DistributedDataParallel(copy.deepcopy(alone))
    pixels = torch.randn(BATCH, 3, 224, 224)
    gradients = [torch.zeros(count_parameters(alone).total)]

    def step(model: nn.Module) -> None:
        model(pixel_values=pixels).logits.float().square().mean().backward()
        model.zero_grad()

    def transfer() -> None:
        dist.all_reduce(gradients[0])

    parts: dict[str, Callable[[], None]] = {
        "single": lambda: step(alone) if rank == 0 else None,
        "compute": lambda: step(alone),
        "together": lambda: step(together),
        "transfer": transfer,
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(steps + 1):  # the first of each warms up
        for name, part in parts.items():
            dist.barrier()
            began = time.perf_counter()
            part()
            spent = torch.tensor(time.perf_counter() - began, dtype=torch.float64)
            dist.all_reduce(spent, dist.ReduceOp.MAX)
            if number:
                times[name].append(float(spent))
    if rank == 0:
        medians: dict[str, Tensor] = {name: torch.tensor(statistics.median(values)) for name, values in times.items()}
        torch.save({**medians, "parameters": torch.tensor(count_parameters(alone).total)}, Path(folder, "times"))
        print(f"medians of {steps} steps", file=sys.stderr)
    dist.destroy_process_group()
