"""Runs that are killed, at steps and in the middle of saves, end as if nothing had happened."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.engine.harness import (
    EVERYTHING,
    Outcome,
    at_event,
    at_step,
    contents,
    die,
    launch,
    lines,
    send,
    steps_kept,
    train_alone,
)

OPTIONS = {"steps": 11, "save_every": 2, "eval_every": 3, "log_every": 3, "clip_grad_norm": 1.0, "lr": 0.02}
FULL = OPTIONS | EVERYTHING | {"lr": 0.5}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    train_alone(folder, **OPTIONS)
    return contents(folder)


@pytest.fixture(scope="module")
def undisturbed_full(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed_full") / "run"
    train_alone(folder, **FULL)
    whole = contents(folder)
    assert {"average", "best"} < whole.keys()
    assert whole["result"]["best"]["step"] not in (3, 11)  # neither the first evaluation nor the last
    return whole


def kill_and_finish(folder: Path, kills: list[int], **options: object) -> Outcome:
    for step in kills:
        (outcome,) = launch(folder, prepare=at_step(step, die), **options)
        assert outcome.code == -signal.SIGKILL
    return train_alone(folder, **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_random_steps(tmp_path: Path, undisturbed: dict, workers: int) -> None:
    # Step 0: before any checkpoint. 10: the last one. The rest: between saves, around the epochs' borders (37 samples).
    kills = [0, 3, *sorted(random.Random(workers).sample(range(3, 10), 3)), 10]
    kill_and_finish(tmp_path / "run", kills, num_workers=workers, **OPTIONS)
    assert contents(tmp_path / "run") == undisturbed


@pytest.mark.parametrize("kills", [[0, 4, 7, 10], [8, 9]])
def test_killed_with_everything_that_has_a_state(tmp_path: Path, undisturbed_full: dict, kills: list[int]) -> None:
    kill_and_finish(tmp_path / "run", kills, **FULL)
    assert contents(tmp_path / "run") == undisturbed_full


def test_the_comparison_sees_a_difference(tmp_path: Path, undisturbed: dict) -> None:
    train_alone(tmp_path / "run", **(OPTIONS | {"lr": 0.0200001}))
    other = contents(tmp_path / "run")
    same = {key for key in undisturbed if other[key] == undisturbed[key]}
    assert same <= {"items"}, "these are bits, which need not change with the last digit"


def test_stopped_by_signals_again_and_again(tmp_path: Path, undisturbed: dict) -> None:
    for number, step in ((signal.SIGTERM, 1), (signal.SIGINT, 4), (signal.SIGUSR1, 5), (signal.SIGTERM, 10)):
        (outcome,) = launch(tmp_path / "run", prepare=at_step(step, send(number)), **OPTIONS)
        assert outcome.code == 75, outcome.said
        assert steps_kept(tmp_path / "run")[0] == step + 1  # it went on for at most one step
    train_alone(tmp_path / "run", **OPTIONS)
    assert contents(tmp_path / "run") == undisturbed


def test_killed_at_every_point_of_a_save(tmp_path: Path, undisturbed_full: dict) -> None:
    base, options = tmp_path / "base", FULL
    launch(base, prepare=at_step(5, die), **options)
    assert steps_kept(base) == [4, 3]
    events = 0
    while True:
        folder = tmp_path / f"event{events}"
        shutil.copytree(base, folder)
        # The first save of this process is that of step 6, which then replaces that of step 4.
        (outcome,) = launch(folder, prepare=at_event(events, die), **options)
        assert outcome.code == -signal.SIGKILL
        kept = steps_kept(folder)
        assert kept[0] in (4, 6)
        train_alone(folder, **options)
        assert contents(folder) == undisturbed_full, f"event {events}"
        leftovers = [path.name for path in (folder / "checkpoints").iterdir() if not path.name.startswith("step-")]
        assert leftovers == []
        events += 1
        if kept == [6]:  # the last event of the save has been reached
            break
    assert events >= 10


def test_killed_before_the_result_is_written(tmp_path: Path, undisturbed: dict) -> None:
    from metaformer_nlp.engine import record

    def prepare(rank: int) -> None:
        original = record.replace_text

        def replace(path: Path, text: str) -> None:
            if path.name == "result.json":
                die()
            original(path, text)

        record.replace_text = replace

    (outcome,) = launch(tmp_path / "run", prepare=prepare, **OPTIONS)
    assert outcome.code == -signal.SIGKILL
    train_alone(tmp_path / "run", **OPTIONS)
    assert contents(tmp_path / "run") == undisturbed


def test_stopped_during_an_evaluation(tmp_path: Path, undisturbed: dict) -> None:
    from metaformer_nlp.engine import evaluate

    def prepare(rank: int) -> None:
        original = evaluate.evaluation_seed
        calls = 0

        def seed(*arguments: int) -> int:
            nonlocal calls
            calls += 1
            if calls == 3:
                send(signal.SIGTERM)()
            return original(*arguments)

        evaluate.evaluation_seed = seed

    (outcome,) = launch(tmp_path / "run", prepare=prepare, **OPTIONS)
    assert outcome.code == 75, outcome.said
    assert steps_kept(tmp_path / "run") == [3, 2]
    assert "validation/loss" not in {key for line in lines(tmp_path / "run") for key in line}
    # Killed after the evaluation that was made up for, before the next checkpoint: it must not be recorded twice.
    (outcome,) = launch(tmp_path / "run", prepare=at_step(3, die), **OPTIONS)
    train_alone(tmp_path / "run", **OPTIONS)
    assert contents(tmp_path / "run") == undisturbed


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:

    def twice(rank: int) -> None:
        send(signal.SIGTERM)()
        time.sleep(0.3)
        send(signal.SIGTERM)()  # the echo of a launcher: counts as one
        time.sleep(1.0)
        send(signal.SIGTERM)()

    (outcome,) = launch(tmp_path / "run", prepare=at_step(1, twice), **OPTIONS)
    assert outcome.code == 128 + signal.SIGTERM
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    options = OPTIONS | {"log_every": 1}
    launch(tmp_path / "run", prepare=at_step(6, die), **options)
    assert [line["step"] for line in lines(tmp_path / "run")][-1] == 6
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "torn')
    train_alone(tmp_path / "run", **options)
    training = [line["step"] for line in lines(tmp_path / "run") if "loss" in line]
    assert training == list(range(1, 12))
    starts = json.loads((tmp_path / "run" / "environment.json").read_text())["starts"]
    assert len(starts) == 2
    assert starts[1]["resumed_from"].endswith("step-00000006") or starts[1]["resumed_from"].endswith("step-00000004")
