"""The examination of a device: sections one after the other, each for its share of the time, written as they go."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import transformers

from tasks.device import correctness, runs, speed
from tasks.device.machine import Machine, OutOfTimeError, named
from tasks.device.options import DeviceConfig
from tasks.device.page import Folder, Result

__all__ = ["run"]

SHARES = {"correctness": 25, "images": 25, "text": 22, "dense": 6, "pretraining": 32, "processes": 20}
"""Of the time that is left when a section begins, relative to those of the sections after it."""
TOY_SHARES = {"correctness": 50, "images": 10, "text": 8, "dense": 6, "pretraining": 14, "processes": 14}
"""The same on a CPU, where speeds are of no interest."""
LAST = 0.03
"""Share of the budget that is kept for ending."""


def run(config: DeviceConfig, began: float) -> int:
    """Examine; 1 if something was found to be wrong, else 0. ``began``: when the budget did, by `time.monotonic`."""
    if config.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for the engine, which takes a GPU where there is one
    elif config.device == "cuda" and not torch.cuda.is_available():
        print("error: --device cuda: torch sees no GPU here; use --device cpu")
        return 2
    machine = Machine(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    budget = config.budget or (60.0 if machine.toy else 480.0)
    end = began + (1 - LAST) * budget
    folder = Folder(Path(config.output), environment(machine.device))
    examine: dict[str, Callable[[], Iterator[Result]]] = {
        "correctness": lambda: correctness.examine(machine),
        "images": lambda: speed.images(machine),
        "text": lambda: speed.text(machine),
        "dense": lambda: speed.dense(machine),
        "pretraining": lambda: runs.pretrained(machine, folder.path),
        "processes": lambda: runs.several(machine),
    }
    shares = TOY_SHARES if machine.toy else SHARES
    for place, section in enumerate(config.sections):
        share = shares[section] / sum(shares[name] for name in config.sections[place:])
        machine.section = section
        machine.deadline = time.monotonic() + share * (end - time.monotonic())
        print(f"{section}: {max(machine.left(), 0):.0f} s", flush=True)
        try:
            for result in examine[section]():
                folder.add(result)
        except OutOfTimeError:
            folder.add(machine.late(section, ""))
        except Exception as error:
            folder.add(Result.missing(section, section, "", named(error)))
    seconds = time.monotonic() - began
    folder.finish(f"finished in {seconds:.0f} s of {budget:.0f} s")
    for result in folder.faults:
        found = result.note or f"{result.quantity} {result.value}"
        print(f"{result.verdict}: {result.section}, {result.subject}, {result.setting}: {found}")
    print(f"{len(folder.results)} results, {len(folder.faults)} of them wrong: {folder.path / 'report.md'}")
    return int(bool(folder.faults))


def environment(device: torch.device) -> str:
    """What the numbers are of, in a line."""
    if device.type == "cpu":
        hardware = f"{platform.machine()} CPU, {torch.get_num_threads()} threads, toy sizes"
    else:
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        hardware = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(device)} ({memory:.0f} GiB)"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}"
    return f"{hardware}, {versions}"
