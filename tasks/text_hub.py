"""Text of a data set of the Hugging Face hub, streamed: nothing is kept but what is tokenised from it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import datasets

__all__ = ["PREFIX", "hub_documents"]

PREFIX = "hub:"
_NAME = re.compile(PREFIX + r"(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.-]+))?(@(?P<split>[\w.-]+))?")


def hub_documents(place: str, column: str, start: int) -> Iterator[str]:
    """The texts of ``hub:NAME[:CONFIG][@SPLIT]`` (default: train) from row ``start`` on, empty ones as well.

    Raises:
        ValueError: a place of another form, a data set that cannot be read, or one without ``column``.
    """
    found = _NAME.fullmatch(place)
    if found is None:
        raise ValueError(
            f"text {place!r}: give hub:NAME, hub:NAME:CONFIG or hub:NAME:CONFIG@SPLIT, such as "
            "hub:allenai/c4:en@validation"
        )
    name, config, split = found["name"], found["config"], found["split"] or "train"
    rows = _rows(place, name, config, split, start)
    for number, row in enumerate(rows, start):
        text = row.get(column, ...)
        if text is ...:
            raise ValueError(f"{place} has no column {column!r}; it has {', '.join(row)}; set data.column")
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{place}, row {number}: column {column!r} holds {type(text).__name__}, not text")
        yield text or ""


def _rows(place: str, name: str, config: str | None, split: str, start: int) -> Iterator[dict[str, object]]:
    try:
        stream = datasets.load_dataset(name, config, split=split, streaming=True)
        yield from stream.skip(start) if start else stream
    except (OSError, ValueError, RuntimeError) as error:  # no connection, no such name, a configuration that is missing
        raise ValueError(
            f"{place} could not be read from the hub ({type(error).__name__}: {error}). Check the name and the "
            "connection (HF_HUB_OFFLINE must not be set) and start again: what is tokenised is kept. Without a "
            f"connection: on a machine that has one, `hf download --repo-type dataset {name} --local-dir FOLDER`, and "
            "give the folder in place of the name"
        ) from error
