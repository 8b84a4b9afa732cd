"""In words, for the plan and for the report: what a study file decides beforehand for a later analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metaformer_nlp.study.protocol.study import SHARE
from metaformer_nlp.study.words import PERCENT, listed


def gain_claimed(study: Mapping[str, Any]) -> str | None:
    """What is judged of the gain of mixing, of a study as `study_to_mapping` has it; None if nothing is."""
    claim, control = study["claim"], study.get("control")
    if not claim or control is None:
        return None
    asked = f"{100 * claim.get('gain', SHARE):g}{PERCENT}"
    return f"{claim['arm']} keeps at least {asked} of what {study['baseline']} scores above {control}"


def known_answers(study: Mapping[str, Any], labels: Mapping[str, str]) -> list[str]:
    """Each published difference that is expected; `labels` are what the domains are called."""
    lines = []
    for answer in study.get("expected", ()):
        size = f" by {answer['size']:g}" if answer["size"] else ""
        where = f" in {listed([labels[name] for name in answer['domains']])}" if answer["domains"] else ""
        lines.append(f"{answer['arm']} {answer['sign']} than {answer['reference']}{size}{where} ({answer['source']})")
    return lines


def scales(study: Mapping[str, Any], labels: Mapping[str, str]) -> list[str]:
    """Each scale with the place of its domains on it."""
    lines = []
    for scale in study.get("scale", ()):
        points: Sequence[str] = [f"{labels[name]} ({value:,g})" for name, value in scale["domains"].items()]
        margin = f"; changes below {scale['margin']:g} a doubling count as steady" if scale["margin"] else ""
        lines.append(f"{scale['axis']}: {', '.join(points)}{margin}")
    return lines
