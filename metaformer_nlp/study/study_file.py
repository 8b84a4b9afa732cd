"""Reading a study file: YAML in, a checked `Study` out. Errors say what, where, what is allowed and how to mend it.

A study file::

    name: quick
    question: Is it the architecture or the token mixer?
    baseline: attention
    domains:
      vision:
        experiment: tasks.image_classification   # dotted module, or a path to a .py file
        config: [../digits_study.yaml]           # recipes, beside this file or in the working folder
        set: {model.norm: layer_norm}            # dotted overrides for every arm of the domain
        metric: validation/accuracy              # key of the result's "metrics"
        chance: 0.1                              # a number, or a key of the result's "metrics"
    arms:
      attention: {kind: mixer, set: {model.token_mixer: attention}}
      pooling: {kind: mixer, set: {model.token_mixer: pooling}}
      no_residual: {kind: architecture, of: pooling, set: {model.token_mixer: pooling, model.use_residual: false}}
    seeds: [0, 1, 2]
    parallel: 2
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from metaformer_nlp.study.plan import KINDS, Arm, Claim, Domain, Study, TaskScore, Tune, merge, set_dotted

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # arms and domains become folder names


def load_study(path: Path | str) -> Study:
    """Reads and checks a study file; ValueError names the key, what is allowed and how to mend it."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no study file {path}; scripts/recipes/studies/ holds examples.")
    text = path.read_text(encoding="utf-8")
    study = study_from_mapping(read_yaml(text, str(path)), str(path), path.parent)
    return dataclasses.replace(study, text=text)


def study_from_mapping(data: Any, where: str, folder: Path = Path()) -> Study:
    """A `Study` from the content of a study file; recipes are searched in `folder`, then in the working folder."""
    content = dict(_section(data, Study, where, but={"text"}))
    domains = _named(content.get("domains"), f"{where}: domains")
    arms = _named(content.get("arms"), f"{where}: arms")
    content["domains"] = tuple(_domain(name, value, f"{where}: domains.{name}", folder) for name, value in domains)
    content["arms"] = tuple(_arm(name, value, f"{where}: arms.{name}") for name, value in arms)
    seeds = content.get("seeds")
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ValueError(f"{where}: seeds must be a list of whole numbers from 0 on, such as [0, 1, 2], not {seeds!r}.")
    content["seeds"] = tuple(seeds)
    content["limits"] = _strings(content.get("limits", []), f"{where}: limits")
    content["references"] = _strings(content.get("references") or [], f"{where}: references")
    if content.get("claim") is not None:
        content["claim"] = Claim(**_section(content["claim"], Claim, f"{where}: claim", but=set()))
    content["question"] = str(content["question"]).strip()
    study = Study(**content)
    _check(study, where)
    return study


def study_to_mapping(study: Study) -> dict[str, Any]:
    """The study as plain data, its recipes written out: `study_from_mapping` reads it back without any other file."""
    data = dataclasses.asdict(study)
    for section in ("domains", "arms"):
        data[section] = {item.pop("name"): item for item in data[section]}
    for domain in data["domains"].values():
        domain["config"] = [domain["config"]]
        domain["tasks"] = {task.pop("name"): task for task in domain["tasks"]}
    del data["text"]
    return json.loads(json.dumps(data))


def _domain(name: str, data: Any, where: str, folder: Path) -> Domain:
    content = dict(_section(data, Domain, where, but={"name"}))
    recipes = content["config"] if isinstance(content["config"], list) else [content["config"]]
    config: dict[str, Any] = {}
    for recipe in recipes:
        config = merge(config, recipe if isinstance(recipe, Mapping) else _recipe(str(recipe), where, folder))
    content["config"] = config
    if str(content["experiment"]).endswith(".py"):
        content["experiment"] = str(_find(content["experiment"], f"{where}.experiment", folder).resolve())
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
    if content.get("tune") is not None:
        content["tune"] = _tune(content["tune"], f"{where}.tune")
    content["equal"] = dict(content.get("equal") or {})
    return Domain(name, **content)


def _tune(data: Any, where: str) -> Tune:
    content = dict(_section(data, Tune, where, but=set()))
    values = content["values"]
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError(f"{where}.values must be a list of at least two values to choose from, not {values!r}.")
    content["values"] = tuple(values)
    content["set"] = _overrides(content.get("set"), f"{where}.set")
    return Tune(**content)


def _arm(name: str, data: Any, where: str) -> Arm:
    content = dict(_section(data, Arm, where, but={"name"}))
    if content["kind"] not in KINDS:
        raise ValueError(f"{where}.kind is {content['kind']!r}; it must be one of {', '.join(KINDS)}.")
    content["set"] = _overrides(content["set"], f"{where}.set")
    content["set_in"] = {
        domain: _overrides(value, f"{where}.set_in.{domain}") for domain, value in (content.get("set_in") or {}).items()
    }
    content["domains"] = _strings(content.get("domains") or [], f"{where}.domains")
    return Arm(name, **content)


def _check(study: Study, where: str) -> None:
    """What no section can know alone: names that point to one another."""
    names, domains = [arm.name for arm in study.arms], [domain.name for domain in study.domains]
    mixers = [arm.name for arm in study.arms if arm.kind == "mixer"]
    if study.baseline not in mixers:
        raise ValueError(f"{where}: baseline {study.baseline!r} is no mixer arm; choose one of {', '.join(mixers)}.")
    for arm in study.arms:
        for name in (*arm.domains, *arm.set_in):
            if name not in domains:
                raise ValueError(f"{where}: arms.{arm.name} names domain {name!r}; known: {', '.join(domains)}.")
        if arm.kind == "mixer" and arm.of is not None:
            raise ValueError(
                f"{where}: arms.{arm.name}.of is for architecture arms; a mixer is compared with the baseline."
            )
        if arm.kind == "architecture" and (arm.of not in names or arm.of == arm.name):
            raise ValueError(
                f"{where}: arms.{arm.name}.of must name the arm it was taken from, one of "
                f"{', '.join(name for name in names if name != arm.name)}; it is {arm.of!r}."
            )
    for domain in study.domains:
        before = domains[: domains.index(domain.name)]
        if domain.after is not None and domain.after not in before:
            raise ValueError(
                f"{where}: domains.{domain.name}.after must name a domain above it, whose cells it starts from, not "
                f"{domain.after!r}; above it: {', '.join(before) or 'none'}."
            )
    for name in study.references:
        if name not in names:
            raise ValueError(f"{where}: references names arm {name!r}; {nearest(name, names)}")
    if study.claim and (study.claim.arm not in mixers or study.claim.arm == study.baseline):
        raise ValueError(
            f"{where}: claim.arm {study.claim.arm!r} must be a mixer other than the baseline, one of "
            f"{', '.join(name for name in mixers if name != study.baseline)}."
        )
    if len(set(study.seeds)) < len(study.seeds):
        raise ValueError(f"{where}: seeds {list(study.seeds)} repeat a seed; a repeated run is no new evidence.")
    if type(study.parallel) is not int or study.parallel < 1:
        raise ValueError(f"{where}: parallel must be a whole number from 1 on, not {study.parallel!r}.")


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


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The end of an error message: the likeliest meant name, else all of them."""
    allowed = list(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(allowed)}."


def _named(data: Any, where: str) -> list[tuple[str, Any]]:
    if not isinstance(data, Mapping) or not data:
        raise ValueError(f"{where} must be a mapping with at least one entry, not {data!r}.")
    for name in data:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"{where}: {name!r} must be a name of letters, digits, '_', '-' and '.' (it names a folder)."
            )
    return list(data.items())


def _overrides(data: Any, where: str) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise ValueError(f"{where} must map dotted keys to values, such as {{model.norm: layer_norm}}, not {data!r}.")
    for key in data:
        if key in ("run.seed", "run.folder"):
            raise ValueError(f"{where}: {key!r} belongs to the runner; seeds are listed under 'seeds'.")
    return dict(data)


def _chance(value: Any, where: str) -> float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{where} must be a number or the key of a metric, not {value!r}.")
    return value if isinstance(value, str) else float(value)


def _strings(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{where} must be a list of texts, not {value!r}.")
    return tuple(value)


def _recipe(name: str, where: str, folder: Path) -> Mapping[str, Any]:
    path = _find(name, f"{where}.config", folder)
    data = read_yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(data, Mapping):
        raise ValueError(f"{path}: a recipe must be a mapping of keys to values.")
    recipe: dict[str, Any] = {}
    for key, value in data.items():  # a recipe may be written with dotted keys, too
        inner = merge({}, value) if isinstance(value, Mapping) else value
        set_dotted(recipe, str(key), inner, str(path))
    return recipe


def _find(name: str, where: str, folder: Path) -> Path:
    for path in (folder / name, Path(name)):
        if path.is_file():
            return path
    raise ValueError(f"{where}: there is no file {name}, neither in {folder.resolve()} nor in {Path().resolve()}.")


class _Loader(yaml.SafeLoader):
    """Safe YAML, except that a repeated key is an error (an arm would vanish) and 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise ValueError(f"line {key_node.start_mark.line + 1}: the key {key!r} is there twice; remove one.")
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


def read_yaml(text: str, where: str) -> Any:
    """The content of a YAML text; ValueError names the file and line of what is wrong."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error
