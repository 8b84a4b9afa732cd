"""``items.json``: one bit for each item that a run was last evaluated on, such as whether it was answered correctly.

With these a later analysis can draw test items again as it draws seeds. The file is small (a sixth of a byte for a bit)
and the same bytes whatever the number of processes:

    {"items": {"<split>/<name>": {"bits": "<base64>", "count": <number of items>}}, "step": <of the evaluation>}

The bits are `numpy.packbits` of the items in the order of the data.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metaformer_nlp.engine.files import replace_text

FILE = "items.json"

Items = dict[str, NDArray[np.bool_]]
"""Name -> a truth for each item, (N,), in the order of the data."""


def write_items(folder: Path, items: Mapping[str, NDArray[np.bool_]], step: int | None = None) -> None:
    """Write the items of an evaluation, whole or not at all, over those of the one before; OSError if that fails."""
    packed = {
        name: {"bits": base64.b64encode(np.packbits(bits).tobytes()).decode(), "count": len(bits)}
        for name, bits in items.items()
    }
    content = {"items": packed, **({} if step is None else {"step": step})}
    replace_text(folder / FILE, json.dumps(content, sort_keys=True) + "\n")


def read_items(folder: Path | str) -> Items:
    """What a run folder, or the cell of a study, knows of each item: "validation/correct" -> (N,).

    OSError if there is nothing: the task has no such items, or the run was made before they were kept. ValueError that
    names a damaged file.
    """
    path = Path(folder) / FILE
    text = path.read_bytes()
    try:
        return {
            name: np.unpackbits(np.frombuffer(base64.b64decode(its["bits"]), np.uint8), count=its["count"]).astype(bool)
            for name, its in json.loads(text)["items"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove it, or evaluate the run again") from error
