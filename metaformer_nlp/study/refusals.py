"""Why a study is not run as it is: what `plan` shows at its end and `run` refuses, before anything starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from metaformer_nlp.study.budgets import Cost, Place, budget_problems, cell_costs
from metaformer_nlp.study.cell import Build, changed_keys
from metaformer_nlp.study.choices import chosen_values
from metaformer_nlp.study.plan import TUNED, Cell, Study
from metaformer_nlp.study.wording import listed


def find_refusals(study: Study, folder: Path, build: Build, cells: Sequence[Cell]) -> list[str]:
    """What keeps `cells`, none of them finished, from being run; each thing once, [] if they can start.

    Every arm's configuration is built and its cost computed once: a misspelt key costs seconds, not hours.
    """
    domains = {cell.domain for cell in cells}
    return refusals(study, cell_costs(study, build, folder, chosen_values(study, folder), domains), cells)


def refusals(study: Study, costs: Mapping[Place, Cost], cells: Sequence[Cell]) -> list[str]:
    """As `find_refusals`, from the costs that are known already: wrong settings and missing data, then budgets."""
    kinds = {(cell.domain, cell.arm, cell.trial is not None) for cell in cells}
    domains = {cell.domain for cell in cells}
    wrong: dict[str, dict[str, None]] = {}
    for (domain, arm, trial), cost in costs.items():
        if cost.refused and cost.problem and (domain, arm, trial is not None) in kinds:
            wrong.setdefault(cost.problem, {})[f"{domain}/{arm}"] = None
    settings = [f"{_where(study, list(places))}: {problem}" for problem, places in wrong.items()]
    return settings + budget_problems(study, {place: cost for place, cost in costs.items() if place[0] in domains})


def _where(study: Study, places: Sequence[str]) -> str:
    """Of which arms and domains something holds, as short as it can be said."""
    whole = [d.name for d in study.domains if all(f"{d.name}/{arm.name}" in places for arm in study.arms_of(d.name))]
    if len(whole) == len(study.domains):
        return "all domains" if len(whole) > 1 else f"domain {whole[0]}"
    parts = [f"domain{'s' * (len(whole) > 1)} {listed(whole)}"] if whole else []
    single = [place for place in places if place.partition("/")[0] not in whole]
    return listed([*parts, *single])


def refuse_changes(folder: Path, cells: Sequence[Cell]) -> None:
    """ValueError if finished cells were run with other settings: two experiments in one table are worse than no table.

    A tuned value that is not chosen yet is no difference: the choice may become what it was.
    """
    found = {cell.key: changed_keys(folder, cell) for cell in cells}
    open_end = f' -> "{TUNED}"'
    changes = {key: its for key, keys in found.items() if (its := [k for k in keys if not k.endswith(open_end)])}
    if changes:
        differences = Counter(key for keys in changes.values() for key in keys)
        shown = "\n".join(f"  {key}  ({count} cells)" for key, count in differences.most_common(10))
        raise ValueError(
            f"{folder} holds {len(changes)} finished cells that were run with other settings than the study has now "
            f"(first: {next(iter(changes))}):\n{shown}\nChoose another folder with --folder, or change the settings "
            f"back, or delete the folders of these cells under {folder / 'cells'} to run them again."
        )
