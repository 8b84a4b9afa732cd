"""Worlds whose truth is known, and how often the rules of the verdict go wrong in them.

Every world draws all its studies at once and puts each through the very functions that judge a study. Scores are points
with a standard deviation of 0.8 a run, unless the world says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaformer_nlp.study.analysis.options import SimulationConfig
from metaformer_nlp.study.analysis.statistics.composed import compose
from metaformer_nlp.study.analysis.statistics.failures import with_failures
from metaformer_nlp.study.analysis.statistics.gain import share_of_gain
from metaformer_nlp.study.analysis.statistics.items import over_items
from metaformer_nlp.study.analysis.statistics.moderated import Comparison, Family, Scores, compare_arms
from metaformer_nlp.study.analysis.statistics.pairs import compare_pairs, every_pair
from metaformer_nlp.study.analysis.statistics.power import StoppingRule, until_error
from metaformer_nlp.study.analysis.statistics.ranks import rank_agreement
from metaformer_nlp.study.analysis.statistics.scaling import scaling, transform
from metaformer_nlp.study.analysis.statistics.settings import over_settings

SD = 0.8
Hits = Sequence[bool]
OTHERS = {"convolution": 63.0, "fourier": 61.0, "random": 59.0, "spatial_mlp": 61.0, "no_mlp": 45.0}


@dataclass(frozen=True)
class World:
    """A truth, the word or event that is counted, the bounds of its rate, and what draws and judges the studies."""

    name: str
    counted: str
    low: float
    high: float
    judge: Callable[[np.random.Generator, int], Hits]


@dataclass(frozen=True)
class Rate:
    """Of how many studies the event was counted, with its Monte-Carlo error (1.96 standard errors)."""

    world: World
    value: float
    error: float
    studies: int

    @property
    def holds(self) -> bool:
        """Within the bounds, give or take the Monte-Carlo error."""
        return self.world.low - self.error <= self.value <= self.world.high + self.error


def simulate(world: World, studies: int, seed: int = 0) -> Rate:
    """Each world has random numbers of its own, which its name and `seed` give."""
    hits = world.judge(np.random.default_rng([seed, *world.name.encode()]), studies)
    value = float(np.mean(hits))
    return Rate(world, value, 1.96 * (value * (1 - value) / len(hits)) ** 0.5, len(hits))


def run(config: SimulationConfig) -> int:
    """Print a line for each world; the exit status is 1 if a bound does not hold."""
    print(f"{'world':<66} {'counted':<26} {'rate':>7} {'±':>6} {'bound':>14}  holds")
    held = []
    for world in worlds():
        rate = simulate(world, config.studies, config.seed)
        held.append(rate.holds)
        bound = f"{world.low:g} to {world.high:g}"
        words = f"{world.name:<66} {world.counted:<26} {rate.value:7.4f} {rate.error:6.4f} {bound:>14}"
        print(f"{words}  {'yes' if rate.holds else 'NO'}", flush=True)
    return int(not all(held))


def worlds() -> tuple[World, ...]:
    """All of them; those of the same kind stand together."""
    return (*_gains(), *_pairs(), *_failures(), *_families(), *_slopes(), *_steady(), *_domains(), *_others())


def _studies(
    rng: np.random.Generator,
    studies: int,
    means: Mapping[str, float],
    seeds: int,
    sds: Sequence[float] | float = SD,
    correlation: float = 0.0,
) -> Iterator[Scores]:
    """Studies of arms with these true means; `correlation` of two arms in the same seed."""
    noise = (1 - correlation) ** 0.5 * rng.normal(size=(studies, len(means), seeds))
    noise += correlation**0.5 * rng.normal(size=(studies, 1, seeds))
    values = np.array(list(means.values()))[:, None] + np.broadcast_to(sds, len(means))[:, None] * noise
    for study in values.tolist():
        yield {arm: dict(enumerate(runs)) for arm, runs in zip(means, study, strict=True)}


def _gain(scores: Scores, share: float = 0.5) -> Any:
    return share_of_gain(Family(scores), "pooling", "attention", "identity", share)


def _gains() -> Iterator[World]:
    def world(name: str, word: str, low: float, high: float, attention: float, pooling: float, seeds: int) -> World:
        means = {"attention": 60 + attention, "pooling": 60 + pooling, "identity": 60.0, **OTHERS}

        def judge(rng: np.random.Generator, studies: int) -> Hits:
            return [_gain(scores).answer.word == word for scores in _studies(rng, studies, means, seeds)]

        return World(f"{name}, {seeds} seeds", word, low, high, judge)

    for seeds in (3, 5):
        yield world("mixing is worthless", "yes", 0, 0.01, 0, 0, seeds)
        yield world("attention +1, pooling none of it", "yes", 0, 0.01, 1, 0, seeds)
        yield world("attention +6, pooling half of it (the boundary)", "yes", 0, 0.025, 6, 3, seeds)
        yield world("attention +6, pooling half of it (the boundary)", "no", 0, 0.025, 6, 3, seeds)
        yield world("attention +6, pooling all of it", "yes", 0.7, 1, 6, 6, seeds)


def _pairs() -> Iterator[World]:
    parts = ("residual", "norm", "mlp")
    swaps = tuple(f"swap {number}" for number in range(7))

    def world(name: str, word: str, low: float, high: float, part: float, swap: Sequence[float], seeds: int) -> World:
        means = {"attention": 60.0, "pooling": 60 - swap[0]}
        means |= dict.fromkeys(parts, 60 - swap[0] - part)
        means |= {name: 60 - cost for name, cost in zip(swaps[1:], swap[1:], strict=True)}
        of_parts, of_swaps = dict.fromkeys(parts, "pooling"), dict.fromkeys(("pooling", *swaps[1:]), "attention")

        def judge(rng: np.random.Generator, studies: int) -> Hits:
            families = map(Family, _studies(rng, studies, means, seeds))
            return [compare_pairs(family, every_pair(of_parts, of_swaps)).answer.word == word for family in families]

        return World(f"{name}, {seeds} seeds", word, low, high, judge)

    def swaps_alone(word: str, seeds: int) -> World:
        """A swap and the norm, neither of which does anything; the swapped arm alone varies."""

        def judge(rng: np.random.Generator, studies: int) -> Hits:
            means, sds = dict.fromkeys(("attention", "pooling", "norm"), 60.0), (0.2 * SD, SD, 0.2 * SD)
            beside = every_pair({"pooling": "attention"}, {"norm": "attention"})
            families = map(Family, _studies(rng, studies, means, seeds, sds))
            return [compare_pairs(family, beside, signed=False).answer.word == word for family in families]

        return World(f"a swap beside a swap, neither of which does anything, {seeds} seeds", word, 0, 0.025, judge)

    for seeds in (3, 5):
        yield swaps_alone("yes", seeds)
        yield swaps_alone("no", seeds)
    cancelling = (0.0, 8.0, -8.0, 8.0, -8.0, 4.0, -4.0)
    for seeds in (3, 5, 10):
        yield world("swaps cost 8, 8, -8, -8, 4, -4, 0, parts 4", "yes", 0, 0.01, 4, cancelling, seeds)
    yield world("swaps cost 8, 8, -8, -8, 4, -4, 0, parts 4", "no", 0.7, 1, 4, cancelling, 5)
    for seeds in (3, 5):
        yield world("all swaps equal, parts 6", "yes", 0.7, 1, 6, (0.0,) * 7, seeds)
        yield world("no effects", "yes", 0, 0.01, 0, (0.0,) * 7, seeds)
        yield world("no effects", "no", 0, 0.025, 0, (0.0,) * 7, seeds)


def _failures() -> Iterator[World]:
    means = {"attention": 66.0, "pooling": 66.0, "identity": 60.0, **OTHERS}

    def world(chance: float, seeds: int) -> World:
        def judge(rng: np.random.Generator, studies: int) -> Hits:
            fails = rng.random((studies, seeds)) < 0.3
            found = []
            for failed, scores in zip(fails, _studies(rng, studies, means, seeds), strict=True):
                if failed.any():
                    missing = {"pooling": np.flatnonzero(failed).tolist()}
                    left = {seed: score for seed, score in scores["pooling"].items() if not failed[seed]}
                    seen = {**scores, "pooling": left}
                    judged = with_failures(lambda runs: _gain(runs).answer, seen, missing, chance)
                    found.append(judged.word == "yes")
            return found

        return World(
            f"pooling fails in 30 % of runs, chance {chance:g}, {seeds} seeds", "yes, a run failed", 0, 0.01, judge
        )

    return (world(chance, seeds) for chance in (10.0, 60.0) for seeds in (3, 5))


def _families() -> Iterator[World]:
    equal, ten = np.full(9, SD), np.geomspace(0.25, 2.5, 9)

    def world(
        name: str,
        high: float,
        sds: np.ndarray,
        seeds: int,
        low: float = 0.0,
        off: float = 0.0,
        correlation: float = 0.0,
    ) -> World:
        means = {"reference": 60.0, **{f"arm {number}": 60.0 for number in range(8)}, "arm 0": 60 + off}

        def judge(rng: np.random.Generator, studies: int) -> Hits:
            drawn = _studies(rng, studies, means, seeds, sds.tolist(), correlation)
            found = (compare_arms(Family(scores), "reference") for scores in drawn)
            return [tests["arm 0"].word == "above" if off else any(map(_shown, tests.values())) for tests in found]

        return World(f"8 arms: {name}, {seeds} seeds", "found" if off else "false alarm", low, high, judge)

    for seeds, most in ((3, 0.09), (5, 0.07)):
        yield world("one 2 points off", 1, equal, seeds, low=0.25, off=2.0)
        yield world("one 2 points off, seeds correlate 0.5", 1, equal, seeds, low=0.25, off=2.0, correlation=0.5)
        yield world("equal spreads", 0.05, equal, seeds)
        yield world("equal spreads, seeds correlate 0.5", 0.05, equal, seeds, correlation=0.5)
        yield world("equal spreads, seeds correlate 0.2", 0.05, equal, seeds, correlation=0.2)
        yield world("spreads ten-fold, reference in the middle", most, np.roll(ten, 5), seeds)
        yield world("spreads ten-fold, the reference's smallest", most, ten, seeds)
        yield world("spreads ten-fold, the reference's largest", most, ten[::-1], seeds)
        yield world("spreads ten-fold, seeds correlate 0.5", most, np.roll(ten, 5), seeds, correlation=0.5)
        yield world("reference varies 4 times as much", most, np.array([4 * SD, *equal[1:]]), seeds)

    def grid(rng: np.random.Generator, studies: int) -> Hits:
        arms = ["reference", *(f"arm {number}" for number in range(8))]
        right = np.round(277 * (0.66 + 0.0025 * rng.normal(size=(studies, 9, 3)))) / 2.77
        families = (
            Family({a: dict(enumerate(r)) for a, r in zip(arms, study, strict=True)}) for study in right.tolist()
        )
        return [any(map(_shown, compare_arms(family, "reference").values())) for family in families]

    yield World("8 arms: 277 items, sd 0.25 points, so that runs often tie, 3 seeds", "false alarm", 0, 0.05, grid)


def _shown(test: Comparison) -> bool:
    return test.word in ("above", "below")


def _slopes() -> Iterator[World]:
    """Accuracies whose noise is that of a share: in points it falls near the ceiling, and in logits it grows."""

    def world(name: str, baseline: np.ndarray, arm: np.ndarray, seeds: int, noise: float) -> World:
        budgets = 2.0 ** np.arange(len(baseline))
        gaps = [transform(b, 0.0) - transform(a, 0.0) for b, a in zip(baseline, arm, strict=True)]
        true = np.polyfit(np.log2(budgets), gaps, 1)[0]
        means = np.stack([baseline, arm], axis=1)[:, :, None]

        def judge(rng: np.random.Generator, studies: int) -> Hits:
            drawn = rng.normal(size=(studies, len(budgets), 2, seeds))
            scores = (means + noise * (means * (1 - means)) ** 0.5 * drawn).tolist()
            found = []
            for study in scores:
                runs = {budget: {"attention": b, "arm": a} for budget, (b, a) in zip(budgets, study, strict=True)}
                low, high = scaling(runs, "attention", 0.0)["arm"].slope.interval() or (0.0, 0.0)
                found.append(low <= true <= high)
            return found

        return World(f"{name}, {seeds} seeds x {len(budgets)} budgets", "slope covered", 0.94, 0.96, judge)

    for seeds, count in ((3, 4), (3, 5), (5, 5)):
        x = np.arange(count)
        yield world("steady gap in logits", _expit(0.5 + 0.8 * x), _expit(0.2 + 0.8 * x), seeds, 0.016)
        yield world("gap closes by 0.1 a doubling", _expit(0.5 + 0.8 * x), _expit(-0.3 + 0.9 * x), seeds, 0.016)
        yield world(
            "power laws to one ceiling", 0.95 - 0.5 * 2 ** (-0.8 * x), 0.95 - 0.6 * 2 ** (-0.6 * x), seeds, 0.016
        )
        yield world(
            "baseline to 99 %, arm stays behind", 1 - 0.4 * 2 ** (-1.3 * x), 1 - 0.5 * 2 ** (-0.3 * x), seeds, 0.016
        )


def _steady() -> Iterator[World]:
    """Eight arms whose gap changes by exactly the margin a doubling: none is steady."""
    margin, budgets = 0.1, 2.0 ** np.arange(4)
    baseline = 0.5 + 0.4 * np.arange(4)

    def judge(rng: np.random.Generator, studies: int) -> Hits:
        found = []
        for _ in range(studies):
            noise = 0.06 * rng.normal(size=(4, 9, 3))
            means = np.stack([baseline, *[baseline - 0.3 - margin * np.arange(4)] * 8], axis=1)[:, :, None]
            scores = _expit(means + noise).tolist()
            runs = {b: {str(arm): its for arm, its in enumerate(of)} for b, of in zip(budgets, scores, strict=True)}
            lines = scaling(runs, "0", 0.0, margin=margin)
            found.append(any(line.trend == "steady" for line in lines.values()))
        return found

    yield World("8 gaps that change by the margin, 3 seeds x 4 budgets", "some is steady", 0, 0.05, judge)


def _expit(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _domains() -> Iterator[World]:
    def world(name: str, word: str, high: float, kept: Sequence[float], seeds: int) -> World:
        def judge(rng: np.random.Generator, studies: int) -> Hits:
            drawn = [
                _studies(
                    rng, studies, {"attention": 66.0, "pooling": 60 + 6 * share, "identity": 60.0, **OTHERS}, seeds
                )
                for share in kept
            ]
            return [
                compose({str(n): _gain(scores).answer for n, scores in enumerate(study)}).answer.word == word
                for study in zip(*drawn, strict=True)
            ]

        return World(f"six domains: {name}, {seeds} seeds", word, 0, high, judge)

    for seeds in (3, 5):
        yield world("the share is just kept in all", "no", 0.05, (0.5,) * 6, seeds)
        yield world("just missed in one, kept in five", "yes", 0.025, (0.5, *(1.0,) * 5), seeds)


def _others() -> Iterator[World]:
    def ranks(rng: np.random.Generator, studies: int) -> Hits:
        sds, steps = np.geomspace(0.1, 3.0, 5), np.arange(5)
        first = 10 * steps[:, None] + 0.1 * rng.normal(size=(studies, 5, 3))
        second = 0.001 * steps[:, None] + sds[:, None] * rng.normal(size=(studies, 5, 3))
        found = []
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            result = rank_agreement(dict(zip("abcde", one, strict=True)), dict(zip("abcde", other, strict=True)))
            found.append(result is not None and result.tau.high is not None and result.tau.high >= 1 - 1e-9)
        return found

    def settings(count: int) -> Callable[[np.random.Generator, int], Hits]:
        def judge(rng: np.random.Generator, studies: int) -> Hits:
            truth = 2.0 * rng.normal(size=(studies, count + 1))
            runs = truth[:, :count, None] + rng.normal(size=(studies, count, 3))
            errors = runs.std(axis=2, ddof=1) / 3**0.5
            found = (
                over_settings(y, e).prediction or (0.0, 0.0) for y, e in zip(runs.mean(axis=2), errors, strict=True)
            )
            return [low <= other <= high for (low, high), other in zip(found, truth[:, -1], strict=True)]

        return judge

    def items(rng: np.random.Generator, studies: int) -> Hits:
        found = []
        for _ in range(min(studies, 1000)):
            hard = rng.normal(0.5, 1.0, 300)  # how easy each item is, for all
            skill = rng.normal(0, 0.1, (2, 3, 1))
            correct = rng.random((2, 3, 300)) < _expit(hard + skill)
            estimate = over_items({"one": correct[0], "other": correct[1]}, {"one": 1.0, "other": -1.0})
            found.append(estimate.low is not None and estimate.low <= 0 <= (estimate.high or 0.0))
        return found

    yield World("order of 5 arms, spreads 30-fold, 3 seeds", "interval of tau covers", 0.95, 1, ranks)
    for count in (3, 5, 8):
        yield World(f"another setting predicted from {count}", "covered", 0.93, 1, settings(count))
    yield World("difference on 300 items, 3 seeds, other items", "covered", 0.93, 1, items)
    for most in (5, 10):
        yield World(f"until narrow, at most {most} seeds", "missed, at worst", 0, 0.05, _until(most))


def _until(most: int) -> Callable[[np.random.Generator, int], Hits]:
    """The worst over half-widths from a third of to five standard deviations."""

    def judge(rng: np.random.Generator, studies: int) -> Hits:
        ratios = np.geomspace(0.3, 5.0, 12)
        worst = max(until_error(StoppingRule(float(ratio), most), 1.0, studies=studies) for ratio in ratios)
        return (np.arange(studies) < worst * studies).tolist()

    return judge
