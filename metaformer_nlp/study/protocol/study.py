"""What a study is: domains x arms x seeds, and the cells this grid expands to.

Each point of the grid is a *cell*, one training run in a folder of its own. A study says nothing about models or data:
it names an experiment (a module with ``Config`` and ``run(config) -> dict``), the recipe that is its starting point,
and what each arm changes in it. `protocol.file` reads one from YAML.

A domain may *tune* one setting: each arm then has a *trial* for every value, and its cells take the value whose trial
did best. A domain may come *after* another: its cells start from what the other's cells of the same arm and seed made.
Cells therefore wait for others; `Cell.waits_for` names these.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from metaformer_nlp.config.names import flatten
from metaformer_nlp.engine.record import FREE_KEYS

KINDS = ("mixer", "architecture", "variant")
BUDGETS = ("steps", "samples", "tokens", "parameters", "macs", "seconds")  # what a domain can hold equal
AXES = ("tokens", "epochs", "parameters", "macs", "seconds")  # along which domains can be one scale
SIGNS = ("higher", "lower")  # how an arm is known to score beside a reference
MIN_SEEDS = 3  # before a study that adds seeds is looked at for the first time
AFTER = "{after}"  # in a value: the folder of the cell that this one starts from
TUNED = "{tuned}"  # the value of a tuned setting before its trials have ended


@dataclass(frozen=True)
class TaskScore:
    """One score among several of a domain (a GLUE task): where it is in the result, and what guessing gives."""

    name: str
    metric: str
    chance: float | str | None = None


@dataclass(frozen=True)
class Tune:
    """A setting that every arm chooses for itself, each from the same values, before its cells run.

    ``metric`` is a key of a trial's ``result["metrics"]``; the highest mean over a value's trials wins, the lowest if
    the key ends in "loss". Each value has as many ``trials``, with the study's first seeds. Means within ``tie`` of the
    best, in the metric's unit, count as equal (`tuning.choose`). ``set`` is what trials do differently from cells:
    they are shorter, and measured on training data held out.

    Where an end of the values is chosen, further ones are tried beyond it, at most ``widen`` at each end. With
    ``beat_control`` nothing is chosen where no value is better than the control's best by more than the tie: the
    setting stays what it is without tuning.
    """

    key: str
    values: tuple[Any, ...]
    metric: str
    set: Mapping[str, Any] = field(default_factory=dict)
    trials: int = 1
    tie: float = 0.0
    widen: int = 0
    beat_control: bool = False

    @property
    def candidates(self) -> tuple[Any, ...]:
        """``values`` and all that may be tried beyond them: the next above, the next below, the second above, ...

        Each is away from the one before it by the ratio of the two values at that end.
        """
        if not self.widen:
            return self.values
        lowest, second, *_ = rising = sorted(self.values)
        above, below = rising[-1] / rising[-2], second / lowest
        steps = range(1, self.widen + 1)
        further = [value for step in steps for value in (rising[-1] * above**step, lowest / below**step)]
        return (*self.values, *(float(f"{value:.6g}") for value in further))


SHARE = 0.5  # of the gain of mixing that a claim asks for where the study file names none


@dataclass(frozen=True)
class Claim:
    """What the study was made to test of `arm`: what it keeps of the baseline's score, as one share or both.

    ``retains`` is a share of the baseline's score above chance, ``gain`` a share of what mixing gains, which is the
    baseline's score above that of the study's control; with a control and neither, `SHARE`.
    """

    arm: str
    retains: float | None = None
    gain: float | None = None

    @property
    def asked(self) -> float:
        """The share of the gain that is judged."""
        return SHARE if self.gain is None else self.gain


@dataclass(frozen=True)
class KnownAnswer:
    """A published difference that the study should find again: `arm` scores higher or lower than `reference`.

    ``size`` is how much, in the metric's unit, as `source` has it. It is expected in these domains; () are all in which
    both arms run.
    """

    arm: str
    reference: str
    sign: str
    source: str
    size: float | None = None
    domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Until:
    """When a study has enough seeds: one more is added until intervals are narrow, or there are ``most``.

    The interval is that of the difference between the baseline and the claim's arm (without a claim, each mixer that
    runs with all seeds), in every domain, and ``half_width`` in the metric's unit (`analysis.more_seeds`).
    """

    half_width: float
    most: int


@dataclass(frozen=True)
class Scale:
    """Domains that are one experiment at several sizes: where each lies on `axis`, the smallest first.

    ``margin`` is by how much a difference between arms may change with each doubling and still count as steady, in the
    metric's unit.
    """

    axis: str
    domains: Mapping[str, float]
    margin: float | None = None


@dataclass(frozen=True)
class Domain:
    """One experiment of the study, and how its score is read from ``result["metrics"]``.

    ``after`` names the domain whose cells this one's start from: ``{after}`` in a value is that cell's folder, and what
    arms ``set`` is not repeated here, since the model comes from there. ``margin`` is the smallest difference in score
    that matters (of the equivalence test), ``equal`` the largest relative difference from the baseline arm that each
    budget allows, and ``axis`` what the tasks' names, then numbers, measure. Cells are hashed by ``experiment``, and
    ``module`` is imported, which may be another name for it.
    """

    name: str
    experiment: str
    config: Mapping[str, Any]
    metric: str
    chance: float | str
    set: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[TaskScore, ...] = ()
    label: str = ""
    expected_seconds: float | None = None
    tune: Tune | None = None
    after: str | None = None
    margin: float | None = None
    equal: Mapping[str, float] = field(default_factory=dict)
    axis: str | None = None
    module: str = field(default="", compare=False)

    @property
    def title(self) -> str:
        return self.label or self.name

    def settings(self) -> dict[str, Any]:
        """All settings of the domain's cells before arms change them, with dotted keys."""
        config = copy.deepcopy(dict(self.config))
        for key, value in self.set.items():
            set_dotted(config, key, copy.deepcopy(value), f"domains.{self.name}.set")
        return flatten(config)


@dataclass(frozen=True)
class Arm:
    """One thing that is varied: a token mixer; a part of the architecture taken out of the arm ``of``; or a variant of
    the arm ``of``, with another norm, activation or kind of positions, which is compared with that arm alone.

    ``seeds`` are those of the study that the arm runs with; none named is all of them.
    """

    name: str
    kind: str
    set: Mapping[str, Any]
    of: str | None = None
    set_in: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    domains: tuple[str, ...] = ()
    label: str = ""
    seeds: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        return self.label or self.name.replace("_", " ")

    def runs_in(self, domain: str) -> bool:
        return not self.domains or domain in self.domains


@dataclass(frozen=True)
class Study:
    """A study file, read and checked. ``text`` is the file as it was written, comments and all.

    ``control`` is the mixer arm that mixes nothing: what the baseline scores above it is what mixing gains.
    """

    name: str
    question: str
    baseline: str
    domains: tuple[Domain, ...]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    references: tuple[str, ...] = ()
    claim: Claim | None = None
    parallel: int = 1
    limits: tuple[str, ...] = ()
    control: str | None = None
    expected: tuple[KnownAnswer, ...] = ()
    scale: tuple[Scale, ...] = ()
    until: Until | None = None
    text: str = ""

    def domain(self, name: str) -> Domain:
        return next(domain for domain in self.domains if domain.name == name)

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def arms_of(self, domain: str) -> tuple[Arm, ...]:
        """The arms that run in `domain`, in the order of the file."""
        return tuple(arm for arm in self.arms if arm.runs_in(domain))

    def looked_at(self) -> list[str]:
        """The arms whose difference from the baseline ``until`` wants narrow: the claim's, else every mixer with all
        seeds."""
        if self.claim:
            return [self.claim.arm]
        return [arm.name for arm in self.arms if arm.kind == "mixer" and not arm.seeds and arm.name != self.baseline]

    def cells(self, chosen: Mapping[tuple[str, str], Any] = MappingProxyType({})) -> list[Cell]:
        """Every cell, seed by seed: a study that stops half way is still balanced over arms and domains.

        `chosen` has the value of a tuned setting for each (domain, arm) whose trials have ended.
        """
        return [
            make_cell(self, domain, arm, seed, chosen)
            for seed in self.seeds
            for arm in self.arms
            for domain in self.domains
            if seed in self.seeds_of(arm) and arm.runs_in(domain.name)
        ]

    def seeds_of(self, arm: Arm) -> tuple[int, ...]:
        """The seeds that an arm runs with."""
        return arm.seeds or self.seeds

    def trials(
        self,
        chosen: Mapping[tuple[str, str], Any] = MappingProxyType({}),
        tried: Mapping[tuple[str, str], Sequence[int]] = MappingProxyType({}),
    ) -> list[Cell]:
        """The trials of all tuned domains, arm by arm.

        `tried` has the numbers of the values (of ``tune.candidates``) for each (domain, arm) that tries more than the
        file's.
        """
        return [
            trial
            for arm in self.arms
            for domain in self.domains
            if arm.runs_in(domain.name)
            for trial in self.trials_of(domain, arm, chosen, tried.get((domain.name, arm.name)))
        ]

    def trials_of(
        self,
        domain: Domain,
        arm: Arm,
        chosen: Mapping[tuple[str, str], Any],
        numbers: Sequence[int] | None = None,
    ) -> list[Cell]:
        """The trials of one arm: of every value with the study's first seed, then with the next; maybe none.

        `numbers` are those of the values that are tried, None: the file's.
        """
        if domain.tune is None:
            return []
        return [
            make_cell(self, domain, arm, self.seeds[repeat], chosen, number, repeat)
            for repeat in range(domain.tune.trials)
            for number in (range(len(domain.tune.values)) if numbers is None else numbers)
        ]


@dataclass(frozen=True)
class Cell:
    """One run: its place in the grid and the whole configuration of the experiment, except the folder.

    ``trial`` is the number of the value that is tried, None for what is no trial; ``repeat`` counts the trials of one
    value. ``waits_for`` has the keys of the cells that must end before this one can start, ``after`` that of the one it
    starts from, with its digest. ``files`` are those of the user's own as a runner found them when it came
    (`runner.changes`).
    """

    domain: str
    arm: str
    seed: int
    experiment: str
    config: Mapping[str, Any]
    needs: tuple[str, ...]  # keys of result["metrics"] without which the run is of no use to the study
    trial: int | None = None
    waits_for: tuple[str, ...] = ()
    after: tuple[str, str] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    repeat: int = 0
    module: str = field(default="", compare=False)  # what is imported; else `experiment`, by which it is hashed

    @property
    def key(self) -> str:
        name = f"seed-{self.seed}" if self.trial is None else trial_name(self.trial, self.repeat, self.seed)
        return f"{self.domain}/{self.arm}/{name}"

    @property
    def spec(self) -> dict[str, Any]:
        """What the cell asks for, as plain data that does not depend on where things lie."""
        name = self.experiment
        after = {"after": self.after[1]} if self.after else {}
        return {"experiment": Path(name).name if name.endswith(".py") else name, "config": dict(self.config), **after}

    @property
    def digest(self) -> str:
        """sha256 over `spec`, less what may differ between two starts of the same run (data workers and the like)."""
        decisive = {key: value for key, value in flatten(dict(self.config)).items() if key not in FREE_KEYS}
        parts = [self.spec["experiment"], decisive, *([self.after[1]] if self.after else [])]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def trial_name(number: int, repeat: int, seed: int) -> str:
    """The folder of a trial: neither more values nor more trials of each give another one a new name."""
    return f"trial-{number}" + (f"-seed-{seed}" if repeat else "")


def trial_names(study: Study, tune: Tune) -> list[str]:
    """The folders of an arm's trials of the file's values, in the order of `Study.trials_of`."""
    return [
        trial_name(number, repeat, study.seeds[repeat])
        for repeat in range(tune.trials)
        for number in range(len(tune.values))
    ]


def make_cell(
    study: Study,
    domain: Domain,
    arm: Arm,
    seed: int,
    chosen: Mapping[tuple[str, str], Any],
    trial: int | None = None,
    repeat: int = 0,
) -> Cell:
    """The cell of `arm` in `domain`: recipe < domain's overrides < arm's < arm's for this domain < tuning < seed."""
    config = copy.deepcopy(dict(domain.config))
    tuned: dict[str, Any] = {}
    if domain.tune and trial is not None:
        tuned = {**domain.tune.set, domain.tune.key: domain.tune.candidates[trial]}
    elif domain.tune:
        tuned = {domain.tune.key: chosen.get((domain.name, arm.name), TUNED)}
    for where, overrides in (
        (f"domains.{domain.name}.set", domain.set),
        (f"arms.{arm.name}.set", {} if domain.after else arm.set),
        (f"arms.{arm.name}.set_in.{domain.name}", arm.set_in.get(domain.name, {})),
        (f"domains.{domain.name}.tune", tuned),
        ("seeds", {"run.seed": seed}),
    ):
        for key, value in overrides.items():
            set_dotted(config, key, copy.deepcopy(value), where)
    keys = [domain.metric, domain.chance, *(part for task in domain.tasks for part in (task.metric, task.chance))]
    if domain.tune and trial is not None:
        keys = [domain.tune.metric]
    needs = tuple(dict.fromkeys(key for key in keys if isinstance(key, str)))
    after, waits_for = None, list[str]()
    if domain.after:
        before = make_cell(study, study.domain(domain.after), arm, seed, chosen)
        after = before.key, before.digest
        waits_for.append(before.key)
    if domain.tune and trial is None:
        beside = [study.control] if domain.tune.beat_control and study.control not in (None, arm.name) else []
        waits_for += [
            f"{domain.name}/{its}/{n}" for its in (arm.name, *beside) for n in trial_names(study, domain.tune)
        ]
    name, arm_name = domain.name, arm.name
    return Cell(
        name, arm_name, seed, domain.experiment, config, needs, trial, tuple(waits_for), after,
        repeat=repeat, module=domain.module,
    )  # fmt: skip


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
