"""Training runs of the engine: one that is killed and goes on, real pre-training, and several processes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from metaformer_nlp.config.recipes import SCRIPTS, recipe_path
from metaformer_nlp.config.yaml_text import read_text, read_yaml
from metaformer_nlp.engine import OptimConfig, RunConfig, ScheduleConfig, Task, run_training
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextForMaskedLM
from tasks.device.machine import Machine
from tasks.device.page import Result, curve
from tasks.text.masked_lm import MaskedLM, MaskedPositions
from tasks.text.model import TextModelConfig
from tasks.text.options import DataConfig, MaskedLMConfig, MaskingConfig

__all__ = ["killed", "pretrained", "several"]


class MadeUpRows:
    """Rows of L tokens, of which each is the one before it plus 1, 2 or 3; every fourth is to be guessed."""

    def __init__(self, size: int, length: int) -> None:
        self.size, self.length = size, length

    def __len__(self) -> int:
        return self.size

    def sample(self, index: int, rng: np.random.Generator | None) -> Tensor:
        steps = np.random.default_rng(index).integers(1, 4, self.length)
        return torch.from_numpy(steps.cumsum() % 250 + 2)


class MadeUpText(Task):
    """A masked language model on made-up tokens, with dropout: what the engine's promises are tried on."""

    def __init__(self, hidden_size: int, layers: int, length: int) -> None:
        self.train_data, self.eval_data = MadeUpRows(4096, length), {"validation": MadeUpRows(32, length)}
        self.config = MetaFormerTextConfig(
            vocab_size=256, hidden_size=hidden_size, num_hidden_layers=layers, intermediate_size=4 * hidden_size,
            num_attention_heads=2, max_position_embeddings=length, token_mixer=["pooling x rest", "attention"],
        )  # fmt: skip

    def collate(self, samples: list[Tensor]) -> dict[str, Tensor]:
        rows = torch.stack(samples)
        positions = torch.arange(0, rows.numel(), 4)
        ids = rows.flatten().index_fill(0, positions, 1).view_as(rows)
        segments = torch.ones_like(ids)
        segments[:, rows.shape[1] // 2 :] = 2
        return {"ids": ids, "segments": segments, "positions": positions, "targets": rows.flatten()[positions]}

    def build_model(self) -> nn.Module:
        return MaskedPositions(MetaFormerTextForMaskedLM(self.config))

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        logits = model(batch["ids"], batch["segments"], batch["positions"]).float()
        count = torch.tensor(len(logits), device=logits.device)
        return F.cross_entropy(logits, batch["targets"], reduction="sum"), count

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        total, count = self.loss(model, batch)
        return {"loss": total, "count": count}

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        sums = {key: sum(float(result[key]) for result in results) for key in ("loss", "count")}
        return {"loss": sums["loss"] / sums["count"]}

    def save_model(self, model: nn.Module, folder: Path) -> None:
        model.model.save_pretrained(folder)  # type: ignore[union-attr,operator]

    def fingerprint(self) -> dict[str, Any]:
        return {"rows": len(self.train_data)}


def train(
    folder: str, sizes: list[int], steps: int, batch_size: int, kill_at: int | None = None, **run: Any
) -> dict[str, Any]:
    """Train the made-up task into ``folder``; with ``kill_at`` this process kills itself in that step."""
    task = MadeUpText(*sizes)
    if kill_at is not None:
        whole, seen = task.loss, iter(range(kill_at))

        def loss(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
            if next(seen, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(model, batch)

        task.loss = loss  # type: ignore[method-assign]
    return run_training(
        task,
        optim=OptimConfig(lr=1e-3),
        schedule=ScheduleConfig(steps=steps),
        run=RunConfig(folder=folder, batch_size=batch_size, log_every=1, **run),
        config={"task": "made-up text", "sizes": sizes},
    )


def launch(machine: Machine, launcher: list[str], options: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """`train(**options)` in processes of their own, which end with the time of the section."""
    command = [*launcher, "-m", "tasks.device.runs", json.dumps(options)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, said = process.communicate(timeout=max(machine.left(), 1.0))
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # the launcher's children too
        process.wait()
        raise
    return subprocess.CompletedProcess(command, process.returncode, "", said)


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(max((folder / "checkpoints").glob("step-*")) / "model.safetensors")


def killed(machine: Machine) -> Iterator[Result]:
    """A run that kills itself with SIGKILL and goes on, against one that nothing happened to: bit for bit."""
    sizes = [32, 2, 64] if machine.toy else [256, 4, 128]
    for precision in ("no",) if machine.toy else ("no", "bf16"):
        with tempfile.TemporaryDirectory() as temporary:
            whole, cut = Path(temporary) / "whole", Path(temporary) / "cut"
            options = {"sizes": sizes, "steps": 9, "batch_size": 8, "save_every": 2, "mixed_precision": precision}
            train(str(whole), **options)  # type: ignore[arg-type]
            done = launch(machine, [sys.executable], {**options, "folder": str(cut), "kill_at": 6})
            if done.returncode != -signal.SIGKILL:
                raise RuntimeError(f"the run that should be killed ended with {done.returncode}: {last_line(done)}")
            train(str(cut), **options)  # type: ignore[arg-type]
            pairs = [(a, weights(cut)[name]) for name, a in weights(whole).items()]
            differing = sum(not torch.equal(a, b) for a, b in pairs) + (losses(whole) != losses(cut))
            setting = {"no": "float32", "bf16": "bfloat16 autocast"}[precision]
            yield machine.check("training, killed and resumed", setting, "weights and losses that differ", differing, 0)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]


def pretrained(machine: Machine, folder: Path) -> Iterator[Result]:
    """Pre-train the model of the recipe pretrain/small on the embedded English; draws the losses into ``folder``."""
    yield from machine.attempt("pretrain/small", "embedded English", partial(_pretrain, machine, folder))


def _pretrain(machine: Machine, folder: Path) -> Iterator[Result]:
    recipe = read_yaml(read_text(recipe_path("recipe:pretrain/small"), "a recipe"), "pretrain/small")
    with tempfile.TemporaryDirectory() as temporary:
        run = {
            **recipe["run"], "folder": temporary, "eval_every": None, "save_every": None, "log_every": 10,
            "num_workers": min(8, (os.cpu_count() or 1) - 1), "keep_checkpoints": 0,
        }  # fmt: skip
        schedule, model, data = recipe["schedule"], recipe["model"], {**recipe["data"], "text": "english"}
        data |= {"max_documents": None, "held_out": 0.05}
        if machine.toy:
            run |= {"batch_size": 16, "num_workers": 0, "compile": False, "mixed_precision": "no", "log_every": 2}
            schedule = {"steps": 20, "warmup_steps": 2}
            model, data = {**model, "hidden_size": 32, "num_hidden_layers": 2}, {**data, "vocab_size": 700}
        else:
            schedule = {**schedule, "minutes": min(2.0, 0.6 * machine.left() / 60)}
        config = MaskedLMConfig(
            RunConfig(**run),
            ScheduleConfig(**schedule),
            optim=OptimConfig(**recipe["optim"]),
            model=TextModelConfig(**model),
            data=DataConfig(**data),
            masking=MaskingConfig(**recipe["masking"]),
        )
        result = run_training(
            MaskedLM(config), optim=config.optim, schedule=config.schedule, run=config.run,
            config=dataclasses.asdict(config),
        )  # fmt: skip
        curve(
            folder / "loss.svg",
            list(enumerate(losses(Path(temporary)))),
            f"training loss, every {run['log_every']} steps",
        )
        found = losses(Path(temporary))
    setting = f"{config.run.mixed_precision}, {'compiled' if config.run.compile else 'eager'}"
    for quantity, value in (
        ("first loss", found[0]),
        ("last loss", found[-1]),
        ("validation loss", result["metrics"]["validation/loss"]),
        ("steps", result["train"]["steps"]),
        ("tokens/s", result["tokens_per_second"]),
    ):
        yield machine.measured("pretrain/small", setting, quantity, value)
    yield machine.check("pretrain/small", setting, "last loss relative to the first", found[-1] / found[0], 0.98)


def several(machine: Machine) -> Iterator[Result]:
    """All GPUs (on a CPU: two processes) against one: the same losses, how much faster, and sharded weights."""
    world = 2 if machine.toy else torch.cuda.device_count()
    if world < 2:
        yield Result.missing(machine.section, "processes", "", "one GPU", late=True)
        return
    for subject, examine in (("losses", _same_losses), ("speed", _scaling), ("FSDP", _sharded)):
        yield from machine.attempt(subject, f"{world} processes", partial(examine, machine, world))


def torchrun(world: int) -> list[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(world), "--master_port", str(port)
    ]  # fmt: skip


def run_well(machine: Machine, launcher: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """The result of a launched run; RuntimeError if it failed."""
    done = launch(machine, launcher, options)
    if done.returncode:
        raise RuntimeError(f"ended with {done.returncode}: {last_line(done)}")
    result: dict[str, Any] = json.loads((Path(options["folder"]) / "result.json").read_text(encoding="utf-8"))
    return result


def _same_losses(machine: Machine, world: int) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as temporary:
        options = {
            "sizes": [32, 2, 64], "steps": 5, "batch_size": 8 * world, "micro_batch_size": 8, "mixed_precision": "no"
        }  # fmt: skip
        alone, together = Path(temporary) / "1", Path(temporary) / str(world)
        train(str(alone), **options)  # type: ignore[arg-type]
        result = run_well(machine, torchrun(world), {**options, "folder": str(together)})
        if result["world_size"] != world:
            raise RuntimeError(f"{result['world_size']} processes were started, not {world}")
        error = max(abs(a - b) / a for a, b in zip(losses(alone), losses(together), strict=True))
    yield machine.check("losses", f"{world} processes", "difference from one process", error, 1e-4)


def _scaling(machine: Machine, world: int) -> Iterator[Result]:
    """As much for each process as for one alone."""
    sizes, size, steps = ([32, 2, 64], 8, 20) if machine.toy else ([768, 12, 128], 256, 40)
    speeds = []
    with tempfile.TemporaryDirectory() as temporary:
        for count in (1, world):
            options = {
                "folder": f"{temporary}/{count}", "sizes": sizes, "steps": steps, "batch_size": size * count,
                "mixed_precision": "no" if machine.toy else "bf16",
            }  # fmt: skip
            result = run_well(machine, torchrun(count), options)
            speeds.append(count * size * (steps - 3) / result["train_seconds"])  # three steps are not timed
    yield machine.measured("speed", f"{world} processes", "rows/s", speeds[1])
    yield machine.measured("speed", f"{world} processes", "efficiency", speeds[1] / speeds[0] / world)


def _sharded(machine: Machine, world: int) -> Iterator[Result]:
    if machine.toy:
        yield Result.missing(machine.section, "FSDP", "cpu", "accelerate shards on accelerators only", late=True)
        return
    launcher = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file",
        str(SCRIPTS / "accelerate" / "fsdp-8.yaml"), "--num_processes", str(world),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        options = {"folder": temporary + "/run", "sizes": [768, 12, 128], "steps": 13, "batch_size": 128 * world}
        result = run_well(machine, launcher, options)
    yield machine.measured("FSDP", f"{world} processes", "rows/s", 128 * world * 10 / result["train_seconds"])
    yield machine.measured("FSDP", f"{world} processes", "last loss", result["train"]["loss"])


if __name__ == "__main__":
    train(**json.loads(sys.argv[1]))
