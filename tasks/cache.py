"""Where prepared data lies on this machine, and how it gets there whole.

Anything that costs seconds to make and is a pure function of its inputs (the embedded English, its task suite,
tokenised corpora) is made once and kept under :func:`cache_folder`. Several processes may ask for the same entry at the
same moment: one builds, the others wait, and nobody ever sees half an entry.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import FileLock

from metaformer_nlp.errors import writing

__all__ = ["NO_ROOM", "build_once", "cache_folder", "fingerprint_texts", "short_hash"]

NO_ROOM = "Free some space, or set METAFORMER_CACHE to a folder on another disk."
"""How to mend a cache that cannot be written."""


def cache_folder() -> Path:
    """The folder of prepared data: ``$METAFORMER_CACHE``, else ``~/.cache/metaformer_nlp``; made if it is not there."""
    named = os.environ.get("METAFORMER_CACHE")
    folder = Path(named).expanduser() if named else Path.home() / ".cache" / "metaformer_nlp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"the cache folder {folder} cannot be made ({error}); set METAFORMER_CACHE to a folder that can be written"
        ) from error
    return folder


def short_hash(*parts: object) -> str:
    """16 hexadecimal digits that name ``parts`` (by their ``repr``): the key of a cache entry."""
    return hashlib.sha256("\x1f".join(map(repr, parts)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def fingerprint_texts(texts: Iterable[str]) -> str:
    """16 hexadecimal digits that change when any text, their number or their order changes."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        # The length goes in first, so that ["ab", "c"] and ["a", "bc"] differ.
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:16]


def build_once(path: Path, build: Callable[[Path], None]) -> Path:
    """Return ``path``, after ``build(temporary)`` has made it if it was missing.

    ``build`` writes a file or a folder at the temporary path it is given; the rename that follows makes the entry
    visible as a whole. A lock beside the entry keeps other processes waiting instead of building the same again; it is
    freed by the kernel when its holder dies, and what a killed builder left behind is removed by the next one.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.exists():
            return path
        temporary = path.with_name(f".{path.name}.tmp")
        _remove(temporary)
        with writing(path, NO_ROOM):
            build(temporary)
            os.replace(temporary, path)
    return path


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
