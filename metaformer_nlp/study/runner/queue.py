"""What is decided: which cells are wanted, which can start now, which wait for one that has failed.

The outcomes on disk are all that runners of one folder tell each other. A `Queue` reads them again from time to time
and remembers what it has read, so that deciding stays cheap with thousands of cells.
"""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from metaformer_nlp.config.names import nearest
from metaformer_nlp.study.protocol.study import Cell, Study, make_cell
from metaformer_nlp.study.runner.cell import Signature, is_result, lock_file, outcome_signature, read_outcome
from metaformer_nlp.study.runner.changes import source_files
from metaformer_nlp.study.runner.lock import is_held
from metaformer_nlp.study.runner.tuning import Chosen, Tuning, tunings

POLL = 2.0  # seconds until other runners' cells are looked at again


class Queue:
    """The cells of a study, as keys: finished, failed, running (somewhere this runner watches), and waiting.

    A cell that failed before this runner came is waiting: it is tried once more, and nothing is chosen without a trial
    that is. One that fails from now on, here or at another runner, is not: `before` has the outcomes of waiting cells
    when this runner came. `passed_over` are failed trials of arms whose choice stands without them. `added` are trials
    of further values, which are wanted since some trials of their arm have ended; who has seen them empties it.
    """

    def __init__(self, study: Study, folder: Path, only: Sequence[str] = ()) -> None:
        self._study, self._folder = study, folder
        found = tunings(study, folder, given_up=())
        self._chosen: Chosen = {place: its.value for place, its in found.items() if its.choice}
        self._tried = {place: its.numbers for place, its in found.items()}
        self._files: dict[str, str] = {}  # the user's own, as they are now
        self.cells: dict[str, Cell] = {}
        self._add([*study.trials(self._chosen, self._tried), *study.cells(self._chosen)])
        self.wanted = select(self.cells, only)
        self.added: list[Cell] = []
        self.finished: list[str] = []
        self.failed: list[str] = []
        self.passed_over: list[str] = []
        self.running: set[str] = set()
        self.waiting: dict[str, None] = {}  # in the order in which they start
        self.unwritten = ""  # why a choice could not be written down
        self._done: set[str] = set()  # finished, wanted or not
        self._seen: dict[str, tuple[Signature, Cell, str | None]] = {}
        self._again: dict[str, float] = {}
        for key in self.wanted:
            cell, status = self.cells[key], self._status(key)
            if status == "finished":
                self.finished.append(key)
            elif status == "failed" and cell.trial is not None and (cell.domain, cell.arm) in self._chosen:
                self.passed_over.append(key)
            else:
                self.waiting[key] = None
        self.before = {key: self._seen[key][0] for key in self.waiting}

    def settle(self) -> None:
        """Chooses where all trials of an arm are finished, and writes it down, so that the choice stands."""
        self._choose({})

    def look(self) -> list[str]:
        """Reads what other runners have done meanwhile: the keys of waiting cells that have ended there."""
        found = []
        for key in list(self.waiting):
            status = self._status(key)
            if status == "finished" or (status == "failed" and self._seen[key][0] != self.before[key]):
                self.end(key)
                found.append(key)
        if self.unwritten or self._may_be_chosen():
            self._choose(self._chosen)
        return found

    def next(self, limit: int) -> list[Cell]:
        """Up to `limit` cells that can start now, in order. One that another process holds is looked at again later."""
        found: list[Cell] = []
        now = time.monotonic()
        for key in self.waiting if limit > 0 else ():
            if self._again.get(key, 0.0) > now or not self._is_ready(self.cells[key]):
                continue
            if is_held(lock_file(self._folder, self.cells[key])):
                self.postpone(key, POLL)
                continue
            if self.has_new_outcome(key):  # it has ended elsewhere since the last look, which is the next to file it
                continue
            found.append(self.cells[key])
            if len(found) == limit:
                break
        return found

    def start(self, key: str) -> None:
        """The cell runs now, and this runner watches it."""
        del self.waiting[key]
        self._again.pop(key, None)
        self.running.add(key)

    def postpone(self, key: str, seconds: float) -> None:
        """The cell could not start, or is held by another process: it may be tried again after `seconds`."""
        self.running.discard(key)
        self.waiting[key] = None
        self._again[key] = time.monotonic() + seconds

    def end(self, key: str) -> bool:
        """The cell has ended, here or elsewhere; what it is has been written. True if it is finished."""
        self.running.discard(key)
        self.waiting.pop(key, None)
        self._seen.pop(key, None)
        finished = self._status(key) == "finished"
        (self.finished if finished else self.failed).append(key)
        if self.cells[key].trial is not None:
            self._choose(self._chosen)
        return finished

    def held_elsewhere(self) -> list[str]:
        """Waiting cells that were held by another process when they could have started."""
        return [key for key in self.waiting if key in self._again]

    def blocked(self) -> dict[str, str]:
        """Waiting cells that cannot run any more because of one that failed, with its key."""
        known: dict[str, str | None] = {}
        return {key: culprit for key in self.waiting if (culprit := self._culprit(key, known))}

    def is_over(self) -> bool:
        """Whether nothing runs here and nothing more can start, here or elsewhere."""
        return not self.running and len(self.blocked()) == len(self.waiting)

    def has_new_outcome(self, key: str) -> bool:
        """Whether the cell has left an outcome since this runner came."""
        self._seen.pop(key, None)
        status = self._status(key)
        return status == "finished" or (status == "failed" and self._seen[key][0] != self.before[key])

    def _status(self, key: str) -> str | None:
        """ "finished", "failed", or None: not ended, or another cell when it did."""
        cell = self.cells[key]
        if key in self._done:
            return "finished"
        signature = outcome_signature(self._folder, cell)
        seen = self._seen.get(key)
        if seen and seen[0] == signature and seen[1] is cell:
            return seen[2]
        outcome = read_outcome(self._folder, cell) if signature else None
        status = None if outcome is None else "finished" if is_result(outcome, cell) else "failed"
        self._seen[key] = signature, cell, status
        if status == "finished":
            self._done.add(key)
        return status

    def _choose(self, known: Chosen) -> None:
        try:
            found = tunings(self._study, self._folder, known, given_up=self.failed, record=True)
        except OSError as error:  # the disk is full: these cells wait until there is room
            self.unwritten = str(error)
            return
        self.unwritten = ""
        chosen = {**known, **{place: its.value for place, its in found.items() if its.choice}}
        self._follow(chosen)
        self._widen(found, chosen)

    def _widen(self, found: Mapping[tuple[str, str], Tuning], chosen: Chosen) -> None:
        """Takes in the trials of further values, where any run of their arm is wanted; they come before what waits."""
        study, added = self._study, list[Cell]()
        for (domain, arm), its in found.items():
            self._tried[domain, arm] = its.numbers
            trials = study.trials_of(study.domain(domain), study.arm(arm), chosen, its.numbers)
            if any(key.startswith(f"{domain}/{arm}/") for key in self.wanted):
                added += [trial for trial in trials if trial.key not in self.cells]
        self._add(added)
        keys = [trial.key for trial in added]
        self.wanted = [*keys, *self.wanted]
        self.waiting = dict.fromkeys([*keys, *self.waiting])
        self.before |= dict.fromkeys(keys)
        self.added += [self.cells[key] for key in keys]

    def _follow(self, chosen: Chosen) -> None:
        """Makes the cells anew whose settings depend on what was chosen now."""
        study = self._study
        names = {arm for key in {*chosen, *self._chosen} if chosen.get(key) != self._chosen.get(key) for arm in key[1:]}
        self._chosen = chosen
        for arm in (study.arm(name) for name in names):
            for domain in study.domains:
                if not arm.runs_in(domain.name):
                    continue
                made = study.trials_of(domain, arm, chosen, self._tried.get((domain.name, arm.name)))
                made += [make_cell(study, domain, arm, seed, chosen) for seed in study.seeds_of(arm)]
                self._add(made)

    def _add(self, cells: Iterable[Cell]) -> None:
        """Takes cells in, or in place of those that they are now."""
        self.cells.update((cell.key, replace(cell, files=source_files(cell, self._files))) for cell in cells)

    def _is_ready(self, cell: Cell) -> bool:
        return all(self._is_done(key) for key in self._needed(cell)) and not self._lacks_choice(cell)

    def _is_done(self, key: str) -> bool:
        return key in self._done or (key not in self.waiting and self._status(key) == "finished")

    def _needed(self, cell: Cell) -> list[str]:
        """The cells that it starts from; of its trials only the choice matters."""
        return [key for key in cell.waits_for if self.cells[key].trial is None]

    def _lacks_choice(self, cell: Cell) -> bool:
        tuned = cell.trial is None and self._study.domain(cell.domain).tune is not None
        return tuned and (cell.domain, cell.arm) not in self._chosen

    def _may_be_chosen(self) -> bool:
        """Whether cells lack only a choice: another runner was writing it, or has a trial that has failed here."""
        open_trials = {
            (cell.domain, cell.arm)
            for cell in map(self.cells.__getitem__, (*self.waiting, *self.running))
            if cell.trial is not None
        }
        cells = map(self.cells.__getitem__, self.waiting)
        return any(self._lacks_choice(cell) and (cell.domain, cell.arm) not in open_trials for cell in cells)

    def _culprit(self, key: str, known: dict[str, str | None]) -> str | None:
        """The failed cell because of which `key` cannot run, if there is one."""
        if key not in known:
            cell = self.cells[key]
            found = [self._failure(other, known) for other in self._needed(cell)]
            if self._lacks_choice(cell) and not self.unwritten:
                failures: dict[int, str | None] = {}  # of each value one trial that failed, if any did
                for other in cell.waits_for:
                    its = self.cells[other]
                    if its.trial is not None and its.arm == cell.arm:
                        failures[its.trial] = failures.get(its.trial) or self._failure(other, known)
                    elif its.trial is not None and other in self.waiting:  # the control's, which is waited for
                        found.append(self._culprit(other, known))
                found += list(failures.values())[:1] if all(failures.values()) else []
            known[key] = next(filter(None, found), None)
        return known[key]

    def _failure(self, key: str, known: dict[str, str | None]) -> str | None:
        """The failed cell, `key` or one before it, because of which `key` will not be finished."""
        if key in self._done or key in self.running:
            return None
        return self._culprit(key, known) if key in self.waiting else key


def select(cells: Mapping[str, Cell], patterns: Iterable[str]) -> list[str]:
    """The keys that match one of the patterns (`fnmatch`), all if there is none, and those they wait for, in order."""
    patterns = list(patterns)
    wanted: set[str] = set() if patterns else set(cells)
    for pattern in patterns:
        matching = fnmatch.filter(cells, pattern)
        if not matching:
            hint = nearest(pattern, cells, cutoff=0.0)
            raise ValueError(f"--only {pattern!r} fits none of the {len(cells)} cells; {hint}")
        wanted.update(matching)
    open_keys = list(wanted)
    while open_keys:
        for key in cells[open_keys.pop()].waits_for:
            if key not in wanted:
                wanted.add(key)
                open_keys.append(key)
    return [key for key in cells if key in wanted]
