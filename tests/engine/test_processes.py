"""One, two and three processes: the same metrics, the same samples, the same gradient."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from metaformer_nlp.engine import evaluate, order, run
from tests.engine import toy
from tests.engine.harness import Outcome, at_step, die, launch, lines, steps_kept, train_alone

pytestmark = pytest.mark.distributed


def ended_well(outcomes: list[Outcome]) -> list[Outcome]:
    assert [outcome.code for outcome in outcomes] == [0] * len(outcomes), [outcome.said for outcome in outcomes]
    return outcomes


def model(folder: Path) -> dict[str, torch.Tensor]:
    (newest, *_) = sorted((folder / "checkpoints").glob("step-*"), reverse=True)
    return load_file(newest / "model.safetensors")


def test_metrics_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    """43 samples: prime; batches of 8 make six for 1, 2 or 3 processes, and "tiny" is one batch for all of them."""
    results = {}
    for world in (1, 2, 3):
        outcomes = ended_well(launch(tmp_path / f"world{world}", world, steps=0))
        assert all(outcome.result == outcomes[0].result for outcome in outcomes)
        results[world] = outcomes[0].result["metrics"]
        assert outcomes[0].result["world_size"] == world
    assert results[1] == results[2] == results[3]
    assert results[1]["validation/rows"] == sum(1 + index % 5 for index in range(43))
    # Five batches on three processes: one is left without a batch in the last round.
    uneven = [
        ended_well(launch(tmp_path / f"uneven{world}", world, steps=0, eval_batch_size=10))[0].result["metrics"]
        for world in (1, 2, 3)
    ]
    assert uneven[0] == uneven[1] == uneven[2]


def test_training_does_not_depend_on_how_a_batch_is_cut(tmp_path: Path) -> None:
    """Samples of 1 to 5 rows: a mean over micro-batches or processes instead of rows would show."""
    options = {"norm": False, "dropout": 0.0, "batch_size": 24, "steps": 6, "log_every": 1}
    reference = train_alone(tmp_path / "reference", **options).result
    for name, world, micro in (
        ("1x24", 1, 1),
        ("6x4", 1, 4),
        ("2 processes", 2, None),
        ("2x3x4", 2, 4),
        ("3x8x1", 3, 1),
    ):
        folder = tmp_path / name
        outcome = ended_well(launch(folder, world, micro_batch_size=micro, **options))[0]
        for weight, other in zip(model(tmp_path / "reference").values(), model(folder).values(), strict=True):
            torch.testing.assert_close(weight, other, rtol=1e-5, atol=1e-6, msg=name)
        assert math.isclose(outcome.result["train"]["loss"], reference["train"]["loss"], rel_tol=1e-6)
        # AdamW and clipping hide a gradient's length from the weights.
        for line, other in zip(lines(folder), lines(tmp_path / "reference"), strict=True):
            assert line.get("lr") == other.get("lr")
            assert line.get("gradient_norm", 0.0) == pytest.approx(other.get("gradient_norm", 0.0), rel=1e-5)


def test_dropout_is_that_of_the_micro_batch_wherever_it_is(tmp_path: Path) -> None:
    options = {"norm": False, "dropout": 0.5, "batch_size": 24, "steps": 6, "micro_batch_size": 4}
    for world in (1, 2, 3):
        ended_well(launch(tmp_path / str(world), world, **options))
    for weight, *others in zip(*(model(tmp_path / str(world)).values() for world in (1, 2, 3)), strict=True):
        for other in others:
            torch.testing.assert_close(weight, other, rtol=1e-5, atol=1e-6)


def test_killed_and_resumed_on_two_processes_bitwise(tmp_path: Path) -> None:
    options = {"steps": 9, "save_every": 2, "eval_every": 4, "micro_batch_size": 3}
    ended_well(launch(tmp_path / "undisturbed", 2, **options))
    folder = tmp_path / "run"
    outcomes = launch(folder, 2, prepare=at_step(5, die), **options)
    assert [outcome.code for outcome in outcomes] == [-9, -9]
    ended_well(launch(folder, 2, **options))
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, other = (tmp_path / place / "checkpoints" / "step-00000009" / name for place in ("undisturbed", "run"))
        assert one.read_bytes() == other.read_bytes()
    assert lines(folder) == lines(tmp_path / "undisturbed")


def test_the_same_samples_on_another_number_of_processes(tmp_path: Path) -> None:
    """Saved on two processes, finished on one and on three: every step takes the samples it would have taken anyway."""

    def note(path: Path):
        def prepare(rank: int) -> None:
            original = run.TrainingStep.__call__

            def call(self, step, position, *rest):
                with path.open("a") as file:
                    for micro in range(self.samples.layout.accumulation):
                        for _, index, _ in self.samples.keys(position, micro):
                            file.write(json.dumps([step, index]) + "\n")
                return original(self, step, position, *rest)

            run.TrainingStep.__call__ = call

        return prepare

    def seen(path: Path) -> list[list[int]]:
        return sorted(json.loads(line) for line in path.read_text().splitlines())

    options = {"steps": 7, "save_every": 3}
    train_alone(tmp_path / "whole", prepare=note(tmp_path / "whole.txt"), **options)
    expected = seen(tmp_path / "whole.txt")
    assert len(expected) == 7 * 12
    launch(tmp_path / "two", 2, prepare=at_step(3, die), **options)
    assert steps_kept(tmp_path / "two") == [3]
    for world in (1, 3):
        folder = tmp_path / f"to{world}"
        folder.mkdir()
        for path in (tmp_path / "two").rglob("*"):
            target = folder / path.relative_to(tmp_path / "two")
            target.mkdir() if path.is_dir() else target.write_bytes(path.read_bytes())
        ended_well(launch(folder, world, prepare=note(tmp_path / f"{world}.txt"), **options))
        assert seen(tmp_path / f"{world}.txt") == [entry for entry in expected if entry[0] >= 3]
    (refused,) = {outcome.code for outcome in launch(tmp_path / "five", 2, steps=1, batch_size=5)}
    assert refused == 1


def test_gradients_travel_once_a_step(tmp_path: Path) -> None:
    def prepare(rank: int) -> None:
        original = run.TrainingStep._accumulate
        notes = []

        def accumulate(self, batch):
            notes.append(self.model.require_backward_grad_sync)
            if len(notes) == 6:
                assert notes == [False, False, True] * 2
                raise KeyboardInterrupt
            return original(self, batch)

        run.TrainingStep._accumulate = accumulate

    for outcome in launch(tmp_path / "run", 2, prepare=prepare, micro_batch_size=2):
        assert "KeyboardInterrupt" in outcome.said


def test_several_runs_in_one_program(tmp_path: Path) -> None:
    ended_well(launch(tmp_path / "alone", 2, steps=3))
    before = tmp_path / "before"
    ended_well(launch(tmp_path / "second", 2, prepare=lambda rank: toy.train(before, steps=2), steps=3))
    assert model(tmp_path / "alone").keys() == model(before).keys()
    for mine, other in zip(model(tmp_path / "alone").values(), model(tmp_path / "second").values(), strict=True):
        assert torch.equal(mine, other)


def test_layouts_cover_a_batch_exactly_once() -> None:
    for world, micro in ((1, None), (2, None), (3, 2), (4, 1), (6, 2)):
        layout = order.BatchLayout.of(12, micro, world)
        taken = [
            position
            for rank in range(world)
            for turn in range(layout.accumulation)
            for position in layout.positions(24, turn, rank)
        ]
        assert sorted(taken) == list(range(24, 36))


@pytest.mark.parametrize(("size", "batch", "world"), [(43, 8, 3), (1, 8, 3), (9, 1, 2), (10, 5, 4), (7, 7, 1)])
def test_evaluation_batches_are_dealt_whole(size: int, batch: int, world: int) -> None:
    shares = [order.EvaluationBatches(size, batch, rank, world) for rank in range(world)]
    assert len({len(share.numbers) for share in shares}) == 1
    seen = {}
    for share in shares:
        for number, keys in zip(share.numbers, share, strict=True):
            assert keys
            if number is not None:
                assert number not in seen
                seen[number] = [index for _, index, _ in keys]
    assert [index for number in sorted(seen) for index in seen[number]] == list(range(size))
    assert evaluate.EvaluationBatches is order.EvaluationBatches
