"""Training for a minute in a process of its own: its progress is what the engine writes into the run folder.

A run is a command of the project with a short schedule. The page can be closed meanwhile: the process goes on, and
the same button joins it. Where the server ends first, the process is asked to stop, saves, and goes on the next time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["MIXERS", "RUNS", "ShortRun", "Stand", "Trainer", "command"]

MIXERS = ("pooling", "attention", "depthwise_conv", "identity")


@dataclass(frozen=True)
class ShortRun:
    """A recipe, shortened to about a minute of one core."""

    label: str
    command: str
    recipe: str
    steps: int
    options: tuple[str, ...] = ()


RUNS: dict[str, ShortRun] = {
    "digits": ShortRun("Digits: a classifier", "train_vision", "digits", 900),
    "segments": ShortRun("Scenes: a segmenter", "train_segmentation", "scenes_segmentation", 800),
    "boxes": ShortRun("Scenes: a detector", "train_detection", "scenes_retinanet", 400),
    "english": ShortRun("English: missing words", "pretrain_text", "pretrain/minutes", 1200, ("--run.eval_at", "[]")),
    "order": ShortRun(
        "English: were two words swapped?", "finetune_glue", "suite_study", 600, ("--data.tasks", "[order]")
    ),
    "topic": ShortRun("English: eight topics", "finetune_glue", "suite_study", 400, ("--data.tasks", "[topic]")),
}


class Stand(NamedTuple):
    """Where a run stands."""

    step: int
    steps: int
    loss: float | None


class Trainer:
    """The short runs of one page, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, name: str, mixer: str) -> Iterator[Stand]:
        """Train, or join the same run that is going on; where it stands, until it is finished.

        Raises:
            ValueError: it failed; the message is that of the training.
        """
        if name not in RUNS or mixer not in MIXERS:
            raise ValueError(f"The page trains {', '.join(RUNS)} with {', '.join(MIXERS)}; the scripts train the rest.")
        run, folder = RUNS[name], self.run_folder(name, mixer)
        process = self._process(run, folder, mixer)
        while process.poll() is None:
            yield _stand(folder, run)
            time.sleep(0.3)
        if process.returncode:
            raise ValueError(_failure(folder.with_suffix(".log"), process.returncode))
        yield Stand(run.steps, run.steps, None)

    def run_folder(self, name: str, mixer: str) -> Path:
        """Where the run of this name with this mixer is."""
        return self.folder / f"{name}_{mixer}"

    def running(self) -> list[str]:
        """The names of the run folders in which a process works."""
        with self._lock:
            return [name for name, process in self._running.items() if process.poll() is None]

    def stop(self) -> None:
        """Ask the processes to save and stop, and wait for them."""
        with self._lock:
            processes = [process for process in self._running.values() if process.poll() is None]
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _process(self, run: ShortRun, folder: Path, mixer: str) -> subprocess.Popen[bytes]:
        with self._lock:
            process = self._running.get(folder.name)
            if process is None or process.poll() is not None:
                folder.parent.mkdir(parents=True, exist_ok=True)
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # the page needs a core, too
                with folder.with_suffix(".log").open("wb") as log:
                    process = subprocess.Popen(
                        command(run, folder, mixer), stdout=log, stderr=subprocess.STDOUT, env=environment,
                        start_new_session=True,  # Ctrl-C in the terminal is for the page; `stop` asks the training once
                    )  # fmt: skip
                self._running[folder.name] = process
            return process


def command(run: ShortRun, folder: Path, mixer: str) -> list[str]:
    """What is run in ``folder``."""
    words = [sys.executable, "-m", "metaformer_nlp", run.command, "--config", f"recipe:{run.recipe}", *run.options]
    words += ["--schedule.steps", str(run.steps), "--run.folder", str(folder), "--model.token_mixer", mixer]
    return [*words, "--run.log_every", "10", "--run.eval_every", "null"]


def _stand(folder: Path, run: ShortRun) -> Stand:
    """By the last line of metrics.jsonl that tells of training; one of several tasks' runs lies in its own folder."""
    files = [file for place in ("", "*/") for file in folder.glob(f"{place}metrics.jsonl")]
    try:
        newest = max(files, key=lambda file: file.stat().st_mtime, default=None)
        lines = newest.read_text(encoding="utf-8").splitlines() if newest else []
    except OSError:  # not there yet
        lines = []
    for text in reversed(lines):
        try:
            line = json.loads(text)
        except ValueError:  # the last one is being written
            continue
        if "lr" in line:
            return Stand(line["step"], run.steps, line["loss"])
    return Stand(0, run.steps, None)


def _failure(log: Path, code: int) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    said = [line for line in lines if line.startswith("error: ")]
    if said:
        return f"The training stopped: {said[-1].removeprefix('error: ')}"
    if code in (75, -15):
        return "The training was stopped. The same button goes on from what it saved."
    return f"The training ended with status {code}. {log} has what it wrote."
