"""The errors, beside ``ValueError``, that a script shows as one line: what the user can mend."""

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

__all__ = ["NonFiniteLossError", "RunFolderBusyError", "checked_text", "read_lines", "reading", "writing"]

_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class RunFolderBusyError(RuntimeError):
    """Another run is working in the folder."""


class NonFiniteLossError(RuntimeError):
    """The loss or the gradient is not a finite number. Raised on all processes, before the update."""

    def __init__(self, message: str, report: dict[str, Any]) -> None:
        super().__init__(message)
        self.report = report


@contextmanager
def reading(path: str | PathLike[str], kind: str, *errors: type[Exception]) -> Iterator[None]:
    """Around a library that reads a user's file: its errors become a ``ValueError`` that says what, where and how to
    mend it.

    ``kind`` is what the file should be, such as "a parquet file". ``errors`` are the library's own types, beside
    those of Python for files and encodings.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        wrong, line = error.object[error.start : error.end].hex(" "), error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}: not UTF-8: byte {error.start} ({wrong}) in line {line} is no text. Save it as UTF-8, such as by "
            f"iconv -f latin1 -t utf-8, or leave it out."
        ) from error
    except IsADirectoryError as error:
        raise ValueError(f"{path}: a folder, where {kind} is needed.") from error
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file; {kind} is needed.") from error
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read as {kind}: {' '.join(str(error.strerror or error).split())}."
        ) from error
    except errors as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: damaged, or not {kind}: {message}") from error


@contextmanager
def writing(path: str | PathLike[str], mend: str = "Free some space, or give another folder.") -> Iterator[None]:
    """Around what writes a file: no room for it becomes a ``ValueError`` that says where and how to mend it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise ValueError(f"{path}: cannot be written: {error.strerror}. {mend}") from error


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file in UTF-8, without their ends; ``.gz`` and ``.zst`` are unpacked.

    A line ends at ``\\n`` and nowhere else: ``str.splitlines`` knows many other ends, such as U+2028. A byte order mark
    is no text, nor is ``\\r`` at the line ends of a file whose first line has one.

    Raises:
        ValueError: with file and line, for bytes that are not UTF-8; for a file that cannot be read.
    """
    suffix = path.suffix.lower()
    kind = f"a {suffix} file" if suffix in _COMPRESSED else "a text file"
    windows = False
    with reading(path, kind), _opened(path, _COMPRESSED.get(suffix)) as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8").removesuffix("\n")
            except UnicodeDecodeError:
                with reading(f"{path}:{number}", kind):
                    raise
            if number == 1:
                text, windows = text.removeprefix("\ufeff"), text.endswith("\r")
                if "\0" in text:
                    raise ValueError(
                        f"{path}:1: holds NUL characters: the file is no text, or not UTF-8. Save it as UTF-8, such as "
                        "by iconv -f utf-16 -t utf-8, or leave it out."
                    )
            yield text.removesuffix("\r") if windows else text


def _opened(path: Path, compression: str | None) -> io.BufferedReader:
    if compression is None:
        return path.open("rb")
    if path.is_file() and not path.stat().st_size:
        raise ValueError(f"{path}: empty, where a {path.suffix} file is needed; it was not written to its end.")
    import pyarrow  # here, since it takes long to import

    return io.BufferedReader(pyarrow.input_stream(str(path), compression=compression))


def checked_text(value: Any, where: str) -> str:
    """``value``, which must be text that can be written as UTF-8; a ``ValueError`` begins with ``where`` if it is not.

    JSON can spell half of a surrogate pair, which is no character and which no tokenizer takes.
    """
    if not isinstance(value, str):
        raise ValueError(f"{where} holds {type(value).__name__}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where} holds {value[error.start]!a} at character {error.start}: half of a surrogate pair, which is "
            "no character. Replace it, in Python by text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
        ) from error
    return value
