"""The errors, beside ``ValueError``, that a script shows as one line: what the user can mend."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

__all__ = ["NonFiniteLossError", "RunFolderBusyError", "reading"]


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
        raise ValueError(f"{path}: cannot be read as {kind}: {error.strerror or error}.") from error
    except errors as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: damaged, or not {kind}: {message}") from error
