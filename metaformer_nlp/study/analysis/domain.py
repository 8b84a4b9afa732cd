"""The analysis of one domain: from the rows of its cells to its arms, its known answers, removals and swaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite
from statistics import median
from typing import Any

from metaformer_nlp.study.analysis import results
from metaformer_nlp.study.analysis.answers import NOT_RUN, answers
from metaformer_nlp.study.analysis.facts import Facts, mean_of
from metaformer_nlp.study.analysis.results import Difference, Known, Removal, Swap
from metaformer_nlp.study.analysis.rows import Row, unpacked_items
from metaformer_nlp.study.analysis.statistics import (
    Answer,
    Comparison,
    Estimate,
    Family,
    answer,
    compare_arms,
    compose,
    failure_rate,
    mean_interval,
    minimal_detectable_difference,
    over_items,
    over_tasks,
    paired_values,
    retention,
    share_of_gain,
    take_off,
)
from metaformer_nlp.study.protocol.study import Arm, Domain, Study

_SWAPPED = ("model.norm", "model.hidden_act")  # a variant that sets one of these swaps a part; others do not
_COST = ("total", "trainable", "macs", "steps", "tokens")


def analyse_domain(study: Study, domain: Domain, rows: Sequence[Row]) -> results.Domain:
    """What the cells of `domain` show; `rows` are theirs."""
    return _Domain(study, domain, rows).result()


class _Domain(Facts):
    def __init__(self, study: Study, domain: Domain, rows: Sequence[Row]) -> None:
        super().__init__(study, domain, rows)
        self.against = {reference: self._compared(reference) for reference in self._references()}

    def result(self) -> results.Domain:
        base = self.study.baseline
        ends = [difference.detectable for difference in self.against[base].values()]
        known = self._known()
        removals, swaps = self._removals(), self._swaps()
        words, pairs = answers(self, known, removals, swaps)
        return results.Domain(
            name=self.domain.name,
            label=self.domain.title,
            metric=self.domain.metric,
            chance=self.chance,
            margin=self.domain.margin,
            axis=self.domain.axis,
            telling=self.telling,
            correlation=self.family.correlation,
            paired=self.family.paired,
            detectable=_median(ends),
            mixing=self.family.contrast({base: 1.0, self.control: -1.0}).estimate() if self.control else None,
            task_chance={
                task.name: mean_of(row["tasks"][task.name]["chance"] for its in self.finished.values() for row in its)
                for task in self.domain.tasks
            },
            arms={name: self._arm(arm) for name, arm in self.arms.items()},
            known=known,
            removals=removals,
            swaps=swaps,
            answers=words,
            pairs=pairs,
        )

    def _references(self) -> list[str]:
        """The arms that others are compared with: all of them with the first, and with an origin what is made of it."""
        wanted = (*self._everybodys(), self.control, *(arm.of for arm in self.arms.values()))
        return [name for name in dict.fromkeys(wanted) if name in self.scores]

    def _everybodys(self) -> list[str]:
        """The arms that all arms are compared with."""
        claim = [self.study.claim.arm] if self.study.claim else []
        return list(dict.fromkeys((self.study.baseline, *self.study.references, *claim)))

    def _compared(self, reference: str) -> dict[str, Difference]:
        """Every arm beside `reference`; a word that hangs on runs that failed, diverged or are missing is open."""
        everybody, arms = self._everybodys(), None
        if reference == self.control and reference not in everybody:
            arms = {arm.name for arm in self.arms.values() if arm.kind == "mixer" or arm.of == reference}
        elif reference not in everybody:
            arms = {arm.name for arm in self.arms.values() if arm.of == reference} | {self.control or ""}
        families = [self.family, *self.other_families]
        if reference == self.control:  # what the baseline gains is a question of its own, and one planned test
            arms = (set(self.arms) if arms is None else arms) - {self.study.baseline}
        found = [compare_arms(family, reference, self.domain.margin, arms) for family in families]
        if reference == self.control:
            for each, family in zip(found, families, strict=True):
                each |= compare_arms(family, reference, self.domain.margin, {self.study.baseline})
        differences = {name: _difference(item) for name, item in found[0].items()}
        for name, difference in differences.items():
            hit = self.gone(name) or self.gone(reference)
            if hit and any(each[name].word != difference.word for each in found[1:]):
                differences[name] = replace(difference, word="open")
        return differences

    def _arm(self, arm: Arm) -> results.Arm:
        name, base, its = arm.name, self.study.baseline, self.scores[arm.name]
        runs = self.finished[name]
        kept = Estimate(1.0, len(its), note="the baseline, by definition") if name == base else None
        share = None
        if self.control and name != self.control and arm.kind == "mixer":
            share = share_of_gain(self.family, name, base, self.control, self.share_asked(name))
        tasks = {task.name: self._task_scores(name, task.name) for task in self.domain.tasks}
        differences = {task: paired_values(its, self._task_scores(base, task)) for task, its in tasks.items()}
        return results.Arm(
            name=name,
            kind=arm.kind,
            of=arm.of,
            label=arm.title,
            planned=sum(row["arm"] == name for row in self.rows),
            seeds={str(seed): score for seed, score in its.items()},
            absent=self.absent[name],
            diverged=self.diverged[name],
            failures=failure_rate(
                sum(row["arm"] == name and row["status"] == "failed" for row in self.rows),
                max(1, sum(row["arm"] == name and row["status"] != "missing" for row in self.rows)),
            ),
            score=mean_interval(list(its.values())),
            retention=kept or retention(its, self.scores[base], self.chance or 0.0),
            share=share,
            against={reference: of[name] for reference, of in self.against.items() if name in of},
            tasks={task: mean_interval(list(scores.values())) for task, scores in tasks.items()},
            # Distances on an axis are all that are asked for, and no sample of tasks.
            over_tasks=None if self.domain.axis or len(tasks) < 2 or name == base else over_tasks(differences),
            over_items=self._over_items(name),
            curve=_curve([row["curve"] for row in runs]),
            take_off=self._take_off(name),
            tuned={str(row["seed"]): row["tuned"] for row in self.rows if row["arm"] == name and row["tuned"]},
            **{key: mean_of(row[key] for row in runs) for key in _COST},
            train_seconds=_median(row["train_seconds"] for row in runs),
        )

    def _task_scores(self, arm: str, task: str) -> dict[int, float]:
        return {row["seed"]: row["tasks"][task]["score"] for row in self.finished[arm]}

    def _over_items(self, arm: str) -> Estimate | None:
        """None where a run does not tell of its items, or tells of others than the rest."""
        base = self.study.baseline
        items = {name: [unpacked_items(row) for row in self.finished[name]] for name in (arm, base)}
        found = {name: [bits for bits in runs if bits is not None] for name, runs in items.items()}
        if arm == base or any(len(found[name]) < max(2, len(items[name])) for name in found):
            return None
        if len({len(bits) for runs in found.values() for bits in runs}) > 1:
            return None
        import numpy as np  # here, as only few studies have items

        return over_items({name: np.stack(runs) for name, runs in found.items()}, {arm: 1.0, base: -1.0})

    def _take_off(self, arm: str) -> Any:
        """When the arm's runs leave all that the control ever scored."""
        if self.control is None or arm == self.control:
            return None
        curves, controls = (
            [[(point[2] if len(point) > 2 else point[0], point[1]) for point in row["curve"]] for row in rows]
            for rows in (self.finished[arm], self.finished[self.control])
        )
        if not curves or not controls or any(len(curve) < 2 for curve in (*curves, *controls)):
            return None
        return take_off(curves, max(score for curve in controls for _, score in curve))

    def _known(self) -> tuple[Known, ...]:
        found = list[Known]()
        for expected in self.study.expected:
            where = expected.domains or (self.domain.name,)
            if self.domain.name not in where or not {expected.arm, expected.reference} <= self.arms.keys():
                continue
            sign = 1.0 if expected.sign == "higher" else -1.0
            weights = {expected.arm: sign, expected.reference: -sign}
            contrast = self.family.contrast({expected.arm: 1.0, expected.reference: -1.0})
            interval, inside = contrast.interval(), None
            if expected.size is not None and interval:
                inside = interval[0] <= sign * expected.size <= interval[1]
            if all(map(self.began, weights)):
                word = self.judge(weights, partial(_above_zero, weights))
            else:
                word = Answer("open", 1.0, 1.0, NOT_RUN)
            found.append(Known(expected, contrast.estimate(), word, inside))
        against = compose({str(place): item.answer for place, item in enumerate(found)}).shown_against
        return tuple(
            replace(item, answer=replace(item.answer, word="open"))
            if not self.telling or (item.answer.word == "no" and str(place) not in against)
            else item
            for place, item in enumerate(found)
        )

    def _removals(self) -> tuple[Removal, ...]:
        """The mixer and the parts taken out of the same arm, for each arm that parts are taken out of."""
        found = []
        for origin in self._origins():
            changes = [self.control] if self.control and self.control != origin else []
            changes += [arm.name for arm in self.arms.values() if arm.of == origin and arm.kind == "architecture"]
            for name in changes:
                word: Any = self.against[origin][name].word if name in self.against[origin] else "open"
                found.append(Removal(name, origin, self._cost(name, origin), word, self._at_chance(name, origin)))
        return tuple(found)

    def _at_chance(self, arm: str, origin: str) -> bool:
        """Whether an arm is about as good as guessing: its interval holds chance, and it is nearer to that than to its
        origin."""
        score = mean_interval(list(self.scores[arm].values()))
        base = mean_interval(list(self.scores[origin].values())).value
        if self.chance is None or score.value is None or score.low is None or base is None:
            return False
        return score.low <= self.chance and 2 * score.value < self.chance + base

    def _origins(self) -> list[str]:
        of_parts = (arm.of for arm in self.arms.values() if arm.kind == "architecture")
        return [name for name in dict.fromkeys(of_parts) if name in self.scores]

    def _swaps(self) -> tuple[Swap, ...]:
        """Other mixers than the baseline's, and variants that take another norm or activation."""
        found = []
        for arm in self.arms.values():
            if arm.kind == "mixer" and arm.name not in (self.study.baseline, self.control):
                found.append(Swap(arm.name, self.study.baseline, True, self._cost(arm.name, self.study.baseline)))
            elif arm.kind == "variant" and arm.of in self.arms and _swaps_a_part(arm, self.arms[arm.of]):
                found.append(Swap(arm.name, arm.of, False, self._cost(arm.name, arm.of)))
        return tuple(found)

    def _cost(self, arm: str, of: str) -> Estimate:
        return self.family.contrast({of: 1.0, arm: -1.0}).estimate()


def _difference(item: Comparison) -> Difference:
    return Difference(
        item.contrast.estimate(),
        item.corrected,
        item.p,
        item.p_holm,
        item.p_equivalent,
        item.word,
        item.within_margin,
        item.comparisons,
        minimal_detectable_difference(item.contrast, max(1, item.comparisons)),
    )


def _above_zero(weights: Mapping[str, float], family: Family) -> Answer:
    contrast = family.contrast(weights)
    return answer(contrast.p_above(), contrast.p_below(), contrast.note)


def _swaps_a_part(arm: Arm, origin: Arm) -> bool:
    """Whether a variant differs from its origin in the norm or the activation, and in nothing else."""
    changed = {key for key in {*arm.set, *origin.set} if arm.set.get(key) != origin.set.get(key)}
    return bool(changed) and changed <= set(_SWAPPED)


def _curve(curves: Sequence[Sequence[Sequence[float]]]) -> list[list[float | None]]:
    """[step, mean, low, high, n] at every step that all runs have."""
    if not curves:
        return []
    runs = [{int(point[0]): point[1] for point in curve} for curve in curves]
    points: list[list[float | None]] = []
    for step in sorted(set[int].intersection(*(set(run) for run in runs))):
        found = mean_interval([run[step] for run in runs])
        points.append([step, found.value, found.low, found.high, found.n])
    return points


def _median(values: Iterable[float | None]) -> float | None:
    """Of seconds, too: a run that was made to wait would move their mean, though it took no more work."""
    known = [value for value in values if value is not None and isfinite(value)]
    return median(known) if known else None
