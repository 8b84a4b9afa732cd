"""Writing files that survive a kill or a power cut, and reading them though something else has damaged them."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"
"""How the name of everything begins that is not finished yet."""


def read_object(path: Path, mend: str) -> dict[str, Any] | None:
    """The object in a JSON file, whose numbers that are not finite are None; None if there is no such file.

    ValueError that names a damaged file and says how to `mend` it.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); {mend}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} is damaged (it holds no JSON object); {mend}")
    return data


def write_text(path: Path, text: str) -> None:
    """Write a file and flush it to the disk."""
    try:
        with path.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def replace_text(path: Path, text: str) -> None:
    """Write a file so that a kill or a full disk leaves either the old contents or the new ones.

    Several processes may write it at once: it is then as one of them wrote it.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}.{uuid.uuid4().hex}")
    try:
        write_text(temporary, text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
