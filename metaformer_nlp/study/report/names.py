"""What the arms and the pictures of a study are called."""

from __future__ import annotations

import re

from metaformer_nlp.study.analysis.results import Domain
from metaformer_nlp.study.protocol.study import Study

_POINT = re.compile(r"(.*?)[ _-]*(\d+(?:\.\d+)?)")


def arm_titles(study: Study) -> dict[str, str]:
    """What each arm is called in pictures: the control by what it is, and a part or variant with what it is made of."""
    titles = {arm.name: arm.title for arm in study.arms}
    for arm in study.arms:
        origin = (arm.of or "").replace("_", " ")
        if arm.name == study.control and "no mixing" not in arm.title:
            titles[arm.name] = f"no mixing ({arm.title})"
        elif origin not in arm.title:
            titles[arm.name] = f"{origin}, {arm.title}"
    return titles


def row_names(study: Study) -> dict[str, str]:
    """What each arm is called in a table: by its label, and where two have the same one as in pictures."""
    titles, labels = arm_titles(study), [arm.title for arm in study.arms]
    return {arm.name: titles[arm.name] if labels.count(arm.title) > 1 else arm.title for arm in study.arms}


def distance_pictures(domain: Domain) -> dict[str, str]:
    """ability -> the name of its picture, of a domain whose tasks lie along an axis."""
    return {ability: f"distance-{domain.name}{f'-{ability}' if ability else ''}" for ability in axis_tasks(domain)}


def axis_tasks(domain: Domain) -> dict[str, dict[str, float]]:
    """{ability: {task: distance}} of tasks whose names end in a number, as far as an ability has several distances."""
    found: dict[str, dict[str, float]] = {}
    for task in domain.task_chance if domain.axis else ():
        if match := _POINT.fullmatch(task):
            found.setdefault(match[1], {})[task] = float(match[2])
    return {
        ability: dict(sorted(tasks.items(), key=lambda item: item[1]))
        for ability, tasks in found.items()
        if len(tasks) > 1
    }
