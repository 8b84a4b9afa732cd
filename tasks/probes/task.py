"""The engine's task for a probe (abilities.py), whatever the model: data, loss, and a score at each distance.

A group of samples is a function of (seed of the data, split, number), whatever the run's seed is.

Shapes: B samples of a batch, G of a group, h x w cells, N answers, K classes.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from metaformer_nlp.engine import Dataset, OptimConfig, RunConfig, ScheduleConfig, Task
from tasks.planned_cost import parameters_of, planned_training, without_memory
from tasks.probes.abilities import NOT_ASKED, NUM_FILLERS, PROBES, Group, Ints, Probe

__all__ = ["ProbeConfig", "ProbeTask", "planned_cost"]

_SPLITS = ("train", "validation")


@dataclass(frozen=True)
class ProbeConfig:
    """What is asked, and of how many samples."""

    probe: Literal["order", "agreement", "matching", "copying", "counting"] = "agreement"
    """order, agreement, matching, copying (texts only) or counting; tasks/probes/abilities.py explains them."""
    distances: list[int] | None = None
    """Distances d in tokens (counting: margins), mixed in equal shares and scored one by one. null: the domain's."""
    train_groups: int = 65536
    """Groups of 2 to 4 samples to train on; run.batch_size counts groups."""
    validation_groups: int = 250
    """Groups to evaluate at each distance."""
    seed: int = 0
    """Seed of the data. run.seed decides the weights and the order of the groups, and changes no sample."""

    def __post_init__(self) -> None:
        if self.distances is not None and (not self.distances or len(set(self.distances)) < len(self.distances)):
            raise ValueError(f"data.distances is {self.distances}; give at least one, and none twice")
        for name in ("train_groups", "validation_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} is {getattr(self, name)}; it must be at least 1")


class Groups:
    """One split of a probe as the engine's map-style data: a sample is a group, and the number of its distance."""

    def __init__(self, probe: Probe, distances: list[int], seed: int, split: str, count: int) -> None:
        self.probe, self.distances, self.count = probe, distances, count
        self.seeds = [seed, _SPLITS.index(split)]

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int, rng: np.random.Generator | None = None) -> tuple[Group, int]:
        """Group ``index``, which is fixed: distances take turns."""
        level = index % len(self.distances)
        return self.probe.group(np.random.default_rng([*self.seeds, index]), self.distances[level]), level


class ProbeTask(Task):
    """The engine's Task for a probe, whatever the model; a domain says how symbols are shown to it.

    Metrics of the split "validation": ``loss`` and ``accuracy``, over all answers and at each distance d as
    ``distance-<d>/loss`` and ``distance-<d>/accuracy`` (counting: ``margin-<d>/...``).
    """

    _macs: int

    def __init__(self, data: ProbeConfig, shape: tuple[int, int], distances: Mapping[str, list[int]]) -> None:
        """``distances`` are the domain's own for each probe that it has."""
        if data.probe not in distances:
            raise ValueError(f"data.probe is {data.probe!r}; here it must be one of {', '.join(distances)}")
        self.data, self.distances = data, data.distances or distances[data.probe]
        self.probe = PROBES[data.probe](shape, self.distances)
        counts = {"train": data.train_groups, "validation": data.validation_groups * len(self.distances)}
        splits = {name: Groups(self.probe, self.distances, data.seed, name, count) for name, count in counts.items()}
        self.train_data: Dataset = splits["train"]
        self.eval_data: Mapping[str, Dataset] = {"validation": splits["validation"]}
        self.symbols = [*(f"filler{number}" for number in range(NUM_FILLERS)), *self.probe.symbols]

    def macs(self) -> int:
        """Multiply-accumulates of one row or picture; known once the model was built."""
        return self._macs

    @abstractmethod
    def inputs(self, symbols: Ints, segments: Ints) -> dict[str, Tensor]:
        """What the model takes of a batch: symbols and segments (B, h, w)."""

    @abstractmethod
    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(B, K) of samples, or (B, L, K) of tokens where these are asked."""

    def collate(self, samples: list[tuple[Group, int]]) -> dict[str, Tensor]:
        """The model's inputs, ``labels`` and ``levels`` (N,); of tokens also their ``places`` (N,) in the batch."""
        groups = [group for group, _ in samples]
        symbols = np.concatenate([group.symbols for group in groups])
        segments = np.concatenate([np.repeat(group.segments[None], len(group.symbols), axis=0) for group in groups])
        labels = np.concatenate([group.labels for group in groups])
        levels = np.repeat([level for _, level in samples], [group.labels.size for group in groups])
        asked = np.flatnonzero(labels != NOT_ASKED)
        batch = self.inputs(symbols, segments)
        batch["labels"] = torch.from_numpy(labels.reshape(-1)[asked])
        batch["levels"] = torch.from_numpy(levels[asked])
        return batch if labels.ndim == 1 else {**batch, "places": torch.from_numpy(asked)}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the answers' cross entropies, and their number."""
        labels = batch["labels"]
        total = F.cross_entropy(self._answers(model, batch), labels, reduction="sum")
        return total, torch.tensor(len(labels), device=labels.device)

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """At each distance the sum of ``loss``, and how many are ``correct`` of what ``count``; of each answer, (N,),
        whether it is ``right``, and its ``levels``.
        """
        logits, labels, levels = self._answers(model, batch), batch["labels"], batch["levels"]
        losses = F.cross_entropy(logits, labels, reduction="none").double()
        by_level = F.one_hot(levels, len(self.distances))
        right = logits.argmax(-1) == labels
        return {
            "loss": losses @ by_level.double(),
            "correct": by_level[right].sum(0),
            "count": by_level.sum(0),
            "right": right,
            "levels": levels,
        }

    def metric_names(self) -> list[str]:
        """What ``summarize`` gives."""
        return [f"{place}{name}" for place in ("", *self._places()) for name in ("loss", "accuracy")]

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """``loss`` and ``accuracy`` over all answers, then at each distance."""
        sums = {key: torch.stack([result[key] for result in results]).sum(0) for key in ("loss", "correct", "count")}
        values = []
        for loss, correct, count in [
            (sums["loss"].sum(), sums["correct"].sum(), sums["count"].sum()),
            *zip(sums["loss"], sums["correct"], sums["count"], strict=True),
        ]:
            values += [float(loss) / int(count), int(correct) / int(count)]
        return dict(zip(self.metric_names(), values, strict=True))

    def items(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, NDArray[np.bool_]]:
        """Whether each answer is ``correct``, over all of them, then at each distance."""
        right, levels = (torch.cat([result[key] for result in results]).numpy() for key in ("right", "levels"))
        return {
            "correct": right,
            **{f"{place}correct": right[levels == level] for level, place in enumerate(self._places())},
        }

    def _places(self) -> list[str]:
        """How the names of a distance's metrics begin."""
        return [f"{self.probe.axis}-{distance}/" for distance in self.distances]

    def fingerprint(self) -> dict[str, Any]:
        """The data's options and a hash of its first groups, so that other code which draws others is noticed."""
        digest = hashlib.sha256()
        for data in (self.train_data, self.eval_data["validation"]):
            for index in range(min(len(data), 4 * len(self.distances))):
                group, _ = data.sample(index, None)
                for part in (group.symbols, group.segments, group.labels):
                    digest.update(part.tobytes())
        return {
            **asdict(self.data),
            "shape": self.probe.shape,
            "distances": self.distances,
            "content": digest.hexdigest(),
        }

    def _answers(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(N, K) float32."""
        logits = self.logits(model, batch).float()
        return logits.flatten(0, -2)[batch["places"]] if "places" in batch else logits


def planned_cost(task: ProbeTask, run: RunConfig, optim: OptimConfig, schedule: ScheduleConfig) -> dict[str, Any]:
    """``steps``, ``samples`` (groups), ``parameters``, ``macs`` of one row or picture, ``training_macs`` and, of text,
    ``tokens``: what a run will take, without training.
    """
    model = without_memory(task.build_model)
    training = planned_training(run, optim, schedule, len(task.train_data), task.tokens_per_sample())
    macs = task.macs()
    size = len(task.train_data.sample(0, None)[0].labels)
    total = {"training_macs": macs * size * training["samples"]} if training else {}
    return {**training, "parameters": parameters_of(model), "macs": macs, **total}
