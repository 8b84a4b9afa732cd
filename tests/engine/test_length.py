"""Runs whose length is a number of tokens or of minutes."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.engine import ScheduleConfig
from metaformer_nlp.engine.length import Length
from metaformer_nlp.engine.record import Progress
from metaformer_nlp.engine.schedule import learning_rate, learning_rate_by_time
from metaformer_nlp.engine.step import TrainingStep
from tests.engine import toy
from tests.engine.harness import at_step, contents, die, launch, lines, send, train_alone

TOKENS: dict[str, Any] = {"tokens": 100.0, "save_every": 2, "dropout": 0.0}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.ToyTask, "tokens_per_sample", lambda self: 1.25)


@pytest.mark.usefixtures("counted")
def test_tokens_become_steps(tmp_path: Path) -> None:
    result = toy.train(tmp_path / "tokens", **TOKENS)
    assert result["train"]["steps"] == 7  # 12 samples a step have 15 tokens
    assert result["train"]["tokens"] == 105
    assert result["tokens_per_second"] == pytest.approx(4 * 15 / result["train_seconds"])  # 3 steps are not timed
    assert 0 < result["train_seconds"] < result["seconds"]
    toy.train(tmp_path / "steps", **{**TOKENS, "tokens": None, "steps": 7})
    first, second = (contents(tmp_path / name) for name in ("tokens", "steps"))
    assert (first["model"], first["metrics"]) == (second["model"], second["metrics"])
    line = json.loads((tmp_path / "tokens" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["tokens_per_second"] == pytest.approx(1.25 * line["samples_per_second"])


@pytest.mark.usefixtures("counted")
def test_a_length_in_tokens_survives_kills(tmp_path: Path) -> None:
    train_alone(tmp_path / "whole", **TOKENS)
    for step in (1, 5):
        (outcome,) = launch(tmp_path / "killed", prepare=at_step(step, die), **TOKENS)
        assert outcome.code == -signal.SIGKILL
    train_alone(tmp_path / "killed", **TOKENS)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_task_without_tokens_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"schedule.tokens is 100, but .* not counted in tokens; give schedule.epochs"):
        toy.train(tmp_path, **TOKENS)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"steps": 3, "minutes": 1}, "schedule.minutes is 1; give exactly one of the four"),
        ({"minutes": 0}, "schedule.minutes is 0; it must be > 0"),
        ({"tokens": -1}, "schedule.tokens is -1; it must be > 0"),
        ({"minutes": 1, "warmup_steps": 3}, "schedule.warmup_fraction"),
        ({"minutes": 1, "update_every": "epoch"}, "schedule.update_every"),
        ({"minutes": 1, "cooldown_epochs": 1}, "schedule.cooldown_epochs"),
    ],
)
def test_a_wrong_length_is_named(options: dict, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        ScheduleConfig(**options)


@pytest.mark.parametrize(
    "options", [{}, {"kind": "linear", "min_lr": 0.1}, {"kind": "poly", "power": 2}, {"warmup_start_lr": 0.01}]
)
def test_the_learning_rate_by_time_is_that_of_many_steps(options: dict) -> None:
    steps = 100_000
    by_step = ScheduleConfig(steps=steps, warmup_fraction=0.2, **options)
    by_time = ScheduleConfig(minutes=3, warmup_fraction=0.2, **options)
    for share in (0.0, 0.1, 0.19999, 0.2, 0.5, 0.99, 0.99999):
        expected = learning_rate(round(share * steps), 1.0, by_step, 10, 1)
        assert learning_rate_by_time(share, 1.0, by_time) == pytest.approx(expected, abs=1e-4 if share else 1e-3)
    assert learning_rate_by_time(0.0, 1.0, by_time) > options.get("warmup_start_lr", 0.0)
    assert learning_rate_by_time(1.0, 1.0, by_time) == options.get("min_lr", 0.0)


class Clock:
    """In place of the module `time`: a tenth of a second goes by each time it is looked at, so 0.2 in each step."""

    now = 0.0

    def monotonic(self) -> float:
        self.now += 0.1
        return self.now


def with_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaformer_nlp.engine.clock.time", Clock())


def test_a_run_of_minutes_uses_its_time_and_ends_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_clock(monkeypatch)
    options: dict[str, Any] = {"minutes": 3 / 60, "kind": "linear", "log_every": 1, "warmup_fraction": 0.1}
    result = toy.train(tmp_path, **options)
    assert 3 <= result["train_seconds"] < 3.2
    assert result["train"]["steps"] == pytest.approx(3 + 15, abs=1)
    assert "validation/loss" in result["metrics"]
    training = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rates = [line["lr"] for line in training if "lr" in line]
    # Compiling, in the first steps, takes nothing of the time: else it would use the warmup up. They learn a little.
    assert rates[:4] == pytest.approx([0.01 / 1000] * 4)
    assert rates[4] == pytest.approx(0.01 * 0.1 / 0.3)
    assert rates[6:] == sorted(rates[6:], reverse=True)
    assert 0.009 < max(rates) <= 0.01
    assert rates[-1] < 0.1 * max(rates)
    assert toy.train(tmp_path, **options) == result  # finished


def test_a_stopped_run_has_the_rest_of_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(rank: int) -> None:
        with_clock(monkeypatch)
        at_step(8, send(signal.SIGTERM))(rank)

    (outcome,) = launch(tmp_path, prepare=prepare, minutes=3 / 60)
    assert outcome.code == 75, outcome.said
    (state,) = (tmp_path / "checkpoints").glob("*/state.json")
    progress = json.loads(state.read_text())["progress"]
    assert progress["train_seconds"] == pytest.approx(0.2 * 6 - 0.1)  # 9 steps, of which 3 are not timed
    with_clock(monkeypatch)
    result = toy.train(tmp_path, minutes=3 / 60)
    assert 3 <= result["train_seconds"] < 3.2
    assert result["train"]["steps"] == pytest.approx(3 + 3 + 15, abs=1)


@pytest.mark.distributed
def test_processes_go_by_one_clock(tmp_path: Path) -> None:
    def slow(rank: int) -> None:
        """One process waits for the other, and so would see less time go by before it is asked."""
        original = TrainingStep.__call__

        def call(self: TrainingStep, *arguments: Any) -> Any:
            time.sleep(0.02 * rank)
            return original(self, *arguments)

        TrainingStep.__call__ = call  # type: ignore[method-assign]

    outcomes = launch(tmp_path / "run", world=2, prepare=slow, minutes=0.5 / 60)
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert outcomes[0].result == outcomes[1].result
    assert 0.5 <= outcomes[0].result["train_seconds"] < 1.5  # type: ignore[index]


def test_bars_reach_their_end() -> None:
    for options, total in (({"minutes": 2}, 2), ({"steps": 9}, 9)):
        length = Length(ScheduleConfig(**options), 1.0, 10, 1, None)
        end = Progress(step=9, train_seconds=125.0)
        bar = length.bar(Progress(), disable=False)
        length.advance(bar, end)
        assert bar.n == total
        assert length.done(end)
        bar.close()


@pytest.mark.usefixtures("counted")
def test_evaluation_at_numbers_of_tokens(tmp_path: Path) -> None:
    """A step has 15 tokens. The run is the same to the bit where it is killed before, at and after such a step."""
    options: dict[str, Any] = {**TOKENS, "eval_at": [0, 20.0, 30, 31, 105], "eval_every": 5, "tokens": 104}
    train_alone(tmp_path / "whole", **options)
    evaluations = [line for line in lines(tmp_path / "whole") if "validation/loss" in line]
    assert [(line["step"], line["tokens"]) for line in evaluations] == [(0, 0), (2, 30), (3, 45), (5, 75), (7, 105)]
    table = (tmp_path / "whole" / "summary.csv").read_text().splitlines()
    assert table[0].startswith("step,epoch,lr,train_loss,tokens,validation/loss")
    assert len(table) == 1 + len(evaluations)
    for step in (1, 2, 6):
        (outcome,) = launch(tmp_path / "killed", prepare=at_step(step, die), **options)
        assert outcome.code == -9
    train_alone(tmp_path / "killed", **options)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    train_alone(tmp_path / "plain", **{**TOKENS, "tokens": 104})
    assert contents(tmp_path / "plain")["model"] == contents(tmp_path / "whole")["model"]


@pytest.mark.parametrize("options", [{"steps": 7}, {"tokens": 104.0}, {"epochs": 2}])
@pytest.mark.usefixtures("counted")
def test_a_shorter_run_leaves_out_what_it_does_not_reach(tmp_path: Path, options: dict[str, float]) -> None:
    toy.train(tmp_path / "run", eval_at=[50, 106], **options)
    evaluations = [line for line in lines(tmp_path / "run") if "validation/loss" in line]
    assert [line["tokens"] for line in evaluations] == [60, 105]


def test_evaluation_at_tokens_needs_a_task_that_counts_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run.eval_at is \[50\].*not counted in tokens; give run.eval_every"):
        toy.train(tmp_path / "run", eval_at=[50])
