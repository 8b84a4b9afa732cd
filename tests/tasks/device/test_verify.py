"""The examination of a device: from bare libraries, in its time, with what is wrong by name, and killed on the way."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from metaformer_nlp.core.mixers.pooling import Pooling
from tasks.device import correctness, machine, page, runs, verify
from tasks.device.options import SECTIONS, DeviceConfig
from tasks.device.reference import cases

ROOT = Path(__file__).parents[3]
# What a bare GPU image lacks is not found there, as if it were not installed.
BARE = """
import sys
from importlib.machinery import PathFinder
missing = {"datasets", "evaluate", "jsonargparse", "sklearn", "scipy", "pandas", "matplotlib"}
missing |= {"rich", "pyarrow", "pycocotools"}
find = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, path=None, target=None: None if name.partition(".")[0] in missing else find(name, path, target)
)
import runpy
sys.argv = ["verify_device.py", *sys.argv[1:]]
runpy.run_path("scripts/verify_device.py", run_name="__main__")
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-c", BARE, "--device", "cpu", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def examined(
    folder: Path, monkeypatch: pytest.MonkeyPatch, budget: float = 60, **sections: Any
) -> tuple[int, list[dict]]:
    """The status and the results of an examination of which only the named parts are run."""
    monkeypatch.setattr(runs, "killed", lambda machine: [])
    monkeypatch.setattr(correctness, "_compiled", lambda machine, case: [])
    code = verify.run(DeviceConfig("cpu", budget, str(folder), ("correctness",)), time.monotonic())
    return code, json.loads((folder / "results.json").read_text())["results"]


def test_the_short_form_on_bare_libraries(tmp_path: Path) -> None:
    process = start("--budget", "45", "--output", str(tmp_path / "device"))
    began = time.monotonic()
    said, _ = process.communicate(timeout=150)
    assert process.returncode == 0, said[-3000:]
    assert time.monotonic() - began < 100  # the budget is kept; other processes may slow this one's start and end
    content = json.loads((tmp_path / "device" / "results.json").read_text())
    rows = list(csv.DictReader((tmp_path / "device" / "results.csv").open()))
    report = (tmp_path / "device" / "report.md").read_text()
    assert content["state"].startswith("finished in ")
    assert content["state"] in report
    assert len(rows) == len(content["results"])
    assert {row["section"] for row in rows} == set(SECTIONS)
    assert not [row for row in rows if row["verdict"] in ("FAILED", "error")]
    assert all(f"## {section}" in report for section in SECTIONS)


def test_a_killed_examination_leaves_what_it_found(tmp_path: Path) -> None:
    process = start("--budget", "60", "--output", str(tmp_path))
    try:
        while len(rows := _results(tmp_path / "results.json")) < 5:
            assert process.poll() is None, process.stdout.read()[-2000:] if process.stdout else ""
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()
    # The table is written after the results: a kill between the two leaves it one row behind.
    assert len(list(csv.DictReader((tmp_path / "results.csv").open()))) >= len(rows) - 1 >= 4
    assert "still running, or killed" in (tmp_path / "report.md").read_text()


def _results(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["results"] if path.is_file() else []


@pytest.mark.parametrize("where", ["everywhere", "in float32 alone"])
def test_a_wrong_kernel_is_named(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pooling that is off by a hundredth: in all precisions, the CPU's own too, or in the device's float32 alone."""
    right = Pooling.forward

    def wrong(self: Pooling, x: torch.Tensor, segment_ids: Any = None) -> torch.Tensor:
        mixed = right(self, x, segment_ids)
        return mixed * 1.01 if where == "everywhere" or x.dtype == torch.float32 else mixed

    monkeypatch.setattr(Pooling, "forward", wrong)
    monkeypatch.setattr(correctness, "cases", few)
    code, results = examined(tmp_path, monkeypatch)
    assert code == 1
    found = {result["subject"] for result in results if result["verdict"] == "FAILED"}
    assert {"pooling, text", "pooling, packed text", "pooling, image"} <= found
    assert all("pooling" in subject for subject in found)
    assert "| FAILED | correctness | pooling, text |" in (tmp_path / "report.md").read_text()


def few() -> Iterator[Any]:
    return (case for case in cases() if case.name.startswith(("pooling", "shift", "text model with attention")))


def test_one_failure_does_not_end_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = correctness._numbers

    def failing(machine: Any, case: Any, known: Any) -> Iterator[page.Result]:
        if case.name == "pooling, text":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return numbers(machine, case, known)

    monkeypatch.setattr(correctness, "_numbers", failing)
    monkeypatch.setattr(correctness, "cases", few)
    code, results = examined(tmp_path, monkeypatch)
    assert code == 1
    (error,) = [result for result in results if result["verdict"] == "error"]
    assert error["subject"] == "pooling, text"
    assert error["note"] == "OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB"
    assert "pooling, image" in {result["subject"] for result in results if result["verdict"] == "passed"}


@pytest.mark.parametrize("wrapped", [False, True], ids=["plainly", "by a compiler"])
def test_what_takes_too_long_is_interrupted_and_named(
    wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: Any) -> None:
        try:
            time.sleep(30)
        except machine.OutOfTimeError as error:
            raise RuntimeError(f"OutOfTimeError: {error}") if wrapped else error  # noqa: B904

    monkeypatch.setattr(correctness, "_numbers", slow)
    monkeypatch.setattr(correctness, "cases", few)
    began = time.monotonic()
    code, results = examined(tmp_path, monkeypatch, budget=1.5)
    assert time.monotonic() - began < 10
    assert code == 0
    assert {result["verdict"] for result in results} == {"not measured"}


def test_what_is_interrupted_leaves_gradients_on() -> None:
    """As where the signal comes while a no_grad ends."""

    def examine() -> list[Any]:
        torch.set_grad_enabled(False)
        raise machine.OutOfTimeError(machine.LATE)

    limited = machine.Machine(torch.device("cpu"), "images", time.monotonic() + 60)
    (result,) = limited.attempt("model", "training", examine)
    assert result.verdict == "not measured"
    assert torch.is_grad_enabled()


def test_a_killed_run_goes_on_alike_and_one_that_does_not_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are made different only after they were read: what was read is the same."""
    read, found = runs.weights, []

    def damaged(folder: Path) -> dict[str, torch.Tensor]:
        found.append(read(folder))
        return {name: tensor + (folder.name == "cut") for name, tensor in found[-1].items()}

    monkeypatch.setattr(runs, "weights", damaged)
    (result,) = runs.killed(machine.Machine(torch.device("cpu"), "correctness", time.monotonic() + 120))
    assert all(torch.equal(tensor, found[-1][name]) for name, tensor in found[0].items())
    assert (result.verdict, result.value) == ("FAILED", len(found[0]))


def test_a_number_that_is_none_fails() -> None:
    assert page.Result.check("a", "b", "c", "d", float("nan"), 1.0).verdict == "FAILED"
