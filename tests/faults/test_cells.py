"""Whatever ends a cell leaves its reason, and what an experiment returns never keeps the report from being written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.protocol.file import study_from_mapping
from metaformer_nlp.study.report.write import build_report
from metaformer_nlp.study.runner.runner import run_study

EXPERIMENT = """
import os, signal, sys
from dataclasses import dataclass, field
import numpy as np
import torch

@dataclass(frozen=True)
class Run:
    folder: str = ""
    seed: int = 0

@dataclass(frozen=True)
class Config:
    run: Run = field(default_factory=Run)
    trouble: str = ""

class Dumb(Exception):
    def __str__(self):
        raise ValueError("no words")

class Endless:
    def __str__(self):
        return str(self)

def throw(error):
    raise error

def deep():
    return deep()

def last_words(status):
    os.write(2, b"caf\\xe9 \\x00 \\xff last words\\n")
    os._exit(status)

def own():
    found = {"metrics": {"accuracy": 0.5}}
    found["found"] = found
    return found

def metric(value):
    return {"metrics": {"accuracy": value, "other": float("nan")}}

TROUBLES = {
    "": lambda: metric(0.5),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "real-time": lambda: os.kill(os.getpid(), 40),
    "exit-0": lambda: last_words(0),
    "exit-77": lambda: last_words(77),
    "dumb": lambda: throw(Dumb()),
    "surrogate": lambda: throw(RuntimeError("half \\ud800 of it")),
    "recursion": deep,
    "memory": lambda: throw(MemoryError("all of it")),
    "text": lambda: sys.exit("said on the way out"),
    "group": lambda: throw(ExceptionGroup("two", [ValueError("a"), OSError("b")])),
    "full": lambda: throw(OSError(28, "No space left on device", "somewhere")),
    "circle": own,
    "endless": lambda: {**metric(0.5), "more": Endless()},
    "nothing": lambda: None,
    "list": lambda: {"metrics": [0.5]},
    "nan": lambda: metric(float("nan")),
    "inf": lambda: metric(np.float32("inf")),
    "huge": lambda: metric(10**400),
    "large": lambda: metric(1e200),
    "bool": lambda: metric(True),
    "word": lambda: metric("0.5"),
    "nested": lambda: metric({"mean": 0.5}),
    "pair": lambda: metric(torch.tensor([0.5, 0.6])),
    "numpy": lambda: metric(np.float32(0.25)),
    "tensor": lambda: metric(torch.tensor(0.25, dtype=torch.bfloat16, requires_grad=True)),
    "odd-costs": lambda: {
        **metric(0.25), "macs": float("nan"), "parameters": [1], "train": {"steps": "ten", "tokens": np.int64(7)},
        "seconds": float("inf"), (1, 2): {"\\ud800"}, "array": np.array([1.0, np.nan]), "where": torch.device("cpu"),
    },
}

def run(config):
    return TROUBLES[config.trouble]()
"""
FAILS = {
    "dumb": "Dumb: its message cannot be shown (ValueError)",
    "surrogate": r"RuntimeError: half \ud800 of it",
    "recursion": "RecursionError: maximum recursion depth exceeded",
    "memory": "MemoryError: all of it",
    "text": "SystemExit: said on the way out",
    "group": "ExceptionGroup: two (2 sub-exceptions)",
    "full": "OSError: [Errno 28] No space left on device: 'somewhere'",
    "circle": "RecursionError: maximum recursion depth exceeded",
    "endless": "RecursionError: maximum recursion depth exceeded",
    "nothing": "must return a mapping with 'metrics'",
    "list": "must return a mapping with 'metrics'",
    "nan": "metric 'accuracy' is nan and not a finite number",
    "inf": "metric 'accuracy' is np.float32(inf) and not a finite number",
    "large": "metric 'accuracy' is 1e+200 and not a finite number of at most 1e+100",
    "huge": "and not a finite number",
    "bool": "metric 'accuracy' is True and not a finite number",
    "word": "metric 'accuracy' is '0.5' and not a finite number",
    "nested": "metric 'accuracy' is {'mean': 0.5} and not a finite number",
    "pair": "metric 'accuracy' is tensor([0.5000, 0.6000]) and not a finite number",
}
KILLS = {
    "killed": "killed by SIGKILL (out of memory?)",
    "real-time": "killed by signal 40",
    "exit-0": "ended with status 0 and left no outcome",
    "exit-77": "ended with status 77 and left no outcome",
}
WORKS = ["numpy", "tensor", "odd-costs"]


def study_of(folder: Path, troubles: list[str], **changes: Any) -> Any:
    (folder / "troubles.py").write_text(EXPERIMENT)
    arms = {"base": {"kind": "mixer", "set": {}}}
    arms |= {name: {"kind": "mixer", "set": {"trouble": name}} for name in troubles}
    domain = {"experiment": "troubles.py", "config": {}, "metric": "accuracy", "chance": 0.1, **changes}
    data = {"name": "s", "question": "?", "baseline": "base", "seeds": [0], "domains": {"d": domain}, "arms": arms}
    return study_from_mapping(data, "file", folder)


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_every_end_leaves_its_reason(executor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails = FAILS | (KILLS if executor == "processes" else {})
    summary = run_study(study_of(tmp_path, [*fails, *WORKS]), tmp_path, from_dict, executor=executor)
    assert sorted(summary.failed) == sorted(f"d/{name}/seed-0" for name in fails)
    said = capsys.readouterr().out
    for name, reason in fails.items():
        place = tmp_path / "cells/d" / name / "seed-0"
        assert reason in json.loads((place / "outcome.json").read_text())["problem"], name
        assert reason in (place / "error.txt").read_text(encoding="utf-8"), name
        assert reason in said, f"{name} is told at once"
    if executor == "processes":
        assert "caf\ufffd \x00 \ufffd last words" in (tmp_path / "cells/d/exit-77/seed-0/error.txt").read_text()
    report = build_report(tmp_path)
    page = report.with_name("report.md").read_text(encoding="utf-8")
    assert "half" in page
    rows = {row["arm"]: row for row in json.loads(report.with_name("report.json").read_text())["cells"]}
    assert [rows[name]["score"] for name in WORKS] == [0.25] * 3
    odd = rows["odd-costs"]
    assert [odd[key] for key in ("macs", "total", "steps", "tokens")] == [None, None, None, 7]
    json.loads((tmp_path / "cells/d/odd-costs/seed-0/outcome.json").read_text(), parse_constant=pytest.fail)


def test_a_study_whose_cells_all_fail_has_a_report(tmp_path: Path) -> None:
    study = study_of(tmp_path, ["nan"], set={"trouble": "inf"})  # the baseline's
    assert len(run_study(study, tmp_path, from_dict, executor="inline").failed) == 2
    assert "np.float32(inf) and not a finite number" in build_report(tmp_path).with_name("report.md").read_text()
