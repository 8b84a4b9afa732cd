"""The engine's part of every experiment's configuration. The text under a field is its `--help`."""

from dataclasses import dataclass
from typing import Literal


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and gradient clipping."""

    lr: float = 1e-3
    """Peak learning rate, reached at the end of the warmup."""
    weight_decay: float = 0.05
    """Decoupled weight decay. Biases, norms, layer scales and other one-dimensional parameters are never decayed."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's two running averages."""
    eps: float = 1e-8
    """Added to AdamW's denominator."""
    clip_grad_norm: float | None = None
    """Largest allowed norm of the whole gradient; longer ones are scaled down. None: no clipping."""

    def __post_init__(self) -> None:
        _require(self.lr >= 0, f"optim.lr is {self.lr}; it must be >= 0")
        _require(self.weight_decay >= 0, f"optim.weight_decay is {self.weight_decay}; it must be >= 0")
        _require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"optim.betas is {self.betas}; it must be two numbers in [0, 1)",
        )
        _require(self.eps > 0, f"optim.eps is {self.eps}; it must be > 0")
        _require(
            self.clip_grad_norm is None or self.clip_grad_norm > 0,
            f"optim.clip_grad_norm is {self.clip_grad_norm}; it must be > 0, or null for no clipping",
        )


@dataclass(frozen=True)
class ScheduleConfig:
    """How long to train, and the learning rate at each optimizer step. Give exactly one of `epochs` and `steps`."""

    epochs: float | None = None
    """Passes over the training data; may be a fraction. The last step is rounded up to a whole batch."""
    steps: int | None = None
    """Optimizer steps. 0 evaluates and saves the model as built."""
    warmup_steps: int = 0
    """Optimizer steps over which the learning rate rises linearly to its peak."""
    warmup_fraction: float = 0.0
    """The same as a share of all steps; give one of the two."""
    kind: Literal["cosine", "linear", "constant"] = "cosine"
    """What the learning rate does after the warmup: falls to `min_lr` along a cosine or a line, or stays."""
    min_lr: float = 0.0
    """The learning rate at the end of a cosine or linear fall."""

    def __post_init__(self) -> None:
        _require(
            (self.epochs is None) != (self.steps is None),
            f"schedule.epochs is {self.epochs} and schedule.steps is {self.steps}; give exactly one of the two",
        )
        _require(self.epochs is None or self.epochs > 0, f"schedule.epochs is {self.epochs}; it must be > 0")
        _require(self.steps is None or self.steps >= 0, f"schedule.steps is {self.steps}; it must be >= 0")
        _require(self.warmup_steps >= 0, f"schedule.warmup_steps is {self.warmup_steps}; it must be >= 0")
        _require(
            0 <= self.warmup_fraction <= 1,
            f"schedule.warmup_fraction is {self.warmup_fraction}; it must be between 0 and 1",
        )
        _require(
            not (self.warmup_steps and self.warmup_fraction),
            "schedule.warmup_steps and schedule.warmup_fraction are both given; give one of the two",
        )
        _require(
            self.kind in ("cosine", "linear", "constant"),
            f"schedule.kind is {self.kind!r}; it must be one of cosine, linear, constant",
        )
        _require(self.min_lr >= 0, f"schedule.min_lr is {self.min_lr}; it must be >= 0")


@dataclass(frozen=True)
class RunConfig:
    """Where a run lives, how it is cut into batches, and when it evaluates and saves."""

    folder: str
    """The run's folder. The same command started again on it goes on where it stopped, or returns the result if
    finished.
    """
    batch_size: int
    """GLOBAL batch: samples per optimizer step = micro_batch_size x accumulation x processes, whatever the number of
    processes.
    """
    micro_batch_size: int | None = None
    """Samples per process and forward pass; the rest of the batch is accumulated. None: batch_size / processes."""
    eval_batch_size: int = 64
    """Samples per evaluation batch of one process. Metrics do not depend on the number of processes."""
    eval_every: int | None = None
    """Optimizer steps between evaluations. None: only at the end, which is always evaluated."""
    save_every: int | None = None
    """Optimizer steps between checkpoints. None: only at the end and on a stop signal."""
    keep_checkpoints: int = 2
    """Newest checkpoints to keep. 0: one while training, none once the run has finished."""
    log_every: int = 10
    """Optimizer steps between training lines of metrics.jsonl; the loss is the mean over all samples since the last
    line.
    """
    seed: int = 0
    """Decides the initial weights, the sample order, the augmentation and the dropout."""
    num_workers: int = 0
    """Reader processes per training process. 0 reads in the training process. Does not change any result."""
    mixed_precision: Literal["no", "bf16", "fp16"] | None = None
    """Arithmetic of the model; weights stay float32. None: what `accelerate launch --mixed_precision` says, else no."""
    compile: bool = False
    """Compile the model with torch.compile."""

    def __post_init__(self) -> None:
        _require(bool(str(self.folder)), "run.folder is empty; name the folder of the run, for example runs/first")
        for name in ("batch_size", "eval_batch_size", "log_every"):
            value = getattr(self, name)
            _require(value >= 1, f"run.{name} is {value}; it must be >= 1")
        for name in ("micro_batch_size", "eval_every", "save_every"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"run.{name} is {value}; it must be >= 1, or null")
        for name in ("keep_checkpoints", "num_workers", "seed"):
            value = getattr(self, name)
            _require(value >= 0, f"run.{name} is {value}; it must be >= 0")
        _require(
            self.mixed_precision in (None, "no", "bf16", "fp16"),
            f"run.mixed_precision is {self.mixed_precision!r}; it must be one of no, bf16, fp16, or null",
        )
