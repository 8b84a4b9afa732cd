"""The training loop, the only one there is: it owns the steps; the task owns what is learned and measured."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

from metaformer_nlp.engine.config import OptimConfig, RunConfig, ScheduleConfig
from metaformer_nlp.engine.processes import on_first, start_processes
from metaformer_nlp.engine.record import RunFolder
from metaformer_nlp.engine.run import Run, shown
from metaformer_nlp.engine.signals import EXIT_CODE, StopRequest
from metaformer_nlp.engine.task import Batch, Task


def run_training(
    task: Task,
    *,
    optim: OptimConfig,
    schedule: ScheduleConfig,
    run: RunConfig,
    config: dict[str, Any],
    tracker: str | None = None,
) -> dict[str, Any]:
    """Train in `run.folder` until done, going on from its newest whole checkpoint; every process returns the result.

    `config` is the resolved configuration of the whole experiment: it is stored, and a folder with another one is
    refused. A finished run returns its stored result at once; with another `fingerprint` than then it is refused.
    `tracker` is a name that accelerate knows ("tensorboard", "wandb", ...).

    Errors: SystemExit(75) after a stop request (SIGTERM, SIGINT, SIGUSR1), everything being saved; ValueError if
    configuration, data or checkpoints do not fit each other; RunFolderBusyError; NonFiniteLossError; OSError naming
    what cannot be written.
    """
    folder = RunFolder(run.folder)
    with start_processes(run, tracker) as accelerator, StopRequest() as stop, folder.locked():
        run = replace(run, mixed_precision=accelerator.mixed_precision)
        resolved = {
            **config,
            "optim": asdict(optim),
            "schedule": asdict(schedule),
            "run": asdict(run),
            "tracker": tracker,
        }
        finished = on_first(accelerator, lambda: folder.open(resolved, task.fingerprint))
        if finished is not None:
            accelerator.print(f"finished before, nothing to do: {folder.path} | {shown(finished['metrics'])}")
            return finished
        for split, data in {"train": task.train_data, **task.eval_data}.items():
            if len(data) == 0:
                raise ValueError(f"the data of split {split!r} has no samples; check the configuration's data options")
        work = Run(task, accelerator, folder, optim, schedule, run, resolved)
        work.resume()
        with closing(work.batches()) as batches:
            _train(work, batches, stop)
        return work.finish()


def _train(work: Run, batches: Iterator[Batch], stop: StopRequest) -> None:
    """From where the run stands to its last step, evaluated and saved."""
    progress, config, length = work.progress, work.config, work.length

    def due(every: int | None) -> bool:
        return length.done(progress) or bool(every and progress.step and progress.step % every == 0)

    def to_evaluate() -> bool:
        return progress.evaluated != progress.step and (due(config.eval_every) or progress.step in work.eval_steps)

    stopping = False
    with work.bar() as bar:
        while True:
            # What is due at a step is done before the next one: a resumed run does first what it was stopped before.
            if not stopping and to_evaluate():
                if length.done(progress):
                    work.save()  # what was learned outlives whatever the last evaluation meets
                stopping = work.evaluate(stop)
            if stopping or due(config.save_every) or progress.best_step == progress.step:
                work.save()
            if stopping:
                work.say(f"stopped and saved at step {progress.step}; the same command goes on from there")
                raise SystemExit(EXIT_CODE)
            if length.done(progress):
                return
            rate = length.rate(progress)
            done = work.update(rate, batches, stop)
            if due(config.log_every):
                work.log_window(rate, done.gradient_norm)
                bar.set_postfix_str(f"loss {progress.train_loss:.4g}", refresh=False)
            stopping = done.stop
            length.advance(bar, progress)
