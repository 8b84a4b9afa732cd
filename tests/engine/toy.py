"""A task small enough to train in milliseconds, for the engine's tests; also a program:

python tests/engine/toy.py FOLDER [name=value ...]     names: see `train`
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metaformer_nlp.engine import OptimConfig, RunConfig, ScheduleConfig, Task, run_training


class Ragged:
    """`size` samples of 1 to 5 rows of 4 numbers with a target each; training samples get noise from their rng."""

    def __init__(self, size: int, salt: int = 0, seen: list[int] | None = None, delay: float = 0.0) -> None:
        self.size, self.salt, self.seen, self.delay = size, salt, seen, delay

    def __len__(self) -> int:
        return self.size

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, Any]:
        if self.delay:
            time.sleep(self.delay)
        if self.seen is not None and rng is not None:
            self.seen.append(index)
        fixed = np.random.default_rng([self.salt, index])
        rows = fixed.standard_normal((1 + index % 5, 4)).astype(np.float32)
        target = rows.sum(1) + 0.1 * fixed.standard_normal(len(rows)).astype(np.float32)
        if rng is not None:
            rows = rows + 0.01 * rng.standard_normal(rows.shape).astype(np.float32)
        return {"rows": rows, "target": target, "index": index}


class ToyModel(nn.Module):
    """Dropout and batch norm (a buffer), a frozen parameter and a tied weight: what a checkpoint has to get right."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.lift = nn.Linear(4, width)
        self.norm = nn.BatchNorm1d(width)
        self.mix = nn.Linear(width, width, bias=False)
        self.tied = nn.Linear(width, width, bias=False)
        self.tied.weight = self.mix.weight
        self.frozen = nn.Parameter(torch.randn(width), requires_grad=False)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(width, 1)

    def forward(self, rows: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.lift(rows)))
        return self.out(self.drop(self.tied(self.mix(x)) + self.frozen))[:, 0]


class ToyTask(Task):
    def __init__(
        self,
        train: int = 37,
        evaluation: int = 43,
        width: int = 8,
        dropout: float = 0.1,
        norm: bool = True,
        nan_at: int = -1,
        salt: int = 0,
        seen: list[int] | None = None,
        delay: float = 0.0,
        items: bool = True,
    ) -> None:
        self.train_data = Ragged(train, salt, seen, delay)
        self.eval_data = {"validation": Ragged(evaluation, 1000), "tiny": Ragged(1, 2000)}
        self.width, self.dropout, self.norm, self.nan_at, self.tells_items = width, dropout, norm, nan_at, items

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Tensor]:
        return {
            "rows": torch.from_numpy(np.concatenate([sample["rows"] for sample in samples])),
            "target": torch.from_numpy(np.concatenate([sample["target"] for sample in samples])),
            "index": torch.tensor([sample["index"] for sample in samples]),
        }

    def build_model(self) -> nn.Module:
        model = ToyModel(self.width, self.dropout)
        if not self.norm:
            model.norm = nn.Identity()
        return model

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        errors = (model(batch["rows"]) - batch["target"]).square()
        if (batch["index"] == self.nan_at).any():
            errors = errors * float("nan")
        return errors.sum(), torch.tensor(errors.numel(), device=errors.device)

    def evaluate_batch(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        errors = (model(batch["rows"]) - batch["target"]).square()
        return {"sum": errors.sum(), "count": torch.tensor(errors.numel()), "index": batch["index"], "errors": errors}

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        order = torch.cat([result["index"] for result in results])
        assert order.tolist() == list(range(len(self.eval_data[split]))), order
        total = torch.stack([result["sum"] for result in results]).sum()
        count = torch.stack([result["count"] for result in results]).sum()
        errors = torch.cat([result["errors"] for result in results])
        return {
            "loss": (total / count).item(),
            "median": errors.median().item(),
            "rows": count.item(),
            "small": (errors < 1).double().mean().item(),
        }

    def items(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, Any]:
        if not self.tells_items:
            return super().items(split, results)
        return {"small": (torch.cat([result["errors"] for result in results]) < 1).numpy()}

    def save_model(self, model: nn.Module, folder: Path) -> None:
        weights = {name: tensor.tolist() for name, tensor in model.state_dict().items()}
        (folder / "weights.json").write_text(json.dumps(weights))

    def fingerprint(self) -> dict[str, Any]:
        return {"train": {"size": self.train_data.size, "salt": self.train_data.salt}}

    def layer_depths(self, model: nn.Module) -> dict[str, int]:
        depths = {"lift": 0, "norm": 0, "mix": 1, "tied": 1, "frozen": 1, "out": 2}
        return {name: depths[name.split(".")[0]] for name, _ in model.named_parameters()}

    def macs(self) -> int:
        return 123


RUN_NAMES = set(RunConfig.__dataclass_fields__)
SCHEDULE_NAMES = set(ScheduleConfig.__dataclass_fields__)
OPTIM_NAMES = set(OptimConfig.__dataclass_fields__)


def train(folder: str | Path, **options: Any) -> dict[str, Any]:
    """Train the toy in `folder`; options are fields of the configs or arguments of the task."""
    run = {"batch_size": 12, "eval_batch_size": 8, "log_every": 2} | {
        k: v for k, v in options.items() if k in RUN_NAMES
    }
    schedule = {k: v for k, v in options.items() if k in SCHEDULE_NAMES} or {"steps": 8}
    optim = {"lr": 0.01} | {k: v for k, v in options.items() if k in OPTIM_NAMES}
    rest = {k: v for k, v in options.items() if k not in RUN_NAMES | SCHEDULE_NAMES | OPTIM_NAMES}
    tracker = rest.pop("tracker", None)
    return run_training(
        ToyTask(**rest),
        optim=OptimConfig(**optim),
        schedule=ScheduleConfig(**schedule),
        run=RunConfig(folder=str(folder), **run),
        config={"model": {"width": rest.get("width", 8)}},
        tracker=tracker,
    )


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[2:])
    result = train(sys.argv[1], **{name: json.loads(value) for name, value in given.items()})
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(result["metrics"]))
