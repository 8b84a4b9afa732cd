"""The errors, beside ``ValueError``, that a script shows as one line: what the user can mend."""

from typing import Any

__all__ = ["NonFiniteLossError", "RunFolderBusyError"]


class RunFolderBusyError(RuntimeError):
    """Another run is working in the folder."""


class NonFiniteLossError(RuntimeError):
    """The loss or the gradient is not a finite number. Raised on all processes, before the update."""

    def __init__(self, message: str, report: dict[str, Any]) -> None:
        super().__init__(message)
        self.report = report
