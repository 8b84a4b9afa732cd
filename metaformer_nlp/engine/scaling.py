"""What follows from the number of processes and of training samples: the cut of the batches and the learning rate."""

import math
from dataclasses import dataclass

from metaformer_nlp.engine.config import OptimConfig, RunConfig
from metaformer_nlp.engine.order import BatchLayout


@dataclass(frozen=True)
class Scaling:
    """How a run is carried out here."""

    layout: BatchLayout
    """The batches as they are used."""
    lr: float
    """The peak learning rate as it is used."""
    note: str | None
    """A sentence that says what differs from the configuration, if anything does."""


def scale(run: RunConfig, optim: OptimConfig, num_samples: int, world_size: int) -> Scaling:
    """Fit the global batch (`run.fit_batch`) and let the learning rate follow it (`optim.lr_batch_size`).

    The linear rule is that of arXiv 1706.02677. ValueError if the batch cannot be dealt evenly to the processes.
    """
    batch = run.batch_size
    if run.fit_batch:
        share = min(batch, num_samples) // world_size
        if share == 0:
            raise ValueError(
                f"{num_samples} training samples (run.batch_size {run.batch_size}) cannot be shared by {world_size} "
                f"processes; use at most {min(num_samples, run.batch_size)}"
            )
        limit = min(run.micro_batch_size or share, share)
        if 2 * BatchLayout.of(share, limit, 1).micro_batch_size < limit:
            # A prime share could only be accumulated sample by sample: leave a few out instead.
            share -= share % math.ceil(share / limit)
        batch = share * world_size
    layout = BatchLayout.of(batch, run.micro_batch_size, world_size)
    unscaled = optim.lr_batch_size in (None, batch)
    lr = optim.lr if unscaled else optim.lr * batch / (optim.lr_batch_size or 1)
    words = []
    if batch != run.batch_size:
        if num_samples < run.batch_size:
            reason = f"{num_samples} training samples are fewer than run.batch_size {run.batch_size}"
        elif run.batch_size % world_size:
            reason = f"run.batch_size {run.batch_size} is no multiple of {world_size} processes"
        else:
            share = run.batch_size // world_size
            reason = f"{share} samples of a process cannot be cut into micro-batches of about {run.micro_batch_size}"
        cut = f"{layout.micro_batch_size} x {layout.accumulation} x {world_size} processes"
        words.append(f"{reason}: global batch {batch} = {cut}")
    if not unscaled:
        words.append(f"lr {optim.lr:g} x {batch}/{optim.lr_batch_size} = {lr:.3g}")
    return Scaling(layout, lr, f"scaled: {', '.join(words)}" if words else None)
