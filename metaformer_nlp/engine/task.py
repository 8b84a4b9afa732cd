"""What the engine asks of an experiment: a data set, a task, nothing else.

The engine knows no model and no metric. A task owns the batches, the loss as (sum, count) and the metrics as sums,
counts and per-sample records; the loop owns the steps; the script owns the choices.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from metaformer_nlp.engine.items import Items

Batch = dict[str, Any]
"""What `Task.collate` gives: tensors (first axis: samples), possibly nested in dicts, lists and tuples."""


@runtime_checkable
class Dataset(Protocol):
    """Samples by number. Must hold no random state of its own: reader processes get copies of it."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def sample(self, index: int, rng: np.random.Generator | None) -> Any:
        """Sample `index` (0 <= index < len).

        Everything random (augmentation, masking) must come from `rng`, which is a function of (seed, epoch, index,
        repeat), so that a sample is the same in whatever process and after whatever interruption it is read. `rng` is
        None in evaluation, where nothing may be random.
        """
        ...


class EvaluationTask(ABC):
    """What `evaluate` asks of an experiment."""

    eval_data: Mapping[str, Dataset]
    """Name of a split ("validation", "validation_mismatched", ...) -> its data."""

    @abstractmethod
    def collate(self, samples: list[Any]) -> Batch:
        """A batch from samples: a pure function of them (it runs in reader processes)."""

    @abstractmethod
    def evaluate_batch(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Sums, counts and per-sample records of one evaluation batch. The model is in eval mode, gradients are off."""

    @abstractmethod
    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """The metrics of a split from the results of all its batches (on the CPU, in batch order, none twice, none
        missing).
        """

    def items(self, split: str, results: list[dict[str, Tensor]]) -> Items:
        """Optional: facts about each item of a split, in the order of the data, from what `summarize` is given.

        "correct" says whether the item was answered correctly; other names set items apart. Those of the last
        evaluation are kept in items.json.
        """
        return {}


class Task(EvaluationTask):
    """One experiment: a subclass defines the abstract methods, and those of the optional ones that fit."""

    train_data: Dataset

    @abstractmethod
    def build_model(self) -> nn.Module:
        """The model on the CPU. Called right after seeding, so that the weights are a function of the seed."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """(sum of the losses, count of what was summed), both 0-d and on the batch's device; the sum is differentiable.

        Never a mean: the loop divides by the count over all processes and accumulated micro-batches. A batch without
        anything to learn from gives a sum that is 0 but still depends on the model's output, and the count 0. `model`
        may be wrapped (DDP, FSDP, compiled): call it, and touch nothing else of it.
        """

    @abstractmethod
    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write the trained model (on the CPU, not wrapped) and what is needed to use it into the existing empty
        `folder`.
        """

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """What identifies the data, and the weights that training begins with (names, sizes, hashes; JSON values).
        Stored in checkpoints and in the result; with another one a run is neither resumed nor taken for finished.
        """

    def macs(self) -> int | None:
        """Optional: multiply-adds of one sample, for result.json. Asked after `build_model`."""
        return None

    def tokens_per_sample(self) -> float | None:
        """Optional: mean number of tokens in a training sample, without padding. With it schedule.tokens and
        run.eval_at can be used, and tokens are reported.
        """
        return None

    def metric_names(self) -> list[str] | None:
        """Optional: the metrics of a split, by which run.keep_best is checked before the training."""
        return None

    def mixes_samples(self) -> bool:
        """Optional: whether samples of one micro-batch are mixed, so that a run goes on with micro-batches of the same
        size only."""
        return False

    def layer_depths(self, model: nn.Module) -> dict[str, int] | None:
        """Optional: depth of each parameter by its name, from 0 (stem) to the largest (head), for optim.layer_decay."""
        return None

    def not_decayed(self, model: nn.Module) -> set[str]:
        """Optional: names of parameters that optim.weight_decay leaves alone, besides biases, norms and everything with
        at most one axis.
        """
        return set()
