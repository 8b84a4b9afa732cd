"""Which classes there are and how they are numbered, fixed by a file instead of by the folders that happen to exist.

A class file is a text file with the name of one class a line, as the folders, or the class names of a table, are
called; the number of the line, from 0, is the label. A folder that is missing, empty or too many then never shifts the
labels of the others. timm calls such a file a class map.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGENET = "imagenet"


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set, in the order of their labels."""

    ids: tuple[str, ...]
    """What folders are called: for ImageNet its synsets, such as n01440764."""
    names: tuple[str, ...]
    """What people call them, such as "tench, Tinca tinca"; no two alike, since a model's label2id needs that."""
    origin: str
    """The class file, for messages."""

    @property
    def labels(self) -> dict[str, int]:
        """The label of each class, by its id."""
        return {name: label for label, name in enumerate(self.ids)}

    def check_known(self, found: Sequence[str], where: str) -> None:
        """ValueError unless every class in ``found`` is in the list."""
        unknown = sorted(set(found) - set(self.ids))
        if unknown:
            shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
            raise ValueError(
                f"{where}: class {shown} is not among the {len(self.ids)} of data.class_file {self.origin}. Remove it, "
                f"or add it to the end of a class file of your own (--data.class_file PATH, one name a line)."
            )


def read_class_file(class_file: str) -> ClassList:
    """The classes of a text file, or of ``imagenet``: the 1000 synsets of ImageNet-1K in their usual order.

    Raises:
        ValueError: no such file, not UTF-8, an empty line between the classes, a class twice, fewer than two classes.
    """
    if class_file == IMAGENET:
        from timm.data import ImageNetInfo

        info = ImageNetInfo()
        synsets = info.label_names()
        names = [info.label_name_to_description(synset) for synset in synsets]
        return ClassList(tuple(synsets), distinct(names, synsets), IMAGENET)
    path = Path(class_file).expanduser()
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # and no other character: U+2028 is no line's end
    except OSError as error:
        raise ValueError(
            f"data.class_file {class_file}: cannot be read ({error.strerror}; looked in {Path.cwd()}); "
            f"name a text file with one class a line, or {IMAGENET}"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"data.class_file {path}: not a text file in UTF-8 ({error}); save it as UTF-8, one class a line"
        ) from error
    classes = [line.strip() for line in lines]
    while classes and not classes[-1]:
        classes.pop()
    if "" in classes:
        raise ValueError(
            f"data.class_file {path}, line {classes.index('') + 1}: empty; the number of a line is the label of its "
            "class, so remove the line or name a class"
        )
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    if repeated:
        numbers = [str(number) for number, name in enumerate(classes, 1) if name == repeated[0]]
        raise ValueError(f"data.class_file {path}: class {repeated[0]!r} stands in lines {', '.join(numbers)}")
    if len(classes) < 2:
        raise ValueError(f"data.class_file {path}: needs at least two classes, one a line; found {classes or 'none'}")
    return ClassList(tuple(classes), tuple(classes), str(path))


def is_number(text: str) -> bool:
    """Whether ``text`` is a whole number of at most nine digits."""
    return re.fullmatch(r"-?[0-9]{1,9}", text) is not None


def label_numbers(texts: Sequence[str], names: Mapping[str, int]) -> list[int | None]:
    """The label of each text, a class's name or number; None for what is neither.

    Where ``names``, those of a class file, are numbers themselves, a number is a name: 20231204 may be class 2.
    """
    only_names = any(map(is_number, names))
    return [names.get(text, int(text) if is_number(text) and not only_names else None) for text in texts]


def count_classes(labels: Sequence[int], where: str) -> ClassList:
    """The classes 0, 1, ... of plain numbers. Negative ones are wrong labels, which the sources name.

    Raises:
        ValueError: numbers are missing in between, which would be classes that nobody has, or there is none.
    """
    found = sorted({label for label in labels if label >= 0})
    if not found:
        raise ValueError(f"{where}: no class numbers, which begin with 0; say by --data.class_file what is a class")
    if found != list(range(len(found))):
        shown = ", ".join(map(str, found[:10])) + (f", ... {found[-1]}" if len(found) > 10 else "")
        raise ValueError(
            f"{where}: the labels {shown} are not the numbers 0..{len(found) - 1}, as {len(found)} classes need. Write "
            "the labels into a text file, one a line, in the order in which the classes are to be numbered, and name "
            "it by --data.class_file."
        )
    names = tuple(map(str, found))
    return ClassList(names, names, where)


def distinct(names: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """``names``, those that occur more than once followed by their id: ImageNet has a bird and a machine "crane"."""
    counts = Counter(names)
    return tuple(f"{name} ({key})" if counts[name] > 1 else name for name, key in zip(names, ids, strict=True))


def readable_names(source: object) -> list[str]:
    """What to call the classes of an image source: its ``class_names`` where it has them, else its ``classes``."""
    names = getattr(source, "class_names", None) or source.classes  # type: ignore[attr-defined]
    return list(names)


def say(text: str) -> None:
    """Print ``text`` on the error stream, in the first process of a launch only."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)


def say_left_out(where: object, left_out: Mapping[str, Sequence[str]]) -> None:
    """One line that says what of the data is not read: how many of each kind, and which first; none if nothing is."""
    kinds = [f"{len(names)} {kind} (the first: {min(names)})" for kind, names in left_out.items() if names]
    if kinds:
        say(f"{where}: left out " + ", ".join(kinds))
