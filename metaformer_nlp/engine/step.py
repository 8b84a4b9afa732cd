"""One optimizer step over one global batch: accumulate, agree, update."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from metaformer_nlp.engine.optimizer import set_learning_rate
from metaformer_nlp.engine.order import MicroBatches, seed_torch, step_seed
from metaformer_nlp.engine.processes import gather, reduce_sums
from metaformer_nlp.engine.task import Batch, Task
from metaformer_nlp.errors import NonFiniteLossError


@dataclass(frozen=True)
class StepResult:
    """What a step gives, the same on every process."""

    loss_sum: float
    count: float
    gradient_norm: float
    stop: bool
    """Some process was asked to stop."""
    seconds: float
    """What the processes' clocks say on average, so that all go by one time."""
    skipped: bool
    """The update was left out since fp16 gradients overflowed; the loss scale has been lowered."""


@dataclass
class TrainingStep:
    """Does optimizer steps on all processes together."""

    task: Task
    model: nn.Module
    optimizer: AcceleratedOptimizer
    accelerator: Accelerator
    samples: MicroBatches
    max_norm: float | None

    def __post_init__(self) -> None:
        self.parameters = list(self.model.parameters())  # a walk over all modules, which takes time

    def __call__(
        self, step: int, position: int, rate: float, batches: Iterator[Batch],
        stop: Callable[[], bool], clock: Callable[[], float],
    ) -> StepResult:  # fmt: skip
        """Step number `step` with learning rate `rate`, on the global batch that begins at `position`, whose
        micro-batches come next in `batches`.

        The gradient is that of the sum of all losses divided by the count of them over micro-batches and processes:
        any cut of the global batch into micro-batches and processes gives the same. Dropout is drawn for a micro-batch
        as a whole: where there is any, micro-batches of the same size give the same on any number of processes.
        """
        layout = self.samples.layout
        sums: list[Tensor] = []
        counts: list[Tensor] = []
        for micro in range(layout.accumulation):
            batch = next(batches)
            part = micro * layout.world_size + self.accelerator.process_index
            seed_torch(step_seed(self.samples.seed, step, part), self.accelerator.device)
            if micro + 1 < layout.accumulation:
                with self.accelerator.no_sync(self.model):
                    loss, count = self._accumulate(batch)
            else:
                loss, count = self._accumulate(batch)
            sums.append(loss)
            counts.append(count)
        own = [[torch.tensor(value, dtype=torch.float64)] for value in (float(stop()), clock())]
        loss_sum, total_count, asked, clocks = reduce_sums(self.accelerator, sums, counts, *own)
        # Undo the constant of `_accumulate` and the averaging over processes, and divide by the true count.
        factor = layout.world_size * layout.batch_size / max(total_count, 1.0)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if factor != 1:
            torch._foreach_mul_(gradients, factor)
        if not self.max_norm:
            # Clipping by infinity would pass over all gradients once more, to multiply them by 1.
            self.accelerator.unscale_gradients()
            norm = torch.nn.utils.get_total_norm(gradients)
        else:
            norm = self.accelerator.clip_grad_norm_(self.parameters, self.max_norm)
        gradient_norm = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        overflow = self._overflows(gradient_norm)
        if not math.isfinite(loss_sum) or (not math.isfinite(gradient_norm) and not overflow):
            raise self._failure(step, position, sums, loss_sum, gradient_norm)
        set_learning_rate(self.optimizer, rate)
        # accelerate's wrapper looks for a package at each step; it is needed for the scaler alone.
        (self.optimizer.optimizer if self.accelerator.scaler is None else self.optimizer).step()
        self.optimizer.optimizer.zero_grad()
        return StepResult(loss_sum, total_count, gradient_norm, asked > 0, clocks / layout.world_size, overflow)

    def _accumulate(self, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, count = self.task.loss(self.model, batch)
        # Sums of losses can be large; the constant keeps fp16 gradients in range and is undone before the update.
        self.accelerator.backward(loss / self.samples.layout.batch_size)
        return loss.detach(), count.detach()

    def _overflows(self, gradient_norm: float) -> bool:
        """Whether a gradient that is not finite is fp16's ordinary overflow, which the scaler answers by skipping the
        update.
        """
        scaler = self.accelerator.scaler
        return scaler is not None and not math.isfinite(gradient_norm) and scaler.get_scale() >= 1

    def _failure(
        self, step: int, position: int, sums: list[Tensor], loss_sum: float, gradient_norm: float
    ) -> NonFiniteLossError:
        mine: list[int] = []
        for micro, loss in enumerate(sums):
            if math.isfinite(loss_sum) or not math.isfinite(
                loss.item()
            ):  # a finite loss: the gradient's fault, all are suspect
                mine += [index for _, index, _ in self.samples.keys(position, micro)]
        suspects = {rank: indices for rank, indices in enumerate(gather(self.accelerator, mine)) if indices}
        listed = "; ".join(
            f"process {rank}: samples {', '.join(map(str, indices[:16]))}{' ...' if len(indices) > 16 else ''}"
            for rank, indices in suspects.items()
        )
        what = f"gradient (norm {gradient_norm})" if math.isfinite(loss_sum) else f"loss ({loss_sum})"
        return NonFiniteLossError(
            f"the {what} of optimizer step {step + 1} is not finite ({listed}). The update was not made and "
            "nothing was saved over the last checkpoint. Look at these samples, lower optim.lr, set "
            "optim.clip_grad_norm, or use another run.mixed_precision",
            {"step": step + 1, "loss_sum": str(loss_sum), "gradient_norm": str(gradient_norm), "samples": suspects},
        )
