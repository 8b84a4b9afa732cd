"""Trainings of a minute: their commands exist, progress is what the engine writes, and a stop breaks nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.demo.trainer import MIXERS, RUNS, ShortRun, Trainer, _stand, command
from tasks.demo.training import train

LINES = '{"step": 1, "loss": 2.5, "lr": 0.1}\n{"step": 2, "validation/loss": 2.0}\n'
PRETENDED = f"""
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "metrics.jsonl").write_text('''{LINES}''')
while not (folder / "go").exists():
    time.sleep(0.02)
"""


@pytest.mark.parametrize("name", list(RUNS))
def test_the_options_of_each_run_exist(name: str, tmp_path: Path) -> None:
    words = [*command(RUNS[name], tmp_path / "run", MIXERS[0]), "--print_config"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"steps: {RUNS[name].steps}" in done.stdout


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Trainer:
    """A training that writes one line and goes on until the file ``go`` is there; or what a test makes of it."""

    def words(run: ShortRun, folder: Path, mixer: str) -> list[str]:
        return [sys.executable, "-c", PRETENDED, str(folder)]

    monkeypatch.setattr("tasks.demo.trainer.command", words)
    return Trainer(tmp_path)


def test_progress_is_what_the_engine_writes(pretended: Trainer) -> None:
    stands = pretended.run("digits", "pooling")
    first = next(stand for stand in stands if stand.loss is not None)
    assert (first.step, first.steps, first.loss) == (1, RUNS["digits"].steps, 2.5)
    assert pretended.running() == ["digits_pooling"]
    with (pretended.run_folder("digits", "pooling") / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')  # it is being written
    joined = pretended.run("digits", "pooling")
    assert next(joined).step == 1
    (pretended.run_folder("digits", "pooling") / "go").touch()
    assert list(stands)[-1].step == list(joined)[-1].step == RUNS["digits"].steps
    assert pretended.running() == []


def test_progress_of_a_task_among_several_is_found(tmp_path: Path) -> None:
    """Fine-tuning writes into a folder for each task."""
    (tmp_path / "order").mkdir()
    (tmp_path / "order/metrics.jsonl").write_text('{"step": 300, "loss": 0.5, "lr": 0.1}\n')
    assert _stand(tmp_path, RUNS["digits"]).step == 300
    assert _stand(tmp_path / "order", RUNS["digits"]).loss == 0.5


def test_a_stop_ends_the_process_and_the_page_says_so(pretended: Trainer) -> None:
    stands = pretended.run("digits", "attention")
    next(stands)
    pretended.stop()
    assert pretended.running() == []
    with pytest.raises(ValueError, match=r"The training was stopped\. The same button goes on"):
        list(stands)


def test_what_the_training_says_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failing = "import sys; print('error: the disk is full'); sys.exit(2)"
    monkeypatch.setattr("tasks.demo.trainer.command", lambda *_: [sys.executable, "-c", failing])
    html = train(Trainer(tmp_path), "digits", "pooling", None)
    assert "The training stopped: the disk is full" in html
    assert "The page trains digits" in train(Trainer(tmp_path), "digits", "../other", None)
    assert "The page trains digits" in train(Trainer(tmp_path), "other", "pooling", None)


def test_a_folder_that_cannot_be_made_gets_a_sentence(pretended: Trainer) -> None:
    pretended.folder = pretended.folder / "file"
    pretended.folder.write_text("no folder")
    assert "This did not work (FileExistsError)" in train(pretended, "digits", "pooling", None)


@pytest.mark.slow
def test_a_run_ends_as_a_model_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNS, "digits", ShortRun("Digits", "train_vision", "digits", 2))
    html = train(Trainer(tmp_path), "digits", "pooling", None)
    assert "Trained." in html
    assert "accuracy" in html
    assert (tmp_path / "digits_pooling/model/model.safetensors").is_file()
