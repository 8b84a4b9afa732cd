"""The order of the samples, and every random draw, as functions of (seed, epoch, index, step, rank).

Position p of the endless global sample stream lies in epoch p // n and is sample `permutation(n, seed, epoch)[p %
n]`; with r repeats, repeat p % n % r of sample `permutation(n, seed, epoch)[p % n // r]`. Optimizer step t takes the
positions [t * G, (t + 1) * G) of it, G being the global batch size. Nothing here has a state: a run that goes on from
a position sees exactly what the run that was not interrupted would have seen, on any number of processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from metaformer_nlp.engine.task import Dataset

# Keep the draws made for different purposes apart: equal numbers behind different tags give unrelated streams.
_ORDER, _SAMPLE, _STEP, _EVALUATION, _MODEL = range(5)

Key = tuple[int, int, int]
"""(epoch, index, repeat): names a sample and everything random about it."""


def _rng(*numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


@lru_cache(maxsize=2)  # a step may lie in two epochs
def permutation(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """(num_samples,) The order of the samples in an epoch."""
    return _rng(_ORDER, seed, epoch).permutation(num_samples)


def key_at(position: int, num_samples: int, seed: int, repeats: int = 1) -> Key:
    """The sample at a position of the global stream, in which each comes `repeats` times in a row."""
    epoch, offset = divmod(position, num_samples)
    place, repeat = divmod(offset, repeats)
    return epoch, int(permutation(num_samples, seed, epoch)[place]), repeat


def sample_rng(seed: int, epoch: int, index: int, repeat: int = 0) -> np.random.Generator:
    """What a sample's augmentation and masking draw from."""
    return _rng(_SAMPLE, seed, epoch, index, *([repeat] if repeat else []))


def step_seed(seed: int, step: int, part: int) -> int:
    """Seed of torch's generators (dropout, drop path) for one micro-batch: which `part` of the step's global batch it
    is, whatever process it is on.
    """
    return _seed(_STEP, seed, step, part)


def evaluation_seed(seed: int, batch: int) -> int:
    """Seed of torch's generators for one evaluation batch: the same on whatever process it is evaluated."""
    return _seed(_EVALUATION, seed, batch)


def model_seed(seed: int) -> int:
    """Seed of the initial weights."""
    return _seed(_MODEL, seed)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's generators of CPU and device. `torch.manual_seed` takes milliseconds where no GPU is used."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@dataclass(frozen=True)
class BatchLayout:
    """How a global batch is cut: `batch_size = micro_batch_size * accumulation * world_size`."""

    batch_size: int
    micro_batch_size: int
    accumulation: int
    world_size: int

    @classmethod
    def of(cls, batch_size: int, micro_batch_size: int | None, world_size: int) -> "BatchLayout":
        """The cut with the largest micro-batch that is not above `micro_batch_size` (None: no limit) and divides each
        process's share; ValueError if the batch cannot be dealt evenly.
        """
        if batch_size % world_size:
            raise ValueError(
                f"run.batch_size {batch_size} cannot be dealt evenly to {world_size} processes; use a multiple of "
                f"{world_size} (for example {-(-batch_size // world_size) * world_size}), another number of "
                "processes, or run.fit_batch true to have it lowered"
            )
        share = batch_size // world_size
        limit = share if micro_batch_size is None else min(micro_batch_size, share)
        micro = next(size for size in range(limit, 0, -1) if share % size == 0)
        return cls(batch_size, micro, share // micro, world_size)

    def positions(self, start: int, micro: int, rank: int) -> range:
        """Positions of one process's micro-batch `micro` in the global batch that begins at position `start`."""
        first = start + (micro * self.world_size + rank) * self.micro_batch_size
        return range(first, first + self.micro_batch_size)


@dataclass(frozen=True)
class MicroBatches:
    """The samples of one process's micro-batches."""

    num_samples: int
    seed: int
    layout: BatchLayout
    rank: int
    repeats: int = 1

    def keys(self, start: int, micro: int) -> list[Key]:
        """Micro-batch `micro` of the global batch that begins at position `start` of the sample stream."""
        positions = self.layout.positions(start, micro, self.rank)
        return [key_at(position, self.num_samples, self.seed, self.repeats) for position in positions]

    def between(self, start: int, end: int) -> Iterator[list[Key]]:
        """All micro-batches of the global batches from position `start` up to `end`."""
        for first in range(start, end, self.layout.batch_size):
            for micro in range(self.layout.accumulation):
                yield self.keys(first, micro)


class KeyedSamples(TorchDataset[Any]):
    """A task's data set for torch's DataLoader: fetched by key, so that reader processes need no state either."""

    def __init__(self, data: Dataset, seed: int | None) -> None:
        """`seed` None: evaluation, samples are read without randomness."""
        self.data, self.seed = data, seed

    def __getitem__(self, key: Key) -> Any:
        epoch, index, repeat = key
        try:
            return self.data.sample(index, None if self.seed is None else sample_rng(self.seed, epoch, index, repeat))
        except Exception as error:
            error.add_note(f"while reading sample {index} (epoch {epoch}) of {type(self.data).__name__}")
            raise


class EvaluationBatches:
    """The evaluation batches of one process: batch k = samples [k * size, (k + 1) * size), dealt whole, k %
    world_size == rank.

    Every process gets the same number of batches, since sharded models communicate in their forward pass: one that is
    left without a batch in the last round repeats batch 0, whose result is dropped (`numbers` has None there).
    """

    def __init__(self, num_samples: int, batch_size: int, rank: int, world_size: int) -> None:
        self.num_samples, self.batch_size = num_samples, batch_size
        count = -(-num_samples // batch_size)
        rounds = -(-count // world_size)
        mine = [turn * world_size + rank for turn in range(rounds)]
        self.numbers: list[int | None] = [number if number < count else None for number in mine]

    def __iter__(self) -> Iterator[list[Key]]:
        for number in self.numbers:
            first = (number or 0) * self.batch_size
            yield [(0, index, 0) for index in range(first, min(first + self.batch_size, self.num_samples))]
