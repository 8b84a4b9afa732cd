"""The launchers as users call them. Importing the libraries takes seconds a process, so all of them run at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.engine.harness import contents, lines, steps_kept, train_alone

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "scripts" / "accelerate"
SCRIPT = str(ROOT / "tests" / "engine" / "toy.py")
OPTIONS = {"steps": 6, "eval_every": 4}
SLOW = {"steps": 10000, "delay": 0.01, "log_every": 1}


def start(folder: Path, launcher: list[str], **options: object) -> subprocess.Popen:
    words = [f"{name}={json.dumps(value)}" for name, value in options.items()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with folder.with_suffix(".log").open("w") as log:
        command = [*launcher, SCRIPT, str(folder), *words]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


TORCHRUN = module("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
ACCELERATE = module(
    "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no"
)


def test_launchers(tmp_path: Path) -> None:
    cpu2 = module("accelerate.commands.launch", "--config_file", str(CONFIGS / "cpu-2.yaml"))
    ending = {
        "python": start(tmp_path / "python", [sys.executable], **OPTIONS),
        "cpu-2": start(tmp_path / "cpu-2", cpu2, **OPTIONS),
    }
    stopping = {
        "torchrun": start(tmp_path / "torchrun", TORCHRUN, **SLOW),
        "accelerate": start(tmp_path / "accelerate", ACCELERATE, **SLOW),
    }
    everybody = {**ending, **stopping}

    def said(name: str) -> str:
        return (tmp_path / f"{name}.log").read_text()

    def wait_for(name: str, path: str, what: str) -> None:
        deadline = time.monotonic() + 150
        while not (tmp_path / name / path).exists():
            assert time.monotonic() < deadline, f"{name} {what}: {said(name)}"
            time.sleep(0.05)

    try:
        # A signal to a launcher: torchrun passes it on, accelerate's simple one dies and leaves its child running.
        for name, process in stopping.items():
            wait_for(name, "metrics.jsonl", "did not start")
            while not lines(tmp_path / name):
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
        for name in stopping:
            wait_for(name, "checkpoints", "did not save")
        for name, process in everybody.items():
            process.wait(timeout=100)
            assert (process.returncode == 0) == (name in ending), said(name)
    finally:
        for process in everybody.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert "world size 1 " in said("python")
    assert "world size 2 (MULTI_CPU, gloo)" in said("cpu-2")
    assert "world size 2 (MULTI_CPU, gloo)" in said("torchrun")
    assert "world size 1 " in said("accelerate")
    for name in stopping:
        deadline = time.monotonic() + 20
        while not list((tmp_path / name / "checkpoints").glob("step-*")) and time.monotonic() < deadline:
            time.sleep(0.05)  # the orphan of accelerate's launcher is still saving
        assert steps_kept(tmp_path / name)[0] > 0
    train_alone(tmp_path / "forked", **OPTIONS)
    assert contents(tmp_path / "forked") == contents(tmp_path / "python")
    ours, theirs = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("python", "cpu-2"))
    assert ours["metrics"].keys() == theirs["metrics"].keys()


def test_launch_files_are_complete() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    names = {"cpu-2", "gpu-1", "gpu-8", "gpu-2x8", "fsdp-8"}
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == names
    for name in names:
        path = CONFIGS / f"{name}.yaml"
        loaded = load_config_from_file(str(path))
        assert loaded.num_processes == yaml.safe_load(path.read_text())["num_processes"]
