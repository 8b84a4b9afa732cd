"""This package as a wheel: built from a checkout, or made again from the files of an installed wheel.

It is in no index, so that whoever is to run it elsewhere gets it along. Nothing is downloaded.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import metaformer_nlp

__all__ = ["write_wheel"]

NAME = "metaformer-nlp"
ROOT = Path(metaformer_nlp.__file__).parents[1]  # of the checkout, or site-packages
METADATA = ("METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE")
"""Of the folder .dist-info; its other files tell of this machine."""
START = (1980, 1, 1, 0, 0, 0)  # the same files make the same wheel


def write_wheel(folder: Path) -> Path:
    """Write the wheel into ``folder``; returns its path.

    Raises:
        ValueError: a checkout without hatchling, or a copy of the package that nothing has installed.
    """
    if (ROOT / "pyproject.toml").is_file():
        if find_spec("hatchling") is None:
            raise ValueError(f"the wheel of the checkout {ROOT} is built by hatchling: pip install hatchling")
        from hatchling.builders.wheel import WheelBuilder

        return Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))
    try:
        return _again(distribution(NAME), folder)
    except PackageNotFoundError as error:
        raise ValueError(
            f"{ROOT} is neither a checkout nor an installed wheel of {NAME}, so no wheel can be made; install the wheel"
        ) from error


def _again(installed: Distribution, folder: Path) -> Path:
    """The wheel of an installed one, from the files that its RECORD names."""
    stem = f"{NAME.replace('-', '_')}-{installed.version}"
    information = f"{stem}.dist-info"
    known = {f"{information}/{name}" for name in METADATA}
    files = {file.as_posix(): file for file in installed.files or ()}
    path = folder / f"{stem}-py3-none-any.whl"
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in sorted(files.items()):
            ours = file.parts[0] in ("metaformer_nlp", "tasks", "vision") and "__pycache__" not in file.parts
            if ours or name in known:
                content = file.read_binary()
                _add(archive, name, content)
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                rows.append(f"{name},sha256={digest},{len(content)}\n")
        record = f"{information}/RECORD"
        _add(archive, record, "".join([*rows, f"{record},,\n"]).encode())
    return path


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, START)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(entry, content)
