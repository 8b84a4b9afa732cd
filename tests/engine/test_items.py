"""What is kept of single test items: the last evaluation's, the same whoever evaluated and whatever was killed."""

import signal
from pathlib import Path

import numpy as np
import pytest

from metaformer_nlp.engine import evaluate, read_items, record
from metaformer_nlp.engine.items import FILE, write_items
from tests.engine import toy
from tests.engine.harness import die, launch, lines, train_alone

OPTIONS = {"steps": 6, "save_every": 2, "eval_every": 3}


@pytest.mark.parametrize("number", [0, 1, 7, 8, 10_000])
def test_bits_come_back_and_are_small(tmp_path: Path, number: int) -> None:
    bits = np.random.default_rng(0).random(number) < 0.3
    write_items(tmp_path, {"validation/correct": bits}, 3)
    (read,) = read_items(tmp_path).values()
    assert read.dtype == np.bool_
    assert np.array_equal(read, bits)
    assert (tmp_path / FILE).stat().st_size < 150 + number / 5.9


def test_the_same_items_are_the_same_bytes(tmp_path: Path) -> None:
    items = {"b/correct": np.array([True, False]), "a/correct": np.array([False])}
    written = []
    for order in (["a/correct", "b/correct"], ["b/correct", "a/correct"]):
        write_items(tmp_path, {name: items[name] for name in order}, 3)
        written.append((tmp_path / FILE).read_bytes())
    assert written[0] == written[1]


def test_the_last_evaluation_is_kept_and_agrees_with_its_metrics(tmp_path: Path) -> None:
    result = toy.train(tmp_path / "run", **OPTIONS)
    items = read_items(tmp_path / "run")
    assert list(items) == ["tiny/small", "validation/small"]
    assert len(items["validation/small"]) == result["metrics"]["validation/rows"]
    shares = [line["validation/small"] for line in lines(tmp_path / "run") if "validation/small" in line]
    assert shares[0] != shares[1], "the evaluations can be told apart"
    assert items["validation/small"].sum() / len(items["validation/small"]) == shares[-1]


def test_a_task_that_knows_no_items_leaves_no_file(tmp_path: Path) -> None:
    toy.train(tmp_path / "run", items=False, **OPTIONS)
    assert not (tmp_path / "run" / FILE).exists()
    with pytest.raises(FileNotFoundError):
        read_items(tmp_path / "run")


@pytest.mark.distributed
def test_they_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    written = set()
    for world in (1, 2, 3):  # five batches: with three processes one is left without in the last round
        outcomes = launch(tmp_path / f"world{world}", world, steps=0, eval_batch_size=10)
        assert [outcome.code for outcome in outcomes] == [0] * world, outcomes[0].said
        written.add((tmp_path / f"world{world}" / FILE).read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", [0, 1])
def test_killed_beside_their_being_written(tmp_path: Path, moment: str, number: int) -> None:
    """Between an evaluation and the checkpoint that knows of it: the first evaluation, and the last."""
    train_alone(tmp_path / "whole", **OPTIONS)

    def prepare(rank: int) -> None:
        original, seen = record.write_items, 0

        def write(*given: object) -> None:
            nonlocal seen
            seen += 1
            if seen == number + 1 and moment == "before":
                die()
            original(*given)  # type: ignore[arg-type]
            if seen == number + 1:
                die()

        record.write_items = write

    (outcome,) = launch(tmp_path / "run", prepare=prepare, **OPTIONS)
    assert outcome.code == -signal.SIGKILL
    train_alone(tmp_path / "run", **OPTIONS)
    assert (tmp_path / "run" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")


def test_a_stop_between_evaluation_and_result_loses_none(tmp_path: Path) -> None:
    """The checkpoint of the last step knows that it was evaluated, so that it is not evaluated again."""
    train_alone(tmp_path / "whole", **OPTIONS)

    def killed_at_the_result(rank: int) -> None:
        original = record.replace_text

        def replace(path: Path, text: str) -> None:
            if path.name == "result.json":
                die()
            original(path, text)

        record.replace_text = replace

    def never_again(rank: int) -> None:
        evaluate.evaluation_seed = die

    (outcome,) = launch(tmp_path / "run", prepare=killed_at_the_result, **OPTIONS)
    assert outcome.code == -signal.SIGKILL
    (outcome,) = launch(tmp_path / "run", prepare=never_again, **OPTIONS)
    assert outcome.code == 0, outcome.said
    assert (tmp_path / "run" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()
