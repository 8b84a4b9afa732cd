"""Whether a study's seeds are enough (``until``): by the width of intervals, never by what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from metaformer_nlp.study.analysis.statistics.moderated import Family
from metaformer_nlp.study.analysis.statistics.power import StoppingRule
from metaformer_nlp.study.protocol.study import Domain, Study
from metaformer_nlp.study.runner.cell import is_result, read_outcome
from metaformer_nlp.study.runner.tuning import Chosen, chosen_values


def with_further_seeds(study: Study, folder: Path) -> Study:
    """The study with the seeds that it has by now: another one each time that all are run and an interval is too wide.

    It hangs on finished runs alone, so that runners come to the same, and one that was stopped goes on where it was.
    Where a run that is looked at has failed, nothing is added.
    """
    if study.until is None:
        return study
    until = StoppingRule(study.until.half_width, study.until.most, first=len(study.seeds))
    chosen = chosen_values(study, folder)
    while len(study.seeds) < until.most:
        found = [_differences(study, folder, domain, chosen) for domain in study.domains]
        if any(differences is None for differences in found):
            break
        contrasts = [  # paired by seed, each with its own variance: as `StoppingRule` was simulated
            Family({arm: runs}).contrast({arm: 1.0})
            for differences in found
            for arm, runs in (differences or {}).items()
        ]
        if all(until.stop(contrast) for contrast in contrasts):
            break
        study = replace(study, seeds=(*study.seeds, max(study.seeds) + 1))
    return study


def _differences(study: Study, folder: Path, domain: Domain, chosen: Chosen) -> dict[str, dict[int, float]] | None:
    """arm -> seed -> its score minus the baseline's; None if a run of these is not finished."""
    here = {arm.name for arm in study.arms_of(domain.name)}
    arms = [study.baseline, *(arm for arm in study.looked_at() if arm in here)]
    scores: dict[str, dict[int, float]] = {arm: {} for arm in arms}
    for cell in study.cells(chosen):
        if cell.domain == domain.name and cell.arm in scores:
            outcome = read_outcome(folder, cell)
            if outcome is None or not is_result(outcome, cell):
                return None
            scores[cell.arm][cell.seed] = float(outcome["result"]["metrics"][domain.metric])
    base = scores.pop(study.baseline)
    return {arm: {seed: score - base[seed] for seed, score in runs.items()} for arm, runs in scores.items()}
