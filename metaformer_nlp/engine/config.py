"""The engine's part of every experiment's configuration. The text under a field is its `--help`."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer and gradient clipping."""

    name: Literal["adamw", "lamb", "sgd"] = "adamw"
    """AdamW of torch; LAMB of timm, which scales each layer's step to its weights and limits the norm of the whole
    gradient to 1 by itself; or SGD of torch with `momentum`.
    """
    lr: float = 1e-3
    """Peak learning rate, reached at the end of the warmup."""
    lr_batch_size: int | None = None
    """The global batch that `lr` is meant for: with another one the learning rate is scaled linearly, and the start of
    the run says so. None: `lr` as it is.
    """
    layer_decay: float | None = None
    """Learning rate of a layer as a share of that of the layer above it: layer d of 0 (stem) ... N (head) gets
    lr x layer_decay^(N - d). For fine-tuning; needs a task that numbers its layers. None: the same rate for all.
    """
    weight_decay: float = 0.05
    """Decoupled weight decay; SGD adds it to the gradient. Biases, norms, layer scales and other one-dimensional
    parameters are never decayed.
    """
    momentum: float | None = None
    """Decay rate of SGD's running sum of gradients. The recipes of ResNets use 0.9; other optimizers take null."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of the two running averages, of the gradient and of its square. SGD has none."""
    eps: float = 1e-8
    """Added to the denominator. LAMB's recipes use 1e-6."""
    clip_grad_norm: float | None = None
    """Largest allowed norm of the whole gradient; longer ones are scaled down. None: no clipping."""

    def __post_init__(self) -> None:
        _require(
            self.name in ("adamw", "lamb", "sgd"), f"optim.name is {self.name!r}; it must be one of adamw, lamb, sgd"
        )
        _require(self.lr >= 0, f"optim.lr is {self.lr}; it must be >= 0")
        _require(
            self.lr_batch_size is None or self.lr_batch_size >= 1,
            f"optim.lr_batch_size is {self.lr_batch_size}; it must be >= 1, or null for a learning rate that is not "
            "scaled",
        )
        _require(
            self.layer_decay is None or 0 < self.layer_decay <= 1,
            f"optim.layer_decay is {self.layer_decay}; it must be above 0 and at most 1, or null",
        )
        _require(self.weight_decay >= 0, f"optim.weight_decay is {self.weight_decay}; it must be >= 0")
        _require(
            (self.momentum is not None and 0 <= self.momentum < 1) if self.name == "sgd" else self.momentum is None,
            f"optim.momentum is {self.momentum} and optim.name {self.name}; SGD needs one in [0, 1), such as 0.9, and "
            "the others take null",
        )
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
    """The learning rate, and how long to train: give exactly one of `epochs`, `steps`, `tokens` and `minutes`."""

    ONE_OF: ClassVar[tuple[str, ...]] = ("epochs", "steps", "tokens", "minutes")
    """One that is given takes the place of a recipe's, whichever that has."""
    epochs: float | None = None
    """Passes over the training data; may be a fraction. The last step is rounded up to a whole batch."""
    steps: int | None = None
    """Optimizer steps. 0 evaluates and saves the model as built."""
    tokens: float | None = None
    """Tokens to train on, padding not counted: as many steps as hold so many on average. For tasks on text."""
    minutes: float | None = None
    """Minutes of training: reading and computing in optimizer steps, over all starts of the run. The first three steps
    of each start, in which the model is compiled, evaluation and checkpoints come on top. The learning rate follows the
    share of the time that is used (arXiv 2212.14034). What is reached depends on the machine: two such runs are not
    bitwise equal, nor is one that was interrupted.
    """
    warmup_steps: int = 0
    """Optimizer steps over which the learning rate rises linearly to its peak."""
    warmup_fraction: float = 0.0
    """The same as a share of the steps before the cooldown, or of `minutes`; give one of the three."""
    warmup_epochs: float = 0.0
    """The same in passes over the training data; give one of the three."""
    warmup_start_lr: float | None = None
    """Learning rate of the first step (or epoch) of the warmup; the peak is then that of the first one after it. None:
    the first of n has peak / n, the last the peak.
    """
    kind: Literal["cosine", "linear", "poly", "step", "constant"] = "cosine"
    """What the learning rate does after the warmup: falls to `min_lr` along a cosine, a line or a `power` of one, falls
    by `factor` at each of the `milestones`, or stays.
    """
    min_lr: float = 0.0
    """The learning rate at the end of a cosine, linear or poly fall."""
    power: float | None = None
    """Of a poly fall: the rate is what is left of the run, as a share, to this power. 1 is a line; ADE20K's recipes use
    0.9.
    """
    milestones: list[float] | None = None
    """Of a step fall: passes over the training data, rising, after each of which the rate is multiplied by `factor`."""
    factor: float | None = None
    """Of a step fall. COCO's recipes use 0.1."""
    cooldown_epochs: float = 0.0
    """Passes at `min_lr` that follow the `epochs`."""
    decay_from: Literal["warmup_end", "start"] = "warmup_end"
    """Where the fall begins: after the warmup, at the peak; or at the first step, so that the warmup hides its first
    part and the peak itself is not quite reached (timm).
    """
    update_every: Literal["step", "epoch"] = "step"
    """Whether the learning rate changes at each optimizer step, or at the beginning of each epoch only (timm)."""

    def __post_init__(self) -> None:
        lengths = {name: getattr(self, name) for name in self.ONE_OF}
        given = {name: value for name, value in lengths.items() if value is not None}
        _require(
            len(given) == 1,
            f"the run's length: {', '.join(f'schedule.{name} is {value}' for name, value in lengths.items())}; give "
            "exactly one of the four",
        )
        for name, value in given.items():
            _require(value > 0 or name == "steps", f"schedule.{name} is {value}; it must be > 0")
        _require(self.steps is None or self.steps >= 0, f"schedule.steps is {self.steps}; it must be >= 0")
        _require(self.warmup_steps >= 0, f"schedule.warmup_steps is {self.warmup_steps}; it must be >= 0")
        _require(
            0 <= self.warmup_fraction <= 1,
            f"schedule.warmup_fraction is {self.warmup_fraction}; it must be between 0 and 1",
        )
        for name in ("warmup_epochs", "cooldown_epochs"):
            _require(getattr(self, name) >= 0, f"schedule.{name} is {getattr(self, name)}; it must be >= 0")
        _require(
            sum(value > 0 for value in (self.warmup_steps, self.warmup_fraction, self.warmup_epochs)) <= 1,
            f"schedule.warmup_steps {self.warmup_steps}, schedule.warmup_fraction {self.warmup_fraction} and "
            f"schedule.warmup_epochs {self.warmup_epochs} say the same thing; give one of the three",
        )
        _require(
            self.epochs is None or self.warmup_epochs <= self.epochs,
            f"schedule.warmup_epochs is {self.warmup_epochs} and schedule.epochs {self.epochs}: the learning rate "
            "would never reach its peak; a shorter run needs a shorter warmup too: set schedule.warmup_epochs",
        )
        _require(
            self.minutes is None or not (self.warmup_steps or self.warmup_epochs or self.update_every == "epoch"),
            "schedule.minutes counts time, not steps or epochs: give the warmup as schedule.warmup_fraction, and leave "
            "schedule.update_every at step",
        )
        _require(
            self.warmup_start_lr is None or self.warmup_start_lr >= 0,
            f"schedule.warmup_start_lr is {self.warmup_start_lr}; it must be >= 0, or null",
        )
        _require(
            self.kind in ("cosine", "linear", "poly", "step", "constant"),
            f"schedule.kind is {self.kind!r}; it must be one of cosine, linear, poly, step, constant",
        )
        _require(
            (self.power is not None and self.power > 0) if self.kind == "poly" else self.power is None,
            f"schedule.power is {self.power} and schedule.kind {self.kind}; poly needs one above 0, and the others "
            "take null",
        )
        at, factor = self.milestones or [], self.factor or 0.0
        rising = bool(at) and all(early < late for early, late in pairwise([0, *at]))
        _require(
            (rising and 0 < factor < 1) if self.kind == "step" else self.milestones is None and self.factor is None,
            f"schedule.milestones is {self.milestones}, schedule.factor {self.factor} and schedule.kind {self.kind}; "
            "step needs rising numbers of epochs and a factor between 0 and 1, and the others take null",
        )
        _require(
            self.kind != "step" or self.minutes is None,
            "schedule.minutes counts time, but the milestones of schedule.kind step are epochs: give schedule.epochs "
            "or schedule.steps",
        )
        _require(self.min_lr >= 0, f"schedule.min_lr is {self.min_lr}; it must be >= 0")
        _require(
            not self.cooldown_epochs or (self.epochs is not None and self.kind not in ("step", "constant")),
            f"schedule.cooldown_epochs is {self.cooldown_epochs}; it follows schedule.epochs and a learning rate that "
            "falls: give epochs instead of steps and the kind cosine, linear or poly, or no cooldown",
        )
        for name, allowed in (("decay_from", ("warmup_end", "start")), ("update_every", ("step", "epoch"))):
            value = getattr(self, name)
            _require(value in allowed, f"schedule.{name} is {value!r}; it must be one of {', '.join(allowed)}")


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
    """Samples per process and forward pass, at most: the largest number that divides each process's share of the batch
    and is not above this; the rest of the batch is accumulated. None: the whole share. It changes the result of what
    looks at a micro-batch as a whole: batch norm, and mixup and CutMix, with which a run cannot go on with another one.
    """
    fit_batch: bool = False
    """Lower the global batch to the training set's size, and to what the processes can share evenly in micro-batches
    of at least about half of `micro_batch_size`, where it does not fit; the start of the run says so. The learning
    rate follows if optim.lr_batch_size is given.
    """
    augmentation_repeats: int = 1
    """How many times in a row each sample comes, augmented differently each time (repeated augmentation, arXiv
    1902.05509, 2012.12877). An epoch stays as long as the training set and so sees a part of it.
    """
    eval_batch_size: int = 64
    """Samples per evaluation batch of one process. Metrics do not depend on the number of processes."""
    eval_every: int | None = None
    """Optimizer steps between evaluations. None: only at the end, which is always evaluated."""
    eval_at: list[float] | None = None
    """Numbers of tokens, rising: the run is also evaluated after the first optimizer step at which so many have been
    trained on, 0 being the model as built; those that the run does not reach are left out. For tasks on text.
    """
    save_every: int | None = None
    """Optimizer steps between checkpoints. None: only at the end and on a stop signal."""
    keep_checkpoints: int = 2
    """Newest checkpoints to keep. 0: one while training, none once the run has finished."""
    keep_best: str | None = None
    """Metric, such as validation/accuracy, whose best evaluation's checkpoint is kept as well; at the end its model is
    in the folder model-best. Higher is better, but not if the name ends with "loss" or "perplexity".
    """
    ema_decay: float | None = None
    """Decay rate of an exponential moving average of the weights, such as 0.9999; evaluation and the saved model use
    the average. None: the weights themselves.
    """
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
        for name in ("batch_size", "augmentation_repeats", "eval_batch_size", "log_every"):
            value = getattr(self, name)
            _require(value >= 1, f"run.{name} is {value}; it must be >= 1")
        for name in ("micro_batch_size", "eval_every", "save_every"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"run.{name} is {value}; it must be >= 1, or null")
        for name in ("keep_checkpoints", "num_workers", "seed"):
            value = getattr(self, name)
            _require(0 <= value < 2**63, f"run.{name} is {value}; it must be >= 0, and below 2 ** 63")
        at = self.eval_at or []
        _require(
            all(tokens >= 0 for tokens in at) and all(early < late for early, late in pairwise(at)),
            f"run.eval_at is {self.eval_at}; it must be rising numbers of tokens, none below 0, or null",
        )
        _require(
            self.keep_best is None or "/" in self.keep_best,
            f"run.keep_best is {self.keep_best!r}; it must be split/metric, such as validation/accuracy, or null",
        )
        _require(
            self.ema_decay is None or 0 < self.ema_decay < 1,
            f"run.ema_decay is {self.ema_decay}; it must be between 0 and 1, or null for no average",
        )
        _require(
            self.mixed_precision in (None, "no", "bf16", "fp16"),
            f"run.mixed_precision is {self.mixed_precision!r}; it must be one of no, bf16, fp16, or null",
        )
