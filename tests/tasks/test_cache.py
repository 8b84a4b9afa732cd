"""The cache: an entry is whole or it is not there, whoever asks for it at the same moment."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from tasks.cache import build_once, cache_folder, fingerprint_texts, short_hash


def _ask(path: Path, log: Path) -> str:
    def build(temporary: Path) -> None:
        with log.open("a") as file:
            file.write("built\n")
        temporary.mkdir()
        (temporary / "first").write_text("1")
        time.sleep(0.3)
        (temporary / "second").write_text("2")

    return (build_once(path, build) / "second").read_text()


def test_one_process_builds_and_the_others_wait(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        results = pool.starmap(_ask, [(tmp_path / "entry", tmp_path / "log")] * 4)
    assert results == ["2"] * 4
    assert (tmp_path / "log").read_text() == "built\n"


def _stall(path: Path, started: Path) -> None:
    def build(temporary: Path) -> None:
        temporary.mkdir()
        (temporary / "half").write_text("1")
        started.touch()
        time.sleep(60)

    build_once(path, build)


def test_a_killed_builder_lets_the_next_one_build(tmp_path: Path) -> None:
    """The kernel frees its lock, and its half entry is removed."""
    started = tmp_path / "started"
    process = multiprocessing.get_context("fork").Process(target=_stall, args=(tmp_path / "entry", started))
    process.start()
    while not started.exists():
        time.sleep(0.01)
    process.kill()
    process.join()
    assert _ask(tmp_path / "entry", tmp_path / "log") == "2"
    assert sorted(path.name for path in (tmp_path / "entry").iterdir()) == ["first", "second"]


def test_a_failed_build_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    def broken(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_once(tmp_path / "entry", broken)
    assert not (tmp_path / "entry").exists()
    assert build_once(tmp_path / "entry", lambda path: path.write_text("whole") and None).read_text() == "whole"


def test_an_unusable_cache_folder_says_how_to_name_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("METAFORMER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ValueError, match="METAFORMER_CACHE"):
        cache_folder()


def test_fingerprints_tell_texts_their_borders_and_their_order_apart() -> None:
    variants = [["ab", "c"], ["a", "bc"], ["c", "ab"], ["ab"], ["ab", "c", ""]]
    assert len({fingerprint_texts(texts) for texts in variants}) == len(variants)
    assert fingerprint_texts(["ab", "c"]) == fingerprint_texts(iter(["ab", "c"]))
    assert short_hash(1, "a") != short_hash("1a")
