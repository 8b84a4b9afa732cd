"""One cell: its folder, its lock, and running it in this process, whoever started the process.

A cell's folder is the run folder of its experiment. The study adds to it: ``cell.json`` (what was asked for),
``outcome.json`` (what came of it: the result, or why there is none) and ``error.txt`` (the traceback of a failed cell).
What it prints (``<study>/logs``) and its lock (``<study>/locks``, see `lock`) lie outside, so that the folder can be
moved.

Its seconds are wall-clock time. Where it was started more than once they are those of all starts, as far as its
experiment remembers them: what came after the last checkpoint of a start that was killed is lost.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from metaformer_nlp.config.names import nearest
from metaformer_nlp.config.numbers import LARGEST, number, plain_data
from metaformer_nlp.engine.files import read_object, replace_text
from metaformer_nlp.engine.record import differences, environment
from metaformer_nlp.engine.signals import EXIT_CODE
from metaformer_nlp.study.protocol.study import AFTER, Cell
from metaformer_nlp.study.runner.changes import changed_files, changes_since, source_files
from metaformer_nlp.study.runner.lock import Hold, Taken, held, is_held

# Builds an experiment's configuration: (its Config class, the cell's mapping) -> a Config; ValueError names bad keys.
Build = Callable[[type, Mapping[str, Any]], Any]
Signature = tuple[int, int, int] | None  # of an outcome's file; None if there is none
NO_METRIC = "the result has no metric"  # how `result_problem` begins where the study names one that is not there


def cell_folder(study_folder: Path, cell: Cell) -> Path:
    return study_folder / "cells" / cell.key


def lock_file(study_folder: Path, cell: Cell) -> Path:
    return study_folder / "locks" / cell.key.replace("/", "--")


def log_file(study_folder: Path, cell: Cell) -> Path:
    return study_folder / "logs" / f"{cell.key.replace('/', '--')}.txt"


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no such file or it is damaged."""
    with suppress(ValueError):
        return read_object(path, "")
    return None


def read_study(folder: Path) -> dict[str, Any] | None:
    """What ``study.json`` says, its ``study`` and its ``text``; None if there is none, ValueError if it is damaged."""
    path = folder / "study.json"
    mend = (
        "put back a copy of it, or remove it and start the study again, with its study file as it was when its first "
        "results came in: what has changed since then can no longer be told"
    )
    stored = read_object(path, mend)
    if stored is not None and not isinstance(stored.get("study"), dict):
        raise ValueError(f"{path} is damaged (it has no study); {mend}")
    return stored


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes whole or not at all, whenever the process is killed or the disk is full (OSError)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(data, indent=1, default=str) + "\n")


def read_outcome(study_folder: Path, cell: Cell) -> dict[str, Any] | None:
    """What came of the cell as it is asked for now; None if it has not ended, or was another cell when it did."""
    outcome = read_json(cell_folder(study_folder, cell) / "outcome.json")
    return outcome if outcome and outcome.get("digest") == cell.digest else None


def outcome_signature(study_folder: Path, cell: Cell) -> Signature:
    """What is another if the outcome has been written again."""
    try:
        stat = (cell_folder(study_folder, cell) / "outcome.json").stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def is_finished(study_folder: Path, cell: Cell) -> bool:
    """Whether the cell's outcome holds every score the study needs."""
    return is_result(read_outcome(study_folder, cell), cell)


def is_result(outcome: Mapping[str, Any] | None, cell: Cell) -> bool:
    return bool(outcome and outcome.get("status") == "finished" and not result_problem(outcome.get("result"), cell))


def changed_keys(study_folder: Path, cell: Cell) -> list[str]:
    """Where a finished or running cell differs from what the study asks for now.

    Such as 'model.norm: "group_norm" -> "layer_norm"'. Unfinished cells that do not run may change.
    """
    folder = cell_folder(study_folder, cell)
    asked = read_json(folder / "cell.json")
    if not asked:
        return []
    then, now = asked.get("spec") or {}, cell.spec
    if asked.get("digest") == cell.digest:
        changed = changed_files(asked, cell)
    else:
        changed = differences(
            {"experiment": then.get("experiment"), **then.get("config", {})},
            {"experiment": now["experiment"], **now["config"]},
        )
    if not changed:
        return []
    finished = (read_json(folder / "outcome.json") or {}).get("status") == "finished"
    return changed if finished or is_held(lock_file(study_folder, cell)) else []


def result_problem(result: Any, cell: Cell) -> str | None:
    """Why the study cannot use this result; None if it can."""
    metrics = result.get("metrics") if isinstance(result, Mapping) else None
    if not isinstance(metrics, Mapping):
        return "the experiment's run() must return a mapping with 'metrics'"
    for key in cell.needs:
        if key not in metrics:
            return f"{NO_METRIC} {key!r}; {nearest(key, map(str, metrics))}"
        if number(metrics[key]) is None:
            shown = " ".join(repr(metrics[key]).split())[:100]
            return f"metric {key!r} is {shown} and not a finite number of at most {LARGEST:g}"
    return None


@contextmanager
def cell_lock(study_folder: Path, cell: Cell) -> Iterator[Hold]:
    """Holds the cell for this process; Taken if another process does."""
    with held(lock_file(study_folder, cell)) as claim:
        yield claim


def load_experiment(name: str) -> ModuleType:
    """The module a study names, dotted or as a path to a .py file; ValueError if it is no experiment."""
    if name.endswith(".py"):
        # Registered by its path: dataclasses and pickles look their module up in sys.modules.
        title = f"study_experiment_{Path(name).stem}"
        module = sys.modules.get(title)
        if module is None or module.__file__ != name:
            spec = importlib.util.spec_from_file_location(title, name)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[title] = module
            spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise  # the module is there, but something it imports is not
            raise ValueError(
                f"There is no module {name!r}; 'experiment' names one, such as my_package.my_experiment."
            ) from error
    if not isinstance(getattr(module, "Config", None), type) or not callable(getattr(module, "run", None)):
        raise ValueError(f"{name} is no experiment: it must define the dataclass Config and run(config) -> dict.")
    return module


def configure(cell: Cell, build: Build, folder: Path, study_folder: Path) -> tuple[ModuleType, Any]:
    """The cell's experiment and its configuration; ValueError if the configuration has a key it does not know."""
    module = load_experiment(cell.module or cell.experiment)
    config = dict(cell.config)
    if cell.after:
        config = fill_in(config, AFTER, str(study_folder / "cells" / cell.after[0]))
    config["run"] = {**config["run"], "folder": str(folder)}
    return module, build(module.Config, config)


def fill_in(value: Any, mark: str, text: str) -> Any:
    """`value`, plain data, with `mark` in its texts replaced by `text`."""
    if isinstance(value, Mapping):
        return {key: fill_in(inner, mark, text) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fill_in(inner, mark, text) for inner in value]
    return value.replace(mark, text) if isinstance(value, str) else value


def run_cell(
    study_folder: Path,
    cell: Cell,
    build: Build,
    before: Signature = None,
    stopping: Callable[[], bool] = lambda: False,
) -> bool:
    """Runs a cell in this process and writes its outcome. True if it is finished.

    One that has ended meanwhile at another runner, well or not, is not run: `before` is the outcome that was there when
    this process's runner came, such as a failure that this is another try after.

    What ends because it was told to stop has not failed and leaves no outcome: `stopping` says so, or the experiment by
    SystemExit(EXIT_CODE). One whose files have changed since its runner came is not run, and leaves none either. Raises
    Taken if another process runs the cell; OSError if the outcome cannot be written.
    """
    with cell_lock(study_folder, cell) as claim:
        outcome = read_outcome(study_folder, cell)
        if is_result(outcome, cell) or (outcome and outcome_signature(study_folder, cell) != before):
            return is_result(outcome, cell)  # another runner was faster
        if changes := changes_since(cell):
            print(f"Not run: {changes}", flush=True)
            return False
        folder = cell_folder(study_folder, cell)
        _make_room(study_folder, folder, cell)
        starts = _record_start(folder, cell)
        (folder / "outcome.json").unlink(missing_ok=True)
        (folder / "error.txt").unlink(missing_ok=True)
        started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
        result: Any = None
        stopped = False
        try:
            module, config = configure(cell, build, folder, study_folder)
            result = module.run(config)
            problem = result_problem(result, cell)
            result = plain_data(result)
            trace = ""
        except BaseException as error:  # a cell may end in SystemExit, too
            problem = _message(error)
            trace = traceback.format_exc()
            asked = isinstance(error, SystemExit) and error.code == EXIT_CODE
            stopped = asked or isinstance(error, KeyboardInterrupt)
        if stopped or (problem and stopping()):
            return False
        if claim.lost():
            raise Taken(cell.key)
        seconds = time.perf_counter() - clock
        known = number(result.get("seconds")) if starts > 1 and not problem else None
        if known is not None:  # of all starts, from the checkpoint: a start that was killed tells nothing
            seconds = max(seconds, known)
        write_outcome(study_folder, cell, problem, trace, result, started, seconds, environment("study cell", None))
        return problem is None


def _message(error: BaseException) -> str:
    """An error in words, though it may have none or ones that cannot be made."""
    try:
        text = str(error)
    except Exception as failed:
        text = f"its message cannot be shown ({type(failed).__name__})"
    return f"{type(error).__name__}: {text}"


def write_outcome(
    study_folder: Path,
    cell: Cell,
    problem: str | None,
    trace: str = "",
    result: Any = None,
    started: str = "",
    seconds: float | None = None,
    where: Mapping[str, Any] | None = None,
) -> None:
    """Records that a cell is finished, or failed of `problem`."""
    folder = cell_folder(study_folder, cell)
    folder.mkdir(parents=True, exist_ok=True)  # it may have been killed before it made it
    if problem:
        problem = problem.encode("utf-8", "backslashreplace").decode()  # half a character is none
        (folder / "error.txt").write_text(f"{problem}\n\n{trace}", encoding="utf-8", errors="backslashreplace")
    write_json(
        folder / "outcome.json",
        {
            "status": "failed" if problem else "finished",
            "digest": cell.digest,
            "problem": problem,
            "result": None if problem else result,
            "started": started,
            "seconds": seconds,
            "environment": where,
        },
    )


def _record_start(folder: Path, cell: Cell) -> int:
    """Writes down what is asked for; how many starts it has had with this one."""
    before, files = read_json(folder / "cell.json"), source_files(cell)
    starts = 1 if before is None else int(number(before.get("starts")) or 1) + 1
    asked = {"digest": cell.digest, "spec": cell.spec, "starts": starts, **({"files": files} if files else {})}
    write_json(folder / "cell.json", asked)
    return starts


def _make_room(study_folder: Path, folder: Path, cell: Cell) -> None:
    """Moves the rests of an unfinished cell that was asked for differently out of the way: a run never mixes two.

    So it does where what was asked for cannot be read any more.
    """
    asked = read_json(folder / "cell.json") or {}
    rests = {path.name for path in folder.iterdir()} - {"outcome.json", "error.txt"} if folder.exists() else ()
    if rests and (asked.get("digest") != cell.digest or changed_files(asked, cell)):
        target = study_folder / "replaced" / cell.key.replace("/", "--")
        target.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while target.with_name(f"{target.name}--{number}").exists():
            number += 1
        folder.rename(target.with_name(f"{target.name}--{number}"))
        print(
            f"The cell's settings or files have changed, or its cell.json is damaged; its unfinished run was moved to "
            f"{target}--{number}.",
            flush=True,
        )
    folder.mkdir(parents=True, exist_ok=True)
