"""Text of a data set of the Hugging Face hub, streamed: nothing is kept but what is tokenised from it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import NoReturn

from metaformer_nlp.engine.files import replace_text
from metaformer_nlp.errors import checked_text
from tasks.cache import cache_folder, short_hash

__all__ = ["PREFIX", "hub_commit", "hub_documents"]

PREFIX = "hub:"
_NAME = re.compile(PREFIX + r"(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.-]+))?(@(?P<split>[\w.-]+))?")


def hub_commit(place: str) -> str:
    """The newest commit of the data set at ``hub:NAME[:CONFIG][@SPLIT]``; without a connection, the last one seen.

    Raises:
        ValueError: a place of another form, or a data set that the hub does not have or was never asked for.
    """
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError

    name = _parsed(place)["name"]
    seen = cache_folder() / "hub" / f"{short_hash(name)}.txt"
    try:
        commit = huggingface_hub.HfApi().dataset_info(name, timeout=30).sha
    except (RepositoryNotFoundError, ValueError) as error:
        _refuse(place, error)
    except Exception as error:  # what no connection raises depends on the network library of huggingface_hub
        if not seen.exists():
            _refuse(place, error)
        commit = seen.read_text("utf-8").strip()
        print(f"{place}: the hub cannot be asked ({type(error).__name__}); taking commit {commit}", file=sys.stderr)
        return commit
    assert commit is not None
    seen.parent.mkdir(parents=True, exist_ok=True)
    replace_text(seen, f"{commit}\n")
    return commit


def hub_documents(place: str, column: str, commit: str, start: int) -> Iterator[str]:
    """The texts of ``hub:NAME[:CONFIG][@SPLIT]`` (default: train) at a commit, from row ``start`` on, empty ones too.

    Raises:
        ValueError: a place of another form, a data set that cannot be read, or one without ``column``.
    """
    for number, row in enumerate(_rows(place, commit, start), start):
        text = row.get(column, ...)
        if text is ...:
            raise ValueError(f"{place} has no column {column!r}; it has {', '.join(row)}; set data.column")
        yield checked_text("" if text is None else text, f"{place}, row {number}: column {column!r}")


def _parsed(place: str) -> re.Match[str]:
    found = _NAME.fullmatch(place)
    if found is None:
        raise ValueError(
            f"text {place!r}: give hub:NAME, hub:NAME:CONFIG or hub:NAME:CONFIG@SPLIT, such as "
            "hub:allenai/c4:en@validation"
        )
    return found


def _rows(place: str, commit: str, start: int) -> Iterator[dict[str, object]]:
    import datasets

    name, config, split = _parsed(place).group("name", "config", "split")
    try:
        stream = datasets.load_dataset(name, config, split=split or "train", revision=commit, streaming=True)
        yield from stream.skip(start) if start else stream
    except (OSError, ValueError, RuntimeError) as error:  # no connection, no such name, a configuration that is missing
        _refuse(place, error)


def _refuse(place: str, error: Exception) -> NoReturn:
    raise ValueError(
        f"{place} could not be read from the hub ({type(error).__name__}: {error}). Check the name and the connection "
        "(HF_HUB_OFFLINE must not be set) and start again: what is tokenised is kept. Without a connection: on a "
        f"machine that has one, `hf download --repo-type dataset {_parsed(place)['name']} --local-dir FOLDER`, and "
        "give the folder in place of the name"
    ) from error
