"""The tree: states of its leaves and the repair of failed cells, against plain definitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from optuna_partition._core import cells
from optuna_partition._core.axes import Continuous
from optuna_partition._core.axes import Grid
from optuna_partition._core.cells import Cell
from optuna_partition._core.node import Node
from optuna_partition._core.node import Reading
from optuna_partition._core.node import State
from optuna_partition._core.tree import Tree
from optuna_partition._rules.soo import SOO
from optuna_partition._rules.soo import Swept


AXES = (Continuous(6), Grid(5))


def open_cell(tree: Tree, cell: Cell) -> None:
    Swept(tree).open(cell, SOO().start, 0)


def grown(parts: list[int]) -> Tree:
    """A tree with some cells open: each number picks the leaf to open next."""
    tree = SOO().plant(AXES).tree
    for part in parts:
        leaves = [leaf for leaf in tree.leaves() if leaf.axis is not None]
        open_cell(tree, leaves[part % len(leaves)].cell)
    return tree


def repaired(tree: Tree, leaf: Node) -> float:
    """Gablonsky's rule by its definition, over all leaves."""
    readings = [o for node in tree.leaves() for o in node.observations.values()]
    known = [o for o in readings if not isinstance(o.reading, Reading)]
    around = [o.reading for o in known if cells.near(AXES, leaf.cell, o.point)]
    if around:
        return min(around) + 1e-6 * abs(min(around))
    return max((o.reading for o in known), default=0.0) + 1.0


readings = st.one_of(st.sampled_from(list(Reading)), st.floats(-100, 100))


@settings(max_examples=100)
@given(
    st.lists(st.integers(0, 50), max_size=15),
    st.lists(st.tuples(st.integers(0, 50), readings), max_size=25),
)
def test_leaves_say_what_was_observed_in_them(
    parts: list[int], told: list[tuple[int, float | Reading]]
) -> None:
    tree = SOO().plant(AXES).tree
    for number, (part, reading) in enumerate(told):
        leaves = list(tree.leaves())
        if number < len(parts) and leaves[parts[number] % len(leaves)].axis is not None:
            open_cell(tree, leaves[parts[number] % len(leaves)].cell)
        leaves = list(tree.leaves())
        cell = leaves[part % len(leaves)].cell
        tree.observe(number, cells.centre(AXES, cell), reading)
    for leaf in tree.leaves():
        inside = [o.reading for o in leaf.observations.values()]
        values = [reading for reading in inside if not isinstance(reading, Reading)]
        if values:
            assert (leaf.state, leaf.value) == (State.KNOWN, min(values))
        elif Reading.FLYING in inside:
            assert leaf.state is State.FLYING
        elif inside:
            assert (leaf.state, leaf.value) == (State.FAILED, repaired(tree, leaf))
        else:
            assert leaf.state is State.EMPTY


@given(
    st.lists(st.integers(0, 50), max_size=15),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=25),
)
def test_an_observation_is_in_the_leaf_of_its_point_whatever_was_asked_for(
    parts: list[int], told: list[tuple[int, int]]
) -> None:
    tree = grown(parts)
    leaves = list(tree.leaves())
    known = [cells.root(AXES), *(leaf.cell for leaf in leaves), ((6, 0), (0, 0))]
    for number, (place, asked) in enumerate(told):
        leaf = leaves[place % len(leaves)]
        point = cells.centre(AXES, leaf.cell)
        tree.observe(number, point, 1.0, asked=known[asked % len(known)])
        assert number in leaf.observations


@settings(max_examples=100)
@given(
    st.lists(st.integers(0, 50), max_size=15),
    st.lists(st.tuples(st.integers(0, 50), readings), max_size=25),
)
def test_the_heaps_answer_as_a_scan_of_all_leaves(
    parts: list[int], told: list[tuple[int, float | Reading]]
) -> None:
    tree = grown(parts)
    for number, (part, reading) in enumerate(told):
        leaves = list(tree.leaves())
        tree.observe(number % 7, cells.centre(AXES, leaves[part % len(leaves)].cell), reading)
        tree.forget((number + 3) % 9)
        leaves = sorted(tree.leaves(), key=lambda leaf: (leaf.depth, leaf.order))
        empty = [leaf for leaf in leaves if leaf.state is State.EMPTY]
        flying = [f for f in leaves if f.state is State.FLYING and f.axis is not None]
        assert tree.ranking.first_empty() is (empty[0] if empty else None)
        assert tree.first_flying() is (flying[0] if flying else None)
        assert tree.flying() == [leaf for leaf in leaves if leaf.state is State.FLYING]
        for depth in range(tree.deepest + 1):
            ranked = [
                leaf
                for leaf in leaves
                if leaf.depth == depth and leaf.axis is not None
                if leaf.state in (State.KNOWN, State.FAILED)
            ]
            assert tree.ranking.best(depth) is min(
                ranked, key=lambda leaf: leaf.value, default=None
            )


def first_free(tree: Tree, leaf: Node) -> Cell | None:
    """By the definition, from the beginning, against all observations."""
    taken = [o.point for node in tree.leaves() for o in node.observations.values()]
    whole = [leaf.cell]
    for cell in whole:
        i = cells.longest_axis(tree.axes, cell)
        for part in () if i is None else cells.children(tree.axes, cell, i):
            if cells.centre(tree.axes, part) not in taken:
                return part
            whole.append(part)
    return None


def worth(leaf: Node) -> float:
    """Somewhat worse than the best inside, and worse still where there is more inside."""
    return leaf.value + len(leaf.observations) % 3 + (leaf.state is State.FAILED)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 50), st.booleans(), readings), max_size=30))
def test_a_free_point_is_the_first_of_a_search_from_the_beginning(
    told: list[tuple[int, bool, float | Reading]],
) -> None:
    """Whatever was observed, taken back and cut since the last search."""
    axes = (Grid(4), Grid(3))
    tree = SOO().plant(axes).tree
    for number, (part, cut, reading) in enumerate(told):
        leaves = list(tree.leaves())
        leaf = leaves[part % len(leaves)]
        free = tree.first_free(leaf)
        assert free == first_free(tree, leaf)
        if cut and leaf.axis is not None:
            open_cell(tree, leaf.cell)
        tree.observe(number % 11, cells.centre(axes, free or leaf.cell), reading)
        tree.forget((number + part) % 13)
        ranked = [leaf for leaf in tree.leaves() if leaf.axis is not None]
        ranked = [leaf for leaf in ranked if leaf.state in (State.KNOWN, State.FAILED)]
        ranked.sort(key=lambda leaf: (worth(leaf), leaf.depth, leaf.order))
        found = (first_free(tree, leaf) for leaf in ranked)
        assert tree.best_free(worth) == next((cell for cell in found if cell), None)


def test_opening_a_cell_opens_the_cells_around_it() -> None:
    whole, again = SOO().plant(AXES).tree, SOO().plant(AXES).tree
    target = grown([0, 0, 0, 0]).root.children[0].children[0]
    open_cell(again, target.cell)
    assert again.root.state is State.OPEN
    assert target.cell in [n.cell for n in again.root.children[0].children]
    open_cell(whole, again.root.cell)
    open_cell(whole, again.root.children[0].cell)
    open_cell(whole, target.cell)
    open_cell(whole, target.cell)  # twice is once
    assert [n.cell for n in whole.leaves()] == [n.cell for n in again.leaves()]
