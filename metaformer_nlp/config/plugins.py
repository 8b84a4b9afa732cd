"""Code of the user's own, imported before a model is built: a file that registers a token mixer, say."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["import_plugins"]


def import_plugins(names: Sequence[str]) -> None:
    """Import each of ``names`` once: a path that ends in ``.py``, or the dotted name of a module that can be imported.

    Raises:
        ValueError: there is no such file or module. What goes wrong inside of it comes as it is.
    """
    for name in names:
        if not name.endswith(".py"):
            try:
                found = importlib.util.find_spec(name)
            except ModuleNotFoundError:  # of a package above it
                found = None
            if found is None:
                raise ValueError(f"plugins: there is no module {name!r}; name one that is installed, or a .py file")
            importlib.import_module(name)
            continue
        path = Path(name).resolve()
        if not path.is_file():
            raise ValueError(f"plugins: there is no file {name} (looked in {Path.cwd()})")
        loaded = sys.modules.get(path.stem)
        if loaded is not None:
            if getattr(loaded, "__file__", None) != str(path):
                raise ValueError(f"plugins: {name} has the name of a module that is loaded already; rename the file")
            continue
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[path.stem]
            raise
