"""Reading a study file: YAML in, a checked `Study` out. Errors say what, where, what is allowed and how to mend it.

docs/study_file.md has a complete file, in which each key is explained; `protocol.study` has what the keys become.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from metaformer_nlp.config.names import flatten, nearest
from metaformer_nlp.config.numbers import is_finite, number
from metaformer_nlp.config.recipes import read_recipe, recipe_path
from metaformer_nlp.config.yaml_text import read_text, read_yaml
from metaformer_nlp.engine.record import LOWER_IS_BETTER
from metaformer_nlp.study.protocol.checks import check_study
from metaformer_nlp.study.protocol.study import (
    AXES,
    BUDGETS,
    KINDS,
    MIN_SEEDS,
    SHARE,
    SIGNS,
    Arm,
    Claim,
    Domain,
    KnownAnswer,
    Scale,
    Study,
    TaskScore,
    Tune,
    Until,
    merge,
    set_dotted,
)

__all__ = ["Names", "load_study", "study_from_mapping", "study_to_mapping"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # arms and domains become folder names
_LONGEST = 80  # letters of a name: a file's name, of 255 at most, has those of a domain and of an arm, and a seed
_LARGEST_SEED = 2**63 - 1  # what torch takes
_OPTIONAL = ("control", "expected", "scale", "until")
_USUAL = {"trials": 1, "tie": 0.0, "widen": 0, "beat_control": False}  # of tune
_MOST_SEEDS = 20  # of a study that adds them: up to here the error that it spends is known
_WIDEST = 4  # values beyond an end
_UNEVEN = 1.25  # by how much the ratios of neighbours may differ: 1, 3, 10 are evenly spaced, 1, 2, 10 are not
_LESS_IS_BETTER = re.compile(rf"({'|'.join(LOWER_IS_BETTER)}|error|error_rate)$")


@dataclasses.dataclass(frozen=True)
class Names:
    """What study files may call experiments: name -> module, and names of former times -> name.

    Cells are hashed by the former name where there is one, so that a cell is the same under both.
    """

    modules: Mapping[str, str] = dataclasses.field(default_factory=dict)
    former: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def resolve(self, name: str) -> tuple[str, str]:
        """The name that cells are hashed by, and the module that is imported."""
        current = self.former.get(name, name)
        hashed = next((old for old, new in self.former.items() if new == current), current)
        return hashed, self.modules.get(current, current)


_NO_NAMES = Names()


def load_study(path: Path | str, names: Names = _NO_NAMES) -> Study:
    """Reads and checks a study file; ValueError names the key, what is allowed and how to mend it."""
    path = recipe_path(path)
    if not os.path.exists(path):  # a Path's own raises for names that are too long
        raise ValueError(f"There is no study file {path}; recipe:studies/quick is an example.")
    text = read_text(path, "a study file")
    study = study_from_mapping(read_yaml(text, str(path)), str(path), path.parent, names)
    return dataclasses.replace(study, text=text)


def study_from_mapping(data: Any, where: str, folder: Path | None = None, names: Names = _NO_NAMES) -> Study:
    """A `Study` from the content of a study file; its other files are searched in `folder`, then in the working folder.

    Without a folder the experiments' files are not searched: what is only reported need not be there.
    """
    content = dict(_section(data, Study, where, but={"text"}))
    domains = _named(content.get("domains"), f"{where}: domains")
    arms = _named(content.get("arms"), f"{where}: arms")
    content["domains"] = tuple(
        _domain(name, value, f"{where}: domains.{name}", folder, names) for name, value in domains
    )
    content["arms"] = tuple(_arm(name, value, f"{where}: arms.{name}") for name, value in arms)
    content["seeds"] = _seeds(content.get("seeds"), f"{where}: seeds")
    content["limits"] = _strings(content.get("limits", []), f"{where}: limits")
    content["references"] = _strings(content.get("references") or [], f"{where}: references")
    if content.get("claim") is not None:
        claim = _claim(content["claim"], f"{where}: claim")
        if content.get("control") and claim.retains is None and claim.gain is None:
            claim = dataclasses.replace(claim, gain=SHARE)
        content["claim"] = claim
    content["expected"] = tuple(
        _known_answer(item, place) for item, place in _items(content.get("expected"), f"{where}: expected")
    )
    content["scale"] = tuple(_scale(item, place) for item, place in _items(content.get("scale"), f"{where}: scale"))
    if content.get("until") is not None:
        content["until"] = _until(content["until"], f"{where}: until")
    _check_name(content["name"], f"{where}: name")
    content["question"] = str(content["question"]).strip()
    study = Study(**content)
    check_study(study, where)
    return study


def study_to_mapping(study: Study) -> dict[str, Any]:
    """The study as plain data, its recipes written out: `study_from_mapping` reads it back without any other file.

    Of an experiment's file it has the name alone: where it lies is no matter to who reads a report elsewhere. Keys of
    `_OPTIONAL` and `_USUAL` are there where the study uses them: reports and run folders that were written before them
    have none.
    """
    data = dataclasses.asdict(study)
    for name in _OPTIONAL:
        if not data[name]:
            del data[name]
    if data["claim"]:
        data["claim"] = {key: value for key, value in data["claim"].items() if value is not None}
    for section in ("domains", "arms"):
        data[section] = {item.pop("name"): item for item in data[section]}
    for arm in data["arms"].values():
        if not arm["seeds"]:
            del arm["seeds"]
    for domain in data["domains"].values():
        domain["config"] = [domain["config"]]
        del domain["module"]
        if domain["experiment"].endswith(".py"):
            domain["experiment"] = Path(domain["experiment"]).name
        domain["tasks"] = {task.pop("name"): task for task in domain["tasks"]}
        if domain["tune"]:
            domain["tune"] = {key: value for key, value in domain["tune"].items() if _USUAL.get(key, ...) != value}
    del data["text"]
    return json.loads(json.dumps(data))


def _domain(name: str, data: Any, where: str, folder: Path | None, names: Names) -> Domain:
    content = dict(_section(data, Domain, where, but={"name", "module"}))
    recipes = content["config"] if isinstance(content["config"], list) else [content["config"]]
    config: dict[str, Any] = {}
    for recipe in recipes:
        config = merge(config, recipe if isinstance(recipe, Mapping) else _recipe(str(recipe), where, folder or Path()))
    _check_finite(config, f"{where}.config")
    content["config"] = config
    content["experiment"], content["module"] = _experiment(
        str(content["experiment"]), f"{where}.experiment", folder, names
    )
    content["set"] = _overrides(content.get("set"), f"{where}.set")
    content["chance"] = _chance(content["chance"], f"{where}.chance")
    tasks = []
    for task, value in (content.get("tasks") or {}).items():
        value = {"metric": value} if isinstance(value, str) else value
        row = dict(_section(value, TaskScore, f"{where}.tasks.{task}", but={"name"}))
        if row.get("chance") is not None:
            row["chance"] = _chance(row["chance"], f"{where}.tasks.{task}.chance")
        tasks.append(TaskScore(str(task), **row))
    content["tasks"] = tuple(tasks)
    content["label"] = str(content.get("label") or "")
    if content.get("tune") is not None:
        content["tune"] = _tune(content["tune"], f"{where}.tune")
    content["equal"] = _equal(content.get("equal"), f"{where}.equal")
    for key, allowed, most in (
        ("margin", "a number between 0 and 1, such as 0.02 for two points of a hundred", 1.0),
        ("expected_seconds", "a number above 0, such as 120 for two minutes", float("inf")),
    ):
        if content.get(key) is not None:
            content[key] = _number(content[key], f"{where}.{key}", allowed, partial(_between, most))
    for key in ("metric", "axis", "after"):
        if content.get(key) is not None and not isinstance(content[key], str):
            raise ValueError(f"{where}.{key} must be a text, not {content[key]!r}.")
    for place, metric in (
        ("metric", content["metric"]),
        *((f"tasks.{task.name}.metric", task.metric) for task in tasks),
    ):
        if _LESS_IS_BETTER.search(str(metric)):
            raise ValueError(
                f"{where}.{place} is {metric!r}, of which less is better; scores are judged by how far they are above "
                "chance, so take one of which more is better, such as an accuracy."
            )
    return Domain(name, **content)


def _experiment(name: str, where: str, folder: Path | None, names: Names) -> tuple[str, str]:
    """What cells are hashed by, and what is imported: a dotted module, or the whole path of a file."""
    if name.endswith(".py"):
        file = name if folder is None else str(_find(name, where, folder).resolve())
        return file, file
    if names.modules and name not in names.modules and "." not in name and find_spec(name) is None:
        raise ValueError(
            f"{where}: there is no experiment {name!r}; {nearest(name, names.modules)} One of your own is named as a "
            "module, such as my_package.my_experiment, or as a .py file."
        )
    return names.resolve(name)


def _equal(data: Any, where: str) -> dict[str, float]:
    if data is not None and not isinstance(data, Mapping):
        raise ValueError(
            f"{where} must map budgets to the share they may differ by, such as {{steps: 0.0}}, not {data!r}."
        )
    shares: dict[str, float] = {}
    for budget, share in (data or {}).items():
        if budget not in BUDGETS:
            raise ValueError(f"{where}: there is no budget {budget!r}; allowed: {', '.join(BUDGETS)}.")
        allowed = "a share from 0 on, such as 0.05 for five per cent"
        shares[budget] = float(_number(share, f"{where}.{budget}", allowed, lambda value: value >= 0))
    return shares


def _tune(data: Any, where: str) -> Tune:
    content = dict(_section(data, Tune, where, but=set()))
    key, values = content["key"], content["values"]
    content["set"] = _overrides(content.get("set"), f"{where}.set")
    if not isinstance(key, str) or not re.fullmatch(r"\w+(\.\w+)*", key):
        raise ValueError(f"{where}.key must be one dotted key, such as optim.lr, not {key!r}.")
    _overrides({key: None}, f"{where}.key")
    if key in content["set"]:
        raise ValueError(f"{where}.set sets {key!r}, which is what is tuned; take it out, the values decide.")
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError(f"{where}.values must be a list of at least two values to choose from, not {values!r}.")
    texts = [json.dumps(value, sort_keys=True, default=str) for value in values]
    if len(set(texts)) < len(texts):
        raise ValueError(f"{where}.values {values} has a value twice; a repeated trial gives no new choice.")
    if not isinstance(content["metric"], str):
        raise ValueError(f"{where}.metric must be a key of the trials' metrics, such as held_out/accuracy.")
    if _LESS_IS_BETTER.search(content["metric"]) and not content["metric"].endswith("loss"):
        raise ValueError(
            f"{where}.metric is {content['metric']!r}, of which the highest value would win; take one of which more is "
            "better, or one that ends in 'loss', of which the lowest wins."
        )
    _check_finite({key: values}, f"{where}.values")
    content["values"] = tuple(values)
    trials = content.setdefault("trials", 1)
    if type(trials) is not int or trials < 1:
        raise ValueError(f"{where}.trials must be a whole number from 1 on, the trials of each value, not {trials!r}.")
    content["tie"] = 0.0 if content.get("tie") is None else content["tie"]
    allowed = "a number from 0 on, such as 0.003: a difference of the metric that is too small to choose by"
    content["tie"] = float(_number(content["tie"], f"{where}.tie", allowed, lambda value: value >= 0))
    widen = content.setdefault("widen", 0)
    if type(widen) is not int or not 0 <= widen <= _WIDEST:
        allowed = f"a whole number from 0 to {_WIDEST}, of values that may be tried beyond each end"
        raise ValueError(f"{where}.widen must be {allowed}, not {widen!r}.")
    if widen and not _evenly_spaced(values):
        raise ValueError(
            f"{where}.widen: what lies beyond the values {values} is not known; write numbers above 0 with a decimal "
            "point, each about as many times the one before it, such as [1.0e-3, 3.0e-3, 9.0e-3], or take widen out."
        )
    if not isinstance(content.setdefault("beat_control", False), bool):
        raise ValueError(f"{where}.beat_control must be true or false, not {content['beat_control']!r}.")
    return Tune(**content)


def _evenly_spaced(values: list[Any]) -> bool:
    """Whether they are positive floats, each about the same number of times the next smaller one."""
    if not all(isinstance(value, float) and value > 0 for value in values):
        return False
    rising = sorted(values)
    ratios = [after / before for before, after in itertools.pairwise(rising)]
    return max(ratios) <= _UNEVEN * min(ratios)


def _claim(data: Any, where: str) -> Claim:
    content = dict(_section(data, Claim, where, but=set()))
    for key, whole in (
        ("retains", "score above chance, such as 0.9"),
        ("gain", "score above the control's, such as 0.5"),
    ):
        if content.get(key) is not None:
            share = f"a share above 0 and at most 1 of the baseline's {whole}"
            content[key] = _number(content[key], f"{where}.{key}", share, lambda value: 0 < value <= 1)
    return Claim(**content)


def _known_answer(data: Any, where: str) -> KnownAnswer:
    content = dict(_section(data, KnownAnswer, where, but=set()))
    if content["sign"] not in SIGNS:
        raise ValueError(
            f"{where}.sign must be {' or '.join(SIGNS)}, which is how the arm scores beside the reference, not "
            f"{content['sign']!r}."
        )
    if content.get("size") is not None:
        allowed = "the published difference without its sign, between 0 and 1, such as 0.029 for 2.9 points"
        content["size"] = _number(content["size"], f"{where}.size", allowed, partial(_between, 1.0))
    if not isinstance(content["source"], str):
        raise ValueError(f"{where}.source must be a text, such as a paper and its table, not {content['source']!r}.")
    content["domains"] = _strings(content.get("domains") or [], f"{where}.domains")
    return KnownAnswer(**content)


def _scale(data: Any, where: str) -> Scale:
    content = dict(_section(data, Scale, where, but=set()))
    if content["axis"] not in AXES:
        raise ValueError(f"{where}.axis is {content['axis']!r}; it must be one of {', '.join(AXES)}.")
    allowed = f"a number of {content['axis']} above 0"
    content["domains"] = {
        name: _number(value, f"{where}.domains.{name}", allowed, lambda value: value > 0)
        for name, value in _named(content["domains"], f"{where}.domains")
    }
    values = list(content["domains"].values())
    if len(values) < 2 or values != sorted(set(values)):
        raise ValueError(
            f"{where}.domains must be two domains or more, each with a larger number of {content['axis']} than the one "
            f"before it, not {content['domains']}."
        )
    if content.get("margin") is not None:
        allowed = "a number between 0 and 1, such as 0.01 for a point with each doubling"
        content["margin"] = _number(content["margin"], f"{where}.margin", allowed, partial(_between, 1.0))
    return Scale(**content)


def _until(data: Any, where: str) -> Until:
    content = dict(_section(data, Until, where, but=set()))
    allowed = "a number between 0 and 1, in the metric's unit, such as 0.01 for a point of a hundred to each side"
    content["half_width"] = _number(content["half_width"], f"{where}.half_width", allowed, partial(_between, 1.0))
    if type(content["most"]) is not int or not MIN_SEEDS <= content["most"] <= _MOST_SEEDS:
        raise ValueError(
            f"{where}.most must be a whole number from {MIN_SEEDS} to {_MOST_SEEDS}, of seeds, not {content['most']!r}."
        )
    return Until(**content)


def _items(data: Any, where: str) -> list[tuple[Any, str]]:
    """The items of an optional list, each with its place in the file."""
    if data is not None and not isinstance(data, list):
        raise ValueError(f"{where} must be a list, each item beginning with '-', not {data!r}.")
    return [(item, f"{where}[{number}]") for number, item in enumerate(data or ())]


def _arm(name: str, data: Any, where: str) -> Arm:
    content = dict(_section(data, Arm, where, but={"name"}))
    if content["kind"] not in KINDS:
        raise ValueError(f"{where}.kind is {content['kind']!r}; it must be one of {', '.join(KINDS)}.")
    content["set"] = _overrides(content["set"], f"{where}.set")
    content["set_in"] = {
        domain: _overrides(value, f"{where}.set_in.{domain}") for domain, value in (content.get("set_in") or {}).items()
    }
    content["domains"] = _strings(content.get("domains") or [], f"{where}.domains")
    content["seeds"] = _seeds(content["seeds"], f"{where}.seeds") if content.get("seeds") else ()
    return Arm(name, **content)


def _seeds(seeds: Any, where: str) -> tuple[int, ...]:
    if (
        not isinstance(seeds, list)
        or not seeds
        or not all(type(seed) is int and 0 <= seed <= _LARGEST_SEED for seed in seeds)
    ):
        raise ValueError(
            f"{where} must be a list of whole numbers from 0 to {_LARGEST_SEED}, such as [0, 1, 2], not {seeds!r}."
        )
    return tuple(seeds)


def _section(data: Any, kind: type, where: str, but: set[str]) -> Mapping[str, Any]:
    """`data` as the keyword arguments of the dataclass `kind`: no unknown key, no missing one."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} must be a mapping of keys to values, not {data!r}.")
    fields = {item.name: item for item in dataclasses.fields(kind) if item.name not in but}
    for key in data:
        if key not in fields:
            raise ValueError(f"{where}: unknown key {key!r}; {nearest(str(key), fields)}")
    for name, item in fields.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and data.get(name) is None:
            raise ValueError(f"{where}: {name!r} is missing; the keys are {', '.join(fields)}.")
    return data


def _named(data: Any, where: str) -> list[tuple[str, Any]]:
    if not isinstance(data, Mapping) or not data:
        raise ValueError(f"{where} must be a mapping with at least one entry, not {data!r}.")
    for name in data:
        _check_name(name, where)
    return list(data.items())


def _check_name(name: Any, where: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > _LONGEST:
        long = f" and has {len(name)}" if isinstance(name, str) and len(name) > _LONGEST else ""
        raise ValueError(
            f"{where}: {name!r} must be a name of at most {_LONGEST} letters, digits, '_', '-' and '.' (it names a "
            f"folder){long}."
        )


def _overrides(data: Any, where: str) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise ValueError(f"{where} must map dotted keys to values, such as {{model.norm: layer_norm}}, not {data!r}.")
    for key in data:
        if key in ("run.seed", "run.folder"):
            raise ValueError(f"{where}: {key!r} belongs to the runner; seeds are listed under 'seeds'.")
    _check_finite(data, where)
    return dict(data)


def _check_finite(data: Mapping[str, Any], where: str) -> None:
    for key, value in flatten(dict(data)).items():
        if not is_finite(value):
            raise ValueError(f"{where}: {key} is {value!r}; numbers must be finite.")


def _chance(value: Any, where: str) -> float | str:
    found = value if isinstance(value, str) else number(value)
    if found is None:
        raise ValueError(f"{where} must be a finite number or the key of a metric, not {value!r}.")
    return found if isinstance(found, str) else float(found)


def _between(most: float, value: float) -> bool:
    return 0 < value < most


def _number(value: Any, where: str, allowed: str, good: Callable[[float], bool]) -> int | float:
    found = number(value)
    if found is None or not good(found):
        raise ValueError(f"{where} must be {allowed}, not {value!r}.")
    return found


def _strings(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{where} must be a list of texts, not {value!r}.")
    return tuple(value)


def _recipe(name: str, where: str, folder: Path) -> Mapping[str, Any]:
    path = _find(name, f"{where}.config", folder)
    recipe: dict[str, Any] = {}
    for key, value in read_recipe(path).items():  # a recipe may be written with dotted keys, too
        inner = merge({}, value) if isinstance(value, Mapping) else value
        set_dotted(recipe, str(key), inner, str(path))
    return recipe


def _find(name: str, where: str, folder: Path) -> Path:
    for path in (folder / name, recipe_path(name)):
        if os.path.isfile(path):
            return path
    raise ValueError(f"{where}: there is no file {name}, neither in {folder.resolve()} nor in {Path().resolve()}.")
