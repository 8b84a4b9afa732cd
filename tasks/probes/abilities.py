"""Probes: small made-up tasks with known needs, the same ones for texts and for images.

A probe is drawn on a grid of symbols, h x w cells: a text is a grid of one row, an image shows each cell as one patch.
Around the few symbols that matter everything is filler, drawn without regard to the answer.

=========  ===============================================================  ==========================================
probe      question                                                         what it takes
=========  ===============================================================  ==========================================
order      does a stand d before the mark and b d after it, or b and a?     order of neighbours
agreement  are the two marked symbols, d apart, of the same class?          a relation of two places
matching   do two pairs of symbols, d apart, hold the same two?             a relation of two segments
copying    which symbol stands d before the query? (texts only)             fetching from a place
counting   are there more a or more b, by a margin of d?                    no mixing: a mean is enough (a control)
=========  ===============================================================  ==========================================

How shortcuts are closed. Samples come in groups that share everything but what is asked for, and a group is never
taken apart. In a group of order, agreement and matching every symbol stands at every place as often with one answer
as with the other. So a model that looks at each token by itself, wherever it stands, and adds up what it found
(identity and a mean) learns nothing: no such sum has a cross entropy below ln 2, by Jensen's inequality. In copying
the query is the same token at the same place whatever the answer is. Both hold for any mixer whose layers together do
not reach from one of the symbols that matter to the other. All answers are equally frequent in each group, so that
chance is exact, and the same at each distance.

Shapes: G samples of a group, h x w cells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NOT_ASKED",
    "NUM_FILLERS",
    "PROBES",
    "Agreement",
    "Copying",
    "Counting",
    "Group",
    "Matching",
    "Order",
    "Probe",
]

Ints = NDArray[np.int64]

NUM_FILLERS = 8
"""Symbols 0..7 mean nothing; copying asks for them."""
NOT_ASKED = -1
"""Label of a cell without a question."""


@dataclass(frozen=True)
class Group:
    """Samples that share everything but what is asked for."""

    symbols: Ints
    """(G, h, w)"""
    segments: Ints
    """(h, w) 0, and 1 from the second segment on; 0 everywhere where there is one segment only."""
    labels: Ints
    """(G,) the answer for a sample, or (G, h, w) an answer for each cell that is asked, `NOT_ASKED` elsewhere."""


class Probe(ABC):
    """One question on a grid of (h, w) cells, at the distances that will be asked for."""

    axis: ClassVar[str] = "distance"
    """What the metrics call the number that a group is drawn for."""
    num_labels: int = 2
    symbols: tuple[str, ...]
    """Names of the symbols with a meaning, which are numbered from `NUM_FILLERS` on."""

    def __init__(self, shape: tuple[int, int], distances: list[int]) -> None:
        self.shape = shape
        for distance in distances:
            if distance < 1 or not self.fits(distance):
                raise ValueError(
                    f"data.distances: {type(self).__name__.lower()} cannot be asked at {self.axis} {distance} on "
                    f"{shape[0]} x {shape[1]} tokens; take smaller ones, from 1 on"
                )

    @abstractmethod
    def fits(self, distance: int) -> bool:
        """Whether there is room for it."""

    @abstractmethod
    def group(self, rng: np.random.Generator, distance: int) -> Group:
        """A group at this distance."""

    def filled(self, rng: np.random.Generator, count: int) -> Ints:
        """(count, h, w) the same fillers, count times."""
        fillers = rng.integers(NUM_FILLERS, size=self.shape)
        return np.repeat(fillers[None], count, axis=0)

    def line(self, rng: np.random.Generator, length: int, step: int) -> Ints:
        """(length, 2) rows and columns of cells on a random row or column of the grid, ``step`` apart."""
        span = (length - 1) * step
        axes = [axis for axis in (0, 1) if span < self.shape[axis]]
        axis = axes[int(rng.integers(len(axes)))]
        cells = np.zeros((length, 2), np.int64)
        cells[:, axis] = int(rng.integers(self.shape[axis] - span)) + step * np.arange(length)
        cells[:, 1 - axis] = int(rng.integers(self.shape[1 - axis]))
        return cells

    def one_segment(self) -> Ints:
        return np.zeros(self.shape, np.int64)


class Order(Probe):
    """Is the marked triple ``a m b`` or ``b m a``, its symbols d apart?

    Left of, in images also above, is before. A second triple with another mark stands the other way round, so that
    where a and b stand in all says nothing; and neither mark is nearer to a symbol of the other triple than to its own.
    """

    symbols = ("a", "b", "mark", "decoy")
    _A, _B, _MARK, _DECOY = range(NUM_FILLERS, NUM_FILLERS + 4)

    def fits(self, distance: int) -> bool:
        height, width = sorted(self.shape)
        return width >= (2 * distance + 1) * (2 if height == 1 else 1)

    def group(self, rng: np.random.Generator, distance: int) -> Group:
        symbols = self.filled(rng, 4)
        first, second = self._triples(rng, distance)
        member = 0
        for marked in (0, 1):
            for forward in (0, 1):  # whether a comes first in the first triple
                for number, cells in enumerate((first, second)):
                    ends = (self._A, self._B) if forward == (number == 0) else (self._B, self._A)
                    middle = self._MARK if number == marked else self._DECOY
                    symbols[member, cells[:, 0], cells[:, 1]] = ends[0], middle, ends[1]
                member += 1
        return Group(symbols, self.one_segment(), np.array([0, 1, 1, 0]))

    def _triples(self, rng: np.random.Generator, distance: int) -> tuple[Ints, Ints]:
        while True:  # on the grids that fit, at least one draw in some dozens is good
            one, other = self.line(rng, 3, distance), self.line(rng, 3, distance)
            apart = np.abs(one[:, None] - other[None]).max(-1)  # (3, 3) steps of a square window
            if apart.min() > 0 and min(apart[1, 0], apart[1, 2], apart[0, 1], apart[2, 1]) >= distance:
                return one, other


class Agreement(Probe):
    """Are the two marked symbols, which stand d apart, of the same class?"""

    symbols = ("class0", "class1", "class2", "class3")

    def fits(self, distance: int) -> bool:
        return distance < max(self.shape)

    def group(self, rng: np.random.Generator, distance: int) -> Group:
        symbols, cells = self.filled(rng, 4), self.line(rng, 2, distance)
        one, other = NUM_FILLERS + rng.permutation(len(self.symbols))[:2]
        pairs = [(one, one), (other, other), (one, other), (other, one)]
        symbols[:, cells[:, 0], cells[:, 1]] = pairs
        return Group(symbols, self.one_segment(), np.array([1, 1, 0, 0]))


class Matching(Probe):
    """Do two pairs, the second d columns after the first, hold the same two symbols, in whatever order, or two others?

    A text's pair is two neighbours in the row, so that d is counted from start to start and equal symbols may be one
    token nearer or further apart; an image's is one above the other. The second segment begins with the second pair.
    """

    symbols = ("key0", "key1", "key2", "key3", "key4", "key5")

    def fits(self, distance: int) -> bool:
        return distance < self.shape[1] if self.shape[0] > 1 else 2 <= distance < self.shape[1] - 1

    def group(self, rng: np.random.Generator, distance: int) -> Group:
        symbols = self.filled(rng, 4)
        upright = self.shape[0] > 1
        row = int(rng.integers(self.shape[0] - 1)) if upright else 0
        start = int(rng.integers(self.shape[1] - distance - (not upright)))
        down, along = (np.array([0, 1]), 0) if upright else (0, np.array([0, 1]))
        one, other = NUM_FILLERS + rng.permutation(len(self.symbols))[:4].reshape(2, 2)
        turn = rng.choice((-1, 1), size=2)  # which of its two stands first, for the first and for the second pair
        for member, pairs in enumerate([(one, one), (other, other), (one, other), (other, one)]):
            for number in (0, 1):
                symbols[member, row + down, start + number * distance + along] = pairs[number][:: turn[number]]
        segments = self.one_segment()
        segments[:, start + distance :] = 1
        return Group(symbols, segments, np.array([1, 1, 0, 0]))


class Copying(Probe):
    """Which symbol stands d before each query? A query's symbol says d; the answer is read at the query."""

    num_queries: ClassVar[int] = 4

    def __init__(self, shape: tuple[int, int], distances: list[int]) -> None:
        self.num_labels = NUM_FILLERS
        self.symbols = tuple(f"query{distance}" for distance in distances)
        self._query = {distance: NUM_FILLERS + number for number, distance in enumerate(distances)}
        super().__init__(shape, distances)

    def fits(self, distance: int) -> bool:
        # A query never asks for a query; every second candidate at the worst is one.
        return self.shape[0] == 1 and self.shape[1] - distance >= 2 * self.num_queries

    def group(self, rng: np.random.Generator, distance: int) -> Group:
        symbols = self.filled(rng, self.num_labels)
        chosen: list[int] = []
        for place in distance + rng.permutation(self.shape[1] - distance):
            if len(chosen) < self.num_queries and place - distance not in chosen and place + distance not in chosen:
                chosen.append(int(place))
        queries = np.array(chosen)
        # Each member has another symbol at each source, so that nothing else says which.
        symbols[:, 0, queries - distance] += np.arange(self.num_labels)[:, None]
        symbols[:, 0, queries - distance] %= self.num_labels
        labels = np.full(symbols.shape, NOT_ASKED)
        labels[:, 0, queries] = symbols[:, 0, queries - distance]
        symbols[:, 0, queries] = self._query[distance]
        return Group(symbols, self.one_segment(), labels)


class Counting(Probe):
    """Are there more a or more b? Of the two there are 12, of one d more than of the other."""

    axis = "margin"
    symbols = ("a", "b")
    total: ClassVar[int] = 12

    def fits(self, distance: int) -> bool:
        return distance % 2 == 0 and distance <= self.total <= self.shape[0] * self.shape[1]

    def group(self, rng: np.random.Generator, distance: int) -> Group:
        symbols = self.filled(rng, 2)
        rows, columns = np.unravel_index(rng.permutation(symbols[0].size)[: self.total], self.shape)
        is_more = np.arange(self.total) < (self.total + distance) // 2
        for member in (0, 1):
            symbols[member, rows, columns] = NUM_FILLERS + (is_more == member)
        return Group(symbols, self.one_segment(), np.array([0, 1]))


PROBES: dict[str, type[Probe]] = {
    "order": Order,
    "agreement": Agreement,
    "matching": Matching,
    "copying": Copying,
    "counting": Counting,
}
