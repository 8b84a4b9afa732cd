"""What the arms of a study are called, in pictures and in tables."""

from __future__ import annotations

from metaformer_nlp.study.protocol.study import Study


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
