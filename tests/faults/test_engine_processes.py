"""Several processes, one of which fails: the others stop too, and nothing is lost."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from metaformer_nlp.engine.order import key_at
from tests.engine.harness import EVERYTHING, at_step, contents, die, launch, send, steps_kept, train_alone

pytestmark = pytest.mark.distributed


def sample_of(step: int, rank: int) -> int:
    """A sample that process `rank` of 2 sees in step `step` and that no earlier step sees."""
    keys = [key_at(position, 37, 0) for position in range(12 * (step + 1))]
    mine = keys[12 * step + 6 * rank :][:6]
    return next(index for _, index, _ in mine if index not in {earlier for _, earlier, _ in keys[: 12 * step]})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_one_process_stops_all_at_the_same_step(tmp_path: Path, number: int) -> None:
    outcomes = launch(tmp_path / "run", 2, prepare=at_step(3, send(number), rank=1), steps=9)
    assert [outcome.code for outcome in outcomes] == [75, 75], [outcome.said for outcome in outcomes]
    assert steps_kept(tmp_path / "run") == [4]


def test_a_loss_that_is_not_finite_on_one_process_stops_all_before_the_update(tmp_path: Path) -> None:
    bad = sample_of(2, rank=1)
    outcomes = launch(tmp_path / "run", 2, steps=9, save_every=1, nan_at=bad, log_every=1)
    for outcome in outcomes:
        assert outcome.code == 1
        assert "NonFiniteLossError" in outcome.said
        assert "step 3" in outcome.said
        assert "process 1" in outcome.said
        assert str(bad) in outcome.said.split("samples ")[1]
    assert steps_kept(tmp_path / "run") == [2, 1]
    report = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    assert report["step"] == 3
    assert bad in report["samples"]["1"]


def test_a_loss_that_is_not_finite_on_a_single_process(tmp_path: Path) -> None:
    bad = sample_of(1, rank=0)
    (outcome,) = launch(tmp_path / "run", steps=9, save_every=1, nan_at=bad, micro_batch_size=4)
    assert outcome.code == 1
    assert f"{bad}" in outcome.said
    assert steps_kept(tmp_path / "run") == [1]
    # The sample being mended, the run goes on from its last good step.
    train_alone(tmp_path / "run", steps=9, save_every=1, micro_batch_size=4)
    assert steps_kept(tmp_path / "run") == [9, 8]


def test_killed_on_two_processes(tmp_path: Path) -> None:
    """DDP keeps the norm statistics of the first process; average and moments must come back everywhere."""
    options = EVERYTHING | {"steps": 6, "save_every": 2, "eval_every": 2, "log_every": 1}
    launch(tmp_path / "whole", 2, **options)
    outcomes = launch(tmp_path / "run", 2, prepare=at_step(5, die), **options)
    assert [outcome.code for outcome in outcomes] == [-9, -9], [outcome.said for outcome in outcomes]
    outcomes = launch(tmp_path / "run", 2, **options)
    assert [outcome.code for outcome in outcomes] == [0, 0], [outcome.said for outcome in outcomes]
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_process_that_dies_takes_the_others_with_it(tmp_path: Path) -> None:
    began = time.monotonic()
    outcomes = launch(tmp_path / "run", 2, prepare=at_step(4, die, rank=1), steps=9, save_every=2, timeout=60)
    assert outcomes[1].code == -signal.SIGKILL
    assert outcomes[0].code not in (0, 75)
    assert time.monotonic() - began < 30
    assert steps_kept(tmp_path / "run") == [4, 2]


def test_what_the_first_process_cannot_do_stops_all(tmp_path: Path) -> None:
    """Damaged checkpoints, an occupied folder: the other processes must not wait for the first one."""
    folder = tmp_path / "run"
    train_alone(folder, steps=2)
    (folder / "result.json").unlink()
    (folder / "checkpoints" / "step-00000002" / "model.safetensors").write_bytes(b"")
    outcomes = launch(folder, 2, steps=2)
    assert [outcome.code for outcome in outcomes] == [1, 1]
    assert "CheckpointError" in outcomes[0].said
    assert "no checkpoint of this run is whole" in outcomes[1].said


def test_a_reader_process_that_dies_or_fails(tmp_path: Path) -> None:
    from tests.engine import toy

    def failing(action):
        def prepare(rank: int) -> None:
            original = toy.Ragged.sample

            def sample(self, index, rng):
                if index == 20 and rng is not None:
                    action()
                return original(self, index, rng)

            toy.Ragged.sample = sample

        return prepare

    def broken() -> None:
        raise OSError("broken image")

    (outcome,) = launch(tmp_path / "fails", prepare=failing(broken), steps=9, num_workers=2)
    assert outcome.code == 1
    assert "broken image" in outcome.said
    assert "while reading sample 20" in outcome.said
    (outcome,) = launch(tmp_path / "fails alone", prepare=failing(broken), steps=9)
    assert "while reading sample 20" in outcome.said
    (outcome,) = launch(tmp_path / "dies", prepare=failing(die), steps=9, num_workers=2)
    assert outcome.code == 1
    assert "worker" in outcome.said


def test_readers_leave_signals_and_the_lock_to_the_training(tmp_path: Path) -> None:
    """A signal to the whole process group reaches the readers as well; a kill leaves them alive for seconds."""

    def signal_everybody(rank: int) -> None:
        os.setpgrp()  # a group of this process and its readers
        at_step(2, lambda _: os.killpg(0, signal.SIGTERM))(rank)

    options = {"steps": 9, "num_workers": 2, "delay": 0.005, "micro_batch_size": 1, "norm": False}
    (outcome,) = launch(tmp_path / "run", prepare=signal_everybody, **options)
    assert outcome.code == 75, outcome.said
    (outcome,) = launch(tmp_path / "run", prepare=at_step(5, die), **options)
    assert outcome.code == -signal.SIGKILL
    train_alone(tmp_path / "run", **options)
