"""Why a study is not run as it is: what `plan` shows at its end and `run` refuses, before anything starts."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metaformer_nlp.config.names import flatten
from metaformer_nlp.study.protocol.study import TUNED, Cell, Study
from metaformer_nlp.study.runner.budgets import Cost, Place, budget_problems, cell_costs
from metaformer_nlp.study.runner.cell import Build, cell_folder, changed_keys, lock_file, log_file, read_study
from metaformer_nlp.study.runner.lock import is_held
from metaformer_nlp.study.runner.tuning import chosen_values
from metaformer_nlp.study.words import listed

_FILES = re.compile(r"(?<![.\w])(file|folder)s?\b")  # and not an option's name, such as "run.folder"
_ROOM = Path("checkpoints/step-00000000/optimizer.safetensors")  # what an experiment puts into its folder
_TEMPORARY = 48  # bytes that the name of a file being written has more
_MARKS = "'\"`.,:;()[]{}"  # that may stand around a key in a sentence


def refuse_folder(study: Study, folder: Path) -> None:
    """ValueError if the study's files cannot lie in `folder`, or what it was when its results came in is not known."""
    place = next(path for path in (folder, *folder.parents) if os.path.lexists(path))  # longer ones are not there
    mend = "choose another folder with --folder, or shorter names of domains and arms"
    if not place.is_dir():
        raise ValueError(f"{folder}: {place} is no folder; move it away, or choose another folder with --folder.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"{folder}: {place} cannot be written; choose another folder with --folder.")
    longest_name, longest_path = os.pathconf(place, "PC_NAME_MAX"), os.pathconf(place, "PC_PATH_MAX")
    for cell in (*study.cells(), *study.trials()):
        for path in (cell_folder(folder, cell) / _ROOM, log_file(folder, cell), lock_file(folder, cell)):
            name = max(path.parts, key=lambda part: len(os.fsencode(part)))
            if (size := len(os.fsencode(name)) + _TEMPORARY) > longest_name:
                raise ValueError(f"{folder}: {name!r} is too long by {size - longest_name} bytes here; {mend}.")
            if (size := len(os.fsencode(path)) + _TEMPORARY) > longest_path:
                raise ValueError(f"{folder}: paths of {cell.key} are too long by {size - longest_path} bytes; {mend}.")
    read_study(folder)


def find_problems(study: Study, folder: Path, build: Build, cells: Sequence[Cell]) -> list[str]:
    """What keeps `cells`, none of them finished, from being run; each thing once, [] if they can start.

    Every arm's configuration is built and its cost computed once: a misspelt key costs seconds, not hours.
    """
    domains = {cell.domain for cell in cells}
    costs = cell_costs(study, build, folder, chosen_values(study, folder), domains)
    return problems_of(study, costs, budget_problems(study, costs), cells)


def problems_of(
    study: Study, costs: Mapping[Place, Cost], budgets: Mapping[tuple[str, str], list[str]], cells: Sequence[Cell]
) -> list[str]:
    """As `find_problems`, from the costs and their `budget_problems`: wrong settings and missing data, then budgets."""
    kinds = {(cell.domain, cell.arm, cell.trial is not None) for cell in cells}
    domains = {cell.domain for cell in cells}
    wrong: dict[str, list[Place]] = {}
    for (domain, arm, trial), cost in costs.items():
        if cost.refused and cost.problem and (domain, arm, trial is not None) in kinds:
            wrong.setdefault(cost.problem, []).append((domain, arm, trial))
    settings = [
        f"{_where(study, places)}: {problem}{_section(study, places, problem)}" for problem, places in wrong.items()
    ]
    return settings + [text for (domain, _), texts in budgets.items() if domain in domains for text in texts]


def head_comment(study: Study, problems: Sequence[str]) -> str:
    """The comment at the top of the study file, if it may say where a file or a folder comes from that is missing.

    Its lines are those of the file: a command in it can be copied.
    """
    head = list(itertools.takewhile(lambda line: line.startswith("#"), study.text.splitlines()))
    if not head or not any(_FILES.search(problem) for problem in problems):
        return ""
    return "\n".join(["The study file says at its top:", *head])


def _where(study: Study, places: Iterable[Place]) -> str:
    """Of which arms and domains something holds, as short as it can be said."""
    arms_in = {(domain, arm) for domain, arm, _ in places}
    whole, parts = list[str](), list[str]()
    for domain in study.domains:
        arms = [arm.name for arm in study.arms_of(domain.name)]
        its = [arm for arm in arms if (domain.name, arm) in arms_in]
        if its == arms:
            whole.append(domain.name)
        elif len(its) > 3:
            parts.append(f"{len(its)} of {len(arms)} arms of domain {domain.name} (first: {its[0]})")
        else:
            parts += [f"{domain.name}/{arm}" for arm in its]
    if whole and len(whole) == len(study.domains):
        return "all domains" if len(whole) > 1 else f"domain {whole[0]}"
    return listed([*([f"domain{'s' * (len(whole) > 1)} {listed(whole)}"] if whole else []), *parts])


def _section(study: Study, places: Iterable[Place], problem: str) -> str:
    """Where the study file sets the dotted key that `problem` names; "" if it names none, or one set in many places."""
    words = [word.strip(_MARKS) for word in problem.split()]
    keys = dict.fromkeys(word for word in words if "." in word)
    for key in keys:
        found = {section for place in places if (section := _last_section(study, *place, key))}
        if found:
            return f" (set in {listed(sorted(found))})" if len(found) <= 2 else ""
    return ""


def _last_section(study: Study, domain_name: str, arm_name: str, trial: int | None, key: str) -> str | None:
    """The section whose `key` a run takes, of those that set it: the last one in the order of `make_cell`."""
    domain, arm, tune = study.domain(domain_name), study.arm(arm_name), study.domain(domain_name).tune
    sections: dict[str, Mapping[str, Any]] = {
        f"domains.{domain.name}.config": domain.config,
        f"domains.{domain.name}.set": domain.set,
        f"arms.{arm.name}.set": {} if domain.after else arm.set,
        f"arms.{arm.name}.set_in.{domain.name}": arm.set_in.get(domain.name, {}),
        f"domains.{domain.name}.tune.set": tune.set if tune and trial is not None else {},
        f"domains.{domain.name}.tune.values": {tune.key: None} if tune else {},
    }
    setting = [section for section, settings in sections.items() if key in {**settings, **flatten(dict(settings))}]
    return setting[-1] if setting else None


def refuse_changes(study: Study, folder: Path, cells: Sequence[Cell]) -> None:
    """ValueError if finished or running cells have other settings or files: no table is better than one of two studies.

    A finished cell with another tuned value than its arm's is no reason: it is `reopened`.
    """
    found = {cell.key: _changes(study, folder, cell)[0] for cell in cells}
    changes = {key: keys for key, keys in found.items() if keys}
    if changes:
        differences = Counter(key for keys in changes.values() for key in keys)
        shown = "\n".join(f"  {key}  ({count} cells)" for key, count in differences.most_common(10))
        raise ValueError(
            f"{folder} holds {len(changes)} finished or running cells of other settings or files than the study has "
            f"now (first: {next(iter(changes))}):\n{shown}\nChoose another folder with --folder, or change this back, "
            f"or delete the folders of these cells under {folder / 'cells'}, once none runs, to run them again."
        )


def reopened(study: Study, folder: Path, cells: Sequence[Cell]) -> list[str]:
    """Finished cells whose arms choose their tuned value anew, or have chosen another one: there are other trials."""
    return [cell.key for cell in cells if _changes(study, folder, cell)[1]]


def _changes(study: Study, folder: Path, cell: Cell) -> tuple[list[str], list[str]]:
    """Where a finished or running cell is not what the study asks for: what it must be, and what its arm chooses."""
    tune, keys = study.domain(cell.domain).tune, changed_keys(folder, cell)
    if not keys or tune is None or cell.trial is not None:
        return keys, []
    open_end = f' -> "{TUNED}"'  # the choice may become what it was
    running = is_held(lock_file(folder, cell))
    chosen = [key for key in keys if key.endswith(open_end) or (key.startswith(f"{tune.key}: ") and not running)]
    return [key for key in keys if key not in chosen], chosen
