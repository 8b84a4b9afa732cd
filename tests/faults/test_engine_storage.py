"""Damaged checkpoints, full disks, folders of other runs: refused by name, and nothing is lost."""

import json
import os
import pickle
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.engine import CheckpointError, RunFolderBusyError, checkpoint, run_training
from tests.engine import toy
from tests.engine.harness import at_event, at_step, contents, die, launch, lines, steps_kept, train_alone

OPTIONS = {"steps": 8, "save_every": 2, "eval_every": 4}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    train_alone(folder, **OPTIONS)
    return contents(folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed in step 8, with checkpoints of the steps 4 and 6."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    launch(folder, prepare=at_step(7, die), **OPTIONS)
    assert steps_kept(folder) == [6, 4]
    return folder


@pytest.fixture
def run(killed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "run"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x80not json")


DAMAGE = [
    (flip, "model.safetensors", "contents have changed"),
    (flip, "optimizer.safetensors", "contents have changed"),
    (flip, "state.json", "contents have changed"),
    (truncate, "model.safetensors", "size"),
    (empty, "optimizer.safetensors", "size"),
    (Path.unlink, "state.json", "cannot be read"),
    (Path.unlink, "manifest.json", "is missing"),
    (empty, "manifest.json", "cannot be read"),
    (garbage, "manifest.json", "cannot be read"),
]


@pytest.mark.parametrize(("damage", "name", "reason"), DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_older_one_used(
    run: Path, undisturbed: dict, damage: Callable[[Path], None], name: str, reason: str
) -> None:
    damage(run / "checkpoints" / "step-00000006" / name)
    with pytest.raises(CheckpointError, match=reason):
        checkpoint.verify(run / "checkpoints" / "step-00000006")
    train_alone(run, **OPTIONS)
    said = (run.parent / "run.rank0.log").read_text()
    assert "from step 4 to 8" in said
    assert "damaged checkpoint" in said
    assert "step-00000006" in said
    assert name in said
    assert contents(run) == undisturbed
    assert steps_kept(run) == [8, 6]


def test_only_damaged_checkpoints_are_an_error(run: Path) -> None:
    for folder in (run / "checkpoints").iterdir():
        flip(folder / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"(?s)whole.*step-00000006.*step-00000004.*remove .*checkpoints to start over"
    ):
        toy.train(run, **OPTIONS)
    shutil.rmtree(run / "checkpoints")
    toy.train(run, **OPTIONS)


def test_a_temporary_folder_is_no_checkpoint(run: Path) -> None:
    (run / "checkpoints" / "step-00000006").rename(run / "checkpoints" / ".tmp-step-00000006")
    (run / "checkpoints" / ".tmp-step-00000008").mkdir()
    assert checkpoint.newest_whole(run / "checkpoints") == (run / "checkpoints" / "step-00000004", [])
    toy.train(run, **OPTIONS)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-00000006", "step-00000008"]


def test_a_pickle_in_place_of_weights_is_refused_unread(run: Path) -> None:
    marker = run / "marker"

    class Evil:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(marker),))

    folder = run / "checkpoints" / "step-00000006"
    for name in ("model.safetensors", "optimizer.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Evil()))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: checkpoint._identify(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        toy.train(run, **OPTIONS)
    assert not marker.exists()


def test_another_configuration_is_refused_with_the_differing_keys(run: Path) -> None:
    with pytest.raises(ValueError, match=r"optim\.lr: 0\.01 -> 0\.5") as refused:
        toy.train(run, **OPTIONS, lr=0.5, width=16)
    assert "model.width: 8 -> 16" in str(refused.value)
    assert "run.folder" in str(refused.value)
    assert "schedule.steps" not in str(refused.value)
    (run / "config.json").unlink()  # the checkpoint remembers as well
    with pytest.raises(ValueError, match=r"optim\.lr: 0\.01 -> 0\.5"):
        toy.train(run, **OPTIONS, lr=0.5)


def with_options(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """What is trained from here on has these options, too."""
    monkeypatch.setattr(
        toy, "run_training", lambda task, *, config, **rest: run_training(task, config={**config, **options}, **rest)
    )


def test_a_run_from_before_an_option_goes_on_where_it_is_off(
    run: Path, undisturbed: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (True, False, 0, "x"):
        with_options(monkeypatch, later=value)
        with pytest.raises(ValueError, match=rf"later: absent -> {json.dumps(value)}\n"):
            toy.train(run, **OPTIONS)
    with_options(monkeypatch, later=None, last=None)
    train_alone(run, **OPTIONS)
    assert contents(run)["model"] == undisturbed["model"]
    with_options(monkeypatch)
    assert toy.train(run, **OPTIONS)["train"]["steps"] == 8, "and an option that is gone does not matter either"


def test_other_data_is_refused(run: Path) -> None:
    with pytest.raises(ValueError, match=r"fingerprint\.train\.size: 37 -> 38"):
        toy.train(run, **OPTIONS, train=38)


def test_what_does_not_change_results_may_differ(run: Path, undisturbed: dict) -> None:
    options = OPTIONS | {"save_every": 3, "num_workers": 1, "micro_batch_size": 12, "keep_checkpoints": 1}
    toy.train(run, **options)
    assert contents(run) == undisturbed
    assert steps_kept(run) == [8]


def test_a_finished_run_returns_its_result_at_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = toy.train(run, **OPTIONS)
    asked = (run / "config.json").read_text()
    monkeypatch.setattr(toy.ToyTask, "build_model", None)
    assert toy.train(run, **OPTIONS) == result
    with pytest.raises(ValueError, match=r"optim\.lr"):
        toy.train(run, **OPTIONS, lr=0.5)
    with pytest.raises(ValueError, match=r"other data or another start.*\n  fingerprint\.train\.size: 37 -> 38"):
        toy.train(run, **OPTIONS, train=38)
    (run / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json is missing.*result\.json may be of other options; remove it"):
        toy.train(run, **OPTIONS, lr=0.5)
    (run / "config.json").write_text(asked)
    del result["fingerprint"]  # as results of early versions, which stay valid
    (run / "result.json").write_text(json.dumps(result))
    assert toy.train(run, **OPTIONS) == result


def test_a_second_run_in_the_folder_is_refused(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != "run.lock"}

    def during(pids: list[int]) -> None:
        while "from step" not in (run.parent / "run.rank0.log").read_text():
            assert os.waitpid(pids[0], os.WNOHANG) == (0, 0)
        with pytest.raises(RunFolderBusyError, match=f"process {pids[0]}"):
            toy.train(run, **OPTIONS)

    (run.parent / "run.rank0.log").write_text("")
    (outcome,) = launch(run, during=during, delay=0.05, **OPTIONS)
    assert outcome.code == 0, outcome.said
    assert before


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_full_disk_leaves_the_older_checkpoint(run: Path, undisturbed: dict, name: str) -> None:
    """From step 6 on no file may grow to the size of this one; the first that would stops the run."""
    limit = (run / "checkpoints" / "step-00000006" / name).stat().st_size - 1

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    (outcome,) = launch(run, prepare=at_event(0, full), **OPTIONS)
    assert outcome.code == 1
    assert "OSError" in outcome.said
    assert str(run / "checkpoints") in outcome.said
    assert "older checkpoints are untouched" in outcome.said
    assert steps_kept(run) == [6, 4]
    train_alone(run, **OPTIONS)
    assert contents(run) == undisturbed


def test_a_log_that_cannot_be_written_is_named(run: Path) -> None:
    def full(rank: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))

    (outcome,) = launch(run, prepare=at_step(7, full), **OPTIONS)
    assert outcome.code == 1
    assert "metrics.jsonl" in outcome.said
    assert steps_kept(run) == [6, 4]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/run: the run folder cannot be written: .*Give another --run.folder"):
        toy.train(tmp_path / "file" / "run", **OPTIONS)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "checkpoints").write_text("in the way")
    with pytest.raises(OSError, match=r"checkpoint of step 2.*checkpoints"):
        toy.train(folder, **OPTIONS)


def test_a_log_that_was_lost_does_not_matter(run: Path, undisturbed: dict) -> None:
    (run / "metrics.jsonl").unlink()
    toy.train(run, **OPTIONS)
    assert lines(run) == [line for line in undisturbed["metrics"] if line["step"] > 6]
