"""The processes of a run: how they are started, how they agree, and the few things that one does for all."""

import atexit
import ctypes
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import DynamoBackend, GradientAccumulationPlugin, InitProcessGroupKwargs, ProjectConfiguration
from torch.utils.data import DataLoader

from metaformer_nlp.engine.config import RunConfig

T = TypeVar("T")

# How long processes wait for one of them that is silent but has not closed its connections, which is noticed at once.
# The longest wait of a healthy run is for the first process to summarise an evaluation or to write a checkpoint.
SILENCE = timedelta(minutes=20)


# glibc's names (malloc.h) for what it does with freed memory, and the largest values that it takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST = 2**31 - 1, 32 * 2**20


class OtherProcessFailedError(RuntimeError):
    """The first process failed at something it does for all; its own traceback says more."""


@contextmanager
def start_processes(run: RunConfig, tracker: str | None) -> Iterator[Accelerator]:
    """accelerate's handle on this process, from whatever launched it, for one run.

    Its global state is cleared afterwards, so that one program may do several runs one after the other.
    """
    _check_tracker(tracker)
    _forget()
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision=run.mixed_precision,
        # The loop accumulates by itself; given explicitly because accelerate otherwise divides losses by an
        # environment variable.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1, sync_with_dataloader=False),
        log_with=tracker,
        project_config=ProjectConfiguration(project_dir=run.folder, logging_dir=str(Path(run.folder) / "tracker")),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=SILENCE)],
    )
    keep_freed_memory()
    try:
        yield accelerator
        if accelerator.num_processes > 1:
            _leave_group_at_exit()
    finally:
        for running in accelerator.trackers:
            running.finish()
        if accelerator.device.type != "cpu":
            accelerator.free_memory()  # slow: it collects the garbage of the whole program
        _forget()


def keep_freed_memory() -> None:
    """Have this program keep the memory that it frees, up to 2 GiB, for what it asks for next.

    A step on the CPU frees its activations and gradients and asks for as much again; so does a reader of its batches.
    glibc gives such blocks back to the system each time, and the system hands them out again page by page, all set to
    zero: a fifth of a small step. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _LARGEST)


def _forget() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)


def _check_tracker(tracker: str | None) -> None:
    if tracker is None:
        return
    if tracker not in LOGGER_TYPE_TO_CLASS:
        raise ValueError(
            f"tracker {tracker!r} is not known; use one of {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}, or none"
        )
    if tracker not in [str(name) for name in get_available_trackers()]:
        raise ValueError(
            f"tracker {tracker!r} is not installed; install its package (pip install {tracker}) or leave it out"
        )


def track(accelerator: Accelerator, run: RunConfig, config: dict[str, Any]) -> None:
    """Start the tracker, if one was asked for; `config` is flat."""
    if accelerator.log_with:
        simple = {
            key: value if isinstance(value, int | float | str | bool) else str(value) for key, value in config.items()
        }
        accelerator.init_trackers(Path(run.folder).name, config=simple)


def compile_model(accelerator: Accelerator, model: torch.nn.Module) -> None:
    """Compile in place, which leaves the names of the parameters alone, unless accelerate's launcher has asked for it
    already.
    """
    if accelerator.state.dynamo_plugin.backend == DynamoBackend.NO:
        model.compile()


def _leave_group_at_exit() -> None:
    # Only after a run that went well: leaving can hang when another process has failed.
    atexit.unregister(_leave_group)
    atexit.register(_leave_group)


def _leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def reduce_sums(accelerator: Accelerator, *groups: list[torch.Tensor]) -> list[float]:
    """The sum of each group of 0-d tensors over all processes, in double precision where the device has it. One
    message.
    """
    dtype = torch.float32 if accelerator.device.type == "mps" else torch.float64
    sums = torch.stack([torch.stack(group).detach().to(accelerator.device, dtype).sum() for group in groups])
    if accelerator.num_processes > 1:
        dist.all_reduce(sums)
    values: list[float] = sums.tolist()
    return values


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether the flag is set on any process."""
    if accelerator.num_processes == 1:
        return flag
    return reduce_sums(accelerator, [torch.tensor(float(flag))])[0] > 0


def gather(accelerator: Accelerator, value: T) -> list[T]:
    """The value of every process, in their order, on every process. For small things."""
    if accelerator.num_processes == 1:
        return [value]
    values: list[Any] = [None] * accelerator.num_processes
    dist.all_gather_object(values, value)
    return values


def gather_on_first(accelerator: Accelerator, value: T) -> list[T] | None:
    """The value of every process on the first, None on the others."""
    if accelerator.num_processes == 1:
        return [value]
    values: list[Any] | None = [None] * accelerator.num_processes if accelerator.is_main_process else None
    dist.gather_object(value, values)
    return values


def on_first(accelerator: Accelerator, function: Callable[[], T]) -> T:
    """What `function` returns, called on the first process alone and given to all. If it raises, all raise."""
    value: Any = None
    error: Exception | None = None
    if accelerator.is_main_process:
        try:
            value = function()
        except Exception as raised:
            error = raised
    if accelerator.num_processes > 1:
        box = [value, None if error is None else f"{type(error).__name__}: {error}"]
        dist.broadcast_object_list(box)
        value = box[0]
        if error is None and box[1] is not None:
            raise OtherProcessFailedError(f"the first process failed: {box[1]}")
    if error is not None:
        raise error
    return value


def to_device(value: Any, device: torch.device) -> Any:
    """A batch on the device: tensors moved, containers copied, everything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: to_device(item, device) for name, item in value.items()}
    if isinstance(value, list):
        return [to_device(item, device) for item in value]
    if isinstance(value, tuple):
        items = (to_device(item, device) for item in value)
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def read_batches(
    data: Any,
    batches: Iterable[Any],
    collate: Callable[[list[Any]], Any],
    accelerator: Accelerator,
    num_workers: int,
    start: Any,
) -> Generator[Any, None, None]:
    """Batches on this process's device, in the order of the keys in `batches`, read by `num_workers` reader
    processes.
    """
    loader = DataLoader(
        data,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=num_workers,
        worker_init_fn=start,
        pin_memory=accelerator.device.type == "cuda",
        # Its own generator: the loader draws a seed for its workers, which must not move the training's random numbers.
        generator=torch.Generator(),
    )
    reading = iter(loader)
    try:
        for batch in reading:
            yield to_device(batch, accelerator.device)
    finally:
        # The readers ignore SIGTERM, with which a program that ends in an error would otherwise wait for them forever.
        if num_workers:
            reading._shutdown_workers()  # type: ignore[attr-defined]
            for reader in reading._workers:  # type: ignore[attr-defined]
                if reader.is_alive():  # stuck in a sample
                    reader.kill()


def describe(accelerator: Accelerator) -> str:
    """Number of processes, how they talk, device and arithmetic, for the first line of a run."""
    talk = f" ({accelerator.distributed_type.value}, {dist.get_backend()})" if accelerator.num_processes > 1 else ""
    size, device, precision = accelerator.num_processes, accelerator.device, accelerator.mixed_precision
    return f"world size {size}{talk} | device {device} | precision {precision}"
