"""What a study is: domains x arms x seeds, and the cells this grid expands to.

Each point of the grid is a *cell*, one training run in a folder of its own. A study says nothing about models or data:
it names an experiment (a module with ``Config`` and ``run(config) -> dict``), the recipe that is its starting point,
and what each arm changes in it. `study_file` reads one from YAML.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaformer_nlp.engine.record import FREE_KEYS, flatten

KINDS = ("mixer", "architecture")


@dataclass(frozen=True)
class TaskScore:
    """One score among several of a domain (a GLUE task): where it is in the result, and what guessing gives."""

    name: str
    metric: str
    chance: float | str | None = None


@dataclass(frozen=True)
class Domain:
    """One experiment of the study, and how its score is read from ``result["metrics"]``."""

    name: str
    experiment: str
    config: Mapping[str, Any]
    metric: str
    chance: float | str
    set: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[TaskScore, ...] = ()
    label: str = ""
    expected_seconds: float | None = None

    @property
    def title(self) -> str:
        return self.label or self.name


@dataclass(frozen=True)
class Arm:
    """One thing that is varied: a token mixer, or a part of the architecture taken out of the arm ``of``."""

    name: str
    kind: str
    set: Mapping[str, Any]
    of: str | None = None
    set_in: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    domains: tuple[str, ...] = ()
    label: str = ""

    @property
    def title(self) -> str:
        return self.label or self.name.replace("_", " ")


@dataclass(frozen=True)
class Study:
    """A study file, read and checked. ``text`` is the file as it was written, comments and all."""

    name: str
    question: str
    baseline: str
    domains: tuple[Domain, ...]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    parallel: int = 1
    limits: tuple[str, ...] = ()
    text: str = ""

    def domain(self, name: str) -> Domain:
        return next(domain for domain in self.domains if domain.name == name)

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def arms_of(self, domain: str) -> tuple[Arm, ...]:
        """The arms that run in `domain`, in the order of the file."""
        return tuple(arm for arm in self.arms if not arm.domains or domain in arm.domains)

    def cells(self) -> list[Cell]:
        """Every cell, seed by seed: a study that stops half way is still balanced over arms and domains."""
        return [
            make_cell(domain, arm, seed)
            for seed in self.seeds
            for arm in self.arms
            for domain in self.domains
            if not arm.domains or domain.name in arm.domains
        ]


@dataclass(frozen=True)
class Cell:
    """One run: its place in the grid and the whole configuration of the experiment, except the folder."""

    domain: str
    arm: str
    seed: int
    experiment: str
    config: Mapping[str, Any]
    needs: tuple[str, ...]  # keys of result["metrics"] without which the run is of no use to the study

    @property
    def key(self) -> str:
        return f"{self.domain}/{self.arm}/seed-{self.seed}"

    @property
    def spec(self) -> dict[str, Any]:
        """What the cell asks for, as plain data that does not depend on where things lie."""
        name = self.experiment
        return {"experiment": Path(name).name if name.endswith(".py") else name, "config": dict(self.config)}

    @property
    def digest(self) -> str:
        """sha256 over `spec`, less what may differ between two starts of the same run (data workers and the like)."""
        decisive = {key: value for key, value in flatten(dict(self.config)).items() if key not in FREE_KEYS}
        text = json.dumps([self.spec["experiment"], decisive], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def make_cell(domain: Domain, arm: Arm, seed: int) -> Cell:
    """The cell of `arm` in `domain`: recipe < domain's overrides < arm's < arm's for this domain < seed."""
    config = copy.deepcopy(dict(domain.config))
    for where, overrides in (
        (f"domains.{domain.name}.set", domain.set),
        (f"arms.{arm.name}.set", arm.set),
        (f"arms.{arm.name}.set_in.{domain.name}", arm.set_in.get(domain.name, {})),
        ("seeds", {"run.seed": seed}),
    ):
        for key, value in overrides.items():
            set_dotted(config, key, copy.deepcopy(value), where)
    keys = [domain.metric, domain.chance, *(part for task in domain.tasks for part in (task.metric, task.chance))]
    needs = tuple(dict.fromkeys(key for key in keys if isinstance(key, str)))
    return Cell(domain.name, arm.name, seed, domain.experiment, config, needs)


def set_dotted(config: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Puts `value` at the dotted `key`, replacing what is there whole (a mixer's mapping is never half of two)."""
    *parents, last = key.split(".")
    for depth, part in enumerate(parents):
        inner = config.setdefault(part, {})
        if not isinstance(inner, dict):
            above = ".".join(parents[: depth + 1])
            raise ValueError(
                f"{where}: {key!r} cannot be set, because {above!r} is {inner!r} and not a mapping; "
                f"set {above!r} as a whole, or write it as a mapping in the recipe."
            )
        config = inner
    config[last] = value


def merge(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """`extra` over `base`, mapping by mapping; neither is changed."""
    merged = copy.deepcopy(dict(base))
    for key, value in extra.items():
        known = merged.get(key)
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(known, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]
    return merged
