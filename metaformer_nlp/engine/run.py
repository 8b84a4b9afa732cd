"""The parts of one run on one of its processes: model, optimizer, folder and progress, and what is done with them
together.
"""

import math
import sys
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm

from metaformer_nlp.config.names import flatten
from metaformer_nlp.engine import checkpoint
from metaformer_nlp.engine.average import WeightAverage
from metaformer_nlp.engine.clock import Clock
from metaformer_nlp.engine.config import OptimConfig, RunConfig, ScheduleConfig
from metaformer_nlp.engine.evaluate import evaluate
from metaformer_nlp.engine.items import Items
from metaformer_nlp.engine.length import Length
from metaformer_nlp.engine.optimizer import build_optimizer
from metaformer_nlp.engine.order import KeyedSamples, MicroBatches, model_seed, seed_torch
from metaformer_nlp.engine.processes import compile_model, describe, on_first, read_batches, track
from metaformer_nlp.engine.record import LOWER_IS_BETTER, Progress, RunFolder, check_same, plain
from metaformer_nlp.engine.scaling import scale
from metaformer_nlp.engine.schedule import steps_at
from metaformer_nlp.engine.signals import ReaderStart, StopRequest
from metaformer_nlp.engine.step import StepResult, TrainingStep
from metaformer_nlp.engine.task import Batch, Task
from metaformer_nlp.errors import NonFiniteLossError


def shown(metrics: dict[str, float]) -> str:
    """Metrics as a line to read: `validation/loss 0.1234, validation/accuracy 0.9800`."""
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "nothing to evaluate"


def _check_keep_best(wanted: str | None, task: Task) -> None:
    """ValueError if this metric is known not to come, which should not be found out hours later."""
    if wanted is None:
        return
    split, metric = wanted.split("/", 1)
    if split not in task.eval_data:
        raise ValueError(f"run.keep_best is {wanted!r}; its split must be one of {', '.join(task.eval_data)}")
    names = task.metric_names()
    if names is not None and metric not in names:
        known = ", ".join(f"{split}/{name}" for name in names)
        raise ValueError(f"run.keep_best is {wanted!r}, which is not evaluated; use one of {known}")


class Run:
    """Everything here is done by all processes together; only the first writes."""

    def __init__(
        self, task: Task, accelerator: Accelerator, folder: RunFolder, optim: OptimConfig,
        schedule: ScheduleConfig, run: RunConfig, config: dict[str, Any],
    ) -> None:  # fmt: skip
        """Build model and optimizer; the weights are a function of the seed. TypeError if `task` is no `Task`."""
        if not isinstance(task, Task):
            name = type(task).__name__
            raise TypeError(
                f"{name} is no metaformer_nlp.engine.Task, from which optional methods are inherited; derive it: "
                f"class {name}(Task)"
            )
        self.task, self.accelerator, self.folder, self.config = task, accelerator, folder, run
        _check_keep_best(run.keep_best, task)
        self.scaling = scale(run, optim, len(task.train_data), accelerator.num_processes)
        self.layout = self.scaling.layout
        tokens = task.tokens_per_sample()
        self.tokens_per_step = None if tokens is None else self.layout.batch_size * tokens
        self.length = Length(
            schedule, self.scaling.lr, len(task.train_data), self.layout.batch_size, self.tokens_per_step
        )
        self.eval_steps = steps_at(run.eval_at, self.tokens_per_step, self.length.total)
        fitted = {"fitted": {"batch_size": self.layout.batch_size}} if run.fit_batch else {}
        self.fingerprint = task.fingerprint()
        together = {"samples_mixed_together": self.layout.micro_batch_size} if task.mixes_samples() else {}
        self.identity = plain({**config, **fitted, "fingerprint": {**self.fingerprint, **together}})
        self.samples = MicroBatches(
            len(task.train_data), run.seed, self.layout, accelerator.process_index, run.augmentation_repeats
        )
        self.readers = (run.num_workers, ReaderStart(str(folder.lock_path), folder.lock_file))
        model = self._new_model().train()  # a pretrained model comes in evaluation mode
        self.parameters = {
            "total": sum(parameter.numel() for parameter in model.parameters()),
            "trainable": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        }
        fused = accelerator.device.type == "cuda" and accelerator.scaler is None
        depths = None if optim.layer_decay is None else task.layer_depths(model)
        optimizer = build_optimizer(model, optim, fused, depths, task.not_decayed(model))
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.average = WeightAverage(self.model, run.ema_decay) if run.ema_decay else None
        if run.compile:
            compile_model(accelerator, self.model)
        self.step = TrainingStep(task, self.model, self.optimizer, accelerator, self.samples, optim.clip_grad_norm)
        self.progress = Progress()
        self.clock = Clock()
        self._saved = self._noted = 0  # steps

    def resume(self) -> None:
        """Go on from the newest whole checkpoint, if there is any, and begin to record."""
        found = on_first(self.accelerator, self._find_checkpoint)
        if found is not None:
            path, state = found
            loaded: list[checkpoint.Snapshot] = []
            on_first(self.accelerator, lambda: loaded.append(checkpoint.read_snapshot(Path(path))))
            snapshot = loaded[0] if loaded else None
            checkpoint.restore_snapshot(
                self.model, self.optimizer.optimizer, snapshot, self.layout.world_size, self.average
            )
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.progress = Progress(**state["progress"])
            self._saved, self._noted = self.progress.step, self.progress.evaluated
            self.clock.resume(self.progress)
        cut, progress = self.layout, self.progress
        description = (
            f"{describe(self.accelerator)} | global batch {cut.batch_size} = {cut.micro_batch_size} samples x "
            f"{cut.accumulation} accumulated x {cut.world_size} processes | "
            f"{self.length.describe(progress)} | {self.folder.path}"
        )
        on_first(self.accelerator, lambda: self.folder.start(progress, description, found and found[0]))
        on_first(self.accelerator, self._summarize)
        if self.scaling.note:
            self.say(self.scaling.note)
        self.say(description)
        track(self.accelerator, self.config, flatten(self.identity))

    def batches(self) -> Generator[Batch, None, None]:
        """This process's micro-batches from here to the end of the run."""
        keys = self.samples.between(self.progress.position, self.length.last_position())
        data = KeyedSamples(self.task.train_data, self.config.seed)
        return read_batches(data, keys, self.task.collate, self.accelerator, *self.readers)

    def bar(self) -> "tqdm[Any]":
        """A progress bar on the first process; none where there is no terminal."""
        # disable=None: tqdm itself looks whether its stream is a terminal.
        disable = None if self.accelerator.is_main_process else True
        return self.length.bar(self.progress, disable)

    def update(self, rate: float, batches: Iterator[Batch], stop: StopRequest) -> StepResult:
        """One optimizer step."""
        progress = self.progress
        with self.clock.step(progress) as clock:
            try:
                done = self.step(progress.step, progress.position, rate, batches, stop, clock)
            except NonFiniteLossError as error:
                report = error.report
                on_first(self.accelerator, lambda: self.folder.report_failure(report))
                raise
            if self.average is not None and not done.skipped:
                self.average.update()
        progress.step += 1
        progress.position += self.layout.batch_size
        progress.window_loss += done.loss_sum
        progress.window_count += done.count
        progress.skipped_updates += done.skipped
        progress.train_seconds = done.seconds
        return done

    def log_window(self, rate: float, gradient_norm: float) -> None:
        """A training line about the steps since the last one."""
        progress = self.progress
        progress.train_loss = progress.window_loss / max(progress.window_count, 1.0)
        seconds, steps_per_second = self.clock.end_window(progress.step)
        self._log(
            {
                "loss": progress.train_loss,
                "lr": rate,
                "gradient_norm": gradient_norm,
                "epoch": progress.position / self.samples.num_samples,
                "seconds": seconds,
                "samples_per_second": steps_per_second * self.layout.batch_size,
                **({"tokens_per_second": steps_per_second * self.tokens_per_step} if self.tokens_per_step else {}),
            }
        )
        progress.window_loss = progress.window_count = 0.0

    def evaluate(self, stop: StopRequest) -> bool:
        """Evaluate all splits; whether a process was asked to stop, in which case the evaluation is left for the next
        start.
        """
        began = self.clock.seconds()
        items: Items = {}
        with self.average.applied() if self.average else nullcontext():
            metrics = evaluate(
                self.task,
                self.model,
                self.accelerator,
                batch_size=self.config.eval_batch_size,
                seed=self.config.seed,
                num_workers=self.readers[0],
                reader_start=self.readers[1],
                stop=stop,
                items=items,
            )
        if metrics is None:
            return True
        self.progress.evaluated, self.progress.metrics = self.progress.step, metrics
        self._log({**self._tokens(), **metrics, "seconds": self.clock.seconds() - began})
        # Before any checkpoint that knows of this evaluation: a run that goes on from there does not make it again.
        on_first(self.accelerator, lambda: self.folder.keep_items(items, self.progress.step))
        on_first(self.accelerator, self._summarize)
        self._note_best(metrics)
        self.say(f"step {self.progress.step}: {shown(metrics)}")
        return False

    def save(self) -> None:
        """Write a checkpoint of this step; where it is there already, note an evaluation that came later."""
        progress = self.progress
        stored = {**vars(progress), "seconds": self.clock.seconds()}
        if progress.step == self._saved:
            if progress.evaluated == progress.step != self._noted:
                on_first(self.accelerator, lambda: self._note_evaluation(stored))
                self._noted = progress.step
            return
        snapshot = checkpoint.take_snapshot(self.model, self.optimizer.optimizer, self.average)
        scaler = self.accelerator.scaler
        state = {
            "identity": self.identity,
            "world_size": self.layout.world_size,
            "scaler": None if scaler is None else scaler.state_dict(),
            "progress": stored,
        }

        def write() -> None:
            self.folder.sync_log()
            keep = max(1, self.config.keep_checkpoints)
            checkpoint.write_checkpoint(
                self.folder.checkpoints, progress.step, snapshot, state, keep, progress.best_step
            )

        on_first(self.accelerator, write)
        self._saved, self._noted = progress.step, progress.evaluated

    def _note_evaluation(self, progress: dict[str, Any]) -> None:
        self.folder.sync_log()
        checkpoint.note_evaluation(self.folder.checkpoints, self.progress.step, progress)

    def finish(self) -> dict[str, Any]:
        """Save the models and the result; the result, the same on all processes."""
        progress = self.progress
        macs, name = self.task.macs(), self.config.keep_best
        speed = (self.tokens_per_step or 0.0) * progress.timed_steps / max(progress.train_seconds, 1e-9)
        result: dict[str, Any] = {
            "metrics": progress.metrics,
            **({"best": {"step": progress.best_step, name: progress.best_value}} if name else {}),
            "train": {
                "loss": progress.train_loss,
                "steps": progress.step,
                "samples": progress.position,
                "epochs": progress.position / self.samples.num_samples,
                "skipped_updates": progress.skipped_updates,
                **self._tokens(),
            },
            "batch_size": self.layout.batch_size,
            "lr": self.scaling.lr,
            "parameters": self.parameters,
            **({} if macs is None else {"macs": macs}),
            "seconds": self.clock.seconds(),
            "train_seconds": progress.train_seconds,
            **({"tokens_per_second": speed} if self.tokens_per_step else {}),
            "world_size": self.layout.world_size,
            "fingerprint": self.fingerprint,
        }
        weights = {"model": checkpoint.take_model(self.model, self.average)}

        def save_model(weights: dict[str, torch.Tensor], folder: Path) -> None:
            # Into a fresh model: no wrapper, hook or shard of the training gets into what is saved.
            model = self._new_model()
            model.load_state_dict(weights)
            self.task.save_model(model.eval(), folder)

        def write() -> dict[str, Any]:
            if progress.best_step == progress.step:
                weights["model-best"] = weights["model"]
            elif progress.best_step is not None:
                try:
                    weights["model-best"] = checkpoint.best_model(self.folder.checkpoints, progress.best_step)
                except checkpoint.CheckpointError as error:  # no reason to lose the rest
                    print(f"the folder model-best cannot be written: {error}", file=sys.stderr, flush=True)
            models = {name: partial(save_model, state) for name, state in weights.items()}
            self.folder.finish(models, plain(result), self.config.keep_checkpoints)
            return plain(result)

        stored = on_first(self.accelerator, write)
        self.say(f"finished: {self.folder.path / 'model'} and {self.folder.path / 'result.json'}")
        return stored

    def say(self, text: str) -> None:
        """A line on the first process's standard output, above the progress bar."""
        if self.accelerator.is_main_process:
            tqdm.write(text)
            sys.stdout.flush()

    def _note_best(self, metrics: dict[str, float]) -> None:
        name, progress = self.config.keep_best, self.progress
        if name is None:
            return
        if name not in metrics:
            raise ValueError(f"run.keep_best is {name!r}, which is not evaluated; use one of {', '.join(metrics)}")
        value, best = metrics[name], progress.best_value
        better = best is None or (value < best if name.endswith(LOWER_IS_BETTER) else value > best)
        if better and math.isfinite(value):
            progress.best_step, progress.best_value = progress.step, value

    def _summarize(self) -> None:
        self.folder.summarize(self.layout.batch_size / self.samples.num_samples)

    def _tokens(self) -> dict[str, int]:
        """How many tokens have been trained on, where they are counted."""
        return {"tokens": round(self.progress.step * self.tokens_per_step)} if self.tokens_per_step else {}

    def _new_model(self) -> torch.nn.Module:
        seed_torch(model_seed(self.config.seed), self.accelerator.device)
        return self.task.build_model()

    def _log(self, values: dict[str, Any]) -> None:
        step = self.progress.step
        on_first(self.accelerator, lambda: self.folder.log({"step": step, **values}, self.progress))
        self.accelerator.log(values, step=step)

    def _find_checkpoint(self) -> tuple[str, dict[str, Any]] | None:
        root = self.folder.checkpoints
        checkpoint.remove_leftovers(root)
        path, problems = checkpoint.newest_whole(root)
        for problem in problems:
            print(f"passed over a damaged checkpoint: {problem}", file=sys.stderr, flush=True)
        if path is None:
            return None
        state = checkpoint.read_state(path)
        check_same(state["identity"], self.identity, path, "another configuration or other data")
        return str(path), state
