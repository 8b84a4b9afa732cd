"""The choice of hyper-parameters on rows held out of the training data, so that the dev set is touched once.

Each trial is a run of its own in ``<folder>/share-<share>_<setting>/``. ``<folder>/sweep.json`` says what was tried, on
how many rows, what each scored, and which was chosen.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaformer_nlp.engine.files import replace_text
from metaformer_nlp.errors import NonFiniteLossError

__all__ = ["Setting", "SweepConfig", "choose", "is_first_process"]

Setting = dict[str, float]
"""Dotted option -> value, such as ``optim.lr``."""


@dataclass(frozen=True)
class SweepConfig:
    """Values to choose from, for each task by itself, on rows held out of its training data; every combination is
    tried. Without any, all tasks have the one setting of the other options.
    """

    lr: list[float] | None = None
    """Values of optim.lr."""
    batch_size: list[int] | None = None
    """Values of run.batch_size."""
    epochs: list[float] | None = None
    """Values of schedule.epochs."""
    share: float = 0.1
    """Share of the training rows that is held out for the choice. The chosen setting is then trained on all of them."""

    def __post_init__(self) -> None:
        for name in ("lr", "batch_size", "epochs"):
            values = getattr(self, name)
            if values is not None and (not values or len(set(values)) < len(values)):
                raise ValueError(f"sweep.{name} is {values}; give different values, or null")
        if not 0 < self.share < 1:
            raise ValueError(f"sweep.share is {self.share}; it must be above 0 and below 1")

    def settings(self) -> list[Setting]:
        """Every combination of the values; none if there is nothing to choose."""
        axes = {"optim.lr": self.lr, "run.batch_size": self.batch_size, "schedule.epochs": self.epochs}
        given = {option: values for option, values in axes.items() if values is not None}
        return [dict(zip(given, values, strict=True)) for values in itertools.product(*given.values())] if given else []


def choose(
    settings: list[Setting],
    share: float,
    folder: Path,
    about: Mapping[str, Any],
    train: Callable[[Setting, Path], Mapping[str, Any]],
) -> Setting:
    """Train every setting and return the one of the highest ``held_out/score``; of several, that of the lowest loss.

    ``share`` is what is held out: trials with another one are others. A trial whose loss is not finite has no score.
    ``share`` and ``about`` go into ``sweep.json``. What was interrupted goes on, and
    finished trials are not run again, when it is called again. Every process calls this.

    Raises:
        ValueError: no trial has come to an end.
    """
    trials: list[dict[str, Any]] = []
    for setting in settings:
        values = {"share": share, **{option.rpartition(".")[2]: value for option, value in setting.items()}}
        trial = folder / "_".join(f"{name}-{value:g}" for name, value in values.items())
        try:
            result = train(setting, trial)
            score, metrics = float(result["metrics"]["held_out/score"]), result["metrics"]
        except NonFiniteLossError as error:
            score, metrics = None, str(error)
        trials.append({"setting": setting, "score": score, "metrics": metrics})
        if is_first_process():
            for model in ("model", "model-best"):  # a trial's model is of no use, and there are many
                shutil.rmtree(trial / model, ignore_errors=True)
    ended = [trial for trial in trials if trial["score"] is not None]
    if not ended:
        raise ValueError(f"no trial under {folder} has come to an end: all diverged; try lower values in sweep.lr")
    # Scores of few rows are often equal, such as a Matthews correlation of 0.
    best = max(ended, key=lambda trial: (trial["score"], -trial["metrics"]["held_out/loss"]))
    if is_first_process():
        chosen = {"chosen": best["setting"], "score": best["score"]}
        text = json.dumps({**about, "share": share, **chosen, "trials": trials}, indent=2)
        replace_text(folder / "sweep.json", text + "\n")
    setting = best["setting"]
    return setting


def is_first_process() -> bool:
    """Whether this process is the one that writes and prints; also before the engine has started."""
    return os.environ.get("RANK", "0") == "0"  # set by every launcher that starts several processes
