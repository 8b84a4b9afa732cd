"""Runs the toy in processes of its own, forked so that torch need not be imported again, and compares run folders."""

import json
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm.optim.lamb  # noqa: F401  (before the forks: a second for each of them)
import torch

from metaformer_nlp.engine import checkpoint
from metaformer_nlp.engine.step import TrainingStep
from tests.engine import toy

CLOCK = ("seconds", "train_seconds", "samples_per_second", "tokens_per_second")
EVERYTHING = {
    "name": "lamb",
    "layer_decay": 0.8,
    "ema_decay": 0.7,
    "keep_best": "validation/loss",
    "augmentation_repeats": 2,
    "keep_checkpoints": 1,
}
"""Options that add to the state of a run."""


@dataclass
class Outcome:
    """How a process ended: its exit code (negative: killed by that signal), its result and what it said."""

    code: int
    result: dict[str, Any] | None
    said: str


def launch(
    folder: Path,
    world: int = 1,
    prepare: Callable[[int], None] | None = None,
    during: Callable[[list[int]], None] | None = None,
    timeout: float = 90.0,
    **options: Any,
) -> list[Outcome]:
    """`toy.train(folder, **options)` in `world` processes; `prepare(rank)` runs in each, `during(pids)` here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.parent.mkdir(parents=True, exist_ok=True)
    notes = [folder.parent / f"{folder.name}.rank{rank}.json" for rank in range(world)]
    sys.stdout.flush()
    sys.stderr.flush()
    pids = []
    for rank in range(world):
        notes[rank].unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            _child(folder, rank, world, port, prepare, notes[rank], options)
        pids.append(pid)
    try:
        if during is not None:
            during(pids)
        codes = _wait(pids, timeout)
    finally:
        for pid in pids:
            _kill_if_alive(pid)
    outcomes = []
    for code, note in zip(codes, notes, strict=True):
        said = json.loads(note.read_text()) if note.exists() else {"result": None, "said": ""}
        outcomes.append(Outcome(code, **said))
    return outcomes


def _child(folder: Path, rank: int, world: int, port: int, prepare: Any, note: Path, options: dict[str, Any]) -> None:
    code, result, said = 1, None, ""
    try:
        torch.set_num_threads(1)  # before any operation: a forked pool of OpenMP threads would hang
        log = os.open(note.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        sys.stdout = sys.stderr = open(log, "w", buffering=1)  # noqa: SIM115  (pytest's own would swallow it)
        if world > 1:
            os.environ.update(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(world),
                LOCAL_WORLD_SIZE=str(world),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(port),
                OMP_NUM_THREADS="1",
            )
        if prepare is not None:
            prepare(rank)
        result = toy.train(folder, **options)
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        said = traceback.format_exc()
    try:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        note.write_text(json.dumps({"result": result, "said": said}))
    finally:
        os._exit(code)


def _wait(pids: list[int], timeout: float) -> list[int]:
    codes: dict[int, int] = {}
    deadline = time.monotonic() + timeout
    while len(codes) < len(pids):
        for pid in pids:
            if pid not in codes:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[pid] = os.waitstatus_to_exitcode(status)
        assert time.monotonic() < deadline, (
            f"still running after {timeout} s: {[pid for pid in pids if pid not in codes]}"
        )
        time.sleep(0.005)
    return [codes[pid] for pid in pids]


def _kill_if_alive(pid: int) -> None:
    try:
        done, _ = os.waitpid(pid, os.WNOHANG)
        if not done:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def train_alone(folder: Path, **options: Any) -> Outcome:
    """One process that must end well."""
    (outcome,) = launch(folder, **options)
    assert outcome.code == 0, outcome.said
    return outcome


def at_step(step: int, action: Callable[[int], None], rank: int | None = None) -> Callable[[int], None]:
    """For `prepare`: call `action(rank)` when optimizer step `step` (from 0) begins, on one rank or all."""

    def prepare(mine: int) -> None:
        original = TrainingStep.__call__

        def call(self: TrainingStep, now: int, *rest: Any) -> Any:
            if now == step and rank in (None, mine):
                action(mine)
            return original(self, now, *rest)

        TrainingStep.__call__ = call  # type: ignore[method-assign]

    return prepare


def at_event(number: int, action: Callable[[], None]) -> Callable[[int], None]:
    """For `prepare`: call `action()` at the `number`-th event of all saves (from 0)."""

    def prepare(rank: int) -> None:
        seen = 0

        def event(name: str) -> None:
            nonlocal seen
            if seen == number:
                action()
            seen += 1

        checkpoint.checkpoint_event = event

    return prepare


def die(*_: Any) -> None:
    """SIGKILL to oneself."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed_after(seconds: float) -> Callable[[list[int]], None]:
    """For `during`: SIGKILL to all processes, wherever they are by then."""

    def during(pids: list[int]) -> None:
        time.sleep(seconds)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    return during


def send(number: int) -> Callable[..., None]:
    """A signal to oneself."""
    return lambda *_: os.kill(os.getpid(), number)


def lines(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without clock times."""
    text = (folder / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in CLOCK} for line in text]


def contents(folder: Path) -> dict[str, Any]:
    """Everything of a finished run that must not depend on interruptions."""
    last = checkpoint.checkpoint_folders(folder / "checkpoints")[0]
    result = json.loads((folder / "result.json").read_text())
    state = json.loads((last / "state.json").read_text())
    for changing in (
        "seconds",
        "train_seconds",
        "timed_steps",
        "log_bytes",
        "evaluated",
        "metrics",
        "best_step",
        "best_value",
    ):
        # A stop may come before the last evaluation.
        state["progress"].pop(changing)
    state["identity"]["run"].pop("folder")
    for free in ("save_every", "num_workers", "keep_checkpoints", "micro_batch_size"):
        state["identity"]["run"].pop(free)
    optional = {"average": last / "average.safetensors", "best": folder / "model-best" / "weights.json"}
    return {
        **{name: path.read_bytes() for name, path in optional.items() if path.exists()},
        "model": (last / "model.safetensors").read_bytes(),
        "optimizer": (last / "optimizer.safetensors").read_bytes(),
        "state": state,
        "saved": (folder / "model" / "weights.json").read_bytes(),
        "metrics": lines(folder),
        "summary": (folder / "summary.csv").read_text(),
        "items": (folder / "items.json").read_bytes(),
        "result": {key: value for key, value in result.items() if key not in CLOCK},
    }


def steps_kept(folder: Path) -> list[int]:
    """Steps of the checkpoints in a run folder, newest first; each must verify."""
    folders = checkpoint.checkpoint_folders(folder / "checkpoints")
    for path in folders:
        checkpoint.verify(path)
    return [int(path.name.removeprefix("step-")) for path in folders]
