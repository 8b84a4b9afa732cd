"""The run folder, which explains itself.

    run.lock           held by the process that works here
    config.json        the resolved configuration
    environment.json   one entry for each start of the run: command, versions, machine, number of processes
    metrics.jsonl      one JSON object a line, see `RunFolder.log`
    summary.csv        a row for each evaluation, derived from it
    items.json         of the last evaluation, whether each item was answered correctly, see items.py
    checkpoints/       see checkpoint.py
    model/             the trained model, as the task saves it
    model-best/        that of the best evaluation, with run.keep_best
    result.json        written last: a folder with it is a finished run

Only the first process touches it.
"""

import csv
import fcntl
import io
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from metaformer_nlp.config.names import flatten
from metaformer_nlp.engine.files import TEMPORARY, read_object, replace_text, sync
from metaformer_nlp.engine.items import Items, write_items
from metaformer_nlp.errors import RunFolderBusyError

LOWER_IS_BETTER = ("loss", "perplexity")  # ends of metrics' names

# These decide how a run is computed and kept; they may differ when it is resumed. What comes out is the same, but for
# the micro-batch where something looks at it as a whole: batch norm, which is let pass, and the mixing of images, whose
# task puts the micro-batch into its fingerprint and so binds it.
FREE_KEYS = frozenset(
    {"run.folder", "run.num_workers", "run.micro_batch_size", "run.save_every", "run.keep_checkpoints", "tracker"}
)

_PACKAGES = (
    "metaformer-nlp",
    "torch",
    "accelerate",
    "transformers",
    "timm",
    "safetensors",
    "numpy",
    "datasets",
    "tokenizers",
)


@dataclass
class Progress:
    """Where a run stands. Stored in checkpoints, as JSON; floats survive that exactly."""

    step: int = 0
    """Optimizer steps done."""
    position: int = 0
    """The cursor: samples taken from the global stream."""
    window_loss: float = 0.0
    """Sum of the losses since the last line of metrics.jsonl."""
    window_count: float = 0.0
    """What that sum counts."""
    skipped_updates: int = 0
    """Updates left out because fp16 gradients overflowed."""
    train_loss: float | None = None
    """Mean loss of the last line."""
    evaluated: int = -1
    """The step that was evaluated last."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Its metrics."""
    best_step: int | None = None
    """The step with the best evaluation so far, if run.keep_best asks for it."""
    best_value: float | None = None
    """Its metric."""
    seconds: float = 0.0
    """Working time over all starts of the run."""
    train_seconds: float = 0.0
    """The part of it that was spent in `timed_steps`, the same on every process."""
    timed_steps: int = 0
    """Optimizer steps but for the first few of each start."""
    log_bytes: int = 0
    """Length of metrics.jsonl."""


def plain(value: Any) -> Any:
    """The value as JSON gives it back: tuples are lists, paths and enumerations are text."""
    return json.loads(json.dumps(value, default=str))


def differences(stored: dict[str, Any], given: dict[str, Any], absent_is_off: bool = False) -> list[str]:
    """A line for each dotted key that differs and is not free to.

    With `absent_is_off` a key that only one side has is none where it is null: an option that did not exist yet was not
    given.
    """
    old, new = flatten(plain(stored)), flatten(plain(given))
    if absent_is_off:
        for one, other in ((old, new), (new, old)):
            one |= {key: value for key, value in other.items() if key not in one and value is None}

    def show(values: dict[str, Any], key: str) -> str:
        return json.dumps(values[key]) if key in values else "absent"

    return [
        f"{key}: {show(old, key)} -> {show(new, key)}"
        for key in sorted(old.keys() | new.keys())
        if key not in FREE_KEYS and old.get(key, ...) != new.get(key, ...)
    ]


def check_same(stored: dict[str, Any], given: dict[str, Any], where: Path, what: str) -> None:
    """ValueError that lists the differing keys; options that one of both versions does not have are off there.

    What a stored fingerprint does not tell of a part of the data, since it was written by an earlier version, is not
    compared.
    """
    if "fingerprint" in stored and "fingerprint" in given:
        given = {**given, "fingerprint": _told_by(stored["fingerprint"], given["fingerprint"])}
    if lines := differences(stored, given, absent_is_off=True):
        if any(line.startswith("fitted.") for line in lines):
            lines.append(
                "(fitted to the numbers of samples and processes and to run.micro_batch_size; use those of before)"
            )
        raise ValueError(
            f"{where} belongs to a run with {what} (stored -> given):\n  "
            + "\n  ".join(lines)
            + "\nGive this run another run.folder, or the stored values, or remove the folder to start over"
        )


def _told_by(stored: Any, given: Any) -> Any:
    """`given` without the values that have no place in `stored`; a whole group that is new stays."""
    if not isinstance(stored, dict) or not isinstance(given, dict):
        return given
    return {
        key: _told_by(stored.get(key), value)
        for key, value in given.items()
        if key in stored or isinstance(value, dict)
    }


class RunFolder:
    """The files of one run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.lock_path = self.path / "run.lock"
        self.lock_file: int | None = None
        self._metrics = self.path / "metrics.jsonl"
        self._result = self.path / "result.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, creating it if need be; RunFolderBusyError if another run does. Every process may enter,
        one locks. Not filelock's, since the lock's file names its holder, and readers close what they inherit of it.
        """
        try:
            yield
        finally:
            if self.lock_file is not None:
                os.close(self.lock_file)
                self.lock_file = None

    def open(self, config: dict[str, Any], fingerprint: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """Lock the folder and compare its configuration; the result if the run has finished, with the same data.

        Errors: RunFolderBusyError; ValueError listing the keys in which the configuration, or the fingerprint of a
        finished run, differs, or naming a path that cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ValueError(
                f"{self.path}: the run folder cannot be written: {error.strerror}. Give another --run.folder."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise RunFolderBusyError(
                f"another run is working in {self.path} ({holder}); wait for it, stop it, "
                "or give this one another run.folder"
            ) from None
        except OSError as error:  # some network file systems know no locks
            print(
                f"{self.lock_path}: cannot be locked ({error}); see to it that no other run uses the folder",
                file=sys.stderr,
            )
        self.lock_file = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
        stored = self.path / "config.json"
        again = "remove it, and the same command goes on from the run's checkpoints, or starts over if there are none"
        result = read_object(self._result, again)
        asked = read_object(stored, f"put back a copy, or remove it and {self._result.name}: checkpoints know it, too")
        if asked is None and result is not None:
            raise ValueError(f"{stored} is missing, so that {self._result} may be of other options; {again}")
        if asked is not None and (self.checkpoints.exists() or self._metrics.exists() or result is not None):
            check_same(asked, config, stored, "another configuration")
        else:
            replace_text(stored, json.dumps(plain(config), indent=2) + "\n")
        if result is not None:
            if not isinstance(result.get("metrics"), dict):
                raise ValueError(f"{self._result} is damaged (it has no metrics); {again}")
            if "fingerprint" in result:  # not in results of early versions
                now = {"fingerprint": fingerprint()}
                check_same({"fingerprint": result["fingerprint"]}, now, self.path, "other data or another start")
            # What is no number is null in the file, as JSON has no word for it.
            metrics = {name: math.nan if value is None else value for name, value in result["metrics"].items()}
            return {**result, "metrics": metrics}
        return None

    def start(self, progress: Progress, description: str, resumed_from: str | None) -> None:
        """Note this start and cut metrics.jsonl back to the checkpoint, so that it ends the same as without an
        interruption.
        """
        self._metrics.touch()
        kept = self._metrics.read_bytes()[: progress.log_bytes]
        os.truncate(self._metrics, kept.rfind(b"\n") + 1)  # cut in place: a kill here must not cost the lines before it
        file = self.path / "environment.json"
        known = read_object(file, "put back a copy, or remove it: it only tells of earlier starts")
        starts = list((known or {}).get("starts") or [])
        starts.append(environment(description, resumed_from))
        replace_text(file, json.dumps({"starts": starts}, indent=2) + "\n")

    def log(self, line: dict[str, Any], progress: Progress) -> None:
        """Append a line to metrics.jsonl.

        Every line has "step". Training lines have "loss" (mean over all samples since the previous training line),
        "lr", "gradient_norm" and "epoch", evaluation lines "<split>/<metric>" and, where they are counted, the "tokens"
        trained on so far. All of these are reproduced exactly by a resumed run, but for one that lasts minutes;
        "seconds" (since the previous training line, or of the evaluation), "samples_per_second" and "tokens_per_second"
        are clock times, and are not.
        """
        try:
            with self._metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._metrics)) from error
        progress.log_bytes = self._metrics.stat().st_size

    def summarize(self, epochs_per_step: float) -> None:
        """Derive summary.csv from metrics.jsonl, whole; no file where nothing was evaluated.

        Columns: step, epoch, lr and train_loss (of the last training line up to that step), tokens where they are
        counted, then the metrics.
        """
        training: dict[str, Any] = {}
        rows: list[dict[str, Any]] = []
        for number, text in enumerate(self._metrics.read_bytes().split(b"\n"), 1):
            if not text:
                continue
            try:
                line = dict(json.loads(text))
                step = line.pop("step")
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{self._metrics}: line {number} is damaged ({error}); remove the file: nothing but what was "
                    "logged so far is lost with it"
                ) from error
            if "lr" in line:
                training = line
                continue
            line.pop("seconds", None)
            known = {"lr": training.get("lr"), "train_loss": training.get("loss")}
            rows.append({"step": step, "epoch": step * epochs_per_step, **known, **line})
        file = self.path / "summary.csv"
        if not rows:
            file.unlink(missing_ok=True)
            return
        table = io.StringIO()
        writer = csv.DictWriter(table, list({name: None for row in rows for name in row}), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        replace_text(file, table.getvalue())

    def keep_items(self, items: Items, step: int) -> None:
        """Write items.json of this step's evaluation, if its task tells of items."""
        if items:
            write_items(self.path, items, step)

    def sync_log(self) -> None:
        """Flush metrics.jsonl to the disk: a checkpoint remembers its length."""
        if self._metrics.exists():
            sync(self._metrics)

    def report_failure(self, contents: dict[str, Any]) -> Path:
        """Write down what is known about a non-finite loss."""
        file = self.path / "nonfinite.json"
        file.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
        return file

    def finish(
        self, models: Mapping[str, Callable[[Path], None]], result: dict[str, Any], keep_checkpoints: int
    ) -> None:
        """Save the models, by the name of their folder, then the result; all appear whole."""
        for name, save_model in models.items():
            model, temporary = self.path / name, self.path / f"{TEMPORARY}{name}"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            save_model(temporary)
            for file in temporary.rglob("*"):
                sync(file)
            shutil.rmtree(model, ignore_errors=True)
            temporary.rename(model)
        replace_text(self._result, json.dumps(result, indent=2) + "\n")
        if keep_checkpoints == 0:
            shutil.rmtree(self.checkpoints, ignore_errors=True)


def environment(description: str, resumed_from: str | None) -> dict[str, Any]:
    """What a result may depend on beside its configuration."""
    import torch  # here, since most readers of this module start none

    versions = {}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": sys.argv,
        "processes": description,
        "resumed_from": resumed_from,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": versions,
        "machine": platform.platform(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
