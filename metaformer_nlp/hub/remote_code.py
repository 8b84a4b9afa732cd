"""The modelling code of a saved folder: one flat file, so that it opens where this package is not installed.

transformers runs such a file with `trust_remote_code=True`, copied alone into a cache of its own. One file, since a
class that two of them import would exist twice there, and a download that breaks off would leave some of them out for
good. The file is put together from the modules' own source: their imports of one another are left out, all others are
gathered at its head, and the order is that in which Python would run the modules.
"""

from __future__ import annotations

import ast
import inspect
import logging
import os
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, ClassVar

from metaformer_nlp.core.mixers.base import MIXERS

logger = logging.getLogger(__name__)

PACKAGE = __name__.partition(".")[0]
HEAD = '''"""The model in one file: with `trust_remote_code=True` this folder opens where {package} is not installed.

Put together from the modules that are named above each part; it needs torch and transformers.
"""

from __future__ import annotations

'''
STAND_IN = '''class CarriesCode:
    """Nothing to do here: transformers itself copies this file when the model is saved again."""
'''


class CarriesCode:
    """A configuration that saves, beside itself, the code of its models and of the token mixers that it names."""

    auto_classes: ClassVar[Mapping[str, type]] = {}

    @classmethod
    def register_code(cls, classes: Mapping[str, type]) -> None:
        """Say what opens a saved folder: the names of the Auto classes and the model of each."""
        cls.auto_classes = {"AutoConfig": cls, **classes}

    def used_mixers(self) -> set[str]:
        """Names of the token mixers of this model."""
        raise NotImplementedError

    def code(self) -> str:
        """The text of the file.

        Raises:
            ValueError: a token mixer of the user's own cannot be put into one file; the message says why.
        """
        classes = dict.fromkeys(model.__module__ for model in self.auto_classes.values())
        packages = frozenset({PACKAGE, *map(_package, classes)})
        mixers = {MIXERS[name].__module__ for name in self.used_mixers()}
        own = sorted(name for name in mixers if _package(name) not in packages)
        return flat_code((*classes, *own), packages)

    def save_pretrained(self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any) -> None:
        """Save `config.json` and the code; no code, but a warning, where a mixer cannot be put into it."""
        if "auto_classes" in vars(type(self)):  # a subclass of somebody else's has models that are not known here
            self._save_code(Path(save_directory))
        super().save_pretrained(save_directory, push_to_hub, **kwargs)  # type: ignore[misc]

    def _save_code(self, folder: Path) -> None:
        stem = f"modeling_{self.model_type}"  # type: ignore[attr-defined]
        file = folder / f"{stem}.py"
        try:
            code = self.code()
        except ValueError as error:
            logger.warning("%s opens only where the code of its token mixers is imported: %s", folder, error)
            file.unlink(missing_ok=True)
            vars(self).pop("auto_map", None)
            return
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(code, encoding="utf-8")
        self.auto_map = {name: f"{stem}.{model.__name__}" for name, model in self.auto_classes.items()}


@lru_cache(maxsize=8)
def flat_code(modules: tuple[str, ...], packages: frozenset[str]) -> str:
    """One file that defines what ``modules`` (imported already) define, and all of ``packages`` that they import.

    Raises:
        ValueError: a module whose source is not at hand, that imports what the file cannot hold, or that gives a name
            to something else than another module does.
    """
    flat = _Flat(packages)
    for name in modules:
        flat.add(name)
    imports = sorted(set(flat.imports.values()), key=lambda line: (line.startswith("from"), line))
    return HEAD.format(package=PACKAGE) + "\n".join(imports) + "\n" + "".join(flat.parts)


def _package(module: str) -> str:
    return module.partition(".")[0]


class _Flat:
    """The file while it is put together."""

    def __init__(self, packages: frozenset[str]) -> None:
        self.packages = packages
        self.seen: set[str] = set()
        self.parts: list[str] = []
        self.imports: dict[str, str] = {}  # name -> the statement that binds it
        self.names: dict[str, tuple[str, str]] = {}  # name -> what it is, and the module that says so

    def add(self, module: str) -> None:
        """Append a module, behind those of ours that it imports."""
        if module in self.seen:
            return
        self.seen.add(module)
        if module == __name__:
            self.parts.append(f"\n\n{STAND_IN}")
            return
        try:
            source = inspect.getsource(sys.modules[module])
        except (OSError, TypeError, KeyError) as error:
            raise ValueError(f"the source of module {module} is not at hand; put it into a .py file") from error
        tree, removed = ast.parse(source), set[int]()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                top_level = node in tree.body
                if self._is_ours(node, module):
                    if not top_level or isinstance(node, ast.Import) or any(alias.asname for alias in node.names):
                        raise ValueError(
                            f"{module}, line {node.lineno}: in one file `{ast.unparse(node)}` means nothing; write "
                            "`from ... import NAME` at the head of the module"
                        )
                    for target in _targets(node):
                        self.add(target)
                elif top_level:
                    self._import(node, module)
                if top_level:
                    removed |= _lines(node)
            elif isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
                removed |= _lines(node)
        for node in tree.body:
            for name in _defined(node):
                self._bind(name, ast.unparse(node), module)
        kept = [line for number, line in enumerate(source.splitlines(), 1) if number not in removed]
        if any(_defined(node) or not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr) for node in tree.body):
            text = re.sub(r"\n{4,}", "\n\n\n", "\n".join(kept).strip())
            self.parts.append(f"\n\n# ---------------- {module} ----------------\n{text}\n")

    def _is_ours(self, node: ast.Import | ast.ImportFrom, module: str) -> bool:
        if isinstance(node, ast.ImportFrom) and node.level:
            raise ValueError(f"{module}, line {node.lineno}: relative imports are not known in one file")
        names = [str(node.module)] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        for name in names:
            if _package(module) not in self.packages and not self._is_known(_package(name)):
                raise ValueError(
                    f"{module}, line {node.lineno}: {name} is a file of your own, which nobody else has; put what is "
                    f"needed of it into the file of {module}"
                )
        return any(_package(name) in self.packages for name in names)

    def _is_known(self, package: str) -> bool:
        return package in self.packages or package in sys.stdlib_module_names or package in packages_distributions()

    def _import(self, node: ast.Import | ast.ImportFrom, module: str) -> None:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            return
        for alias in node.names:
            name = ast.unparse(alias)
            line = f"import {name}" if isinstance(node, ast.Import) else f"from {node.module} import {name}"
            self.imports[alias.asname or alias.name] = line
            self._bind(alias.asname or alias.name, line, module)

    def _bind(self, name: str, what: str, module: str) -> None:
        if name == "__all__":
            return
        before, place = self.names.setdefault(name, (what, module))
        if before != what:
            raise ValueError(
                f"{name} is one thing in {place} and another in {module}; one file holds both, so rename one of them"
            )


def _targets(node: ast.ImportFrom) -> list[str]:
    """The modules that ``from a import b`` runs: a, and a.b where that is a module."""
    inner = [f"{node.module}.{alias.name}" for alias in node.names]
    return [*(name for name in inner if name in sys.modules), str(node.module)]


def _lines(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement at the top level gives to what it makes."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
