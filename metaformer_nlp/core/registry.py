"""A registry: names to classes, with errors that help."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


def nearest(name: str, allowed: Iterable[str], cutoff: float = 0.6) -> str:
    """A hint such as ``" Did you mean 'pooling'?"``, or the empty string when nothing is close."""
    matches = difflib.get_close_matches(name, list(allowed), n=1, cutoff=cutoff)
    return f" Did you mean {matches[0]!r}?" if matches else ""


class Registry(Generic[T]):
    """Entries by name. Registering a name twice and looking up an unknown one are both a ``ValueError``."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that files the decorated object under ``name``."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(
                    f"{self.kind} {name!r} is already registered as {self._entries[name]!r}; choose another"
                )
            self._entries[name] = entry
            return entry

        return add

    def names(self) -> list[str]:
        return sorted(self._entries)

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise ValueError(
                f"unknown {self.kind} {name!r}.{nearest(str(name), self._entries)} Allowed: {', '.join(self.names())}"
            )
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._entries)
