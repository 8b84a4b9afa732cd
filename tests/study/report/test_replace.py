"""A folder is replaced as a whole: never a mixture, never nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metaformer_nlp.study.report.replace import replacing, restore


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    (folder / "plots").mkdir(parents=True)
    (folder / "report.json").write_text("old")
    (folder / "plots" / "a.png").write_text("old")
    (folder / "notes.txt").write_text("of somebody else")
    return folder


def test_what_is_not_written_stays(folder: Path) -> None:
    with replacing(folder) as new:
        (new / "report.json").write_text("new")
        assert content(folder)["report.json"] == "old"
    assert content(folder) == {"report.json": "new", "plots/a.png": "old", "notes.txt": "of somebody else"}
    assert [path.name for path in folder.parent.iterdir()] == ["report"]


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    with replacing(tmp_path / "deep" / "report") as new:
        (new / "x").write_text("y")
    assert content(tmp_path / "deep") == {"report/x": "y"}


def test_an_error_leaves_the_old_one(folder: Path) -> None:
    before = content(folder)

    def fail() -> None:
        with replacing(folder) as new:
            (new / "report.json").write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert content(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["report"]


def test_a_kill_between_the_renames_is_mended(folder: Path) -> None:
    before = content(folder)
    folder.rename(folder.with_name(".report.old"))
    folder.with_name(".report.new").mkdir()
    restore(folder)
    assert content(folder) == before
    with replacing(folder) as new:
        (new / "report.json").write_text("new")
    assert content(folder)["notes.txt"] == "of somebody else"
    assert [path.name for path in folder.parent.iterdir()] == ["report"]


PROGRAM = """
import sys, itertools
from pathlib import Path
from metaformer_nlp.study.report.replace import replacing
for number in itertools.count():
    with replacing(Path(sys.argv[1])) as new:
        for name in "abcdef":
            (new / name).write_text(str(number))
"""


def test_killed_at_any_time_it_is_whole(tmp_path: Path) -> None:
    """Killed while it writes one version after the other; all files are always of one version."""
    folder = tmp_path / "report"
    for delay in (0.01, 0.05, 0.09):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)])
        while not (folder / "a").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        restore(folder)
        found = content(folder)
        assert set(found) == set("abcdef")
        assert len(set(found.values())) == 1
