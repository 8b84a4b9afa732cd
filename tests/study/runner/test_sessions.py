"""What a runner writes down of its starts, and of a protocol that changes after results are there."""

from __future__ import annotations

import copy
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.study.protocol.file import study_to_mapping
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report.write import build_report
from metaformer_nlp.study.runner.cell import cell_lock, write_json, write_outcome
from metaformer_nlp.study.runner.executors import make_executor
from metaformer_nlp.study.runner.executors.base import Ended
from metaformer_nlp.study.runner.interrupts import Interrupts
from metaformer_nlp.study.runner.progress import Progress
from metaformer_nlp.study.runner.queue import Queue
from metaformer_nlp.study.runner.runner import _Runner, run_study
from metaformer_nlp.study.runner.sessions import (
    Session,
    changes_named,
    changes_of,
    file_and_folder,
    record_changes,
    sessions_of,
)

Make = Callable[[dict[str, Any]], Study]
OLD = {"started": "2026-01-01", "seconds": 60, "command": "c", "parallel": 1, "cpu_count": 2, "interrupted": True}
FIRST = {"started": "2026-01-02T00:00:00.001", "command": "first", "host": "a", "parallel": 1, "cpu_count": 2}
SECOND = {**FIRST, "started": "2026-01-02T00:00:00.002", "command": "second"}
CHANGE = {"changed": {"claim": [None, {"arm": "pooling", "retains": 0.9}]}, "finished": 3, "time": "2026-01-03"}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "sessions.jsonl").read_text().splitlines()]


def test_a_session_is_known_from_its_start(tmp_path: Path) -> None:
    session = Session(tmp_path, "python run", "inline", 1)
    (start,) = lines(tmp_path)
    assert start["host"] == platform.node()
    assert (start["command"], start["executor"], start["parallel"]) == ("python run", "inline", 1)
    assert start["cpu_count"] >= 1
    session.end(interrupted=True)
    end = lines(tmp_path)[1]
    assert set(end) == {"started", "seconds", "interrupted"}
    assert end["started"] == start["started"]
    assert end["interrupted"]


def test_judging_otherwise_after_results_is_written_down(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    """The first result makes it a change; before that a study file may be written at leisure."""

    def changes(study: Study) -> dict[str, list[Any]]:
        changed = record_changes(tmp_path, study)
        write_json(tmp_path / "study.json", {"study": study_to_mapping(study)})
        return changed

    study_data["domains"]["vision"]["tune"] = {"key": "seconds", "values": [0, 1], "metric": "validation/accuracy"}
    original = copy.deepcopy(study_data)
    study_data["claim"] = {"arm": "pooling", "retains": 0.9}
    assert changes(make_study(original)) == {}
    assert changes(make_study(study_data)) == {}, "nothing has run"
    cells = make_study(study_data).cells()
    write_outcome(tmp_path, cells[0], "it failed")
    assert changes(make_study(original)) == {}, "nothing has been seen"
    write_outcome(tmp_path, cells[1], None, result={"metrics": {}})
    study_data["claim"]["retains"] = 0.8
    study_data["references"] = ["identity"]
    seeds, study_data["seeds"] = study_data["seeds"], [0, 1, 2]
    vision = study_data["domains"]["vision"]
    values = vision["tune"]["values"]
    vision |= {"margin": 0.05, "equal": {"steps": 0.0}, "chance": 0.2, "metric": "validation/other"}
    vision["tune"] |= {"metric": "validation/loss", "values": [*vision["tune"]["values"], 0.7]}
    expected = {
        "references": [None, ["identity"]],
        "claim": [None, {"arm": "pooling", "retains": 0.8}],
        "domains.vision.metric": ["validation/accuracy", "validation/other"],
        "domains.vision.chance": [0.1, 0.2],
        "domains.vision.margin": [None, 0.05],
        "domains.vision.equal": [{}, {"steps": 0.0}],
        "domains.vision.tune.metric": ["validation/accuracy", "validation/loss"],
        "domains.vision.tune.values": [values, [*values, 0.7]],
        "seeds": [seeds, [0, 1, 2]],
    }
    assert changes(make_study(study_data)) == expected
    assert changes(make_study(study_data)) == {}, "said once"
    study_data["seeds"] = [0]
    assert changes(make_study(study_data)) == {"seeds": [[0, 1, 2], [0]]}
    assert [(line["changed"], line["finished"]) for line in lines(tmp_path)] == [
        (expected, 1),
        ({"seeds": [[0, 1, 2], [0]]}, 1),
    ]


def test_what_an_arm_is_cannot_change_in_silence(study_data: dict[str, Any], make_study: Make, tmp_path: Path) -> None:
    """Its family of comparisons, and which of its finished cells are looked at."""
    before = make_study(study_data)
    write_json(tmp_path / "study.json", {"study": study_to_mapping(before)})
    write_outcome(tmp_path, before.cells()[0], None, result={"metrics": {}})
    study_data["arms"]["pooling"] |= {"kind": "variant", "of": "attention", "domains": ["text"], "seeds": [0]}
    study_data["arms"]["no_residual"] |= {"domains": ["text"]}
    changed = record_changes(tmp_path, make_study(study_data))
    assert changed == {
        "arms.no_residual.domains": [None, ["text"]],
        "arms.pooling.kind": ["mixer", "variant"],
        "arms.pooling.of": [None, "attention"],
        "arms.pooling.domains": [None, ["text"]],
        "arms.pooling.seeds": [None, [0]],
    }


def test_changes_of_studies_side_by_side_say_whose_they_are() -> None:
    change, start = '{"changed": {"claim": [null, 1]}, "finished": 1, "time": "now"}', '{"started": "then"}'
    named = changes_named([start, change, "torn"], "text")
    assert (named[0], named[2]) == (start, "torn")
    assert json.loads(named[1]) == {**json.loads(change), "study": "text"}
    assert changes_named(named, "other") == named, "a merged report can be merged again"


def test_the_runner_notes_changes_and_keeps_a_refused_study_out(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_data["seeds"], study_data["domains"] = [0], {"text": study_data["domains"]["text"]}
    run_study(make_study(study_data), tmp_path, from_dict, executor="inline")
    before = (tmp_path / "study.json").read_bytes()
    study_data["domains"]["text"]["margin"] = 0.02
    study_data["arms"]["new"] = {"kind": "mixer", "set": {"model.token_mxer": "pooling"}}
    with pytest.raises(ValueError, match="text/new"):
        run_study(make_study(study_data), tmp_path, from_dict, executor="inline")
    assert (tmp_path / "study.json").read_bytes() == before
    assert len(lines(tmp_path)) == 2, "what was refused has not started"
    del study_data["arms"]["new"]
    run_study(make_study(study_data), tmp_path, from_dict, executor="inline")
    assert "Changed although results are there: domains.text.margin." in capsys.readouterr().out
    assert lines(tmp_path)[2]["changed"] == {"domains.text.margin": [None, 0.02]}
    assert lines(tmp_path)[2]["finished"] == 4


def test_a_cell_that_another_runner_holds_has_not_failed(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    """Its process died here, and another runner took it over before this one could write that down."""
    study, key = make_study(study_data), "text/attention/seed-0"
    schedule = Queue(study, tmp_path, [key])
    cell = schedule.cells[key]
    progress = Progress(study, tmp_path, [cell], parallel=1)
    place = make_executor("inline", study, tmp_path, from_dict, None, {})
    runner = _Runner(tmp_path, schedule, place, Interrupts(), progress)
    schedule.start(key)
    with cell_lock(tmp_path, cell):
        runner._record(Ended(cell, "the process was killed"))
    assert (list(schedule.waiting), schedule.failed) == ([key], [])
    schedule.start(key)
    runner._record(Ended(cell, "the process was killed"))
    assert (list(schedule.waiting), schedule.failed) == ([], [key])


def test_arms_that_are_the_same_run_show_no_difference(
    study_data: dict[str, Any], make_study: Make, tmp_path: Path
) -> None:
    """From the runner to the page: identical configurations give identical scores, and nothing may come of them."""
    arm = {"kind": "mixer", "set": {"model.token_mixer": "pooling"}}
    study_data["arms"] = {name: copy.deepcopy(arm) for name in ("attention", "second", "third")}
    study_data["domains"] = {"text": study_data["domains"]["text"] | {"margin": 0.02}}
    study_data["seeds"] = [0, 1, 2, 3, 4]  # of fewer runs that score the same nothing is concluded
    assert len(run_study(make_study(study_data), tmp_path, from_dict, executor="inline").finished) == 15
    page = build_report(tmp_path)
    report = json.loads(page.with_name("report.json").read_text())
    for name in ("second", "third"):
        difference = report["domains"]["text"]["arms"][name]["against"]["attention"]
        assert difference["estimate"]["value"] == 0.0
        assert difference["word"] == "equal"


@pytest.mark.parametrize(
    ("values", "added", "kept"),
    [(["attention", "pooling"], "identity", True), (["identity", "pooling"], "attention", False)],
)
def test_a_value_that_is_added_is_tried_and_cells_stay_where_the_choice_does(
    study_data: dict[str, Any],
    make_study: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    values: list[str],
    added: str,
    kept: bool,
) -> None:
    tune = {"key": "model.token_mixer", "values": values, "metric": "validation/accuracy"}
    study_data["domains"] = {"vision": study_data["domains"]["vision"] | {"tune": tune}}
    study_data["seeds"] = [0]
    run_study(make_study(study_data), tmp_path, from_dict, executor="inline")
    outcome = tmp_path / "cells/vision/pooling/seed-0/outcome.json"
    before = outcome.read_bytes()
    tune["values"] = [*values, added]
    study = make_study(study_data)
    if not kept:  # as a start that is interrupted when the arms have chosen
        run_study(study, tmp_path, from_dict, executor="inline", only=["vision/*/trial-2"])
    run_study(study, tmp_path, from_dict, executor="inline")
    assert "4 cells were finished before their arms' trials were" in capsys.readouterr().out
    assert (outcome.read_bytes() == before) == kept
    assert (tmp_path / "replaced").exists() != kept
    changes = [line["changed"] for line in lines(tmp_path) if "changed" in line]
    assert changes == [{"domains.vision.tune.values": [values, [*values, added]]}]


def test_starts_are_brought_together_with_their_ends() -> None:
    end = {"started": SECOND["started"], "seconds": 5.0, "interrupted": True}
    written = [*map(json.dumps, (OLD, FIRST, SECOND, CHANGE, end)), '{"started": "2026-01-0']
    old, killed, second = sessions_of(written)
    assert old == OLD
    assert (killed["command"], killed["seconds"], killed["interrupted"]) == ("first", None, False)
    assert (second["command"], second["seconds"], second["interrupted"]) == ("second", 5.0, True)
    assert changes_of(written) == [CHANGE]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python scripts/run_study.py run a/b.yaml", ("a/b.yaml", None)),
        ("python scripts/run_study.py run --folder x b.yaml --only c d", ("b.yaml", "x")),
        ("python scripts/run_study.py run b.yaml --only c d --folder='my runs' --parallel 2", ("b.yaml", "my runs")),
        ("python scripts/run_study.py run --slurm time=5 mem=2 --parallel 2 b.yaml --fol x", ("b.yaml", "x")),
        ("metaformer run_study run recipe:studies/quick --folder x", ("recipe:studies/quick", "x")),
        ("python scripts/run_study.py report x", None),
        ("", None),
    ],
)
def test_the_file_and_the_folder_are_found_in_a_command(command: str, expected: tuple[str, str | None] | None) -> None:
    assert file_and_folder(command) == expected
