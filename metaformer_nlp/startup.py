"""A start in under a second: names that are imported when asked for, and modules that wait for another one.

torch, transformers and timm take seconds to import, which nobody should wait for who asks for a `--help`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["import_after", "lazy_names"]


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` (PEP 562) of ``package``, which calls this in its ``__init__.py``.

    The names are those that its ``if TYPE_CHECKING:`` imports. Each is imported from there when it is first asked for,
    and so are the package's modules.
    """
    module = sys.modules[package]
    tree = ast.parse(module.__spec__.loader.get_source(package))  # type: ignore[union-attr]
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    homes = {
        alias.asname or alias.name: (str(statement.module), alias.name)
        for block in blocks
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }

    def get(name: str) -> Any:
        if name in homes:
            home, original = homes[name]
            value = getattr(importlib.import_module(home), original)
        elif importlib.util.find_spec(f"{package}.{name}") is not None:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(module, name, value)
        return value

    return get, lambda: sorted({*vars(module), *homes})


def import_after(awaited: Sequence[str], module: str) -> None:
    """Import ``module`` as soon as one of the modules ``awaited`` is loaded; now if one is.

    It is imported when the outermost import within the libraries below is done: before that, they may be half loaded.
    An import that fails is tried again after the next one.
    """
    _WAITING.waiting[module] = tuple(awaited)
    if _WAITING not in sys.meta_path:
        sys.meta_path.insert(0, _WAITING)
    _WAITING.import_what_can_be()


# Who imports whom in a circle with ours: transformers imports timm and accelerate half way, and ours imports all three.
_LIBRARIES = frozenset({"accelerate", "metaformer_nlp", "timm", "transformers", "vision"})


class _Waiting(MetaPathFinder):
    """Sees the libraries' modules being loaded, as long as a module of ours waits for one of them."""

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[str, ...]] = {}
        self.depth = threading.local()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in _LIBRARIES:
            return None
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Observed(spec.loader)
                return spec
        return None

    def import_what_can_be(self) -> None:
        """Import what waits for nothing any more; with the last of them this finder leaves."""
        if getattr(self.depth, "value", 0):
            return
        for module, awaited in list(self.waiting.items()):
            if any(sys.modules.get(name) is not None for name in awaited):
                importlib.import_module(module)
                self.waiting.pop(module, None)
        if not self.waiting and self in sys.meta_path:
            sys.meta_path.remove(self)


class _Observed(Loader):
    """Loads as ``loader`` does, and tells the finder when the outermost of nested imports is done."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self.loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        depth = _WAITING.depth
        depth.value = getattr(depth, "value", 0) + 1
        try:
            self.loader.exec_module(module)
        finally:
            depth.value -= 1
        _WAITING.import_what_can_be()


_WAITING = _Waiting()
