"""What the probes ask: answers right and balanced, distances exact, and no way to the answer but the one meant."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tasks.probes import images as image_probes
from tasks.probes import text as text_probes
from tasks.probes.abilities import NOT_ASKED, NUM_FILLERS, PROBES, Group, Probe
from tasks.probes.task import Groups

SHAPES = {"text": (1, 32), "image": (8, 8)}
DISTANCES = {"text": text_probes.DISTANCES, "image": image_probes.DISTANCES}
CASES = [
    (domain, name, distance)
    for domain, probes in DISTANCES.items()
    for name, distances in probes.items()
    for distance in distances
]
RELATIONS = [case for case in CASES if case[1] in ("order", "agreement", "matching")]


def groups(domain: str, name: str, distance: int, count: int = 40) -> tuple[Probe, list[Group]]:
    probe = PROBES[name](SHAPES[domain], DISTANCES[domain][name])
    return probe, [probe.group(np.random.default_rng([7, index]), distance) for index in range(count)]


def places(symbols: np.ndarray, symbol: int) -> np.ndarray:
    """(n, 2) cells of an (h, w) grid that hold the symbol."""
    return np.argwhere(symbols == symbol)


@pytest.mark.parametrize(("domain", "name", "distance"), CASES)
def test_answers_are_balanced_in_each_group(domain: str, name: str, distance: int) -> None:
    probe, drawn = groups(domain, name, distance)
    for group in drawn:
        counts = Counter(group.labels[group.labels != NOT_ASKED].tolist())
        assert set(counts) == set(range(probe.num_labels))
        assert len(set(counts.values())) == 1
        assert group.symbols.shape == (len(group.labels), *SHAPES[domain])
        assert group.symbols.min() >= 0
        assert group.symbols.max() < NUM_FILLERS + len(probe.symbols)


@pytest.mark.parametrize(("domain", "name", "distance"), RELATIONS)
def test_no_symbol_at_no_place_tells_the_answer(domain: str, name: str, distance: int) -> None:
    """So that identity and a mean, which add up what they see at each place, learn nothing; nor does a bag of words."""
    probe, drawn = groups(domain, name, distance)
    for group in drawn:
        seen = group.symbols[..., None] == np.arange(NUM_FILLERS + len(probe.symbols))
        assert np.array_equal(seen[group.labels == 1].sum(0), seen[group.labels == 0].sum(0))


@pytest.mark.parametrize("distance", text_probes.DISTANCES["copying"])
def test_a_query_is_the_same_whatever_the_answer(distance: int) -> None:
    probe, drawn = groups("text", "copying", distance)
    for group in drawn:
        asked = group.labels[0] != NOT_ASKED
        assert asked.sum() == 4
        assert (group.labels[:, asked] == group.symbols[:, np.roll(asked, -distance)]).all()  # it stands d before
        assert not asked[0, :distance].any()
        queries = group.symbols[:, asked]
        assert set(queries.ravel()) == {NUM_FILLERS + probe.symbols.index(f"query{distance}")}
        assert (np.sort(group.labels[:, asked], axis=0) == np.arange(NUM_FILLERS)[:, None]).all()
        others = ~asked & ~np.roll(asked, -distance)  # and nothing else differs between the samples
        assert (group.symbols[:, others] == group.symbols[0, others]).all()


@pytest.mark.parametrize(("domain", "distance"), [(d, n) for d, name, n in CASES if name == "agreement"])
def test_agreement_is_of_two_symbols_so_far_apart(domain: str, distance: int) -> None:
    _, drawn = groups(domain, "agreement", distance)
    for group in drawn:
        for symbols, label in zip(group.symbols, group.labels, strict=True):
            one, other = np.argwhere(symbols >= NUM_FILLERS)
            assert sorted(np.abs(one - other)) == [0, distance]
            assert (symbols[tuple(one)] == symbols[tuple(other)]) == label


@pytest.mark.parametrize(("domain", "distance"), [(d, n) for d, name, n in CASES if name == "order"])
def test_order_is_of_what_stands_around_the_mark(domain: str, distance: int) -> None:
    probe, drawn = groups(domain, "order", distance)
    a, b, mark, decoy = (NUM_FILLERS + probe.symbols.index(name) for name in ("a", "b", "mark", "decoy"))
    for group in drawn:
        for symbols, label in zip(group.symbols, group.labels, strict=True):
            (centre,), (other,) = places(symbols, mark), places(symbols, decoy)
            near = {
                name: [cell for cell in places(symbols, symbol) if np.abs(cell - centre).max() <= distance]
                for name, symbol in (("a", a), ("b", b))
            }
            # In pictures one of the other triple may be as far from the mark as its own; never nearer.
            steps = [tuple(cell - centre) for cells in near.values() for cell in cells]
            assert min(max(map(abs, step)) for step in steps) == distance
            answers = {
                symbols[tuple(centre - step)] == a
                for step in (np.array([0, distance]), np.array([distance, 0]))
                if (centre >= step).all()
                and (centre + step < SHAPES[domain]).all()
                and {symbols[tuple(centre - step)], symbols[tuple(centre + step)]} == {a, b}
            }
            assert bool(label) in answers
            assert len(places(symbols, a)) == len(places(symbols, b)) == 2
            assert (other != centre).any()


@pytest.mark.parametrize(("domain", "distance"), [(d, n) for d, name, n in CASES if name == "matching"])
def test_matching_is_of_two_pairs_in_any_order(domain: str, distance: int) -> None:
    _, drawn = groups(domain, "matching", distance)
    turned = 0
    for group in drawn:
        begin = int(np.argmax(group.segments[0]))
        for symbols, label in zip(group.symbols, group.labels, strict=True):
            cells = np.argwhere(symbols >= NUM_FILLERS)
            first = [tuple(cell) for cell in cells if cell[1] < begin]
            second = [tuple(cell) for cell in cells if cell[1] >= begin]
            assert [(row, column + distance) for row, column in first] == second
            pair, answer = [symbols[cell] for cell in first], [symbols[cell] for cell in second]
            assert (set(pair) == set(answer)) == label
            assert bool(set(pair) & set(answer)) == label
            turned += bool(label) and pair != answer
    assert 0 < turned < 2 * len(drawn)  # matching pairs stand in either order


@pytest.mark.parametrize(("domain", "margin"), [(d, n) for d, name, n in CASES if name == "counting"])
def test_counting_is_settled_by_adding_up_tokens(domain: str, margin: int) -> None:
    """The control: the answer is the sign of a sum over tokens, which identity and a mean can say."""
    probe, drawn = groups(domain, "counting", margin)
    a, b = (NUM_FILLERS + probe.symbols.index(name) for name in ("a", "b"))
    for group in drawn:
        more = (group.symbols == a).sum((1, 2)) - (group.symbols == b).sum((1, 2))
        assert sorted(more) == [-margin, margin]
        assert ((more < 0) == group.labels).all()  # label 0: more a


@pytest.mark.parametrize(
    ("domain", "name"), [(domain, name) for domain, probes in DISTANCES.items() for name in probes]
)
def test_groups_are_a_function_of_seed_split_and_number(domain: str, name: str) -> None:
    distances = DISTANCES[domain][name]
    probe = PROBES[name](SHAPES[domain], distances)

    def drawn(seed: int, split: str, index: int) -> bytes:
        group, level = Groups(probe, distances, seed, split, 100).sample(index, np.random.default_rng())
        assert level == index % len(distances)
        return group.symbols.tobytes()

    first = drawn(0, "train", 3)
    assert drawn(0, "train", 3) == first
    assert first not in (drawn(1, "train", 3), drawn(0, "validation", 3), drawn(0, "train", 3 + len(distances)))


def test_what_matters_stands_anywhere() -> None:
    for domain, shape in SHAPES.items():
        probe = PROBES["agreement"](shape, [2])
        seen = np.zeros(shape, bool)
        for index in range(400):
            seen |= probe.group(np.random.default_rng(index), 2).symbols[0] >= NUM_FILLERS
        assert seen.all(), domain


@pytest.mark.parametrize(
    ("name", "shape", "distance"),
    [
        ("order", (1, 32), 8),
        ("order", (8, 8), 4),
        ("agreement", (1, 32), 32),
        ("agreement", (8, 8), 0),
        ("matching", (1, 32), 1),
        ("matching", (8, 8), 8),
        ("copying", (1, 32), 25),
        ("copying", (8, 8), 1),
        ("counting", (1, 32), 3),
        ("counting", (1, 8), 2),
    ],
)
def test_a_distance_without_room_is_refused(name: str, shape: tuple[int, int], distance: int) -> None:
    with pytest.raises(ValueError, match=rf"data.distances: {name} cannot be asked at \w+ {distance} on"):
        PROBES[name](shape, [distance])
