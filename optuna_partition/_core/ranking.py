"""Which leaf is the best or the largest, by heaps; compares what it is given, and decides nothing.

A heap holds every leaf that ever had its place there. An entry that is stale, since the leaf has
another state or value by now, is dropped when it surfaces.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Hashable
import heapq
from typing import TypeAlias

from optuna_partition._core.cells import Cell
from optuna_partition._core.node import Node
from optuna_partition._core.node import Order
from optuna_partition._core.node import State


__all__ = ["Ranking"]

_RANKED = (State.KNOWN, State.FAILED, State.BOUNDED)
_Entry: TypeAlias = tuple[float, Order, Cell, Node]
"""Depth or value, then the order; leaves share one where two workers opened cells at once."""
_Ranked: TypeAlias = tuple[float, int, Order, Cell, Node]


class Ranking:
    """The leaves of a tree in their order (smaller values are better).

    Args:
        group: In which group a cell competes; `best` is by group.
    """

    def __init__(self, group: Callable[[Node], Hashable]) -> None:
        self._group = group
        self._empty: list[_Entry] = []
        self._ranked: dict[Hashable, list[_Entry]] = {}
        self._all_ranked: list[_Ranked] | None = None  # once asked for

    def add(self, leaf: Node) -> None:
        """Files a leaf by its value, if it can be opened."""
        if leaf.axis is None:
            return
        ranked = self._ranked.setdefault(self._group(leaf), [])
        heapq.heappush(ranked, (leaf.value, leaf.order, leaf.cell, leaf))
        if self._all_ranked is not None:
            heapq.heappush(self._all_ranked, _among_all(leaf))

    def add_empty(self, leaf: Node) -> None:
        """Files a leaf that nobody evaluates."""
        heapq.heappush(self._empty, (leaf.depth, leaf.order, leaf.cell, leaf))

    def first_empty(self) -> Node | None:
        """The largest leaf nobody evaluates, the leftmost of them."""
        while self._empty and self._empty[0][-1].state is not State.EMPTY:
            heapq.heappop(self._empty)
        return self._empty[0][-1] if self._empty else None

    def best(self, group: Hashable) -> Node | None:
        """The leaf of the least value in a group that can be opened, the first of equals."""
        ranked = self._ranked.get(group, [])
        while ranked:
            value, *_, leaf = ranked[0]
            if leaf.state in _RANKED and leaf.value == value:
                return leaf
            heapq.heappop(ranked)
        return None

    def groups(self) -> list[Hashable]:
        """The groups that have a leaf which can be opened."""
        return [group for group in self._ranked if self.best(group) is not None]

    def tied(self, best: Node, tolerance: float) -> list[Node]:
        """The other leaves of the best one's group within a tolerance of its value, in order."""
        ranked = self._ranked[self._group(best)]
        found: dict[Cell, Node] = {}
        entries = []
        while ranked and ranked[0][0] - best.value <= tolerance:
            entry = heapq.heappop(ranked)
            value, *_, leaf = entry
            if leaf.state in _RANKED and leaf.value == value:
                found.setdefault(leaf.cell, leaf)
                entries.append(entry)
        for entry in entries:
            heapq.heappush(ranked, entry)
        found.pop(best.cell, None)
        return list(found.values())

    def best_free(
        self, value: Callable[[Node], float], first_free: Callable[[Node], Cell | None]
    ) -> Cell | None:
        """What is first free inside the best leaf that can be opened and has something free.

        Args:
            value: What a leaf is worth, no better than the best value inside; of equals the
                largest comes first.
            first_free: The free cell inside a leaf, if there is one.
        """
        if self._all_ranked is None:
            leaves = {leaf for ranked in self._ranked.values() for *_, leaf in ranked}
            self._all_ranked = [_among_all(leaf) for leaf in leaves if leaf.state in _RANKED]
            heapq.heapify(self._all_ranked)
        ranked = self._all_ranked
        while ranked:
            found, *_, leaf = ranked[0]
            free = first_free(leaf) if leaf.state in _RANKED else None
            if free is None:
                heapq.heappop(ranked)
            elif (worth := value(leaf)) == found:
                return free
            else:
                heapq.heapreplace(ranked, (worth, *_among_all(leaf)[1:]))
        return None


def _among_all(leaf: Node) -> _Ranked:
    return leaf.value, leaf.depth, leaf.order, leaf.cell, leaf
