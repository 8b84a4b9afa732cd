"""The runner: starts what can start until all cells of a study are finished, any number of times.

`queue` decides which cell is next, an executor (`executors`) starts it, and this module brings the two together and
records what came of each cell. One failing cell costs one cell: those that wait for it are named, all others run.

Several runners may work on one folder, on one machine or on several: each cell is run by one of them (`lock`), and each
stays until all cells have ended, to take over those of a runner that was killed.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaformer_nlp.study.protocol.file import study_to_mapping
from metaformer_nlp.study.protocol.study import Cell, Study
from metaformer_nlp.study.runner.cell import (
    NO_METRIC,
    Build,
    cell_folder,
    cell_lock,
    changed_keys,
    is_finished,
    read_outcome,
    write_json,
    write_outcome,
)
from metaformer_nlp.study.runner.changes import changes_since
from metaformer_nlp.study.runner.executors import make_executor
from metaformer_nlp.study.runner.executors.base import Ended, Executor, SubmissionRefused
from metaformer_nlp.study.runner.interrupts import STOP_SIGNALS, Interrupts, handling
from metaformer_nlp.study.runner.lock import Taken
from metaformer_nlp.study.runner.preflight import find_problems, head_comment, refuse_changes, refuse_folder, reopened
from metaformer_nlp.study.runner.progress import Progress, cells_and_trials
from metaformer_nlp.study.runner.queue import POLL, Queue
from metaformer_nlp.study.runner.sessions import Session, record_changes
from metaformer_nlp.study.words import listed

REFUSED_WAIT = 60.0  # seconds until a cluster that refused jobs is asked again
REFUSED_TIMES = 10  # refusals in a row after which the runner gives up


@dataclass
class Summary:
    """What became of the wanted cells when the runner returned, as keys.

    finished (now or before), failed, blocked (with the failed cell they wait for), passed_over (failed trials without
    which their arm has chosen), left (when the runner was interrupted; other runners may be at some of them).
    """

    finished: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def text(self) -> str:
        counts = f"{cells_and_trials(self.finished)} finished, {len(self.failed)} failed"
        return f"{counts}, {len(self.blocked)} waiting for a failed one, {len(self.left)} left."


def run_study(
    study: Study,
    folder: Path | str,
    build: Build,
    parallel: int | None = None,
    command: str = "",
    executor: str = "processes",
    options: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    further_seeds: Callable[[Study, Path], Study] = lambda study, folder: study,
) -> Summary:
    """Runs every cell that is not finished, at most `parallel` at once, and returns what became of them.

    `build` makes an experiment's configuration from a mapping (`command_line.from_dict`); `command` is for the report;
    `executor` and its `options` say where cells run (`executors`); `only` are patterns of the keys to run, with what
    they wait for. `further_seeds` gives the study the seeds that it has by what is finished in the folder
    (`analysis.more_seeds`), at the start and again when all cells have ended.

    Raises ValueError, before anything starts or is written, if a cell's configuration is wrong, its data is not there
    or a budget is broken (`preflight`), or if the folder holds finished cells that were run with other settings. If
    cells of two arms of a domain lack a metric that none has given, nothing more is started: the name is wrong in the
    study file, and all others would lack it, too. The same holds when a file of the user's own has changed or a cell
    was run elsewhere with another content, which is a ValueError at the end (`changes`).
    """
    folder = Path(folder).resolve()
    refuse_folder(study, folder)
    study = further_seeds(study, folder)
    while True:
        summary = _run(study, folder, build, parallel, command, executor, options or {}, only)
        longer = study if summary.interrupted or only else further_seeds(study, folder)
        if longer == study:
            return summary
        print(f"With {len(study.seeds)} seeds an interval is too wide (until): going on with seed {longer.seeds[-1]}.")
        study = longer


def _run(
    study: Study,
    folder: Path,
    build: Build,
    parallel: int | None,
    command: str,
    executor: str,
    options: Mapping[str, Any],
    only: Sequence[str],
) -> Summary:
    """Runs the cells of the seeds that the study has now."""
    queue = Queue(study, folder, only)
    refuse_changes(study, folder, list(queue.cells.values()))
    place = make_executor(executor, study, folder, build, parallel, options)
    if not queue.waiting:
        queue.settle()
        _write_study(folder, study)
        print(f"Nothing is left to run: {cells_and_trials(queue.wanted)} finished.")
        return _summary(queue, interrupted=False)
    wanted = [queue.cells[key] for key in queue.wanted]
    with ExitStack() as stack:
        stop = Interrupts()
        stack.enter_context(handling(dict.fromkeys(STOP_SIGNALS, stop.count)))
        stack.enter_context(place)
        waiting = [queue.cells[key] for key in queue.waiting]
        print("Checking settings, data and budgets ...", flush=True)
        find = functools.partial(find_problems, study, folder, build, waiting)
        if problems := place.check(find, lambda: stop.requests > 0):
            comment = head_comment(study, problems)
            raise ValueError(
                "\n  - ".join(["this study cannot be run as it is:", *problems]) + (comment and f"\n{comment}")
            )
        progress = Progress(study, folder, wanted, place.parallel)
        if place.bar:
            stack.enter_context(progress)
        progress.line(
            f"{cells_and_trials(queue.wanted)}, {len(queue.finished)} of them finished; {place.parallel} at once "
            f"({executor}); logs in {folder / 'logs'}"
        )
        if queue.passed_over:
            progress.line(
                f"Not tried again, because their arms have chosen without them: {', '.join(queue.passed_over)}; "
                "remove an arm's choice.json to have its trials run again."
            )
        if again := reopened(study, folder, waiting):
            progress.line(
                f"{cells_and_trials(again)} were finished before their arms' trials were: those whose tuned value "
                f"stays the same are kept, the others are put aside ({folder / 'replaced'}) and run again."
            )
        queue.settle()
        _write_study(folder, study)
        session = Session(folder, command, executor, place.parallel)
        runner = _Runner(folder, queue, place, stop, progress)
        try:
            runner.run()
        finally:
            session.end(interrupted=stop.requests > 0)
    summary = _summary(queue, stop.requests > 0)
    print(f"\n{summary.text}")
    if summary.interrupted and command:
        print(f"Interrupted. Go on with:\n  {command}")
    if runner.refused:
        raise ValueError(runner.refused)
    refuse_changes(study, folder, list(queue.cells.values()))  # runners that began at once may not have seen each other
    return summary


def _summary(queue: Queue, interrupted: bool) -> Summary:
    blocked = queue.blocked()
    left = [key for key in queue.wanted if (key in queue.waiting and key not in blocked) or key in queue.running]
    return Summary(queue.finished, queue.failed, blocked, queue.passed_over, left, interrupted)


def _write_study(folder: Path, study: Study) -> None:
    """The study as it is run from now on; what changes how finished cells are judged is said, and written down."""
    folder.mkdir(parents=True, exist_ok=True)
    if changed := record_changes(folder, study):
        print(
            f"Changed although results are there: {', '.join(changed)}. It is noted in {folder / 'sessions.jsonl'}, "
            "and the report will say so."
        )
    write_json(folder / "study.json", {"study": study_to_mapping(study), "text": study.text})
    (folder / "study.yaml").write_text(study.text, encoding="utf-8")


class _Runner:
    """One session: from the first cell to the last."""

    def __init__(self, folder: Path, queue: Queue, executor: Executor, stop: Interrupts, progress: Progress) -> None:
        self._folder, self._queue, self._executor = folder, queue, executor
        self._stop, self._progress = stop, progress
        self._look_at = 0.0
        self._refused = 0
        self._printed: set[str] = set()
        self._lacking: dict[tuple[str, bool], dict[str, None]] = {}  # (domain, trial or not) -> arms without a metric
        self._hopeless = ""  # why nothing more is started: what fails all cells of a domain is not tried with each
        self.refused = ""  # the same, if what is there is not to be gone on with

    def run(self) -> None:
        queue, executor, stop = self._queue, self._executor, self._stop
        for cell in executor.adopt([queue.cells[key] for key in queue.waiting]):
            queue.start(cell.key)
            self._progress.line(f"{cell.key} is running since an earlier start")
        while True:
            if not stop.requests and not self._hopeless:
                self._look()
            while queue.added:
                self._progress.add(queue.added.pop(0))
            if not stop.requests and not self._hopeless:
                self._start()
            if not queue.running and (stop.requests or self._hopeless or queue.is_over()):
                break
            for ended in executor.wait(0.5):
                self._record(ended)
            if stop.requests and queue.running:
                self._say(executor.stop(stop.requests))
        for key, culprit in queue.blocked().items():
            self._progress.line(f"{key} waits for a failed cell: {culprit}")
        if self._hopeless and not self.refused:
            self._progress.line(self._hopeless)

    def _look(self) -> None:
        """What other runners have done; less often where looking takes long."""
        if time.monotonic() < self._look_at:
            return
        began = time.monotonic()
        for key in self._queue.look():
            self._file(self._queue.cells[key], " elsewhere")
        if self._queue.unwritten:
            self._say(f"Waiting: a choice cannot be written down ({self._queue.unwritten})")
        self._look_at = time.monotonic() + max(POLL, 20 * (time.monotonic() - began))

    def _start(self) -> None:
        queue = self._queue
        if cells := queue.next(self._executor.parallel - len(queue.running)):
            for cell in cells:
                queue.start(cell.key)
            try:
                self._executor.start(cells, queue.before)
                self._refused = 0
            except SubmissionRefused as error:
                self._refused += 1
                if self._refused == REFUSED_TIMES:
                    raise ValueError(str(error)) from error
                for cell in cells:
                    queue.postpone(cell.key, REFUSED_WAIT)
                self._progress.line(f"{error}\nAsking again in {REFUSED_WAIT:.0f} s.")
            self._progress.running(sorted(queue.running))
        if not queue.running and (held := queue.held_elsewhere()) and not self._refused:
            self._say(f"Waiting for cells that other runners are at: {', '.join(held[:10])}")

    def _record(self, ended: Ended) -> None:
        """Files a cell that has ended; one that ended without a word (killed, crashed) has failed."""
        cell, queue = ended.cell, self._queue
        if not queue.has_new_outcome(cell.key):
            if ended.taken:
                queue.postpone(cell.key, POLL)
                return
            if not self._stop.requests and (changes := changes_since(cell)):  # then `run_cell` has not run it
                queue.postpone(cell.key, 0.0)
                self._refuse(changes)
                return
            if ended.stopped or self._stop.requests:
                self._stop.requests = max(1, self._stop.requests)
                queue.postpone(cell.key, 0.0)
                self._progress.line(f"{cell.key} {ended.stopped or 'stopped'}")
                return
            try:
                with cell_lock(self._folder, cell):
                    if not queue.has_new_outcome(cell.key):  # another runner may have gone on with it
                        write_outcome(self._folder, cell, ended.problem, ended.trace)
            except Taken:  # another runner has taken it over already
                queue.postpone(cell.key, POLL)
                return
            except OSError as error:  # the disk is full: the next start finds no outcome, and tries it again
                self._progress.line(f"{cell.key}: {ended.problem} (not recorded: {error})")
        queue.end(cell.key)
        self._file(cell, problem=ended.problem)

    def _file(self, cell: Cell, where: str = "", problem: str = "") -> None:
        if cell.key in self._queue.finished:
            self._progress.ended(cell, f"finished{where}")
            if changed := changed_keys(self._folder, cell):
                self._refuse(f"{cell.key} was run elsewhere with other files than are here: {listed(changed)}")
            return
        problem = str((read_outcome(self._folder, cell) or {"problem": problem})["problem"]).partition("\n")[0]
        self._progress.ended(cell, f"FAILED{where}: {problem} (see {cell_folder(self._folder, cell) / 'error.txt'})")
        if problem.startswith(NO_METRIC):
            self._lacks_metric(cell, problem)

    def _lacks_metric(self, cell: Cell, problem: str) -> None:
        """Gives up once that is not the arm's own fault: another arm lacks it, too, and none has ever given it."""
        kind = cell.domain, cell.trial is not None
        arms = self._lacking.setdefault(kind, {})
        arms[cell.arm] = None
        alike = [other for other in self._queue.cells.values() if (other.domain, other.trial is not None) == kind]
        if len(arms) < min(2, len({other.arm for other in alike})):
            return
        if not any(is_finished(self._folder, other) for other in alike):
            what = "cell" if cell.trial is None else "trial"
            self._hopeless = (
                f"Nothing more is started: no {what} of domain {cell.domain} has given the metric, and "
                f"{listed(list(arms))} lacked it: {problem} Correct the name in domains.{cell.domain}, and start again."
            )

    def _refuse(self, why: str) -> None:
        """Starts nothing more, since cells of two contents of one file would stand under one name."""
        self.refused = self._hopeless = f"Nothing more is started: {why}"

    def _say(self, line: str) -> None:
        """A line that is worth saying once."""
        if line and line not in self._printed:
            self._printed.add(line)
            self._progress.line(line)
