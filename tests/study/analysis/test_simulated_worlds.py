"""A short form of scripts/simulate_verdicts.py: every rule of a verdict in every world, within its bound."""

from __future__ import annotations

import pytest

from metaformer_nlp.study.analysis import simulation
from metaformer_nlp.study.analysis.options import SimulationConfig

STUDIES = 40
WORLDS = simulation.worlds()


@pytest.mark.parametrize("world", WORLDS, ids=[f"{world.name}, {world.counted}" for world in WORLDS])
def test_rules_err_as_rarely_as_they_say(world: simulation.World) -> None:
    """With room for what so few studies may be off by (3.3 standard errors at the bound, and one study)."""
    rate = simulation.simulate(world, STUDIES)
    low, high = (
        bound + sign * (3.3 * (bound * (1 - bound) / rate.studies) ** 0.5 + 1 / rate.studies)
        for sign, bound in ((-1, world.low), (1, world.high))
    )
    assert low <= rate.value <= high


def test_a_rule_without_its_gate_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured from chance instead of the control, "yes" is said where mixing is worthless."""
    world = next(world for world in WORLDS if world.name.startswith("mixing is worthless"))
    gain = simulation.share_of_gain

    def from_chance(family: simulation.Family, *names: object) -> object:
        chance = {seed: 10.0 + 0.1 * seed for seed in range(3)}
        return gain(simulation.Family({**family.scores, "identity": chance}), "pooling", "attention", "identity", 0.9)

    monkeypatch.setattr(simulation, "share_of_gain", from_chance)
    assert simulation.simulate(world, STUDIES).value > 0.5


def test_the_script_prints_a_line_a_world(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    never = simulation.World("nothing", "yes", 0.0, 0.01, lambda rng, studies: [False] * studies)
    always = simulation.World("all", "yes", 0.0, 0.01, lambda rng, studies: [True] * studies)
    monkeypatch.setattr(simulation, "worlds", lambda: (never, always))
    assert simulation.run(SimulationConfig(studies=10)) == 1
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["holds", "yes", "NO"]
    monkeypatch.setattr(simulation, "worlds", lambda: (never,))
    assert simulation.run(SimulationConfig(studies=10)) == 0
